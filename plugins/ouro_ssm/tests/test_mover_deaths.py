"""An IPCP is killed while its mover works, or an application at either side of one: nobody else is hurt, no block is
lost.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ouro_ssm.system import SsmPacketSystem

from ouro_core.contracts.packets import FlowEnd, Options, State
from ouro_core.contracts.programs import Group
from ouro_core.model.errors import FlowDown
from ouro_core.testing.packets.bench import Bench
from ouro_core.testing.packets.forwarder import Node, pci
from ouro_core.testing.packets.programs import dt
from ouro_core.testing.packets.wire import await_event

CHILD = Path(__file__).with_name("mover_child.py")
PATIENCE = Options(read_timeout=30.0, write_timeout=30.0)
USER = os.getuid() or 1000
ROUNDS = 15


@pytest.fixture(scope="session")
def nursery() -> Iterator[socket.socket]:
    """Where IPCPs are made."""
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.settimeout(30.0)
    with theirs:
        command = [sys.executable, str(CHILD), str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    yield control
    control.close()
    process.wait()


class Killable:
    """An IPCP between two applications in this process; the second may be a user's."""

    def __init__(self, host: Any, nursery: socket.socket, role: str, uid: int) -> None:
        self.host, self.ref, self.nursery = host, host.new_ref(), nursery
        admitted = host.broker.admit(self.ref)
        clients = host.client(), host.client(uid)
        flows = [host.create(client.ref, self.ref) for client in clients]
        self.apps = [
            client.attach(*host.sent(flow.grant(0)), PATIENCE) for client, flow in zip(clients, flows, strict=True)
        ]
        nursery.send(role.encode())
        for grant in (admitted, *(flow.grant(1) for flow in flows)):
            socket.send_fds(nursery, [grant.data], list(grant.fds))
        self.pid = int(nursery.recv(16))

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self.nursery.recv(16) == b"ended"
        self.host.broker.leave(self.ref, died=True)


def body(role: str, to: int, number: int) -> bytes:
    payload = number.to_bytes(4, "little") + bytes([number & 255]) * (number % 1300)
    return pci(to, 7, payload) if role == "forwarder" else payload


def write_until_down(role: str, app: FlowEnd, to: int) -> None:
    number = 0
    try:
        while True:
            app.write(body(role, to, number))
            number += 1
            if number % 1000 == 0:
                time.sleep(0.001)
    except FlowDown:
        pass


def read_until_down(role: str, app: FlowEnd, counts: list[int]) -> None:
    """Numbers grow, and every packet is whole."""
    last = -1
    skip = 15 if role == "forwarder" else 0
    try:
        while True:
            packet = app.read()[skip:]
            number = int.from_bytes(packet[:4], "little")
            assert number > last
            assert packet[4:] == bytes([number & 255]) * (number % 1300)
            last = number
            counts.append(number)
    except FlowDown:
        pass


@pytest.mark.parametrize("uid", [0, USER])
@pytest.mark.parametrize("role", ["pump", "forwarder"])
def test_an_ipcp_is_killed_in_full_traffic(host: Any, nursery: socket.socket, role: str, uid: int) -> None:
    rng = random.Random(uid)
    passed = 0
    for _ in range(ROUNDS):
        ipcp = Killable(host, nursery, role, uid)
        counts: list[int] = []
        threads = [threading.Thread(target=write_until_down, args=(role, ipcp.apps[n], 1 - n)) for n in (0, 1)]
        threads += [threading.Thread(target=read_until_down, args=(role, app, counts)) for app in ipcp.apps]
        for thread in threads:
            thread.start()
        time.sleep(rng.uniform(0.005, 0.05))
        ipcp.kill()
        for thread in threads:
            thread.join(30.0)
            assert not thread.is_alive()
        for app in ipcp.apps:
            assert app.state & State.DEAD
            app.close()
        passed += len(counts)
        assert not host.used(), "a block was lost"
        host.end_all()
    assert passed


@pytest.mark.parametrize("role", ["write", "read"])
def test_an_application_is_killed_behind_a_forwarder(host: Any, zygote: Any, role: str) -> None:
    """The application's flow ends in this process, at a native forwarder, whose N-1 flow is a pair."""
    for _ in range(15):
        end, kill = zygote.start(host, role, *(("0", "300") if role == "write" else ()))
        client = host._clients[-1]
        forwarder = client.forwarder(dt(1, window=None))
        inside, outside = client.pair()
        outside.set_options(PATIENCE)
        network = forwarder.add_network(inside)
        forwarder.set_routes(0, {2: Group((network,))})
        forwarder.add_flow(64, end, 2, 64)
        threading.Timer(random.uniform(0, 0.01), kill).start()
        died = threading.Event()

        def await_death(mover: Any = forwarder, died: threading.Event = died) -> None:
            await_event(mover, "DEAD")
            died.set()

        waiting = threading.Thread(target=await_death)
        waiting.start()
        outside.set_options(Options(read_blocking=False, write_blocking=False))
        while not died.is_set():
            if role == "write" and outside.queued()[0]:
                outside.read_many(32)
            time.sleep(0.0001)
        waiting.join()
        forwarder.stop()
        while outside.queued()[0]:
            outside.read_many(32)
        outside.close()
        inside.close()
        end.close()
        host.end_all()
        assert not host.used()


def test_a_client_that_leaves_gives_everything_back() -> None:
    """Without a death: `close` in the middle of traffic."""
    for _ in range(10):
        bench = Bench(SsmPacketSystem, uid=USER)
        node = Node(bench, dt(1, window=None))
        right, port = node.network()
        node.route(2, port)
        app = node.flow(64, destination=2, user=True)
        stop = threading.Event()

        def write(app: FlowEnd = app, stop: threading.Event = stop) -> None:
            try:
                while not stop.is_set():
                    app.write(bytes(500))
            except FlowDown:
                pass

        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(5):
            right.read_many(32)
        node.ipcp.close()
        stop.set()
        writer.join(30.0)
        assert not writer.is_alive()
        bench.close()

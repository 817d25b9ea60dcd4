"""A broker, clients in this process, and clients in processes of their own."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ouro_ssm.broker import SsmBroker
from ouro_ssm.system import SsmPacketSystem

from ouro_core.contracts.packets import (
    SHARED_GEOMETRY,
    USER_GEOMETRY,
    BrokerFlow,
    ClientRef,
    Domain,
    FlowEnd,
    Geometry,
    Grant,
    Options,
    PacketClient,
    SizeClass,
)
from ouro_core.testing.packets.bench import Bench
from ouro_core.testing.packets.programs import dix
from ouro_core.testing.packets.wire import MAC, Wire

CHILD = Path(__file__).with_name("child.py")
PATIENCE = Options(read_timeout=30.0, write_timeout=30.0)
SMALL = Geometry((SizeClass(256, 64), SizeClass(2048, 64)))


class Process:
    """A client that is a process of its own, of this user, running a role of `child.py`."""

    def __init__(self, host: "Host", role: str, *arguments: object, uid: int = 0) -> None:
        self.ref = host.new_ref(uid)
        self._host = host
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(30.0)
        with theirs:
            command = [sys.executable, str(CHILD), str(theirs.fileno()), role, *map(str, arguments)]
            environment = {**os.environ, "CHILD_UID": str(uid)}
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        self._send(host.broker.admit(self.ref))
        self.left = False

    def join(self, flow: BrokerFlow, end: int) -> None:
        self._send(flow.grant(end))

    def _send(self, grant: Grant) -> None:
        socket.send_fds(self._control, [grant.data], list(grant.fds))

    def hear(self) -> Any:
        data = self._control.recv(4096)
        assert data, "the child ended without an answer"
        return json.loads(data)

    def say(self) -> None:
        """What it waits for."""
        self._control.send(b"go")

    def give(self, fd: int) -> None:
        socket.send_fds(self._control, [b"fd"], [fd])

    @property
    def pid(self) -> int:
        return self._process.pid

    def uid(self) -> int:
        return os.stat(f"/proc/{self.pid}").st_uid

    def ready(self) -> "Process":
        assert self.hear() == {"ready": True}
        return self

    def finish(self) -> None:
        """It ends by itself."""
        assert self._process.wait(60) == 0
        self._leave(died=False)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._leave(died=True)

    def _leave(self, died: bool) -> None:
        if not self.left:
            self.left = True
            self._host.broker.leave(self.ref, died)

    def close(self) -> None:
        if not self.left:
            self.kill()
        self._control.close()


class Zygote:
    """Makes clients in processes of their own within a millisecond, one at a time, to be killed."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(30.0)
        with theirs:
            command = [sys.executable, str(CHILD), str(theirs.fileno()), "zygote"]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    def start(self, host: "Host", role: str, *arguments: object) -> tuple[FlowEnd, Callable[[], None]]:
        """An end whose other end is in a new process, and what kills that."""
        client, ref = host.client(), host.new_ref()
        admitted = host.broker.admit(ref)
        flow = host.create(client.ref, ref)
        self._control.send(json.dumps([role, *map(str, arguments)]).encode())
        for grant in (admitted, flow.grant(1)):
            socket.send_fds(self._control, [grant.data], list(grant.fds))
        pid = json.loads(self._control.recv(256))["pid"]

        def kill() -> None:
            os.kill(pid, signal.SIGKILL)
            while json.loads(self._control.recv(256)) != {"ended": pid}:
                pass  # what it said before
            host.broker.leave(ref, died=True)

        return client.attach(*host.sent(flow.grant(0)), PATIENCE), kill

    def close(self) -> None:
        self._control.close()
        self._process.wait()


class Host:
    """A broker and everything that hangs on it; at the end no block may be left."""

    def __init__(self, shared: Geometry = SHARED_GEOMETRY, user: Geometry = USER_GEOMETRY) -> None:
        self.broker: SsmBroker = SsmPacketSystem.broker(shared, user)
        self.admitted: dict[int, Grant] = {}
        self._ids = itertools.count(1)
        self._flow_ids = itertools.count(1)
        self._clients: list[PacketClient] = []
        self._processes: list[Process] = []
        self._flows: list[BrokerFlow] = []

    def new_ref(self, uid: int = 0) -> ClientRef:
        return ClientRef(next(self._ids), Domain(uid))

    @staticmethod
    def sent(grant: Grant) -> tuple[bytes, list[int]]:
        """As it arrives: with descriptors that belong to the receiver."""
        return grant.data, [os.dup(fd) for fd in grant.fds]

    def client(self, uid: int = 0) -> PacketClient:
        grant = self.broker.admit(self.new_ref(uid))
        client = SsmPacketSystem.client(*self.sent(grant))
        self.admitted[client.ref.id] = grant
        self._clients.append(client)
        return client

    def process(self, role: str, *arguments: object, uid: int = 0) -> Process:
        process = Process(self, role, *arguments, uid=uid)
        self._processes.append(process)
        return process

    def create(self, a: ClientRef, b: ClientRef) -> BrokerFlow:
        flow = self.broker.create_flow(next(self._flow_ids), a, b)
        self._flows.append(flow)
        return flow

    def flow(self, a: PacketClient, b: PacketClient) -> tuple[FlowEnd, FlowEnd]:
        flow = self.create(a.ref, b.ref)
        return a.attach(*self.sent(flow.grant(0)), PATIENCE), b.attach(*self.sent(flow.grant(1)), PATIENCE)

    def joined(self, uid: int = 0) -> tuple[FlowEnd, FlowEnd]:
        """A flow between two new clients in this process; the second may be a user's."""
        return self.flow(self.client(), self.client(uid))

    def remote(self, role: str, *arguments: object, uid: int = 0) -> tuple[FlowEnd, Process]:
        """A flow between a new client here and a new process."""
        client, process = self.client(), self.process(role, *arguments, uid=uid)
        flow = self.create(client.ref, process.ref)
        process.join(flow, 1)
        return client.attach(*self.sent(flow.grant(0)), PATIENCE), process.ready()

    def end_all(self) -> None:
        """Clients and flows, not the broker and its pools."""
        for client in self._clients:
            client.close()
            self.broker.leave(client.ref, died=False)
        for flow in self._flows:
            flow.destroy()
        self._clients.clear()
        self._flows.clear()

    def used(self) -> dict[str, int]:
        return {name: n for name, n in self.broker.counters().items() if name.endswith(".used") and n}

    def close(self) -> None:
        for process in self._processes:
            process.close()
        self.end_all()
        assert not self.used()
        assert self.broker.counters()["flows"] == 0
        self.broker.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(SsmPacketSystem)
    yield bench
    bench.close()


@pytest.fixture
def wire(bench: Bench) -> Iterator[Wire]:
    """A pump with Ethernet's header, between sockets that never lose anything."""
    wire = Wire(bench, dix(MAC), *socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
    yield wire
    wire.close()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


@pytest.fixture
def small() -> Iterator[Host]:
    """Pools that are much smaller than a ring."""
    host = Host(SMALL, SMALL)
    yield host
    host.close()


@pytest.fixture
def tiny() -> Iterator[Host]:
    """Eight blocks of each class."""
    host = Host(Geometry(tuple(SizeClass(payload, 8) for payload in (64, 128, 256, 512))))
    yield host
    host.close()


@pytest.fixture
def pair_of_blocks() -> Iterator[Host]:
    """Two blocks, for applications too."""
    host = Host(Geometry((SizeClass(256, 2),), receive_share=0.0, shards=2))
    yield host
    host.close()


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    def wait(true: Callable[[], object]) -> None:
        end = time.monotonic() + 30.0
        while not true():
            assert time.monotonic() < end, "did not happen within 30 s"
            time.sleep(0.001)

    return wait

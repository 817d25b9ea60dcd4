"""A user scribbles over everything he can map, as fast as he can, while others read it. They get errors on that flow
and nothing else; flows of other domains go on with their own data; nobody crashes, the broker included.
"""

import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ouro_core.contracts.packets import FlowEnd, Grant, Options
from ouro_core.model.errors import OuroError, PacketsError

CHILD = Path(__file__).with_name("fuzz_child.py")
ROUNDS = 8
SECONDS = 0.4
root = os.geteuid() == 0
HOSTILE, OTHER = (12345, 12346) if root else (os.getuid(), 0)
"""Users; without root there is only one besides the shared domain."""


class Child:
    """A process of `fuzz_child.py`."""

    def __init__(self, role: str) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(60.0)
        with theirs:
            command = [sys.executable, str(CHILD), str(theirs.fileno()), role]
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    def give(self, grant: Grant) -> None:
        socket.send_fds(self.control, [grant.data], list(grant.fds))

    def hear(self) -> Any:
        data = self.control.recv(4096)
        assert data, f"it ended with {self.process.wait(10)}"
        return json.loads(data)

    def end(self) -> Any:
        """Nothing more comes; its last words."""
        self.control.shutdown(socket.SHUT_WR)
        heard = self.hear()
        assert self.process.wait(30) == 0
        self.control.close()
        return heard

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.control.close()


@pytest.fixture
def child() -> Iterator[Callable[[str], Child]]:
    made: list[Child] = []

    def make(role: str) -> Child:
        made.append(Child(role))
        return made[-1]

    yield make
    for each in made:
        each.close()


class Echo:
    """A neighbour: in a thread, until its flow is down."""

    def __init__(self, end: FlowEnd) -> None:
        self._end = end
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while True:
                self._end.write(self._end.read())
        except OuroError:
            pass


def scribble(host: Any, hostile: Child, seed: int, flow: Any, meanwhile: Callable[[], object] = lambda: None) -> int:
    """The user's end of this flow is attached to nothing but his hands. The broker looks meanwhile."""
    grant = flow.grant(1)
    fds = list(grant.fds)
    if len(fds) < 10:  # a grant in his own domain comes without pool and own set
        admitted = host.admitted[flow_client(flow)]
        fds = [fds[0], admitted.fds[0], admitted.fds[1], *fds[1:]]
    order = json.dumps({"seed": seed, "seconds": SECONDS}).encode()
    socket.send_fds(hostile.control, [order], fds)
    for _ in range(20):
        host.broker.counters()
        host.broker.view()
        meanwhile()
    with suppress(PacketsError):  # by what stands in the segment the flow may be over
        flow.down()
        flow.up()
    done = hostile.hear()["done"]
    assert isinstance(done, int)
    return done


def flow_client(flow: Any) -> int:
    found: int = flow._sides[1].client.ref.id
    return found


@pytest.fixture
def fuzzed(host: Any) -> Any:
    """A host that remembers what it admitted, and cleans up behind a user who lost his blocks."""
    host.admitted = {}
    yield host
    host.end_all()
    pool = host.broker._domains[HOSTILE].pool
    pool.reap(set().union(*pool.owners()))


def admit(host: Any, uid: int = 0) -> tuple[Any, Grant]:
    ref = host.new_ref(uid)
    host.admitted[ref.id] = grant = host.broker.admit(ref)
    return ref, grant


def test_a_process_that_calls_everything(fuzzed: Any, child: Callable[[str], Child]) -> None:
    host, victim, hostile = fuzzed, child("victim"), child("vandal")
    ref, admitted = admit(host)
    victim.give(admitted)
    echoes = []
    for uid in (0, OTHER):
        neighbour = host.client(uid)
        flow = host.create(ref, neighbour.ref)
        victim.give(flow.grant(0))
        echoes.append(Echo(neighbour.attach(*host.sent(flow.grant(1)))))
    seed = random.randrange(1 << 30)
    print("seed", seed)
    pokes = 0
    for n in range(ROUNDS):
        user, _ = admit(host, HOSTILE)
        flow = host.create(ref, user)
        victim.give(flow.grant(0))
        assert victim.hear() == {"attached": True}
        pokes += scribble(host, hostile, seed + n, flow)
        victim.control.send(b"stop")
        assert victim.hear() == {"closed": True}
        flow.destroy()
        host.broker.leave(user, died=True)
    result = victim.end()
    print(pokes, result)
    assert result["neighbours"] > ROUNDS
    assert result["calls"] > 1000
    assert pokes > 10000
    host.broker.leave(ref, died=False)


def test_a_forwarder(fuzzed: Any, child: Callable[[str], Child]) -> None:
    host, victim, hostile = fuzzed, child("mover"), child("vandal")
    ref, admitted = admit(host)
    victim.give(admitted)
    ends = []
    for uid in (0, OTHER):
        neighbour = host.client(uid)
        flow = host.create(ref, neighbour.ref)
        victim.give(flow.grant(0))
        ends.append(neighbour.attach(*host.sent(flow.grant(1))))
    one, other = ends
    other.set_options(Options(read_timeout=30.0))
    passed = 0

    def passes() -> None:
        nonlocal passed
        for _ in range(5):
            one.write(b"%d" % passed)
            assert other.read() == b"%d" % passed
            passed += 1

    seed = random.randrange(1 << 30)
    print("seed", seed)
    for n in range(ROUNDS):
        user, _ = admit(host, HOSTILE)
        flow = host.create(ref, user)
        victim.give(flow.grant(0))
        assert victim.hear() == {"attached": True}
        scribble(host, hostile, seed + n, flow, passes)
        victim.control.send(b"stop")
        assert victim.hear() == {"closed": True}
        flow.destroy()
        host.broker.leave(user, died=True)
    assert victim.end()["looped"] >= passed
    host.broker.leave(ref, died=False)

"""Keep-alives and peers that time out: the table on a clock of the test, and the thread that drives it."""

import itertools
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from ouro_core import State
from ouro_core.api.watches import Keeper, Watches
from ouro_core.contracts.packets import PacketClient

from .conftest import Pair

MakePair = Callable[..., Pair]


def keepalives(client: PacketClient, seconds: float, timeout: float) -> list[float]:
    """When keep-alives of an idle flow were sent, by a clock that always stands at the next time-out."""
    a, b = client.pair()
    watches = Watches()
    watches.add(a, timeout, 0.0)
    times, sent, now = [], a.sequence()[0], 0.0
    while now < seconds:
        b.keepalive()  # the peer lives
        due = watches.run(now)
        assert due is not None
        if a.sequence()[0] != sent:
            times.append(now)
            sent = a.sequence()[0]
        assert due > now
        now = due
    a.close()
    b.close()
    return times


def test_idle_flow_sends_a_keepalive_every_quarter(client: PacketClient) -> None:
    times = keepalives(client, 400, 120)
    assert times[0] == 30
    assert all(30 <= later - earlier <= 37.5 for earlier, later in itertools.pairwise(times))


def test_peer_that_says_nothing_times_out_once(client: PacketClient) -> None:
    a, _b = client.pair()
    watches = Watches()
    watches.add(a, 1.0, 0.0)
    now: float | None = 0.0
    while now is not None and now < 0.99:
        assert not a.state & State.PEER
        now = watches.run(now)
    assert watches.run(1.0) is None
    assert a.state & State.PEER
    assert len(watches) == 0


def test_packets_that_nobody_reads_are_signs_of_life(client: PacketClient) -> None:
    a, b = client.pair()
    watches = Watches()
    watches.add(a, 1.0, 0.0)
    for step in range(40):
        b.write(b"unread")
        watches.run(step * 0.25)
    assert not a.state & State.PEER


def test_time_begins_anew_when_a_flow_comes_up(client: PacketClient) -> None:
    a, _b = client.pair()
    watches = Watches()
    watches.add(a, 1.0, 0.0)
    a.mark(set=State.DOWN)
    now = 0.0
    while now < 5:
        now = watches.run(now) or 5
    a.mark(clear=State.DOWN)
    watches.run(5.0)
    assert not a.state & State.PEER
    while now < 5.9:
        now = watches.run(now) or 99
    assert not a.state & State.PEER
    watches.run(6.1)
    assert a.state & State.PEER


def test_ends_leave_by_themselves_or_when_told(client: PacketClient) -> None:
    a, b = client.pair()
    c, d = client.pair()
    watches = Watches()
    for end in (a, b, c):
        watches.add(end, 1.0, 0.0)
    a.close()
    watches.remove(c)
    watches.remove(c)
    assert watches.run(0.5) is None, "the closed end, the other end of it, and the one removed"
    c.close()
    d.close()


@pytest.fixture
def irmd() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A lifetime connection and its other end."""
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


Lifetime = tuple[socket.socket, socket.socket]


def test_no_thread_without_a_flow_to_watch(client: PacketClient, irmd: Lifetime) -> None:
    before = threads()
    a, b = client.pair()
    keeper = Keeper(irmd[0], lambda: None)
    keeper.add(a, 0)
    assert threads() == before
    for _ in range(3):
        keeper.add(a, 6)
        keeper.add(b, 2)
        assert threads() == before + 1
        keeper.remove(b)
        keeper.remove(a)
        until(lambda: threads() == before)
    keeper.add(a, 0.05)
    b.close()
    until(lambda: threads() == before)
    a.close()


def test_the_thread_times_a_peer_out(client: PacketClient, irmd: Lifetime) -> None:
    a, b = client.pair()
    keeper = Keeper(irmd[0], lambda: None)
    keeper.add(a, 0.05)
    events = client.event_set()
    events.add(a)
    events.wait(20)
    assert a.state & State.PEER
    assert b.sequence()[1] > 0, "keep-alives were sent"
    events.close()
    a.close()
    b.close()


def test_the_thread_tells_once_that_the_irmd_went_away(client: PacketClient, irmd: Lifetime) -> None:
    a, b = client.pair()
    told: list[None] = []
    keeper = Keeper(irmd[0], lambda: told.append(None))
    keeper.add(a, 60)
    irmd[1].close()
    until(lambda: told != [])
    keeper.add(b, 0.02)
    until(lambda: bool(b.state & State.PEER))
    assert told == [None]
    keeper.remove(a)
    a.close()
    b.close()


def test_descriptors_beyond_what_select_can_take(client: PacketClient) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip("needs 2000 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    ours, theirs = socket.socketpair()
    try:
        assert ours.fileno() > 1023
        told: list[None] = []
        a, b = client.pair()
        keeper = Keeper(ours, lambda: told.append(None))
        keeper.add(a, 0.05)
        until(lambda: bool(a.state & State.PEER))
        theirs.close()
        keeper.add(b, 60)
        until(lambda: told == [None])
        a.close()
        b.close()
    finally:
        for fd in held:
            os.close(fd)
        ours.close()
        theirs.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

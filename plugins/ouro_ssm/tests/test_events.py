"""Event sets: what the contract kit cannot see, lanes, descriptors and several sets of one client."""

import asyncio
import os
import select
import socket
import stat
import threading
import time
from typing import Any

import pytest

from ouro_core.contracts.packets import Event, EventSet, FlowEnd, Options
from ouro_core.model.errors import BadDescriptor, FlowTimeout, PacketsError, WouldBlock

USER = os.getuid() or 1000  # whose pool is not the shared one; only root can give one away
NON_BLOCKING = Options(read_blocking=False, write_blocking=False)


def background(call: Any) -> tuple[threading.Thread, list[Any]]:
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(call()), daemon=True)
    thread.start()
    return thread, result


def readable(events: EventSet, timeout: float = 0.0) -> bool:
    return bool(select.select([events.fileno()], [], [], timeout)[0])


def drain(end: FlowEnd) -> list[bytes]:
    end.set_options(NON_BLOCKING)
    got: list[bytes] = []
    try:
        while True:
            got += end.read_many()
    except WouldBlock:
        return got


def test_the_descriptor_is_readable_while_there_is_something(host: Any) -> None:
    a, b = host.joined()
    events = host._clients[1].event_set()
    events.add(b)
    assert events.poll() == []
    assert not readable(events)
    a.write(b"1")
    assert readable(events, 30.0)
    assert events.poll() == [(b, Event.PACKET)]
    assert readable(events), "level-triggered: it was not read"
    assert drain(b) == [b"1"]
    assert events.poll() == []
    assert not readable(events)
    a.write(b"2")
    assert readable(events, 30.0)
    assert events.poll() == [(b, Event.PACKET)]


def test_a_stream_writes_no_eventfd(host: Any) -> None:
    """Once pending, a flow costs its writer nothing until the reader has seen it empty."""
    a, b = host.joined()
    events = host._clients[1].event_set()
    events.add(b)
    events.fileno()
    events.poll()
    for _ in range(50):
        for _ in range(100):
            a.write(b"x")
        assert events.poll() == [(b, Event.PACKET)]
        assert len(b.read_many(99)) == 99
        b.read()
        a.write(b"more")
        b.read()
    assert a.counters()["wakes"] == 1


def test_asyncio(host: Any) -> None:
    end, process = host.remote("write", 30000, 64)
    events = host._clients[0].event_set()
    events.add(end)
    end.set_options(NON_BLOCKING)
    got: list[int] = []

    async def receive() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def wake() -> None:
            for each, what in events.poll():
                if what & Event.PACKET:
                    got.extend(int.from_bytes(data[4:8], "little") for data in each.read_many(64))
                if what & Event.DEALLOC:
                    done.set_result(None)

        loop.add_reader(events.fileno(), wake)
        await asyncio.wait_for(done, 60)
        while end.queued()[0]:
            wake()
        loop.remove_reader(events.fileno())

    asyncio.run(receive())
    process.finish()
    assert got == list(range(30000))


def test_echo_through_event_sets_on_both_sides(host: Any) -> None:
    """Every wake-up is needed: one that is lost stops it."""
    a, b = host.joined()
    mine, theirs = (client.event_set() for client in host._clients)
    mine.add(a)
    theirs.add(b)

    def echo() -> None:
        for _ in range(3000):
            assert theirs.wait(30.0) == [(b, Event.PACKET)]
            b.write(b.read())

    thread = threading.Thread(target=echo)
    thread.start()
    for n in range(3000):
        a.write(b"%d" % n)
        assert mine.wait(30.0) == [(a, Event.PACKET)]
        assert a.read() == b"%d" % n
    thread.join(30)
    assert not thread.is_alive()


def test_several_sets_share_the_lane(host: Any) -> None:
    """Each thread waits on a set of its own; whoever takes the bits passes on those of the others."""
    client, other = host.client(), host.client()
    count, sets = 400, 4
    failures: list[object] = []
    flows = [host.flow(client, other) for _ in range(sets)]

    def echo(end: FlowEnd, events: EventSet) -> None:
        try:
            for _ in range(count):
                assert events.wait(30.0) == [(end, Event.PACKET)]
                end.write(end.read())
        except BaseException as e:
            failures.append(e)

    threads = []
    for mine, _ in flows:
        events = client.event_set()
        events.add(mine)
        threads.append(threading.Thread(target=echo, args=(mine, events)))
        threads[-1].start()
    for n in range(count):
        for _, theirs in flows:
            theirs.write(b"%d" % n)
        for _, theirs in flows:
            assert theirs.read() == b"%d" % n, failures
    for thread in threads:
        thread.join(30)
    assert not failures


def test_sets_with_descriptors_share_the_lane(host: Any) -> None:
    client, other = host.client(), host.client()
    one, two = client.event_set(), client.event_set()
    (a, a_far), (b, b_far) = host.flow(client, other), host.flow(client, other)
    one.add(a)
    two.add(b)
    for events in (one, two):
        assert events.poll() == []
        assert not readable(events)
        assert events.poll() == []
    for _ in range(50):
        b_far.write(b"for two")
        assert readable(one, 30.0) or readable(two, 30.0)
        assert one.poll() == []
        assert readable(two, 30.0), "one took the bit and must pass it on"
        assert two.poll() == [(b, Event.PACKET)]
        drain(b)
        assert two.poll() == []
        a_far.write(b"for one")
        assert two.poll() == []
        assert readable(one, 30.0)
        assert one.poll() == [(a, Event.PACKET)]
        drain(a)
        assert one.poll() == []


@pytest.mark.parametrize("sleep", [True, False])
def test_over_several_domains(host: Any, sleep: bool) -> None:
    """The ends of one client may be in the shared pool, in a user's, and in a pair: one set has all of them."""
    client = host.client()
    shared, user = host.client(), host.client(uid=USER)
    flows = [host.flow(client, shared), host.flow(client, user), client.pair()]
    events = client.event_set()
    for mine, _ in flows:
        events.add(mine)
    for n in range(60):
        mine, theirs = flows[n % 3]
        timer = threading.Timer(0.002 if sleep else 0.0, theirs.write, [b"x"])
        timer.start()
        assert events.wait(30.0) == [(mine, Event.PACKET)]
        timer.join()
        assert drain(mine) == [b"x"]
    with pytest.raises(FlowTimeout):
        events.wait(0.02)


def test_an_end_added_while_another_thread_waits(host: Any) -> None:
    client, other = host.client(), host.client(uid=USER)
    events = client.event_set()
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.extend(events.wait(30.0)))
    thread.start()
    time.sleep(0.01)
    a, b = host.flow(client, other)
    events.add(a)
    b.write(b"x")
    thread.join(30)
    assert found == [(a, Event.PACKET)]


def test_a_blocking_read_beside_an_event_set(host: Any) -> None:
    """It overwrites what the set had asked for; the set asks again."""
    a, b = host.joined()
    events = host._clients[1].event_set()
    events.add(b)
    events.fileno()
    for n in range(100):
        assert events.poll() == []
        timer = threading.Timer(0.001, a.write, [b"%d" % n])
        timer.start()
        assert b.read() == b"%d" % n
        timer.join()
        while events.poll():
            pass
        a.write(b"for the set")
        assert readable(events, 30.0)
        assert events.poll() == [(b, Event.PACKET)]
        b.read()


def test_a_set_beside_a_thread_that_reads(host: Any) -> None:
    """Whoever looks must not take from the sleeper what wakes him."""
    one = host.client()
    a, b = host.flow(one, host.client())
    a.set_options(Options(spin=0.0))
    events = one.event_set()
    for n in range(20):
        thread, got = background(a.read)
        while a.counters()["sleeps"] <= n:
            time.sleep(0.001)
        events.add(a)
        assert events.poll() == []
        b.write(b"%d" % n)
        thread.join(30)
        assert got == [b"%d" % n]
        b.write(b"for the set")
        assert events.wait(30.0) == [(a, Event.PACKET)]
        a.read()
        events.remove(a)


def test_a_set_beside_a_thread_that_writes(host: Any) -> None:
    one = host.client()
    a, b = host.flow(one, host.client())
    events = one.event_set()
    a.set_options(NON_BLOCKING)
    events.add(a)
    for _ in range(1024):
        a.write(b"x")
    with pytest.raises(WouldBlock):
        a.write(b"x")
    assert events.poll() == []
    a.set_options(Options(spin=0.0))
    thread, got = background(lambda: a.write(b"last"))
    while not a.counters()["sleeps"]:
        time.sleep(0.001)
    assert events.poll() == []
    for _ in range(600):
        b.read()
    thread.join(30)
    assert got == [None]
    assert events.wait(30.0) == [(a, Event.SPACE)]


def test_space(host: Any) -> None:
    a, b = host.joined()
    a.set_options(NON_BLOCKING)
    events = host._clients[0].event_set()
    events.add(a)
    for _ in range(1024):
        a.write(b"x")
    with pytest.raises(WouldBlock):
        a.write(b"x")
    assert events.poll() == []
    b.read_many(511)
    assert events.poll() == []
    b.read()
    assert events.wait(30.0) == [(a, Event.SPACE)]
    assert events.poll() == []


def test_an_end_is_in_one_place(host: Any) -> None:
    a, b = host.joined()
    mine, theirs = (client.event_set() for client in host._clients)
    other = host._clients[0].event_set()
    mine.add(a)
    for events in (mine, other, theirs):
        with pytest.raises(PacketsError):
            events.add(a)
    with pytest.raises(PacketsError):
        theirs.add(a)
    with pytest.raises(PacketsError):
        a.claim("mover")
    with pytest.raises(PacketsError):
        other.remove(a)
    mine.remove(a)
    other.add(a)
    mine.close()
    mine.close()
    with pytest.raises(BadDescriptor):
        mine.poll()
    b.write(b"x")
    assert other.wait(30.0) == [(a, Event.PACKET)]


def test_closing_a_set_wakes_its_thread(host: Any) -> None:
    client = host.client()
    events = client.event_set()
    result: list[object] = []

    def wait() -> None:
        try:
            events.wait(30.0)
        except BadDescriptor as e:
            result.append(e)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.02)
    events.close()
    thread.join(30)
    assert len(result) == 1


def test_a_set_without_flows_waits_in_vain(host: Any) -> None:
    events = host.client().event_set()
    with pytest.raises(FlowTimeout):
        events.wait(0.01)
    assert not events.spin()
    assert events.poll() == []


def test_events_in_a_forked_child_are_refused(host: Any) -> None:
    client = host.client()
    events = client.event_set()
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        refused = 0
        for call in (events.poll, events.wait, events.fileno, client.pair, client.event_set):
            try:
                call()
            except PacketsError:
                refused += 1
        os.write(writer, bytes([refused]))
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 1) == b"\5"
    os.close(reader)
    os.close(writer)


def test_space_in_the_pool(small: Any) -> None:
    a, b = small.joined()
    events = small._clients[0].event_set()
    events.add(a)
    a.set_options(NON_BLOCKING)
    for _ in range(48):
        a.write(bytes(2000))
    with pytest.raises(WouldBlock, match="block"):
        a.write(bytes(2000))
    assert events.poll() == []
    assert events.poll() == []
    b.read()
    assert events.wait(30.0) == [(a, Event.SPACE)]
    a.write(bytes(2000))
    with pytest.raises(WouldBlock):
        a.write(bytes(2000))
    drain(b)
    assert events.wait(30.0) == [(a, Event.SPACE)]


def test_threads_attach_at_once_and_get_their_events(host: Any) -> None:
    """The event set of a domain is mapped once, whoever comes first."""
    for _ in range(20):
        client, other = host.client(), host.client(uid=USER)
        flows = [host.create(client.ref, other.ref) for _ in range(4)]
        ends: list[FlowEnd] = []
        start = threading.Barrier(4)

        def attach(flow: Any, client: Any = client, ends: Any = ends, start: Any = start) -> None:
            granted = host.sent(flow.grant(0))
            start.wait(30)
            ends.append(client.attach(*granted))

        threads = [threading.Thread(target=attach, args=[flow]) for flow in flows]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        events = client.event_set()
        for end in ends:
            events.add(end)
        assert events.poll() == []
        for flow in flows:
            other.attach(*host.sent(flow.grant(1))).write(b"x")
        assert len([end for end, what in events.wait(30.0) if what & Event.PACKET]) >= 1


@pytest.mark.parametrize("timeout", [float("inf"), 1e300])
def test_very_long_timeouts(host: Any, timeout: float) -> None:
    a, b = host.joined()
    b.set_options(Options(read_timeout=timeout))
    events = host._clients[0].event_set()
    events.add(a)
    timer = threading.Timer(0.02, lambda: (a.write(b"x"), b.write(b"y")))
    timer.start()
    assert b.read() == b"x"
    assert events.wait(timeout) == [(a, Event.PACKET)]
    timer.join()


@pytest.mark.parametrize("descriptors", [0, 2, 4])
def test_threads_with_sets_over_several_domains(host: Any, descriptors: int) -> None:
    """Some sleep in `wait`, some in a selector; each takes bits of the others, and none is forgotten."""
    client, other, user = host.client(), host.client(), host.client(uid=USER)
    count = 150
    flows = [host.flow(client, user if n % 2 else other) for n in range(4)]
    failures: list[object] = []

    def echo(end: FlowEnd, events: EventSet, watch: bool) -> None:
        try:
            for _ in range(count):
                found = [] if watch else events.wait(30.0)
                while not found:
                    found = events.poll()
                    if not found:
                        assert readable(events, 30.0)
                assert found == [(end, Event.PACKET)]
                end.write(end.read())
        except BaseException as e:
            failures.append(e)

    threads = []
    for n, (mine, _) in enumerate(flows):
        events = client.event_set()
        events.add(mine)
        threads.append(threading.Thread(target=echo, args=(mine, events, n < descriptors)))
        threads[-1].start()
    for n in range(count):
        for _, theirs in flows:
            theirs.write(b"%d" % n)
        for _, theirs in flows:
            assert theirs.read() == b"%d" % n, failures
    for thread in threads:
        thread.join(30)
    assert not failures


def test_watched_descriptors_come_to_rest(host: Any) -> None:
    """After any traffic an empty poll leaves nothing readable: a loop would turn for ever."""
    client, other, user = host.client(), host.client(), host.client(uid=USER)
    flows = [host.flow(client, user if n % 2 else other) for n in range(3)]
    sets = []
    for mine, _ in flows:
        sets.append(client.event_set())
        sets[-1].add(mine)
        sets[-1].fileno()
    for n in range(200):
        mine, theirs = flows[n % 3]
        theirs.write(b"x")
        sets[n * 7 % 3].poll()
        assert sets[n % 3].wait(30.0) == [(mine, Event.PACKET)]
        mine.read()
        for _ in range(3):
            for events in sets:
                assert events.poll() == []
        assert not any(readable(events) for events in sets)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make segments of another user")
def test_bells_that_others_spoil(host: Any, eventually: Any) -> None:
    """Who may ring can make nobody wait or spin for ever: neither the broker nor the client that hears."""
    ours, vandal = host.client(), host.client(12345)
    flow = host.create(ours.ref, vandal.ref)
    a = ours.attach(*host.sent(flow.grant(0)), NON_BLOCKING)
    grant = flow.grant(1)
    known = (*host.admitted[vandal.ref.id].fds, *grant.fds)
    sockets = [socket.socket(fileno=os.dup(fd)) for fd in known if stat.S_ISSOCK(os.fstat(fd).st_mode)]
    b = vandal.attach(*host.sent(grant))
    events = ours.event_set()
    events.add(a)
    assert events.poll() == []
    assert not readable(events)
    for bell in sockets:
        try:
            while True:
                bell.send(b"rubbish" * 100, socket.MSG_DONTWAIT)
        except OSError:
            bell.setblocking(True)
    assert readable(events, 30.0)
    assert events.poll() == []
    assert not readable(events)  # heard, though nobody had said that he would ring
    b.write(b"x")
    assert readable(events, 30.0)
    assert events.poll() == [(a, Event.PACKET)]
    for bell in sockets:
        bell.shutdown(socket.SHUT_RDWR)
    flow.down()
    flow.destroy()
    ((told, what),) = events.poll()
    assert told is a
    assert what & (Event.DOWN | Event.DEALLOC)
    for bell in sockets:
        bell.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make segments of another user")
def test_a_set_over_a_hundred_domains(host: Any) -> None:
    """Asleep, it hears of each of them."""
    ours = host.client()
    ends = []
    for uid in range(20000, 20100):
        theirs = host.client(uid)
        flow = host.create(ours.ref, theirs.ref)
        ends.append((ours.attach(*host.sent(flow.grant(0)), NON_BLOCKING), theirs.attach(*host.sent(flow.grant(1)))))
    events = ours.event_set()
    for a, _ in ends:
        events.add(a)
    assert events.poll() == []
    for a, b in (ends[0], ends[62], ends[63], ends[99]):
        told: list[Any] = []
        waiting = threading.Thread(target=lambda told=told: told.extend(events.wait(20.0)), daemon=True)
        waiting.start()
        time.sleep(0.05)
        b.write(b"x")
        waiting.join(10.0)
        assert told == [(a, Event.PACKET)]
        a.read()
        assert events.poll() == []

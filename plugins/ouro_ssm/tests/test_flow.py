"""Ends and pools in one process: what the contract kit leaves to the system."""

import gc
import os
import random
import signal
import threading
import time
from typing import Any

import pytest

from ouro_core.contracts.packets import SHARED_GEOMETRY, Event, FlowEnd, Options, State
from ouro_core.model.errors import (
    BadDescriptor,
    FlowDown,
    FlowTimeout,
    InvalidArgument,
    OutOfMemory,
    PacketsError,
    TooLong,
    WouldBlock,
)

USER = os.getuid() or 1000  # whose pool is not the shared one; only root can give one away
NON_BLOCKING = Options(read_blocking=False, write_blocking=False)
PATIENCE = Options(read_timeout=30.0, write_timeout=30.0)


def fill(end: FlowEnd, packet: bytes) -> int:
    """Until nothing goes any more: how many went."""
    end.set_options(NON_BLOCKING)
    count = 0
    try:
        while True:
            end.write(packet)
            count += 1
    except WouldBlock:
        return count


def background(call: Any) -> tuple[threading.Thread, list[Any]]:
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(call())
        except Exception as e:
            result.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, result


# ---------------------------------------------------------------- size classes


def test_class_boundaries(host: Any) -> None:
    a, b = host.joined()
    classes = [c.payload for c in SHARED_GEOMETRY.classes]
    for n, payload in enumerate(classes):
        for size, of in ((payload, payload), (payload + 1, classes[n + 1] if n + 1 < len(classes) else 0)):
            if not of:
                with pytest.raises(TooLong, match=str(payload)):
                    a.write(bytes(size))
                continue
            data = os.urandom(size)
            a.write(data)
            assert host.used() == {f"pool.0.{of}.used": 1}
            assert b.read() == data


def test_an_exhausted_class_spills_into_the_next_two_and_no_further(tiny: Any) -> None:
    a, b = tiny.joined()
    assert fill(a, b"x") == 18
    used = {name: n for name, n in tiny.broker.counters().items() if name.endswith(".used")}
    assert list(used.values()) == [6, 6, 6, 0], "a quarter of each class is the receivers'"
    assert tiny.broker.counters()["pool.0.64.failed"] == 1
    a.write(bytes(300))
    assert len(b.read_many()) == 19


def test_receivers_have_the_last_quarter(small: Any) -> None:
    a, a_reader = small.joined()
    b, b_reader = small.joined()
    assert fill(a, bytes(2000)) == 48
    assert fill(b, bytes(2000)) == 0
    assert fill(b.claim("pump"), bytes(2000)) == 16
    assert (a_reader.queued()[0], b_reader.queued()[0]) == (48, 16)


def test_alloc_waits_for_a_block(small: Any) -> None:
    a, b = small.joined()
    held = [a.alloc(2000) for _ in range(48)]
    a.set_options(NON_BLOCKING)
    with pytest.raises(WouldBlock):
        a.alloc(2000)
    a.set_options(Options(write_timeout=0.02))
    with pytest.raises(FlowTimeout):
        a.alloc(2000)
    a.set_options(PATIENCE)
    thread, result = background(lambda: a.alloc(2000))
    time.sleep(0.02)
    assert thread.is_alive()
    held.pop().release()
    thread.join(30)
    result.pop().release()
    thread, result = background(lambda: a.alloc(2000))
    thread.join(30)
    thread, waiting = background(lambda: a.alloc(2000))
    b.mark(State.DOWN)
    thread.join(30)
    assert isinstance(waiting[0], FlowDown)


# ---------------------------------------------------------------- threads, signals, time


def test_many_threads_on_both_directions_of_one_flow(host: Any) -> None:
    a, b = host.joined()
    count, threads = 3000, 4

    def write(end: FlowEnd, base: int) -> None:
        for n in range(count):
            end.write((base + n).to_bytes(4, "little") + bytes(n % 100))

    def read(end: FlowEnd) -> list[int]:
        return [int.from_bytes(end.read()[:4], "little") for _ in range(count)]

    work = []
    for end, other in ((a, b), (b, a)):
        work += [background(lambda end=end, n=n: write(end, n << 16)) for n in range(threads)]
        work += [background(lambda other=other: read(other)) for _ in range(threads)]
    got: dict[int, list[int]] = {0: [], 1: []}
    for n, (thread, result) in enumerate(work):
        thread.join(60)
        assert not thread.is_alive()
        if result[0] is not None:
            got[n // (2 * threads)] += result[0]
    expected = sorted((base << 16) + n for base in range(threads) for n in range(count))
    assert sorted(got[0]) == sorted(got[1]) == expected


def test_each_thread_sees_packets_in_order(host: Any) -> None:
    a, b = host.joined()
    readers = [background(lambda: [int.from_bytes(b.read(), "little") for _ in range(500)]) for _ in range(4)]
    for n in range(2000):
        a.write(n.to_bytes(4, "little"))
    for thread, result in readers:
        thread.join(30)
        assert result[0] == sorted(result[0])


def test_a_signal_handler_runs_while_a_read_waits(host: Any) -> None:
    _, b = host.joined()

    class Rang(Exception):
        pass

    def ring(*_: object) -> None:
        raise Rang

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Rang):
            b.read()
    finally:
        signal.signal(signal.SIGALRM, before)
    b.set_options(NON_BLOCKING)
    with pytest.raises(WouldBlock):
        b.read()


def test_a_handler_that_returns_does_not_end_the_wait(host: Any) -> None:
    a, b = host.joined()
    before = signal.signal(signal.SIGALRM, lambda *_: a.write(b"from the handler"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert b.read() == b"from the handler"
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("spin", [0.0, 100e-6])
def test_timeouts_are_kept(host: Any, spin: float) -> None:
    a, b = host.joined()
    for end in (a, b):
        end.set_options(Options(read_timeout=0.05, write_timeout=0.05, spin=spin))
    for call in (b.read, lambda: b.read_many(3), b.recv):
        began = time.monotonic()
        with pytest.raises(FlowTimeout):
            call()
        assert time.monotonic() - began >= 0.05
    for _ in range(1024):
        a.write(b"x")
    with pytest.raises(FlowTimeout):
        a.write(b"x")
    b.set_options(Options(read_timeout=0.0))
    assert b.read() == b"x"
    b.set_options(NON_BLOCKING)
    assert len([b.read() for _ in range(1023)]) == 1023


def test_who_always_waits_long_learns_not_to_spin(host: Any) -> None:
    """40 waits of 10 ms with a millisecond of patience, for which the credit would do, cost 40 ms of processor time."""
    a, b = host.joined()
    b.set_options(Options(spin=1e-3, read_timeout=30.0))
    spent: list[float] = []

    def read() -> None:
        b.read()
        before = time.thread_time()
        for _ in range(40):
            b.read()
        spent.append(time.thread_time() - before)

    thread, _ = background(read)
    for _ in range(41):
        time.sleep(0.01)
        a.write(b"x")
    thread.join(30)
    assert spent[0] < 0.015


def test_a_sleeping_writer_goes_on_at_half_empty(host: Any) -> None:
    a, b = host.joined()
    a.set_options(Options(spin=0.0, write_timeout=30.0))
    for _ in range(1024):
        a.write(b"x")
    thread, _ = background(lambda: a.write(b"last"))
    while not a.counters()["sleeps"]:
        time.sleep(0.001)
    b.read_many(511)
    time.sleep(0.02)
    assert thread.is_alive()
    b.read()
    thread.join(30)
    assert not thread.is_alive()


def test_a_late_writer_takes_a_slot_before_it_gives_up(host: Any) -> None:
    a, b = host.joined()
    a.set_options(Options(spin=0.0, write_timeout=0.2))
    for _ in range(1024):
        a.write(b"x")
    thread, result = background(lambda: a.write(b"last"))
    while not a.counters()["sleeps"]:
        time.sleep(0.001)
    b.read()
    thread.join(30)
    assert result == [None]


def test_a_stream_does_not_wake_anybody(host: Any) -> None:
    a, b = host.joined()
    for _ in range(10000):
        a.write(b"x")
        b.read()
    assert [end.counters()[name] for end in (a, b) for name in ("sleeps", "wakes")] == [0, 0, 0, 0]


# ---------------------------------------------------------------- ends and packets


def test_marks_of_others_are_refused(host: Any) -> None:
    a, _ = host.joined()
    for state in (State.CLOSED, State.DEAD):
        with pytest.raises(InvalidArgument):
            a.mark(state)


def test_what_was_read_in_part_is_given_back_at_close(host: Any) -> None:
    a, b = host.joined()
    a.write(b"0123456789")
    assert b.readinto(bytearray(3)) == 3
    assert sum(host.used().values()) == 1
    b.close()
    assert not host.used()


def test_an_end_that_is_dropped_is_closed(host: Any) -> None:
    a, b = host.joined()
    a.write(b"left behind")
    b.write(b"never read")
    del b
    gc.collect()
    assert a.state & State.CLOSED
    del a
    gc.collect()
    assert not host.used()


def test_packets_outlive_their_flow_and_client(host: Any) -> None:
    a, b = host.joined()
    a.write(b"still here")
    packet = b.recv()
    for client in host._clients:
        client.close()
    assert bytes(packet.payload) == b"still here"
    packet.release()
    with pytest.raises(BadDescriptor):
        _ = packet.payload
    assert not host.used()


def test_a_packet_is_a_writable_buffer(host: Any) -> None:
    a, b = host.joined()
    packet = a.alloc(4)
    memoryview(packet)[:] = b"abcd"
    assert len(packet) == 4
    packet.push(1)[0] = 60
    packet.append(1)[0] = 62
    assert bytes(packet) == b"<abcd>"
    a.send(packet)
    assert b.read() == b"<abcd>"


def test_views_are_safe_after_the_packet_went(host: Any) -> None:
    a, _ = host.joined()
    packet = a.alloc(4)
    view = packet.payload
    packet.release()
    del packet
    for client in host._clients:
        client.close()
    gc.collect()
    assert len(bytes(view)) == 4


def test_pairs_are_given_back(host: Any) -> None:
    client = host.client()
    pairs = [client.pair() for _ in range(512)]
    with pytest.raises(OutOfMemory):
        client.pair()
    for a, b in pairs:
        a.write(b"unread")
        a.close()
        b.close()
    assert not host.used()
    a, b = client.pair()
    a.write(b"again")
    assert b.read() == b"again"
    assert a.flow_id < 0


def test_options_may_be_wrong(host: Any) -> None:
    a, _ = host.joined()
    with pytest.raises((TypeError, AttributeError)):
        a.set_options(None)
    with pytest.raises(TypeError):
        a.write("text")
    with pytest.raises(TypeError):
        a.write_many([b"1", 2])
    with pytest.raises((BufferError, TypeError)):
        a.readinto(b"constant")


def test_flow_memory_is_sealed_and_closed_to_others(host: Any) -> None:
    import fcntl

    a, b = host.client(), host.client(uid=USER)
    grant = host.create(a.ref, b.ref).grant(0)
    for fd in (*grant.fds[:3], grant.fds[7]):
        st = os.fstat(fd)
        assert (st.st_uid, st.st_mode & 0o777) == (USER, 0o600)
        assert fcntl.fcntl(fd, 1034) == 7
        assert not os.get_inheritable(fd)
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(fd, 0)


def test_users_flow_ids_and_clients_are_checked(host: Any) -> None:
    broker = host.broker
    ref = host.client().ref
    with pytest.raises(PacketsError):
        broker.admit(ref)
    for flow_id in (-1, 1 << 32):
        with pytest.raises(PacketsError):
            broker.create_flow(flow_id, ref, ref)


def test_a_broker_uses_up_no_descriptors(host: Any) -> None:
    def count() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    one, two = host.client(), host.client()
    before = 0
    for n in range(300):
        a, b = host.flow(one, two)
        a.write(b"x")
        a.close()
        b.close()
        host._flows.pop().destroy()
        if n == 10:
            before = count()
    assert count() == before


def test_the_bits_of_an_event_set_are_used_again(host: Any) -> None:
    one, two = host.client(), host.client()
    events = one.event_set()
    for _ in range(3500):
        flow = host.broker.create_flow(9, one.ref, two.ref)
        flow.destroy()
    a, b = host.flow(one, two)
    events.add(a)
    b.write(b"x")
    assert events.wait(30.0) == [(a, Event.PACKET)]


def test_random_life(host: Any) -> None:
    """Anything in any order; what is accepted arrives, in order, and nothing is left."""
    choose = random.Random(7)
    one, two = host.client(), host.client(uid=USER)
    for _ in range(30):
        a, b = host.flow(one, two)
        ends, counter = (a, b), 0
        queues: tuple[list[bytes], list[bytes]] = ([], [])
        for end in ends:
            end.set_options(NON_BLOCKING)
        for _ in range(400):
            side = choose.randrange(2)
            end, theirs, mine = ends[side], queues[1 - side], queues[side]
            match choose.randrange(5):
                case 0:
                    count = choose.randrange(1, 50)
                    packets = [b"%d" % (counter + n) * choose.randrange(1, 40) for n in range(count)]
                    theirs += packets[: end.write_many(packets)]
                    counter += len(packets)
                case 1:
                    packet = end.alloc(choose.randrange(1, 3000))
                    packet.payload[:3] = b"zc!"[: len(packet)]
                    theirs.append(bytes(packet.payload))
                    end.send(packet)
                case 2 if mine:
                    got = end.read_many(choose.randrange(1, 60))
                    assert got == mine[: len(got)]
                    del mine[: len(got)]
                case 3 if mine:
                    packet = end.recv()
                    assert bytes(packet.payload) == mine.pop(0)
                    packet.release()
                case _ if len(mine) > 600:
                    got = end.read_many(600)
                    assert got == mine[:600]
                    del mine[:600]
        if choose.randrange(2):
            a.close()
        host._flows.pop().destroy()
        a.close()
        b.close()
        assert not host.used()


def test_packets_that_close_the_flow_while_they_are_written(host: Any) -> None:
    """What the caller's iterator does is its own affair; memory stays safe."""
    for closing in (0, 1, 3):
        a, b = host.joined()

        def packets(a: FlowEnd = a, closing: int = closing) -> Any:
            for n in range(5):
                if n == closing:
                    a.close()
                yield b"%d" % n

        if closing:
            assert a.write_many(packets()) == closing
        else:
            with pytest.raises(BadDescriptor):
                a.write_many(packets())
        b.set_options(NON_BLOCKING)
        assert [b.read() for _ in range(closing)] == [b"%d" % n for n in range(closing)]


def test_an_error_among_many_packets_loses_none_before_it(host: Any) -> None:
    a, b = host.joined()
    with pytest.raises(TypeError):
        a.write_many([b"1", b"2", None, b"4"])
    assert b.read_many() == [b"1", b"2"]
    assert a.write_many([b"1", bytes(2 << 20), b"3"]) == 1
    with pytest.raises(TooLong):
        a.write_many([bytes(2 << 20)])
    assert b.read_many() == [b"1"]


def test_threads_that_read_in_parts(host: Any) -> None:
    """Pieces go to whoever asks; no byte and no block is lost."""
    a, b = host.joined()
    b.set_options(Options(read_timeout=30.0, spin=0.0))
    total, taken = 300 * 10, [0]
    lock = threading.Lock()

    def pieces() -> None:
        buffer = bytearray(3)
        while True:
            n = b.readinto(buffer)
            with lock:
                taken[0] += n
                if taken[0] == total:
                    b.mark(State.DOWN)
                if taken[0] >= total:
                    return

    def reader() -> None:
        try:
            pieces()
        except FlowDown:
            pass

    threads = [background(reader)[0] for _ in range(4)]
    for _ in range(300):
        a.write(b"0123456789")
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert taken == [total]
    assert not host.used()

"""`Flow` and `FlowSet` over a pair of either packet system."""

import array
import contextlib
import gc
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ouro_core import (
    RAW,
    RAW_NO_ERRORS,
    BadDescriptor,
    Event,
    Flow,
    FlowDown,
    FlowPeer,
    FlowSet,
    FlowTimeout,
    InvalidArgument,
    NotAllocated,
    NotPermitted,
    QosSpec,
    State,
    TooLong,
    WouldBlock,
)
from ouro_core.api.flow import load_suite
from ouro_core.frct.crypt import crypt
from ouro_core.wire import crc32

from .conftest import KEY, Encrypted, Pair

MakePair = Callable[..., Pair]
Kind = QosSpec | Encrypted
KINDS = pytest.mark.parametrize(
    "kind",
    [RAW, RAW_NO_ERRORS, Encrypted(RAW), Encrypted(RAW, "aes-128-ctr"), Encrypted(RAW_NO_ERRORS)],
    ids=["raw", "crc", "encrypted", "counter mode", "encrypted, crc"],
)


@contextlib.contextmanager
def blocked(call: Callable[[], object]) -> Iterator[list[BaseException | object]]:
    """Run `call` in a thread that is about to sleep in it; it must return after the body."""
    outcome: list[BaseException | object] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as e:
            outcome.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive(), f"did not wait: {outcome}"
    yield outcome
    thread.join(20)
    assert not thread.is_alive(), "nobody woke it"


def fill(flow: Flow) -> None:
    while True:
        flow.write(b"x")


@KINDS
def test_packets_keep_their_borders(make_pair: MakePair, kind: Kind) -> None:
    a, b = make_pair(kind).flows
    a.write(b"one")
    assert a.write_many([b"two", bytearray(b"three"), memoryview(b"four")]) == 3
    assert b.read() == b"one"
    assert b.read_many(2) == [b"two", b"three"]
    assert b.read_many() == [b"four"]


@KINDS
def test_who_wants_no_packets_does_not_wait(make_pair: MakePair, kind: Kind) -> None:
    a, b = make_pair(kind).flows
    a.write(b"x")
    with contextlib.suppress(InvalidArgument):
        assert b.read_many(0) == []
    assert b.read() == b"x"


@KINDS
def test_partial_reads_give_the_rest_and_tell_the_end(make_pair: MakePair, kind: Kind) -> None:
    a, b = make_pair(kind).flows
    a.write_many([b"0123456789", b"next"])
    buffer = bytearray(4)
    assert [bytes(buffer[: b.readinto(buffer)]) for _ in range(3)] == [b"0123", b"4567", b"89"]
    assert b.readinto(buffer) == 4
    assert bytes(buffer) == b"next"
    assert b.readinto(buffer) == 0  # the end of a packet that filled the buffer
    a.write(b"again")
    assert b.readinto(bytearray(2)) == 2
    assert b.read() == b"ain"
    a.write_many([b"abc", b"whole"])
    assert b.readinto(bytearray(3)) == 3
    assert b.read() == b"whole"


@KINDS
def test_without_partial_reads_a_packet_too_long_is_dropped(make_pair: MakePair, kind: Kind) -> None:
    a, b = make_pair(kind).flows
    b.partial_read = False
    assert not b.partial_read
    a.write_many([b"0123456789", b"fits"])
    with pytest.raises(TooLong, match="10"):
        b.readinto(bytearray(4))
    buffer = bytearray(4)
    assert b.readinto(buffer) == 4
    assert buffer == b"fits"
    b.read_blocking = False
    with pytest.raises(WouldBlock):
        b.readinto(buffer)


@KINDS
def test_packet_longer_than_any_block(make_pair: MakePair, kind: Kind) -> None:
    a, _ = make_pair(kind).flows
    with pytest.raises(TooLong):
        a.write(bytes(2**21))


@KINDS
def test_time_outs_and_not_blocking(make_pair: MakePair, kind: Kind) -> None:
    a, b = make_pair(kind).flows
    assert (a.read_timeout, a.write_timeout, a.blocking) == (None, None, True)
    b.read_timeout = 0.01
    with pytest.raises(FlowTimeout):
        b.read()
    with pytest.raises(TimeoutError):
        b.readinto(bytearray(1))
    a.write_timeout = 0.01
    with pytest.raises(FlowTimeout):
        fill(a)
    a.blocking = False
    assert (a.read_blocking, a.write_blocking) == (False, False)
    with pytest.raises(WouldBlock):
        a.write(b"x")
    with pytest.raises(WouldBlock):
        a.read()
    assert a.queued[1] == b.queued[0] > 0
    with pytest.raises(InvalidArgument, match="-1"):
        a.read_timeout = -1


@KINDS
def test_empty_packets_are_keepalives_and_never_delivered(make_pair: MakePair, kind: Kind) -> None:
    a, b = make_pair(kind).flows
    a.write_many([b"", b"data", b""])
    assert b.read() == b"data"
    b.blocking = False
    with pytest.raises(WouldBlock):
        b.read()


def test_damaged_packets_are_dropped_and_counted(make_pair: MakePair) -> None:
    a, b = make_pair(RAW_NO_ERRORS).flows
    raw = a._end
    raw.write(b"123456789\xcb\xf4\x39\x26")
    raw.write(b"123456789\xcb\xf4\x39\x27")
    raw.write(b"abc")
    a.write(b"good")
    assert b.read() == b"123456789"
    assert b.read() == b"good"
    assert b.counters["damaged"] == 2
    b.read_timeout = 0.02
    raw.write(b"damaged")
    with pytest.raises(FlowTimeout):
        b.read_many()


def test_the_trailer_is_on_the_wire(make_pair: MakePair) -> None:
    a, b = make_pair(RAW_NO_ERRORS).flows
    a.write(b"123456789")
    assert b._end.read() == b"123456789\xcb\xf4\x39\x26"


def test_what_is_in_the_ring_is_encrypted(make_pair: MakePair) -> None:
    a, b = make_pair(Encrypted(RAW)).flows
    secret = b"nobody else may read this " * 20
    a.write(secret)
    a.write_many([secret, secret])
    sealed = b._end.read_many()
    assert [len(packet) for packet in sealed] == [12 + len(secret) + 16] * 3
    assert len({packet[12:40] for packet in sealed}) == 3, "the same packet never looks the same"
    assert not any(secret[n : n + 4] in packet for packet in sealed for n in range(len(secret) - 4))
    for packet in sealed:
        a._end.write(packet)
    assert b.read_many() == [secret] * 3


@pytest.mark.parametrize("qos", [RAW, RAW_NO_ERRORS], ids=["raw", "crc"])
def test_undecryptable_packets_are_dropped_and_counted(make_pair: MakePair, qos: QosSpec) -> None:
    a, b = make_pair(Encrypted(qos)).flows
    foreign = crypt(load_suite("classic", "aes-256-gcm"), b"another key".ljust(32)).seal(b"foreign")
    bad = [foreign, b"x", foreign[:20], bytes(100)]
    if qos.needs_crc:
        bad = [crc32.append(packet) for packet in bad]
    for packet in bad:
        a._end.write(packet)
    a.write(b"good")
    assert b.read() == b"good"
    for packet in bad:
        a._end.write(packet)
    a.write_many([b"good", b"better"])
    assert b.read_many() == [b"good", b"better"]
    assert b.counters["undecryptable"] == 2 * len(bad)
    assert b.counters.get("damaged", 0) == 0
    b.read_timeout = 0.02
    a._end.write(bad[0])
    with pytest.raises(FlowTimeout):
        b.read()


def test_nothing_that_is_dropped_holds_who_must_not_wait(make_pair: MakePair) -> None:
    a, b = make_pair(Encrypted(RAW)).flows
    b.blocking = False
    for _ in range(300):
        a._end.write(bytes(50))
    a.write(b"good")
    tries = 0
    while True:
        tries += 1
        try:
            packet = b.read()
            break
        except WouldBlock:
            assert tries < 300
    assert packet == b"good"
    assert tries > 1


def test_a_sealed_packet_of_nothing_is_nothing(make_pair: MakePair) -> None:
    a, b = make_pair(Encrypted(RAW)).flows
    a._end.write(crypt(load_suite("classic", "aes-256-gcm"), KEY).seal(b""))
    a.write(b"data")
    assert b.read() == b"data"
    assert b.counters["undecryptable"] == 0


def test_what_the_ring_does_not_take_can_be_sent_later(make_pair: MakePair) -> None:
    a, b = make_pair(Encrypted(RAW)).flows
    a.blocking = b.blocking = False
    packets = [b"%d" % n for n in range(3000)]
    left, got = packets, list[bytes]()
    while len(got) < len(packets):
        try:
            left = left[a.write_many(left) :] if left else left
        except WouldBlock:
            pass
        got += b.read_many(100)
    assert got == packets
    assert b.counters["undecryptable"] == 0


def test_buffers_of_every_kind_are_sealed_as_bytes(make_pair: MakePair) -> None:
    a, b = make_pair(Encrypted(RAW)).flows
    kinds: list[Any] = [bytearray(b"1234"), memoryview(b"1234"), array.array("H", b"1234"), memoryview(b"4321")[::-1]]
    for data in kinds:
        a.write(data)
        assert b.read() == b"1234"
    for wrong in (5, "text", None):
        with pytest.raises(TypeError):
            a.write(wrong)  # type: ignore[arg-type]


def test_raw_flows_have_the_native_methods(make_pair: MakePair) -> None:
    flow = make_pair().flows[0]
    assert flow.read == flow._end.read
    assert flow.write == flow._end.write


def test_access(make_pair: MakePair) -> None:
    a, b = make_pair().flows
    a.access = "r"
    with pytest.raises(NotPermitted, match="reading only"):
        a.write(b"x")
    with pytest.raises(NotPermitted):
        a.write_many([b"x"])
    b.write(b"to a")
    assert a.read() == b"to a"
    a.access = "w"
    with pytest.raises(NotAllocated):
        b.write(b"x")
    a.write(b"to b")
    assert b.read() == b"to b"
    a.access = "rw"
    b.write(b"again")
    assert a.read() == b"again"
    with pytest.raises(InvalidArgument):
        a.access = "x"  # type: ignore[assignment]


def test_down_and_up(make_pair: MakePair) -> None:
    a, b = make_pair().flows
    a.write(b"queued")
    a.down = True
    assert a.down
    assert b.down
    with pytest.raises(FlowDown):
        b.write(b"x")
    assert b.read() == b"queued"
    with pytest.raises(FlowDown):
        b.read()
    a.down = False
    b.write(b"up")
    assert a.read() == b"up"


@KINDS
def test_closed_once_and_for_all(make_pair: MakePair, kind: Kind) -> None:
    pair = make_pair(kind)
    a, b = pair.flows
    with a:
        a.write(b"last words")
    assert a.closed
    a.close()
    a.dealloc()
    assert pair.deallocated == [1]
    for call in (a.read, lambda: a.write(b"x"), lambda: a.readinto(bytearray(1)), lambda: a.state, a.read_many):
        with pytest.raises(BadDescriptor):
            call()
    assert b.read() == b"last words"
    with pytest.raises(FlowDown):
        b.read()
    assert b.state & State.CLOSED
    assert "closed" in repr(a)


@KINDS
def test_iteration_ends_when_the_other_end_closes(make_pair: MakePair, kind: Kind) -> None:
    a, b = make_pair(kind).flows
    a.write_many([b"1", b"2"])
    a.close()
    assert list(b) == [b"1", b"2"]


def test_iteration_does_not_hide_a_broken_flow(make_pair: MakePair) -> None:
    a, b = make_pair().flows
    a.write(b"1")
    a.down = True
    packets = iter(b)
    assert next(packets) == b"1"
    with pytest.raises(FlowDown):
        next(packets)


@KINDS
def test_close_wakes_a_reader_in_another_thread(make_pair: MakePair, kind: Kind) -> None:
    a, _ = make_pair(kind).flows
    with blocked(a.read) as outcome:
        a.close()
    assert isinstance(outcome[0], BadDescriptor)


def test_close_wakes_a_writer_in_another_thread(make_pair: MakePair) -> None:
    a, _ = make_pair().flows
    a.write_blocking = False
    with pytest.raises(WouldBlock):
        fill(a)
    a.write_blocking = True
    with blocked(lambda: a.write(b"x")) as outcome:
        a.close()
    assert isinstance(outcome[0], BadDescriptor)


@KINDS
def test_peer_timed_out(make_pair: MakePair, kind: Kind) -> None:
    a, b = make_pair(kind).flows
    b.write(b"before")
    with blocked(lambda: [a.read(), a.read()]) as outcome:
        a._end.mark(set=State.PEER)
    assert isinstance(outcome[0], FlowPeer)


def test_forgotten_flow_warns_and_is_deallocated(make_pair: MakePair) -> None:
    pair = make_pair()
    with pytest.warns(ResourceWarning, match="was not closed"):
        pair.flows.pop()
    gc.collect()
    assert pair.deallocated == [2]


@KINDS
def test_many_threads_on_one_flow(make_pair: MakePair, kind: Kind) -> None:
    a, b = make_pair(kind).flows
    got: list[bytes] = []
    b.read_timeout = a.write_timeout = 30

    def write(number: int) -> None:
        for i in range(500):
            a.write(b"%d %d" % (number, i))

    def read() -> None:
        for _ in range(500):
            got.append(b.read())

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    threads += [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == len(set(got)) == 2000


# ---------------------------------------------------------------- selectors


def readable(fd: int, timeout: float = 0) -> bool:
    return bool(select.select([fd], [], [], timeout)[0])


@KINDS
def test_descriptor_of_a_flow(make_pair: MakePair, kind: Kind) -> None:
    a, b = make_pair(kind).flows
    fd = b.fileno()
    b.events()
    assert not readable(fd)
    a.write(b"1")
    assert readable(fd, 10)
    assert b.events() & Event.PACKET
    assert b.events() & Event.PACKET, "as long as it is queued"
    assert b.read() == b"1"
    assert b.events() == Event(0)
    assert not readable(fd)
    a.write(b"2")
    assert readable(fd, 10), "armed again"
    with pytest.raises(NotPermitted, match="selector"):
        FlowSet([b])
    b.close()
    with pytest.raises(BadDescriptor):
        b.fileno()


def test_events_without_a_descriptor(make_pair: MakePair) -> None:
    with pytest.raises(InvalidArgument, match="fileno"):
        make_pair().flows[0].events()


# ---------------------------------------------------------------- sets


def test_set_as_a_container(make_pair: MakePair) -> None:
    (a, b), (c, _) = make_pair().flows, make_pair().flows
    with FlowSet([a, b]) as flows:
        assert a in flows
        assert c not in flows
        assert len(flows) == 2
        assert set(flows) == {a, b}
        with pytest.raises(NotPermitted):
            flows.add(a)
        flows.remove(c)
        flows.remove(a)
        with FlowSet([a]) as other:
            assert a in other
        flows.add(a)
        flows.clear()
        assert list(flows) == []
        with pytest.raises(FlowTimeout):
            flows.wait(0.01)
    with pytest.raises(BadDescriptor):
        flows.add(a)


def test_set_over_many_flows(make_pair: MakePair) -> None:
    pairs = [make_pair().flows for _ in range(100)]
    with FlowSet(b for _, b in pairs) as flows:
        with pytest.raises(FlowTimeout):
            flows.wait(0.01)
        for number in (3, 42, 99):
            pairs[number][0].write(b"%d" % number)
        expected = {pairs[n][1]: Event.PACKET for n in (3, 42, 99)}
        assert dict(flows.wait(10)) == expected
        assert dict(flows.wait(10)) == expected, "level-triggered"
        for flow, _ in flows.wait(10):
            flow.read()
        assert flows.poll() == []


def test_set_sees_packets_from_before(make_pair: MakePair) -> None:
    a, b = make_pair().flows
    a.write(b"early")
    with FlowSet([b]) as flows:
        assert flows.wait(10) == [(b, Event.PACKET)]


def test_set_tells_changes_once(make_pair: MakePair) -> None:
    a, b = make_pair().flows
    with FlowSet([b]) as flows:
        a.down = True
        assert flows.wait(10) == [(b, Event.DOWN)]
        assert flows.poll() == []
        a.down = False
        assert flows.wait(10) == [(b, Event.UP)]
        b._end.mark(set=State.PEER)
        assert flows.wait(10) == [(b, Event.PEER)]
        a.close()
        ((flow, events),) = flows.wait(10)
        assert flow is b
        assert events & Event.DEALLOC


def test_set_wakes_a_waiter_and_survives_closing_members(make_pair: MakePair) -> None:
    (a, b), (c, d) = make_pair().flows, make_pair().flows
    flows = FlowSet([b, d])
    with blocked(lambda: flows.wait(30)) as outcome:
        d.close()
        a.write(b"x")
    assert outcome == [[(b, Event.PACKET)]]
    assert list(flows) == [b]
    with blocked(lambda: [b.read(), flows.wait(30)]) as outcome:
        flows.close()
    assert isinstance(outcome[0], BadDescriptor)
    c.close()


def test_set_knows_of_the_rest_of_a_packet(make_pair: MakePair) -> None:
    a, b = make_pair(RAW_NO_ERRORS).flows
    with FlowSet([b]) as flows:
        a.write(b"0123456789")
        assert b.readinto(bytearray(4)) == 4
        assert flows.wait(10) == [(b, Event.PACKET)]
        assert b.read() == b"456789"
        assert flows.poll() == []


def test_descriptor_of_a_set(make_pair: MakePair) -> None:
    a, b = make_pair().flows
    with FlowSet([b]) as flows:
        flows.poll()
        deadline = time.monotonic() + 10
        for number in range(20):
            assert not readable(flows.fileno())
            a.write(b"%d" % number)
            assert readable(flows.fileno(), deadline - time.monotonic())
            assert flows.poll() == [(b, Event.PACKET)]
            b.read()
            flows.poll()


def test_flow_is_read_with_a_blocking_call_while_in_a_set(make_pair: MakePair) -> None:
    a, b = make_pair().flows
    with FlowSet([b]) as flows:
        for _ in range(3):
            with blocked(b.read) as outcome:
                a.write(b"x")
            assert outcome == [b"x"]
            flows.poll()
            a.write(b"y")
            assert flows.wait(10) == [(b, Event.PACKET)]
            b.read()


def test_type_of_flows(make_pair: MakePair) -> None:
    flow = make_pair().flows[0]
    assert isinstance(flow, Flow)
    assert (flow.flow_id, flow.name, flow.qos, flow.mpl, flow.data, flow.direct) == (1, "name", RAW, 1, b"data", False)

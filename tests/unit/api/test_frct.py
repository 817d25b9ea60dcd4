"""Flows with FRCT for synchronous code: order, reliability over a line that loses packets, options, sets, the end."""

import random
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic, sleep
from typing import Any

import attrs
import pytest

from ouro_core.api.flow import Flow, load_suite
from ouro_core.api.flowset import FlowSet
from ouro_core.api.watches import Keeper
from ouro_core.contracts.packets import Event, FlowEnd, Options, PacketClient
from ouro_core.frct.ordered import FrctPipeline, above
from ouro_core.frct.pipeline import stages_for
from ouro_core.model.errors import FlowDown, FlowTimeout, NotPermitted, OuroError, PeerReset, WouldBlock
from ouro_core.model.flow import Grant
from ouro_core.model.irm_requests import Allocation
from ouro_core.model.qos import BEST_EFFORT, DATA, RAW, VIDEO, VOICE, QosSpec

from .conftest import KEY

CHECKED = attrs.evolve(DATA, ber=0)
"""With a CRC."""
QOS = pytest.mark.parametrize(
    "qos", [DATA, CHECKED, BEST_EFFORT, VIDEO, VOICE], ids=["data", "checked", "best", "video", "voice"]
)
SECRET = {"cipher": 901, "key": KEY, "suite": "aes-256-gcm", "plugin": "classic"}
LONG = 20


def eventually(condition: Callable[[], bool]) -> None:
    end = monotonic() + LONG
    while not condition():
        assert monotonic() < end
        sleep(0.005)


class Line:
    """Two flows joined by a line that loses packets, as many as `loss` says; all of them while it is `cut`."""

    def __init__(self, client: PacketClient, qos: QosSpec, loss: float, **more: Any) -> None:
        (a, self._near), (b, self._far) = client.pair(), client.pair()
        self.loss = loss
        self.cut = False
        self.dropped = 0
        self.given_back: list[tuple[int, float]] = []
        self._random = random.Random(1)
        ours, self._theirs = socket.socketpair()
        self.keeper = Keeper(ours, lambda: None)
        self._sockets = ours, self._theirs
        self.flows = [self._flow(client, number, end, qos, more) for number, end in enumerate((a, b), 1)]
        self._threads = [
            threading.Thread(target=self._move, args=ends, daemon=True)
            for ends in ((self._near, self._far), (self._far, self._near))
        ]
        for thread in self._threads:
            thread.start()

    def _flow(self, client: PacketClient, number: int, end: FlowEnd, qos: QosSpec, more: dict[str, Any]) -> Flow:
        allocation = Allocation(number, Grant(b""), qos, 100, "name", **more)
        path = above(end, stages_for(allocation, load_suite), allocation)
        flow = Flow(allocation, client, end, path, Options(), self._closed)
        if isinstance(path, FrctPipeline):
            self.keeper.drive(end, path)
        return flow

    def _closed(self, flow: Flow) -> None:
        self.keeper.remove(flow._end)
        self.given_back.append((flow.flow_id, flow._quarantine()))

    def _move(self, source: FlowEnd, sink: FlowEnd) -> None:
        try:
            while True:
                for packet in source.read_many():
                    if self.cut or self._random.random() < self.loss:
                        self.dropped += 1
                    else:
                        sink.write(packet)
        except OuroError:
            sink.close()

    def close(self) -> None:
        for flow in self.flows:
            if not flow.closed:
                if isinstance(flow._path, FrctPipeline):
                    flow.linger = False
                flow.close()
        for thread in self._threads:
            thread.join(LONG)
            assert not thread.is_alive()
        for end in self._sockets:
            end.close()


@pytest.fixture
def line(client: PacketClient) -> Iterator[Callable[..., Line]]:
    lines = []

    def make(qos: QosSpec = DATA, loss: float = 0.0, **more: Any) -> Line:
        lines.append(Line(client, qos, loss, **more))
        return lines[-1]

    yield make
    for made in lines:
        made.close()


def numbered(count: int) -> list[bytes]:
    return [b"%06d" % n for n in range(count)]


def run(*functions: Callable[[], object]) -> None:
    """All at once; the first error."""
    errors: list[BaseException] = []

    def guarded(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=guarded, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads)


def write_all(flow: Flow, packets: list[bytes], batch: int) -> None:
    if batch == 1:
        for packet in packets:
            flow.write(packet)
        return
    while packets:
        packets = packets[flow.write_many(packets[:batch]) :]


def read_all(flow: Flow, expected: list[bytes]) -> None:
    got: list[bytes] = []
    while len(got) < len(expected):
        got += flow.read_many()
    assert got == expected


# ---------------------------------------------------------------- transfers


@QOS
@pytest.mark.parametrize("batch", [1, 32])
def test_without_loss_everything_arrives_in_order(line: Any, qos: QosSpec, batch: int) -> None:
    a, b = line(qos).flows
    packets = numbered(2000)
    run(partial(write_all, a, packets, batch), partial(read_all, b, packets))
    assert a.counters["retransmitted"] < 100, "a busy machine may be late with acknowledgements"
    assert b.counters["gaps"] == 0


@pytest.mark.parametrize("more", [{}, SECRET], ids=["plain", "encrypted"])
@pytest.mark.parametrize("batch", [1, 32])
def test_losses_are_made_good_both_ways(line: Any, more: dict[str, Any], batch: int) -> None:
    """What is sent again is sealed again, and so are control packets."""
    made = line(CHECKED, 0.05, **more)
    a, b = made.flows
    packets = numbered(1500)
    run(
        partial(write_all, a, packets, batch),
        partial(write_all, b, packets, batch),
        partial(read_all, a, packets),
        partial(read_all, b, packets),
    )
    assert made.dropped > 50
    assert a.counters["retransmitted"] > 0
    for flow in made.flows:
        assert flow.counters["damaged"] == flow.counters["malformed"] == flow.counters["strange"] == 0
        assert flow.counters.get("undecryptable", 0) == 0


def test_one_thread_writes_and_nobody_reads_acknowledgements(line: Any) -> None:
    """Who only writes, writes on: acknowledgements are read by the writer and by the clock."""
    made = line(DATA, 0.02)
    a, b = made.flows
    packets = numbered(3000)
    run(partial(write_all, a, packets, 1), partial(read_all, b, packets))
    eventually(lambda: a._path.frct.unacknowledged == 0)


def test_what_nobody_reads_is_acknowledged(line: Any) -> None:
    a, b = line().flows
    write_all(a, numbered(20), 1)
    eventually(lambda: a._path.frct.unacknowledged == 0)
    sleep(0.5)  # the clock has longer pauses now
    a.write(b"late")
    eventually(lambda: a._path.frct.unacknowledged == 0)
    read_all(b, [*numbered(20), b"late"])


def test_partial_reads_and_empty_packets(line: Any) -> None:
    a, b = line().flows
    a.write(b"")
    a.write(b"0123456789")
    a.write(bytearray(b"next"))
    assert a.write_many([b"", memoryview(b"third"), b""]) == 3
    buffer = bytearray(6)
    assert [b.readinto(buffer) for _ in range(3)] == [6, 4, 4]
    assert b.read() == b"third"
    b.blocking = False
    with pytest.raises(WouldBlock):
        b.read()


def test_batches_of_any_kind(line: Any) -> None:
    """An iterator gives one packet more than is accepted, at most; what is left comes with the next call."""
    a, b = line().flows
    a.write_blocking = False
    assert a.write_many([]) == a.write_many(iter(())) == 0
    assert a.write_many((b"0", bytearray(b"1"))) == 2
    packets = iter(numbered(1000))
    done = a.write_many(packets)
    assert 62 <= done <= 254, "the window"
    assert next(packets) == b"%06d" % (done + 1)
    read_all(b, [b"0", b"1", *numbered(done)])
    a.write_blocking = True
    done = a.write_many(iter(numbered(1000)))  # waits for the first only
    assert done <= 256
    read_all(b, numbered(done))


# ---------------------------------------------------------------- the window


@pytest.mark.parametrize("qos", [DATA, BEST_EFFORT], ids=["data", "best"])
def test_a_reader_who_does_not_read_holds_the_writer_back(line: Any, qos: QosSpec) -> None:
    a, b = line(qos).flows
    a.write_blocking = False
    written = 0

    def fill() -> None:
        nonlocal written
        end = monotonic() + 1
        while monotonic() < end:
            try:
                a.write(b"%06d" % written)
                written += 1
            except WouldBlock:
                sleep(0.001)

    fill()
    assert written == 256
    with pytest.raises(WouldBlock):
        a.write_many([b"x"])
    got = [b.read() for _ in range(100)]
    eventually(lambda: _wrote(a, b"%06d" % written))
    written += 1
    while len(got) < written:
        got += b.read_many()
    assert got == numbered(written)


def _wrote(flow: Flow, packet: bytes) -> bool:
    try:
        flow.write(packet)
    except WouldBlock:
        return False
    return True


def test_a_shut_window_and_a_peer_that_lives(line: Any) -> None:
    a, b = line().flows
    write_all(a, numbered(256), 1)
    a.write_timeout = 1.5
    with pytest.raises(FlowTimeout, match="does not read"):
        a.write(b"x")
    assert a._path.frct.counters()["rendezvous"] > 5
    read_all(b, numbered(256))
    a.write(b"x")
    assert b.read() == b"x"


def test_a_peer_that_says_nothing(line: Any) -> None:
    made = line()
    a, _ = made.flows
    made.cut = True
    a.write_timeout = 1.5
    with pytest.raises(PeerReset, match="says nothing"):
        write_all(a, numbered(300), 1)
    assert PeerReset.errno == 104


def test_a_peer_that_never_acknowledges_takes_the_flow_down(line: Any) -> None:
    made = line()
    made.cut = True
    a, _ = made.flows
    a.write(b"x")
    for seconds in range(0, 125, 5):
        assert a.write_many([b"y"]) == 1
        a._path.tick(monotonic() + seconds)  # a clock that is ahead
    with pytest.raises(FlowDown):
        a.write(b"z")
    with pytest.raises(FlowDown):
        a.read()
    assert a.down


def test_a_writer_before_a_shut_window_is_woken_by_a_close(line: Any) -> None:
    a, _ = line().flows
    write_all(a, numbered(256), 1)
    a.linger = False

    def write() -> None:
        with pytest.raises(OuroError):
            a.write(b"x")

    def close() -> None:
        sleep(0.2)
        a.close()

    run(write, close)


def test_a_window_that_is_not_respected(line: Any) -> None:
    a, b = line(BEST_EFFORT).flows
    a.rescntl = False
    write_all(a, numbered(1000), 1)
    eventually(lambda: b.counters["out_of_window"] + b._path.frct.ready == 1000)


@pytest.mark.parametrize("many", [False, True])
def test_a_handler_of_a_signal_that_reads_first(line: Any, many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs between the moment in which a packet is there and that in which it is taken."""
    made = line()
    a, b = made.flows
    path = b._path
    path.alarm = None
    made.keeper.remove(b._end)  # the clock would read, too
    look, taken = path._await_order, []

    def interrupted() -> float:
        now: float = look()
        if not taken:
            taken.append(path.read())
        return now

    monkeypatch.setattr(path, "_await_order", interrupted)
    a.write(b"one")
    threading.Timer(0.1, a.write, (b"two",)).start()
    assert (b.read_many() if many else [b.read()]) == [b"two"]
    assert taken == [b"one"]


# ---------------------------------------------------------------- options, sets


def test_options(line: Any) -> None:
    a, _ = line(DATA).flows
    assert (a.rtx, a.rescntl, a.linger) == (True, True, True)
    b, _ = line(VOICE).flows
    assert (b.rtx, b.rescntl, b.linger) == (False, True, False)
    b.linger, b.rescntl = True, False
    assert (b.rescntl, b.linger) == (False, True)
    with pytest.raises(AttributeError):
        b.rtx = True
    c, _ = line(RAW).flows
    for name in ("rtx", "rescntl", "linger"):
        with pytest.raises(NotPermitted, match="in_order=1"):
            getattr(c, name)


def test_a_set_hears_of_packets_that_can_be_read_only(line: Any) -> None:
    a, b = line().flows
    with FlowSet([a]) as flows:
        write_all(a, numbered(100), 1)
        read_all(b, numbered(100))
        with pytest.raises(FlowTimeout):
            flows.wait(0.5)
        assert a._path.frct.unacknowledged == 0, "but what came was looked at"
        b.write(b"one")
        b.write(b"two")
        assert flows.wait(LONG) == [(a, Event.PACKET)]
        assert a.read() == b"one"
        eventually(lambda: flows.poll() == [(a, Event.PACKET)])
        assert a.read() == b"two"
        assert flows.poll() == []
    b.write(b"three")
    assert a.read() == b"three"


def test_a_selector(line: Any) -> None:
    a, b = line().flows
    a.write(b"x")
    assert b.fileno() >= 0
    eventually(lambda: bool(b.events() & Event.PACKET))
    assert b.read() == b"x"


# ---------------------------------------------------------------- the end


def test_closing_waits_until_the_peer_has_all(line: Any) -> None:
    made = line(DATA, 0.1)
    a, b = made.flows
    write_all(a, numbered(60), 1)
    a.close()
    assert a._path.frct.unacknowledged == 0
    read_all(b, numbered(60))
    ((number, quarantine),) = made.given_back
    assert number == 1
    assert 100 < quarantine < 133


def test_closing_does_not_wait_for_a_peer_that_left(line: Any) -> None:
    made = line()
    a, b = made.flows
    b.close()
    try:
        a.write(b"x")
    except FlowDown:
        pass
    before = monotonic()
    a.close()
    assert monotonic() - before < 20


def test_closing_without_lingering(line: Any) -> None:
    made = line()
    made.cut = True
    a, _ = made.flows
    a.write(b"x")
    a.linger = False
    a.close()
    assert a._path.frct.unacknowledged == 1


def test_a_reader_learns_of_the_end_after_the_last_packet(line: Any) -> None:
    a, b = line().flows
    write_all(a, numbered(200), 32)
    a.close()
    assert list(b) == numbered(200)


def test_no_thread_stays_for_a_flow_that_was_closed(line: Any) -> None:
    made = line()
    a, b = made.flows
    a.write(b"x")
    assert b.read() == b"x"
    a.close()
    b.close()
    eventually(lambda: made.keeper._wake < 0)


def test_unprotected_control_packets_of_the_prototype(client: PacketClient) -> None:
    """On a flow with a CRC it forgets that of its acknowledgements (flows.md 7.8 b)."""
    end, far = client.pair()
    allocation = Allocation(1, Grant(b""), CHECKED, 100, "name")
    path = above(end, stages_for(allocation, load_suite), allocation)
    assert isinstance(path, FrctPipeline)
    path.write(b"x")
    header = far.read()[:12]
    ackno = (int.from_bytes(header[4:8], "big") + 1) % 2**32
    far.write(b"\x04" + bytes(7) + ackno.to_bytes(4, "big"))
    path.pump()
    assert path.frct.unacknowledged == 0
    assert path.counters["damaged"] == 0
    far.write(bytes(12) + b"not a crc")
    path.pump()
    assert path.counters["damaged"] == 1


def test_the_first_packet_on_the_wire(client: PacketClient) -> None:
    end, far = client.pair()
    allocation = Allocation(1, Grant(b""), DATA, 100, "name")
    path = above(end, (), allocation)
    path.write(b"payload")
    packet = far.read()
    assert (packet[:4].hex(), packet[8:]) == ("03000000", bytes(4) + b"payload")

"""Pumps: datagrams of a real socket <-> flows, by the programs of the prototype's frames."""

import select
import socket
import struct
import time
from collections.abc import Iterator
from typing import ClassVar

import pytest

from ouro_core.contracts.packets import ManagementFrame, Options, State
from ouro_core.contracts.programs import PumpProgram, Route
from ouro_core.model.errors import PacketsError, WouldBlock

from .bench import BLOCKING, NON_BLOCKING, Background, Bench, Kit, drain, eventually, fill
from .programs import dix, dix_route, llc, llc_route, udp, udp_route
from .wire import BROADCAST, MAC, PEER, Wire, await_event, dix_frame, idle, llc_frame, raw_address, raw_address6

__all__ = ["PumpContract"]

_DIX_ROUTE = dix_route(PEER, MAC, 0x4142)
_COUNTERS = {
    "rx", "rx_bytes", "tx", "tx_bytes", "short", "foreign", "bad_length", "management", "management_dropped",
    "unknown_key", "bad_source", "ring_full", "no_block", "too_long", "tx_again", "tx_no_buffer", "tx_error",
    "socket_dropped", "sleeps", "stalls",
}  # fmt: skip
_HOSTILE_DIX = [
    ("short", b""),
    ("short", dix_frame(64, b"")[:17]),
    ("foreign", dix_frame(64, b"x", ethertype=0x0800)),
    ("foreign", dix_frame(64, b"x", to=PEER)),
    ("foreign", dix_frame(64, b"x", to=PEER, length=100)),
    ("bad_length", dix_frame(64, b"abc", length=4)),
    ("bad_length", dix_frame(0, b"abc", length=4)),
    ("short", dix_frame(0, bytes(38))),
    ("unknown_key", dix_frame(65, b"x")),
    ("unknown_key", dix_frame(65, b"")),
]
_HOSTILE_LLC = [
    ("short", llc_frame(0x40, 0x20, b"")[:16]),
    ("foreign", llc_frame(0x40, 0x20, b"x", control=0)),
    ("bad_length", llc_frame(0x40, 0x20, b"x", length=2)),
    ("bad_length", llc_frame(0x40, 0x20, b"x", length=5)),
    ("bad_length", llc_frame(0x40, 0x20, b"x", length=0xA000)),
    ("short", llc_frame(0x80, 0x80, bytes(36))),
    ("unknown_key", llc_frame(0x80, 0x40, b"x")),
    ("unknown_key", llc_frame(0xC0, 0x20, b"x")),
    ("bad_source", llc_frame(0x40, 0xC0, b"x")),
    ("bad_source", llc_frame(0x40, 0x20, b"x", sender=BROADCAST)),
]


class PumpContract(Kit):
    families: ClassVar[dict[str, tuple[int, str]]] = {
        "udp4": (socket.AF_INET, "127.0.0.1"),
        "udp6": (socket.AF_INET6, "::1"),
    }

    @staticmethod
    def unix(bench: Bench, program: PumpProgram) -> Wire:
        return Wire(bench, program, *socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))

    @pytest.fixture
    def wire(self, bench: Bench) -> Iterator[Wire]:
        """eth-dix."""
        wire = self.unix(bench, dix(MAC))
        yield wire
        wire.close()

    @pytest.fixture
    def llc_wire(self, bench: Bench) -> Iterator[Wire]:
        wire = self.unix(bench, llc(MAC))
        yield wire
        wire.close()

    @pytest.fixture(params=["udp4", "udp6"])
    def udp_wire(self, bench: Bench, request: pytest.FixtureRequest) -> Iterator[Wire]:
        family, host = self.families[request.param]
        near, far = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        for each in (near, far):
            each.bind((host, 0))
        far.connect(near.getsockname())
        wire = Wire(bench, udp(family), near, far)
        yield wire
        wire.close()

    @staticmethod
    def _far_address(wire: Wire) -> bytes:
        address = wire.far.getsockname()
        return raw_address(address) if len(address) == 2 else raw_address6(address)

    # ---- frames

    def test_counters_of_a_pump_have_their_names(self, wire: Wire) -> None:
        assert set(wire.pump.counters()) >= _COUNTERS
        wire.bound(64)
        assert set(wire.pump.flow_counters(64)) >= {"tx", "tx_bytes", "rx", "rx_bytes", "dropped"}

    @pytest.mark.parametrize("user", [False, True])
    def test_dix(self, wire: Wire, user: bool) -> None:
        app, _ = wire.bound(64, _DIX_ROUTE, user)
        wire.send(dix_frame(64, b"hello"), dix_frame(64, b"padded", to=BROADCAST) + bytes(30))
        assert [app.read(), app.read()] == [b"hello", b"padded"]
        app.write(b"answer")
        assert wire.receive() == PEER + MAC + bytes.fromhex("a000 4142 0006") + b"answer"
        large = bytes(range(250)) * 5
        wire.send(dix_frame(64, large))
        app.write(large)
        assert (app.read(), wire.receive()[18:]) == (large, large)
        counted = wire.pump.flow_counters(64)
        assert (counted["rx"], counted["tx"], counted["dropped"]) == (3, 2, 0)
        assert (counted["rx_bytes"], counted["tx_bytes"]) == (11 + 1250, 6 + 1250)

    def test_llc(self, llc_wire: Wire) -> None:
        app, _ = llc_wire.bound(2, llc_route(PEER, MAC, 4, 2))
        llc_wire.send(llc_frame(0x40, 0x20, b"hello") + bytes(30))
        assert app.read() == b"hello"
        app.write(b"answer")
        assert llc_wire.receive() == PEER + MAC + bytes.fromhex("0009 20 40 03") + b"answer"

    def test_udp(self, udp_wire: Wire) -> None:
        app, _ = udp_wire.bound(0x12345678, udp_route(7, self._far_address(udp_wire)))
        udp_wire.send(bytes.fromhex("12345678") + b"hello")
        assert app.read() == b"hello"
        app.write(b"answer")
        assert udp_wire.receive() == b"\0\0\0\7answer"

    def test_udp_tells_who_sent(self, udp_wire: Wire) -> None:
        checked, _ = udp_wire.bound(1, udp_route(1, self._far_address(udp_wire)))
        trusting, _ = udp_wire.bound(2, udp_route(1, self._far_address(udp_wire), check=False))
        with socket.socket(udp_wire.far.family, socket.SOCK_DGRAM) as stranger:
            for key in (1, 2):
                stranger.sendto(struct.pack("!I", key) + b"stranger", udp_wire.near.getsockname())
        assert trusting.read() == b"stranger"
        udp_wire.send(b"\0\0\0\1friend")
        assert checked.read() == b"friend"
        udp_wire.counted("bad_source")
        message = bytes(4) + bytes(43)
        udp_wire.send(message)
        assert udp_wire.management() == ManagementFrame(message, self._far_address(udp_wire))
        udp_wire.send(b"\0\0\0", message[:-1])
        udp_wire.counted("short", 2)

    def test_keepalives_pass_both_ways(self, wire: Wire) -> None:
        app, _ = wire.bound(64, _DIX_ROUTE)
        app.set_options(Options(read_timeout=10.0, deliver_empty=True))
        wire.send(dix_frame(64, b"") + bytes(42))
        assert app.read() == b""
        app.keepalive()
        assert wire.receive() == PEER + MAC + bytes.fromhex("a000 4142 0000")

    @pytest.mark.parametrize(("counter", "frame"), _HOSTILE_DIX)
    def test_hostile_dix(self, wire: Wire, counter: str, frame: bytes) -> None:
        self._refused(wire, 64, _DIX_ROUTE, counter, frame, dix_frame(64, b"good"))

    @pytest.mark.parametrize(("counter", "frame"), _HOSTILE_LLC)
    def test_hostile_llc(self, llc_wire: Wire, counter: str, frame: bytes) -> None:
        self._refused(llc_wire, 2, llc_route(PEER, MAC, 4, 2), counter, frame, llc_frame(0x40, 0x20, b"good"))

    @staticmethod
    def _refused(wire: Wire, key: int, route: Route, counter: str, frame: bytes, good: bytes) -> None:
        """The frame is counted under that name and no other, and what follows is not hurt."""
        app, _ = wire.bound(key, route)
        wire.send(frame, good)
        assert app.read() == b"good"
        tests = ("short", "foreign", "bad_length", "management", "unknown_key", "bad_source")
        assert {name: wire.pump.counters()[name] for name in tests if wire.pump.counters()[name]} == {counter: 1}
        assert not wire.pump.management()

    def test_too_long_for_a_frame(self, wire: Wire) -> None:
        app, _ = wire.bound(64, _DIX_ROUTE)
        app.write(bytes(1497))
        app.write(bytes(1496))
        assert len(wire.receive()) == 18 + 1496
        wire.counted("too_long")

    def test_padding(self, bench: Bench) -> None:
        program = PumpProgram(header=18, key=dix(MAC).key, length=dix(MAC).length, max_payload=100, pad_to=60)
        wire = self.unix(bench, program)
        app, _ = wire.bound(64, _DIX_ROUTE)
        app.write(b"short")
        frame = wire.receive()
        assert (len(frame), frame[18:23], frame[23:]) == (60, b"short", bytes(37))
        wire.close()

    def test_impossible_programs_and_routes(self, wire: Wire) -> None:
        with pytest.raises(PacketsError):
            wire.ipcp.pump(PumpProgram(header=65, key=dix(MAC).key, max_payload=1), wire.near.fileno())
        with pytest.raises(PacketsError):
            wire.ipcp.pump(PumpProgram(header=15, key=dix(MAC).key, max_payload=1), wire.near.fileno())
        with pytest.raises(PacketsError):
            wire.bound(64, Route(b"too short"))
        with pytest.raises(PacketsError, match=r"abcd.* nothing"):  # what would not be tested is not taken
            wire.bound(64, Route(bytes(18), source=b"\xab\xcd"))

    @pytest.mark.parametrize("source", [b"\xab\xcd", bytes(8)])
    def test_a_source_of_another_length_is_no_route(self, llc_wire: Wire, source: bytes) -> None:
        with pytest.raises(PacketsError, match=f"{source.hex()}.* 7 bytes"):
            llc_wire.bound(64, Route(llc_route(PEER, MAC, 4, 64).header, source=source))

    # ---- management

    def test_management_is_handed_over_whole_and_in_order(self, wire: Wire) -> None:
        frames = [dix_frame(0, bytes([n]) * 39, to=BROADCAST if n % 2 else MAC) for n in range(40)]
        app, _ = wire.bound(64)
        wire.send(*(frame + b"padding" for frame in frames))
        assert select.select([wire.pump.fileno()], [], [], 10.0)[0]
        wire.counted("management", 40)
        assert wire.pump.management(most=3) == [ManagementFrame(frame) for frame in frames[:3]]
        assert wire.pump.management() == [ManagementFrame(frame) for frame in frames[3:35]]
        assert wire.pump.management() == [ManagementFrame(frame) for frame in frames[35:]]
        assert wire.pump.management() == []
        assert not select.select([wire.pump.fileno()], [], [], 0)[0]
        assert app.queued() == (0, 0)

    def test_management_comes_before_the_first_flow(self, wire: Wire) -> None:
        frame = dix_frame(0, bytes(39), to=BROADCAST)
        wire.send(frame)
        assert wire.management() == ManagementFrame(frame)

    def test_the_management_queue_is_bounded(self, bench: Bench) -> None:
        program = PumpProgram(
            header=18, key=dix(MAC).key, max_payload=1, management=dix(MAC).management, management_queue=4
        )
        wire = self.unix(bench, program)
        app, _ = wire.bound(64)
        wire.send(*(dix_frame(0, bytes([n])) for n in range(6)), dix_frame(64, b"after"))
        assert app.read() == b"after"
        wire.counted("management_dropped", 2)
        assert [frame.frame[-1] for frame in wire.pump.management()] == [0, 1, 2, 3]
        wire.close()

    # ---- bind, route, unbind

    def test_without_a_route_nothing_is_sent(self, wire: Wire) -> None:
        app, _ = wire.bound(64)
        app.write(b"into the void")
        app.write(b"and more")
        assert wire.silent()
        wire.send(dix_frame(64, b"early"))
        assert app.read() == b"early"
        idle(wire.pump)
        wire.pump.set_route(64, _DIX_ROUTE)
        assert [wire.receive()[18:], wire.receive()[18:]] == [b"into the void", b"and more"]
        wire.pump.set_route(64, dix_route(BROADCAST, MAC, 1))
        app.write(b"elsewhere")
        assert wire.receive()[:6] == BROADCAST

    def test_a_writer_waits_for_the_route(self, wire: Wire) -> None:
        app, _ = wire.bound(64)
        sent = fill(app)
        assert sent >= 1000
        app.set_options(BLOCKING)
        writer = Background(lambda: app.write(b"last")).settle()
        assert writer.running
        wire.pump.set_route(64, _DIX_ROUTE)
        got = [wire.receive()[18:] for _ in range(sent + 1)]
        writer.result()
        assert got == [b"x"] * sent + [b"last"]

    def test_what_was_written_before_bind_is_sent(self, wire: Wire) -> None:
        app, end = wire.bench.flow(wire.bench.client(), wire.ipcp)
        app.write(b"early")
        wire.pump.bind(64, end, _DIX_ROUTE)
        assert wire.receive()[18:] == b"early"

    def test_a_bound_end_is_the_pumps(self, wire: Wire) -> None:
        app, end = wire.bound(64, _DIX_ROUTE)
        assert end.owner
        end.set_options(NON_BLOCKING)
        for call in (end.read, lambda: end.write(b"x"), lambda: end.claim("test")):
            with pytest.raises(PacketsError):
                call()
        with pytest.raises(PacketsError):
            wire.ipcp.event_set().add(end)
        with pytest.raises(PacketsError):
            wire.pump.bind(65, end)
        assert end.state == State.UP
        assert "tx" in end.counters()
        app.write(b"works still")
        assert wire.receive()[18:] == b"works still"

    def test_a_key_is_taken_until_unbound_was_taken(self, wire: Wire) -> None:
        _, end = wire.bound(64, _DIX_ROUTE)
        app, other = wire.bench.flow(wire.bench.client(), wire.ipcp)
        with pytest.raises(KeyError):
            wire.pump.bind(64, other)
        assert other.owner is None
        wire.pump.unbind(64)
        with pytest.raises(KeyError):
            wire.pump.bind(64, other)
        with pytest.raises(KeyError):
            wire.pump.unbind(64)
        event = await_event(wire.pump, "UNBOUND")
        assert (event.key, event.value) == (64, 0)
        assert event.end is end
        assert end.owner is None
        wire.pump.bind(64, other, _DIX_ROUTE)
        wire.send(dix_frame(64, b"to the new one"))
        assert app.read() == b"to the new one"
        end.set_options(NON_BLOCKING)
        with pytest.raises(WouldBlock):
            end.read()

    def test_unbind_counts_what_was_not_sent(self, wire: Wire) -> None:
        app, end = wire.bound(64)
        for _ in range(5):
            app.write(b"never")
        wire.pump.unbind(64, drain=0.0)
        assert await_event(wire.pump, "UNBOUND").value == 5
        wire.send(dix_frame(64, b"x"))
        wire.counted("unknown_key")
        assert app.state == State.UP
        assert end.owner is None

    def test_unbind_drains(self, wire: Wire) -> None:
        app, _ = wire.bound(64, _DIX_ROUTE)
        packets = [b"%d" % n for n in range(600)]
        for packet in packets:
            app.write(packet)
        wire.pump.unbind(64, drain=600.0)
        assert [wire.receive()[18:] for _ in packets] == packets
        assert await_event(wire.pump, "UNBOUND").value == 0

    def test_binding_beside_traffic(self, wire: Wire) -> None:
        app, _ = wire.bound(64, _DIX_ROUTE)
        reader = Background(lambda: [app.read() for _ in range(2000)])

        def send() -> None:
            for n in range(2000):
                wire.send(dix_frame(64, b"%d" % n))

        sender = Background(send)
        for key in range(100, 130):
            wire.bound(key)
            wire.pump.unbind(key)
        sender.result()
        assert reader.result() == [b"%d" % n for n in range(2000)]

    # ---- what happens to flows

    def test_close_is_told_after_what_was_written(self, wire: Wire) -> None:
        app, _ = wire.bound(64, _DIX_ROUTE)
        packets = [b"%d" % n for n in range(1000)]
        for packet in packets:
            app.write(packet)
        eventually(lambda: wire.pump.counters()["tx_again"] > 0, "the far socket is full")
        app.close()
        assert not select.select([wire.pump.fileno()], [], [], 0.05)[0], "told too early"
        assert [wire.receive()[18:] for _ in packets] == packets
        assert await_event(wire.pump, "CLOSED").key == 64
        wire.send(dix_frame(64, b"late"))
        wire.pump.unbind(64)
        await_event(wire.pump, "UNBOUND")

    def test_death_is_told(self, wire: Wire) -> None:
        app, _ = wire.bound(64, _DIX_ROUTE)
        app.write(b"last words")
        wire.bench.broker.leave(wire.bench.clients[-1].ref, died=True)
        assert wire.receive()[18:] == b"last words"
        assert await_event(wire.pump, "DEAD").key == 64

    def test_down_and_up_are_told_and_the_pump_goes_on(self, wire: Wire) -> None:
        app, _ = wire.bound(64, _DIX_ROUTE)
        other, _ = wire.bound(65, _DIX_ROUTE)
        app.mark(State.DOWN)
        assert await_event(wire.pump, "DOWN").key == 64
        wire.send(dix_frame(64, b"lost"), dix_frame(65, b"arrives"))
        assert other.read() == b"arrives"
        app.mark(clear=State.DOWN)
        assert await_event(wire.pump, "UP").key == 64
        wire.send(dix_frame(64, b"again"))
        assert app.read() == b"again"
        assert wire.pump.flow_counters(64)["dropped"] == 1

    def test_events_of_one_kind_are_merged(self, wire: Wire) -> None:
        app, _ = wire.bound(64, _DIX_ROUTE)
        for _ in range(20):
            app.mark(State.DOWN)
            app.mark(clear=State.DOWN)
            wire.send(dix_frame(64, b"x"))
            assert app.read() == b"x"
        found = wire.pump.events()
        assert len(found) == len({(event.kind, event.key) for event in found})

    def test_a_frame_has_the_old_route_or_the_new_one(self, wire: Wire) -> None:
        app, _ = wire.bound(64, _DIX_ROUTE)
        other = dix_route(BROADCAST, MAC, 0x5152)
        writer = Background(lambda: [app.write(b"%d" % n) for n in range(1000)])
        receiver = Background(lambda: [wire.receive() for _ in range(1000)])
        while writer.running:
            for route in (other, _DIX_ROUTE):
                wire.pump.set_route(64, route)
        frames = receiver.result()
        assert [frame[18:] for frame in frames] == [b"%d" % n for n in range(1000)]
        assert {frame[:16] for frame in frames} <= {other.header[:16], _DIX_ROUTE.header[:16]}

    def test_a_reader_that_is_stuck_does_not_stop_the_others(self, wire: Wire) -> None:
        stuck, _ = wire.bound(64, _DIX_ROUTE)
        other, _ = wire.bound(65, _DIX_ROUTE)
        for n in range(1200):
            wire.send(dix_frame(64, b"%d" % n))
        wire.send(dix_frame(65, b"passes"))
        assert other.read() == b"passes"
        other.write(b"so does this")
        assert wire.receive()[18:] == b"so does this"
        assert wire.pump.counters()["ring_full"] > 0
        assert 1 <= wire.pump.counters()["stalls"] <= 3, "one wait, then drops until the ring is half empty"
        got = drain(stuck)
        assert got == [b"%d" % n for n in range(len(got))]
        assert 1000 <= len(got) <= 1024
        wire.send(dix_frame(64, b"again"))
        stuck.set_options(BLOCKING)
        assert stuck.read() == b"again"

    def test_what_a_user_sends_does_not_starve_what_he_receives(self, small: Bench) -> None:
        wire = self.unix(small, dix(MAC, mtu=500))
        app, _ = wire.bound(64, user=True)
        fill(app)
        app.set_options(BLOCKING)
        wire.send(dix_frame(64, b"arrives"))
        assert app.read() == b"arrives"
        wire.pump.unbind(64)
        await_event(wire.pump, "UNBOUND")
        wire.close()

    def test_a_full_socket_loses_nothing(self, wire: Wire) -> None:
        app, _ = wire.bound(64, _DIX_ROUTE)
        packets = [b"%d" % n for n in range(3000)]

        def write() -> None:
            for packet in packets:
                app.write(packet)

        writer = Background(write)
        eventually(lambda: wire.pump.counters()["tx_again"] > 0, "the far socket is full")
        wire.send(dix_frame(64, b"still receiving"))
        assert app.read() == b"still receiving"
        assert [wire.receive()[18:] for _ in packets] == packets
        writer.result()
        assert wire.pump.counters()["tx_error"] == 0

    def test_a_socket_error_costs_one_packet(self, bench: Bench) -> None:
        near, far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for each in (near, far):
            each.bind(("127.0.0.1", 0))
        wire = Wire(bench, udp(socket.AF_INET), near, far)
        app, _ = wire.bound(1, udp_route(1, raw_address(("127.0.0.1", 0))))
        app.write(b"to port 0")
        event = await_event(wire.pump, "FAILED")
        assert event.value > 0
        wire.counted("tx_error")
        wire.pump.set_route(1, udp_route(1, raw_address(far.getsockname())))
        app.write(b"goes on")
        assert wire.receive()[4:] == b"goes on"
        wire.close()

    # ---- the thread

    def test_an_idle_pump_sleeps(self, wire: Wire) -> None:
        app, _ = wire.bound(64, _DIX_ROUTE)
        wire.send(dix_frame(64, b"x"))
        assert app.read() == b"x"
        idle(wire.pump)
        app.write(b"awake again")
        assert wire.receive()[18:] == b"awake again"

    def test_a_stopped_pump_gives_everything_up(self, wire: Wire) -> None:
        app, end = wire.bound(64)
        app.write(b"unread")
        began = time.monotonic()
        wire.pump.stop()
        wire.pump.stop()
        assert time.monotonic() - began < 5.0
        assert end.owner is None
        end.set_options(BLOCKING)
        assert end.read() == b"unread"
        with pytest.raises(PacketsError):
            wire.pump.bind(65, end)
        wire.near.setblocking(False)
        wire.send(b"the socket is the caller's still")
        assert wire.near.recv(100)

    def test_a_closed_client_has_stopped_its_pump(self, wire: Wire) -> None:
        app, _ = wire.bound(64, _DIX_ROUTE)
        wire.ipcp.close()
        assert app.state & State.CLOSED

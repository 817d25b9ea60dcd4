"""Forwarders: the PCI of the unicast layer between pairs, each of which stands for a flow."""

import select
import socket
from collections.abc import Callable, Iterator

import pytest

from ouro_core.contracts.packets import FlowEnd, Forwarder, State
from ouro_core.contracts.programs import ForwardProgram, Group, Mode, Window
from ouro_core.model.errors import PacketsError, WouldBlock

from .bench import BLOCKING, NON_BLOCKING, Bench, Kit, drain, eventually, fill
from .programs import dix, dix_route, dt
from .wire import MAC, PEER, await_event, idle

_HERE = 0x04030201
_THERE = 0x0A0B0C0D
_COUNTERS = {
    "forwarded", "local", "originated", "ttl", "no_route", "no_eid", "short", "ring_full", "no_block", "down",
    "keepalives", "sleeps", "stalls",
}  # fmt: skip


def pci(destination: int, eid: int, payload: bytes = b"", ttl: int = 60, ecn: int = 0, cube: int = 0) -> bytes:
    """15 bytes and the payload."""
    return destination.to_bytes(4, "little") + bytes((cube, ttl, ecn)) + eid.to_bytes(8, "little") + payload


class Node:
    """A forwarder and the far ends of its flows."""

    def __init__(self, bench: Bench, program: ForwardProgram) -> None:
        self.bench = bench
        self.ipcp = bench.client()
        self.forwarder: Forwarder = self.ipcp.forwarder(program)

    def pair(self) -> tuple[FlowEnd, FlowEnd]:
        inside, outside = self.ipcp.pair()
        outside.set_options(BLOCKING)
        return inside, outside

    def network(self, cube: int = 0) -> tuple[FlowEnd, int]:
        inside, outside = self.pair()
        return outside, self.forwarder.add_network(inside, cube)

    def flow(self, eid: int, destination: int = _THERE, remote: int = 99, cube: int = 0, user: bool = False) -> FlowEnd:
        app, end = self.bench.flow(self.bench.client(user), self.ipcp)
        self.forwarder.add_flow(eid, end, destination, remote, cube)
        return app

    def component(self, eid: int) -> FlowEnd:
        inside, outside = self.pair()
        self.forwarder.add_component(eid, inside)
        return outside

    def route(self, destination: int, *ports: int, mode: Mode = Mode.FIRST, cube: int = 0) -> None:
        self.forwarder.set_routes(cube, {destination: Group(ports, mode)})

    def counted(self, name: str, value: int = 1) -> None:
        eventually(lambda: self.forwarder.counters()[name] >= value, f"{name} >= {value}")
        assert self.forwarder.counters()[name] == value
        assert sum(self.forwarder.counters()[f"{name}.{cube}"] for cube in range(3)) == value


class ForwarderContract(Kit):
    @pytest.fixture
    def node(self, bench: Bench) -> Iterator[Node]:
        node = Node(bench, dt(_HERE))
        yield node
        node.forwarder.stop()

    # ---- transit

    def test_counters_of_a_forwarder_have_their_names(self, node: Node) -> None:
        assert set(node.forwarder.counters()) >= _COUNTERS
        port = node.network()[1]
        assert set(node.forwarder.flow_counters(port)) >= {"tx", "tx_bytes", "rx", "rx_bytes", "dropped"}

    def test_transit_changes_the_ttl_only(self, node: Node) -> None:
        left, left_port = node.network()
        right, right_port = node.network()
        node.forwarder.set_routes(0, {_THERE: Group((right_port,)), 7: Group((left_port,))})
        left.write(pci(_THERE, 2**63 + 5, b"payload", ttl=60, ecn=3, cube=1))
        assert right.read() == pci(_THERE, 2**63 + 5, b"payload", ttl=59, ecn=3, cube=1)
        right.write(pci(7, 0, ttl=2))
        assert left.read() == pci(7, 0, ttl=1)
        node.counted("forwarded", 2)
        counted = node.forwarder.flow_counters(right_port)
        assert (counted["tx"], counted["rx"], counted["dropped"]) == (1, 1, 0)

    @pytest.mark.parametrize("ttl", [0, 1])
    def test_a_packet_that_is_too_old(self, node: Node, ttl: int) -> None:
        left, _ = node.network()
        right, port = node.network()
        node.route(_THERE, port)
        left.write(pci(_THERE, 1, ttl=ttl))
        left.write(pci(_THERE, 2))
        assert right.read() == pci(_THERE, 2, ttl=59)
        node.counted("ttl")

    @pytest.mark.parametrize(
        ("counter", "packet"),
        [
            ("short", pci(_THERE, 1)[:14]),
            ("short", b"x"),
            ("keepalives", b""),
            ("no_route", pci(12345, 1)),
            ("no_eid", pci(_HERE, 64)),
            ("no_eid", pci(_HERE, 1)),
            ("no_eid", pci(_HERE, 2**64 - 1)),
        ],
    )
    def test_what_goes_nowhere_is_counted(self, node: Node, counter: str, packet: bytes) -> None:
        left, _ = node.network(cube=2)
        if packet:
            left.write(packet)
        else:
            left.keepalive()
        node.counted(counter)
        assert node.forwarder.counters()[f"{counter}.2"] == 1
        assert node.forwarder.counters()["forwarded"] == 0

    def test_the_table_is_that_of_the_incoming_cube(self, node: Node) -> None:
        inputs = [node.network(cube)[0] for cube in range(3)]
        outputs = [node.network() for _ in range(3)]
        for cube, (_, port) in enumerate(outputs):
            node.route(_THERE, port, cube=cube)
        for cube, end in enumerate(inputs):
            end.write(pci(_THERE, cube, cube=9))
        assert [out.read() for out, _ in outputs] == [pci(_THERE, cube, ttl=59, cube=9) for cube in range(3)]

    def test_routes_are_replaced_as_a_whole(self, node: Node) -> None:
        left, _ = node.network()
        one, one_port = node.network()
        two, two_port = node.network()
        node.forwarder.set_routes(0, {1: Group((one_port,)), 2: Group((one_port,))})
        node.forwarder.set_routes(0, {2: Group((two_port,))})
        left.write(pci(1, 5))
        left.write(pci(2, 5))
        assert two.read() == pci(2, 5, ttl=59)
        node.counted("no_route")
        assert one.queued() == (0, 0)

    # ---- groups

    def _spread(self, node: Node, mode: Mode) -> tuple[FlowEnd, list[FlowEnd], list[int]]:
        left, _ = node.network()
        outs = [node.network() for _ in range(3)]
        node.route(_THERE, *(port for _, port in outs), mode=mode)
        return left, [end for end, _ in outs], [port for _, port in outs]

    def _counts(self, node: Node, left: FlowEnd, outs: list[FlowEnd], packets: int) -> list[int]:
        before = node.forwarder.counters()["forwarded"] + node.forwarder.counters()["down"]
        for _ in range(packets):
            left.write(pci(_THERE, 1))
        eventually(
            lambda: node.forwarder.counters()["forwarded"] + node.forwarder.counters()["down"] == before + packets
        )
        counts = [end.queued()[0] for end in outs]
        for end in outs:
            drain_if_any(end)
        return counts

    def test_first(self, node: Node) -> None:
        left, outs, _ = self._spread(node, Mode.FIRST)
        assert self._counts(node, left, outs, 30) == [30, 0, 0]
        outs[0].mark(State.DOWN)
        assert self._counts(node, left, outs, 30) == [0, 0, 0]
        node.counted("down", 30)

    def test_rotate(self, node: Node) -> None:
        left, outs, _ = self._spread(node, Mode.ROTATE)
        assert self._counts(node, left, outs, 300) == [100, 100, 100]

    def test_first_up(self, node: Node) -> None:
        left, outs, _ = self._spread(node, Mode.FIRST_UP)
        assert self._counts(node, left, outs, 20) == [20, 0, 0]
        outs[0].mark(State.DOWN)
        assert self._counts(node, left, outs, 20) == [0, 20, 0]
        outs[1].mark(State.DOWN)
        assert self._counts(node, left, outs, 20) == [0, 0, 20]
        outs[0].mark(clear=State.DOWN)
        assert self._counts(node, left, outs, 20) == [20, 0, 0]

    def test_a_removed_port_is_skipped(self, node: Node) -> None:
        left, outs, ports = self._spread(node, Mode.FIRST)
        node.forwarder.remove(ports[0])
        assert await_event(node.forwarder, "UNBOUND").key == ports[0]
        assert self._counts(node, left, outs, 10) == [0, 10, 0]

    # ---- local

    def test_a_flow_gets_its_payload(self, node: Node) -> None:
        left, _ = node.network()
        app = node.flow(64, user=True)
        left.write(pci(_HERE, 64, b"data", ttl=0))
        left.write(pci(_HERE, 64, b"more", ttl=255))
        assert [app.read(), app.read()] == [b"data", b"more"]
        node.counted("local", 2)

    def test_what_a_flow_writes_gets_the_pci_of_the_layer(self, node: Node) -> None:
        right, port = node.network()
        node.route(_HERE + 1, port)
        app = node.flow(0x41, destination=_HERE + 1, remote=0x1122334400000041)
        app.write(b"data")
        assert right.read() == bytes.fromhex("02020304 00 3c 00 4100000044332211") + b"data"
        app.keepalive()
        assert right.read() == bytes.fromhex("02020304 00 3c 00 4100000044332211")
        node.counted("originated", 2)

    def test_the_cube_of_a_flow(self, node: Node) -> None:
        right, port = node.network()
        node.route(_THERE, port, cube=2)
        node.flow(64, cube=2).write(b"x")
        assert right.read() == pci(_THERE, 99, b"x", cube=2)

    def test_a_component(self, node: Node) -> None:
        right, port = node.network()
        node.route(_THERE, port)
        component = node.component(1)
        right.write(pci(_HERE, 1, b"for the directory", ecn=5))
        assert component.read() == b"for the directory"
        component.write(pci(_THERE, 1, b"answer", ttl=17, ecn=1))
        assert right.read() == pci(_THERE, 1, b"answer", ttl=17, ecn=1)
        component.write(b"no PCI")
        node.counted("short")
        node.counted("originated")

    def test_a_flow_whose_far_end_is_known_later(self, bench: Bench, node: Node) -> None:
        other, port = node.network()
        node.route(_THERE, port)
        app, end = bench.flow(bench.client(), node.ipcp)
        flow = node.forwarder.add_flow(70, end, _THERE, 0, cube=1)
        other.write(pci(_HERE, 70, b"before the reply"))
        assert app.read() == b"before the reply"
        node.forwarder.set_peer(flow, 7, 2**64 - 1)
        node.forwarder.set_routes(1, {7: Group((port,))})
        app.write(b"answer")
        assert other.read() == pci(7, 2**64 - 1, b"answer", cube=1)
        with pytest.raises(KeyError):
            node.forwarder.set_peer(12345, 7, 1)
        with pytest.raises(PacketsError):
            node.forwarder.set_peer(port, 7, 1)

    def test_two_nodes(self, bench: Bench, node: Node) -> None:
        other = Node(bench, dt(_THERE))
        here, there = bench.flow(node.ipcp, other.ipcp)
        node.route(_THERE, node.forwarder.add_network(here))
        other.route(_HERE, other.forwarder.add_network(there))
        a = node.flow(70, destination=_THERE, remote=80)
        b = other.flow(80, destination=_HERE, remote=70, user=True)
        for n in range(200):
            a.write(b"%d" % n)
            assert b.read() == b"%d" % n
            b.write(b"back %d" % n)
            assert a.read() == b"back %d" % n
        other.forwarder.stop()

    def test_a_layer_over_a_wire(self, bench: Bench, node: Node) -> None:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        near.setblocking(False)
        far.settimeout(10.0)
        shim = bench.client()
        pump = shim.pump(dix(MAC), near.fileno())
        upper, lower = bench.flow(node.ipcp, shim)
        pump.bind(64, lower, dix_route(PEER, MAC, 65))
        node.route(_THERE, node.forwarder.add_network(upper))
        app = node.flow(100)
        app.write(b"down we go")
        frame = far.recv(2000)
        assert frame[18:] == pci(_THERE, 99, b"down we go")
        far.send(MAC + PEER + frame[12:14] + (64).to_bytes(2, "big") + b"\0\x11" + pci(_HERE, 100, b"up"))
        assert app.read() == b"up"
        pump.stop()
        near.close()
        far.close()

    def test_eids_and_cubes_must_fit(self, node: Node) -> None:
        inside, _ = node.pair()
        calls: list[Callable[[], int]] = [
            lambda: node.forwarder.add_flow(63, inside, _THERE, 1),
            lambda: node.forwarder.add_component(64, inside),
            lambda: node.forwarder.add_network(inside, cube=3),
        ]
        for call in calls:
            with pytest.raises(PacketsError):
                call()
        assert inside.owner is None
        node.flow(64)
        with pytest.raises(KeyError):
            node.forwarder.add_flow(64, inside, _THERE, 1)
        assert inside.owner is None

    # ---- congestion

    def test_marks_grow_with_the_queue(self, node: Node) -> None:
        left, _ = node.network()
        right, port = node.network()
        node.route(_THERE, port)
        for n in range(500):
            left.write(pci(_THERE, n, ecn=0x40))
        node.counted("forwarded", 500)
        assert [packet[6] for packet in drain(right)] == [0x40 | n >> 4 for n in range(500)]

    def test_a_slot_of_a_sender_is_no_congestion(self, node: Node) -> None:
        right, port = node.network()
        node.route(_THERE, port)
        app = node.flow(64)
        for _ in range(200):
            app.write(b"x")
        node.counted("originated", 200)
        assert [packet[6] for packet in drain(right)] == [max(0, n - 64) >> 4 for n in range(200)]

    def test_without_marks(self, bench: Bench) -> None:
        program = ForwardProgram(
            header=15, destination=dt(1).destination, cube=4, ttl=5, ecn=6, eid=dt(1).eid, address=1, ecn_shift=None
        )
        node = Node(bench, program)
        left, _ = node.network()
        right, port = node.network()
        node.route(_THERE, port)
        for _ in range(100):
            left.write(pci(_THERE, 1, ecn=3))
        node.counted("forwarded", 100)
        assert {packet[6] for packet in drain(right)} == {3}
        node.forwarder.stop()

    def test_marks_are_reported(self, node: Node) -> None:
        """unicast.md 17.7, packet by packet, as events of one key are merged."""
        left, _ = node.network()
        app = node.flow(64)
        reports = {}
        for n in range(23):
            left.write(pci(_HERE, 64, b"x", ecn=10 if n < 18 else 0))
            assert app.read() == b"x"
            node.counted("local", n + 1)
            for event in node.forwarder.events():
                assert event.kind == "REPORT"
                reports[n] = event.value
        assert reports == {0: 10, 2: 30, 10: 99, 21: 0}

    def test_a_window_delays_its_own_flow_and_loses_nothing(self, bench: Bench) -> None:
        node = Node(bench, dt(_HERE, window=Window(slot_shift=29, limit=1000, increment=1000)))
        right, port = node.network()
        node.route(_THERE, port)
        greedy, modest = node.flow(64, remote=1), node.flow(65, remote=2)
        for n in range(4):
            greedy.write(bytes([n]) * 600)
        assert right.read()[15:] == bytes(600)
        modest.write(b"passes")
        assert right.read() == pci(_THERE, 2, b"passes")
        assert [right.read()[15:] for _ in range(3)] == [bytes([n]) * 600 for n in (1, 2, 3)]
        node.forwarder.feedback(64, 100)
        greedy.write(b"on and on")
        assert right.read()[15:] == b"on and on"
        node.forwarder.stop()

    # ---- back-pressure

    def test_nothing_is_dropped_towards_a_lower_flow(self, node: Node) -> None:
        left, left_port = node.network()
        right, right_port = node.network()
        third, _ = node.network()
        node.forwarder.set_routes(0, {_THERE: Group((right_port,)), 5: Group((left_port,))})
        sent = fill(left, pci(_THERE, 1))
        eventually(lambda: right.queued()[0] >= 1000, "the outgoing ring is full")
        sent += fill(left, pci(_THERE, 1))
        third.write(pci(5, 2, b"another way"))
        left.set_options(BLOCKING)
        assert left.read() == pci(5, 2, b"another way", ttl=59)
        got = 0
        right.set_options(BLOCKING)
        while got < sent:
            got += len(right.read_many(100))
        assert got == sent
        assert right.queued() == (0, 0)
        for name in ("ring_full", "no_block", "down"):
            assert node.forwarder.counters()[name] == 0

    def test_both_ways_full_is_no_deadlock(self, node: Node) -> None:
        left, left_port = node.network()
        right, right_port = node.network()
        node.forwarder.set_routes(0, {_THERE: Group((right_port,)), 5: Group((left_port,))})
        sent = [0, 0]
        while min(left.queued()[0], right.queued()[0]) < 1000:
            for n, (end, destination) in enumerate(((left, _THERE), (right, 5))):
                try:
                    end.set_options(NON_BLOCKING)
                    end.write(pci(destination, 1))
                    sent[n] += 1
                except WouldBlock:
                    pass
        sent = [sent[0] + fill(left, pci(_THERE, 1)), sent[1] + fill(right, pci(5, 1))]
        for end, count in ((left, sent[1]), (right, sent[0])):
            end.set_options(BLOCKING)
            got = 0
            while got < count:
                got += len(end.read_many(100))
            assert got == count

    def test_an_application_that_does_not_read_does_not_stop_the_others(self, node: Node) -> None:
        left, _ = node.network()
        stuck, other = node.flow(64), node.flow(65)
        for n in range(1200):
            left.write(pci(_HERE, 64, b"%d" % n))
        left.write(pci(_HERE, 65, b"passes"))
        assert other.read() == b"passes"
        assert node.forwarder.counters()["ring_full"] > 0
        assert 1 <= node.forwarder.counters()["stalls"] <= 3, "one wait, then drops until the ring is half empty"
        got = drain(stuck)
        assert got == [b"%d" % n for n in range(len(got))]
        left.write(pci(_HERE, 64, b"again"))
        stuck.set_options(BLOCKING)
        assert stuck.read() == b"again"

    # ---- ports

    def test_remove(self, node: Node) -> None:
        left, port = node.network()
        node.route(_THERE, port)
        app, end = node.bench.flow(node.bench.client(), node.ipcp)
        number = node.forwarder.add_flow(64, end, _THERE, 1)
        assert number != port
        assert end.owner
        packets = [b"%d" % n for n in range(100)]
        for packet in packets:
            app.write(packet)
        node.forwarder.remove(number, drain=600.0)
        left.write(pci(_HERE, 64, b"too late"))
        event = await_event(node.forwarder, "UNBOUND")
        assert (event.key, event.value) == (number, 0)
        assert event.end is end
        assert end.owner is None
        assert [left.read()[15:] for _ in packets] == packets
        node.counted("no_eid")
        again = node.forwarder.add_flow(64, end, _THERE, 1)
        assert again not in (port, number)
        with pytest.raises(KeyError):
            node.forwarder.remove(number)

    def test_the_end_of_a_flow_is_told(self, node: Node) -> None:
        app, end = node.bench.flow(node.bench.client(), node.ipcp)
        port = node.forwarder.add_flow(64, end, _THERE, 1)
        app.mark(State.DOWN)
        assert await_event(node.forwarder, "DOWN").key == port
        app.mark(clear=State.DOWN)
        assert await_event(node.forwarder, "UP").key == port
        app.close()
        assert await_event(node.forwarder, "CLOSED").key == port
        _, lower = node.bench.flow(node.bench.client(), node.ipcp)
        port = node.forwarder.add_network(lower)
        node.bench.broker.leave(node.bench.clients[-1].ref, died=True)
        assert await_event(node.forwarder, "DEAD").key == port

    def test_an_idle_forwarder_sleeps(self, node: Node) -> None:
        left, _ = node.network()
        app = node.flow(64)
        left.write(pci(_HERE, 64, b"x"))
        assert app.read() == b"x"
        assert not select.select([node.forwarder.fileno()], [], [], 0)[0]
        idle(node.forwarder)

    def test_a_stopped_forwarder_gives_everything_up(self, node: Node) -> None:
        inside, outside = node.pair()
        node.forwarder.add_network(inside)
        node.forwarder.stop()
        node.forwarder.stop()
        assert inside.owner is None
        outside.write(b"ours again")
        inside.set_options(BLOCKING)
        assert inside.read() == b"ours again"
        with pytest.raises(PacketsError):
            node.forwarder.add_network(inside)


def drain_if_any(end: FlowEnd) -> None:
    """Also at an end that is down."""
    if end.queued()[0]:
        end.read_many(end.queued()[0])

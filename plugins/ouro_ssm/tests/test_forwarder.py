"""The native forwarder where the contract kit does not look: speed of groups, hand-over of blocks, waiting, hostile
users.
"""

import mmap
import random
import struct
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
from ouro_ssm.movers import NativeForwarder
from ouro_ssm.system import SsmPacketSystem

from ouro_core.builtin.movers import PythonForwarder
from ouro_core.contracts.packets import FlowEnd, Geometry, SizeClass, State
from ouro_core.contracts.programs import Field, ForwardProgram, Group, Mode, Window
from ouro_core.model.errors import FlowDown, PacketsError, WouldBlock
from ouro_core.testing.packets.bench import BLOCKING, NON_BLOCKING, USER, Background, Bench, drain, eventually, fill
from ouro_core.testing.packets.forwarder import Node, pci
from ouro_core.testing.packets.programs import dt
from ouro_core.testing.packets.wire import await_event, idle

HERE, THERE = 1, 2


@pytest.fixture
def node(bench: Bench) -> Iterator[Node]:
    """Without a window: what its flows write goes on at once."""
    node = Node(bench, dt(HERE, window=None))
    yield node
    node.forwarder.stop()


def numbers(end: FlowEnd, count: int) -> list[int]:
    """The payloads of packets, as `write_numbers` made them."""
    got: list[int] = []
    while len(got) < count:
        got += [int(packet[15:]) for packet in end.read_many(32)]
    return got


def write_numbers(end: FlowEnd, count: int, cube: int = 0) -> None:
    for n in range(count):
        end.write(pci(THERE, 1, b"%d" % n, cube=cube))


def test_the_first_mover_of_a_client_is_native(node: Node) -> None:
    assert isinstance(node.forwarder, NativeForwarder)
    second = node.ipcp.forwarder(dt(HERE))
    assert isinstance(second, PythonForwarder)
    second.stop()


@pytest.mark.parametrize(
    "program",
    [
        ForwardProgram(header=65, destination=Field(0, 4), cube=4, ttl=5, ecn=6, eid=Field(7, 8), address=1),
        ForwardProgram(header=15, destination=Field(0, 4), cube=4, ttl=5, ecn=6, eid=Field(7, 8), address=1 << 64),
        ForwardProgram(header=15, destination=Field(0, 4), cube=4, ttl=5, ecn=6, eid=Field(7, 8), address=1, cubes=300),
        dt(HERE, window=Window(limit=0)),
        dt(HERE, window=Window(slot_shift=64)),
        dt(HERE, window=Window(min_packets=9, max_packets=8)),
    ],
)
def test_a_program_that_cannot_be_is_refused(bench: Bench, program: ForwardProgram) -> None:
    client = bench.client()
    with pytest.raises(PacketsError):
        client.forwarder(program)


# ---------------------------------------------------------------- groups at speed


def test_rotation_at_speed(node: Node) -> None:
    left, _ = node.network()
    outs = [node.network() for _ in range(3)]
    node.route(THERE, *(port for _, port in outs), mode=Mode.ROTATE)
    writer = Background(partial(write_numbers, left, 30000))
    readers = [Background(partial(numbers, end, 10000)) for end, _ in outs]
    writer.result()
    for turn, reader in enumerate(readers):
        assert reader.result() == list(range(turn, 30000, 3))


def test_first_up_at_speed_while_ports_go_down_and_up(node: Node) -> None:
    """Every packet goes somewhere, in order, or is counted as lost to a port that was down just then."""
    left, _ = node.network()
    outs = [node.network() for _ in range(2)]
    node.route(THERE, *(port for _, port in outs), mode=Mode.FIRST_UP)
    stop = threading.Event()
    got: dict[int, list[int]] = {0: [], 1: []}

    def read(which: int) -> None:
        end = outs[which][0]
        while not stop.is_set() or end.queued()[0]:
            if end.queued()[0]:
                got[which] += [int(packet[15:]) for packet in end.read_many(64)]
            else:
                time.sleep(0.0002)

    readers = [Background(partial(read, which)) for which in (0, 1)]
    writer = Background(partial(write_numbers, left, 30000))
    while writer.running:
        outs[0][0].mark(State.DOWN)
        time.sleep(0.001)
        outs[0][0].mark(clear=State.DOWN)
        time.sleep(0.001)
    writer.result()
    eventually(lambda: sum(node.forwarder.counters()[name] for name in ("forwarded", "down")) == 30000)
    stop.set()
    for reader in readers:
        reader.result()
    assert len(got[0]) + len(got[1]) == node.forwarder.counters()["forwarded"]
    assert not set(got[0]) & set(got[1])
    assert got[0] == sorted(got[0])
    assert got[1] == sorted(got[1])
    assert got[0]
    assert got[1]


def test_higher_cubes_go_first(node: Node) -> None:
    inputs = {cube: node.network(cube)[0] for cube in (0, 1, 2)}
    right, port = node.network()
    for cube in inputs:
        node.route(THERE, port, cube=cube)
    before = fill(inputs[1], pci(THERE, 1, cube=1))
    eventually(lambda: right.queued()[0] == 1024)
    idle(node.forwarder)
    before += fill(inputs[1], pci(THERE, 1, cube=1))
    for cube in (0, 2):
        inputs[cube].set_options(BLOCKING)
        for _ in range(100):
            inputs[cube].write(pci(THERE, 1, cube=cube))
    order: list[int] = []
    while len(order) < before + 200:
        order += [packet[4] for packet in right.read_many(32)]
    assert order.count(1) == before
    assert order.index(2) < order.index(0)
    assert order[order.index(2) : order.index(2) + 32] == [2] * 32, "a whole batch of the highest comes first"
    for name in ("ring_full", "no_block"):
        assert node.forwarder.counters()[name] == 0


# ---------------------------------------------------------------- blocks


def used(bench: Bench) -> int:
    return sum(bench.used().values())


def test_a_block_moves_and_is_not_copied(node: Node) -> None:
    left, _ = node.network()
    right, port = node.network()
    node.route(THERE, port)
    app = node.flow(64, destination=THERE)
    for n in range(50):
        left.write(pci(THERE, 1, bytes([n]) * 1000))
        app.write(bytes([n]) * 1000)
    node.counted("forwarded", 50)
    node.counted("originated", 50)
    assert used(node.bench) == 100
    assert {packet[15] for packet in drain(right)} == set(range(50))
    assert used(node.bench) == 0


def test_between_domains_a_packet_is_copied_once_and_its_first_block_is_free(node: Node) -> None:
    left, port = node.network()
    node.route(THERE, port)
    app = node.flow(64, destination=THERE, user=True)
    for n in range(50):
        app.write(bytes([n]) * 1000)
        left.write(pci(HERE, 64, bytes([n]) * 1000))
    node.counted("originated", 50)
    node.counted("local", 50)
    assert node.bench.used() == {"pool.0.2048.used": 50, f"pool.{USER}.2048.used": 50}
    assert [left.read()[15:] for _ in range(50)] == [bytes([n]) * 1000 for n in range(50)]
    assert [app.read() for _ in range(50)] == [bytes([n]) * 1000 for n in range(50)]
    assert used(node.bench) == 0


def test_two_users_talk_through_two_nodes(bench: Bench, node: Node) -> None:
    other = Node(bench, dt(THERE, window=None))
    here, there = bench.flow(node.ipcp, other.ipcp)
    node.route(THERE, node.forwarder.add_network(here))
    other.route(HERE, other.forwarder.add_network(there))
    a = node.flow(70, destination=THERE, remote=80, user=True)
    b = other.flow(80, destination=HERE, remote=70, user=True)
    sizes = [random.Random(1).randrange(1, 1900) for _ in range(20000)]
    packets = [bytes([size & 255]) * size for size in sizes]

    def write(end: FlowEnd) -> None:
        for packet in packets:
            end.write(packet)

    def read(end: FlowEnd) -> int:
        """Raw flows lose packets at a reader that is too slow; what arrives is whole."""
        count = 0
        try:
            while True:
                packet = end.read()
                assert packet == packet[:1] * len(packet)
                count += 1
        except FlowDown:
            return count

    def all_arrived() -> bool:
        counted = [mover.counters() for mover in (node.forwarder, other.forwarder)]
        return sum(c["local"] + c["ring_full"] + c["no_block"] for c in counted) == 2 * len(packets)

    readers = [Background(partial(read, end)) for end in (a, b)]
    for writer in [Background(partial(write, end)) for end in (a, b)]:
        writer.result()
    eventually(all_arrived, "every packet was delivered or counted")
    delivered = sum(mover.counters()["local"] for mover in (node.forwarder, other.forwarder))
    for end in (a, b):
        end.mark(State.DOWN)
    assert sum(reader.result() for reader in readers) == delivered
    other.forwarder.stop()


def test_no_block_for_a_copy_towards_a_lower_flow_waits_and_loses_nothing() -> None:
    small = Bench(SsmPacketSystem, Geometry((SizeClass(512, 64),)))
    node = Node(small, dt(HERE, window=None))
    right, port = node.network()
    node.route(THERE, port)
    app = node.flow(64, destination=THERE, user=True)
    writer = Background(lambda: [app.write(b"%d" % n) for n in range(500)])
    eventually(lambda: right.queued()[0] >= 60, "all blocks are in the outgoing ring")
    assert numbers(right, 500) == list(range(500))
    writer.result()
    assert node.forwarder.counters()["no_block"] == 0
    node.forwarder.stop()
    small.close()


def test_a_packet_without_head_room_is_copied(bench: Bench) -> None:
    tight = Bench(SsmPacketSystem, Geometry((SizeClass(2048, 64),), head_room=0))
    node = Node(tight, dt(HERE, window=None))
    right, port = node.network()
    node.route(THERE, port)
    app = node.flow(64, destination=THERE)
    app.write(b"no room in front")
    assert right.read() == pci(THERE, 99, b"no room in front")
    app.write(bytes(2040))  # and with the header it is too long for every block
    node.counted("no_block")
    node.forwarder.stop()
    tight.close()


# ---------------------------------------------------------------- waiting


def held_back(node: Node) -> tuple[FlowEnd, FlowEnd, int, int]:
    """An input whose packets wait for a full ring: both far ends, the port, and how many packets wait or went."""
    left, _ = node.network()
    right, port = node.network()
    node.route(THERE, port)
    sent = fill(left, pci(THERE, 1, b"0"))
    eventually(lambda: right.queued()[0] == 1024)
    sent += fill(left, pci(THERE, 1, b"0"))
    return left, right, port, sent


def test_a_forwarder_that_is_held_back_sleeps_until_it_is_told(node: Node) -> None:
    _, right, _, sent = held_back(node)
    idle(node.forwarder)
    assert len(numbers(right, sent)) == sent


def test_another_route_lets_waiting_packets_go_on(node: Node) -> None:
    _, right, _, sent = held_back(node)
    third, other = node.network()
    idle(node.forwarder)
    node.route(THERE, other)
    assert len(numbers(third, sent - 1024)) == sent - 1024
    assert right.queued()[0] == 1024


@pytest.mark.parametrize("parked_first", [0, 1])
@pytest.mark.parametrize("read_first", [0, 1])
def test_two_ports_that_wait_for_each_other_both_go_on(node: Node, parked_first: int, read_first: int) -> None:
    """In whatever order they came to wait, and whichever hears of space first."""
    ends, ports = zip(*(node.network() for _ in range(2)), strict=True)
    node.forwarder.set_routes(0, {10 + n: Group((port,)) for n, port in enumerate(ports)})
    sent = [0, 0]
    for to in (1 - parked_first, parked_first):  # fill the rings out of the node
        for _ in range(1024):
            ends[1 - to].write(pci(10 + to, 1))
            sent[to] += 1
        eventually(lambda to=to: ends[to].queued()[0] == 1024)  # type: ignore[misc]
    for source in (parked_first, 1 - parked_first):  # and those into it
        ends[source].write(pci(11 - source, 1))
        sent[1 - source] += 1
        idle(node.forwarder)
    for to in (read_first, 1 - read_first):
        got = 0
        while got < sent[to]:
            got += len(ends[to].read_many(100))
        assert got == sent[to]


@pytest.mark.parametrize("how", ["remove", "down", "close"])
def test_packets_that_wait_for_a_port_that_goes_are_counted(node: Node, how: str) -> None:
    _, right, port, sent = held_back(node)
    idle(node.forwarder)
    if how == "remove":
        node.forwarder.remove(port)
        node.counted("no_route", sent - 1024)
    elif how == "down":
        right.mark(State.DOWN)
        node.counted("down", sent - 1024)
    else:
        right.close()
        assert await_event(node.forwarder, "CLOSED").key == port
        node.counted("down", sent - 1024)


def test_an_input_that_waits_can_be_removed(node: Node) -> None:
    _, right, _, sent = held_back(node)
    port = 1  # the first one
    node.forwarder.remove(port, drain=0.05)
    event = await_event(node.forwarder, "UNBOUND")
    assert (event.key, event.value) == (port, sent - 1024)
    assert len(numbers(right, 1024)) == 1024


def test_closing_an_end_whose_packets_wait(node: Node) -> None:
    inside, outside = node.ipcp.pair()
    number = node.forwarder.add_network(inside)
    right, port = node.network()
    node.route(THERE, port)
    fill(outside, pci(THERE, 1))
    eventually(lambda: right.queued()[0] == 1024)
    fill(outside, pci(THERE, 1))
    inside.close()
    assert await_event(node.forwarder, "UNBOUND").key == number
    assert outside.state & State.CLOSED


def test_an_end_that_its_client_closes_is_given_up_at_once(node: Node) -> None:
    left, _ = node.network()
    right, port = node.network()
    inside, _ = node.ipcp.pair()
    gone = node.forwarder.add_network(inside)
    node.forwarder.set_routes(0, {THERE: Group((gone, port))})
    inside.close()
    assert await_event(node.forwarder, "UNBOUND").key == gone
    left.write(pci(THERE, 1))
    assert right.read() == pci(THERE, 1, ttl=59)


@pytest.mark.parametrize("burst", [1, 31, 32, 33, 64])
def test_no_wake_up_is_lost_where_a_turn_ends(node: Node, burst: int) -> None:
    left, _ = node.network()
    right, port = node.network()
    node.route(THERE, port)
    rng = random.Random(burst)
    for n in range(4000 // burst):
        left.write_many([pci(THERE, 1, b"%d" % n)] * burst)
        assert numbers(right, burst) == [n] * burst
        if n % 7 == 0:
            time.sleep(rng.uniform(0, 0.0004))


def test_hundreds_of_flows_come_and_go_beside_traffic(node: Node) -> None:
    left, _ = node.network()
    right, port = node.network()
    node.route(THERE, port)
    stop = threading.Event()

    def traffic() -> int:
        n = 0
        while not stop.is_set():
            left.write(pci(THERE, 1, b"%d" % n))
            assert numbers(right, 1) == [n]
            n += 1
        return n

    running = Background(traffic)
    owner = node.bench.client()
    other, _ = node.network()
    for _ in range(3):
        flows, ports = {}, []
        for eid in range(100, 400):
            flows[eid], end = node.bench.flow(owner, node.ipcp)
            ports.append(node.forwarder.add_flow(eid, end, THERE, 1))
            if eid % 50 == 0:
                node.forwarder.set_routes(0, {THERE: Group((port,)), **{n: Group((port,)) for n in range(10, eid)}})
        for eid, app in flows.items():
            other.write(pci(HERE, eid, b"%d" % eid))
            assert app.read() == b"%d" % eid
        for number in ports:
            node.forwarder.remove(number)
        gone: set[int] = set()
        while len(gone) < len(flows):
            gone |= {event.key for event in node.forwarder.events() if event.kind == "UNBOUND"}
            time.sleep(0.001)
    stop.set()
    assert running.result() > 0


# ---------------------------------------------------------------- congestion


def test_feedback_slows_its_flow_down_and_no_other(bench: Bench) -> None:
    node = Node(bench, dt(HERE, window=Window(slot_shift=27, limit=20000, increment=1000)))
    right, port = node.network()
    node.route(THERE, port)
    slow, quick = node.flow(64, destination=THERE, remote=1), node.flow(65, destination=THERE, remote=2)
    node.forwarder.feedback(64, 0xFFFF)
    for n in range(40):
        slow.write(bytes([n]) * 1000)
    got = [right.read() for _ in range(5)]
    quick.write(b"passes")
    while (packet := right.read())[7] != 2:
        got.append(packet)
    got += [right.read() for _ in range(40 - len(got))]
    assert [packet[15] for packet in got] == list(range(40)), "late, but all of them, and in order"
    node.forwarder.feedback(66, 1)  # of a flow that is gone
    node.forwarder.stop()


# ---------------------------------------------------------------- users

HEADER, SLOTS = 128, 640


def test_a_user_who_scribbles_over_his_ring_and_packets_hurts_nobody_else(node: Node) -> None:
    right, port = node.network()
    node.route(THERE, port)
    good = node.flow(64, destination=THERE, remote=1)
    user = node.bench.client(user=True)
    flow = node.bench.create(user, node.ipcp)
    grant = flow.grant(1)  # the forwarder's, for it names all memory
    ring, pool = (mmap.mmap(fd, 0) for fd in grant.fds[:2])
    app = user.attach(*node.bench.sent(flow.grant(0)), NON_BLOCKING)
    end = node.ipcp.attach(*node.bench.sent(grant), BLOCKING)
    node.forwarder.add_flow(65, end, THERE, 2)
    stop = threading.Event()

    def scribble() -> None:
        rng = random.Random(1)
        while not stop.is_set():
            for _ in range(50):
                block = rng.choice((rng.getrandbits(32), (rng.randrange(1, 4) << 24) | rng.randrange(200)))
                at = HEADER + SLOTS + rng.randrange(1024) * 16
                struct.pack_into("<3I", ring, at, block, rng.randrange(3000), rng.randrange(3000))
                at = len(pool) - 64 - rng.randrange(1 << 20)
                pool[at : at + 8] = rng.randbytes(8)

    def write() -> None:
        while not stop.is_set():
            try:
                app.write(bytes(1000))
            except WouldBlock:
                time.sleep(0.0001)

    threads = [Background(scribble), Background(write)]
    writer = Background(lambda: [good.write(b"%d" % n) for n in range(5000)])
    got: list[bytes] = []
    while len(got) < 5000:
        packet = right.read()
        assert packet[:7] == pci(THERE, 0)[:4] + bytes((0, 60, packet[6])), "the header is the layer's"
        assert packet[7] in (1, 2)
        if packet[7] == 1:
            got.append(packet[15:])
    assert got == [b"%d" % n for n in range(5000)]
    writer.result()
    stop.set()
    right.set_options(NON_BLOCKING)
    eventually(lambda: not any(thread.running for thread in threads))
    drain(right)
    for thread in threads:
        thread.result()
    assert end.counters()["rejected"] > 0
    ring.close()
    pool.close()

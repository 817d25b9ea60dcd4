"""Congestion avoidance: mb-ecn by its known answers (unicast.md 17.6, 17.7), and senders written in Python."""

import threading
import time
from collections.abc import Iterator

import pytest
from ouro_unicast.congestion import MbEcn, NoCongestionAvoidance, PacedEnd, reports_only
from ouro_unicast.contracts import CongestionSender
from ouro_unicast.testing.congestion import Bottleneck

from ouro_core.builtin.movers.window import Receiver, Sender
from ouro_core.contracts.packets import Options
from ouro_core.contracts.programs import Window
from ouro_core.model.errors import BadDescriptor, FlowTimeout, PacketsError
from ouro_core.plugins import PluginHost
from ouro_core.testing.packets.bench import BLOCKING, Bench, eventually
from ouro_core.testing.packets.forwarder import Node
from ouro_core.testing.packets.programs import dt

CREATED = 1_000_000_000

# by the step in ns, then by the packet: wait, bytes, packets, limit, shift, increment, slot, ece, since report, ever
TRACES = {
    100_000: {
        65: (32960, 66000, 66, 65536, 24, 65536, 59, 0, 66, False),
        66: (0, 0, 0, 65536, 23, 32768, 120, 0, 67, False),
        132: (1721568, 66000, 66, 65536, 23, 32768, 120, 0, 133, False),
        150: (0, 0, 0, 65536, 22, 16384, 242, 0, 151, False),
        192: (0, 0, 0, 65536, 22, 16384, 243, 0, 193, False),
        401: (0, 0, 0, 57536, 22, 16384, 248, 1000, 1, True),
        443: (0, 0, 0, 58384, 22, 16384, 249, 0, 43, True),
        485: (0, 0, 0, 58384, 22, 16384, 250, 0, 85, True),
    },
    20_000: {
        65: (5312960, 66000, 66, 65536, 24, 65536, 59, 0, 66, False),
        331: (0, 0, 0, 16384, 21, 8192, 480, 0, 332, False),
        348: (1750112, 17000, 17, 16384, 21, 8192, 480, 0, 349, False),
        436: (0, 0, 0, 16384, 20, 4096, 962, 0, 437, False),
        453: (698688, 17000, 17, 16384, 20, 4096, 962, 0, 454, False),
        488: (0, 0, 0, 32768, 20, 4096, 963, 0, 489, False),
        521: (387264, 33000, 33, 32768, 20, 4096, 963, 0, 522, False),
        541: (0, 0, 0, 65536, 20, 4096, 964, 0, 542, False),
    },
    5_000_000: {
        1: (0, 0, 0, 262144, 26, 262144, 15, 0, 2, False),
        14: (0, 0, 0, 262144, 26, 262144, 16, 0, 15, False),
    },
    40_000_000: {
        0: (0, 0, 0, 524288, 27, 524288, 7, 0, 1, False),
        1: (0, 0, 0, 4194304, 30, 4194304, 1, 0, 2, False),
    },
}


def window() -> Window:
    assert MbEcn.window is not None
    return MbEcn.window


@pytest.mark.parametrize("step", TRACES)
def test_the_sender_of_mb_ecn(step: int) -> None:
    """1000 bytes every `step` ns; in the first trace an UPDATE with ece 1000 after packet 400."""
    sender = Sender(window(), CREATED)
    for i in range(max(TRACES[step]) + 1):
        wait = sender.packet(1000, CREATED + (i + 1) * step)
        if i in TRACES[step]:
            assert (
                wait, sender.bytes, sender.packets, sender.limit, sender.shift, sender.increment, sender.slot,
                sender.ece, sender.since_report, sender.reported,
            ) == TRACES[step][i]  # fmt: skip
        if (step, i) == (100_000, 400):
            sender.feedback(1000)


def test_the_receiver_of_mb_ecn() -> None:
    receiver = Receiver(window())
    reports = [receiver.packet(10 if i < 18 else 0) for i in range(23)]
    assert {i: ece for i, ece in enumerate(reports) if ece is not None} == {0: 10, 2: 30, 10: 99, 21: 0}


def test_the_marks_of_mb_ecn() -> None:
    assert MbEcn.ecn_shift is not None
    assert [queue >> MbEcn.ecn_shift for queue in (0, 341, 682, 1023)] == [0, 21, 42, 63]


def test_none_does_nothing() -> None:
    policy = NoCongestionAvoidance()
    assert (policy.window, policy.ecn_shift, policy.sender(0)) == (None, None, None)


def test_a_window_that_only_reports() -> None:
    sender, receiver = Sender(reports_only(every=2), 0), Receiver(reports_only(every=2))
    assert not any(sender.packet(1400, i * 1000) for i in range(100_000))
    assert [receiver.packet(10) is not None for _ in range(6)] == [True, False, True, False, True, False]


class InBursts(MbEcn):
    """As the prototype sends: a slot at once."""

    window = Window(burst=0)


def test_a_sender_is_not_slowed_down_by_its_own_bursts() -> None:
    """Of packets that it makes much faster than the link takes them."""
    used = []
    for policy in (MbEcn(), InBursts()):
        bottleneck = Bottleneck(policy, rate=300_000_000, size=1400, delay=200_000, speed=10)
        bottleneck.run(0.6)
        used.append(bottleneck.delivered[0] / (300_000_000 * 0.6))
    assert used[0] > 0.3
    assert used[1] < 0.05


def test_without_avoidance_the_queue_fills() -> None:
    """The bottleneck of the kit tells one from the other."""
    longest = []
    for policy in (NoCongestionAvoidance(), MbEcn()):
        bottleneck = Bottleneck(policy, flows=2)
        bottleneck.run(5.0)
        longest.append(bottleneck.longest)
    assert longest[0] > 5 * longest[1]


# ---------------------------------------------------------------- a policy in Python


class Gate(CongestionSender):
    """Lets packets through `wait` ns after each other."""

    def __init__(self, wait: int = 0) -> None:
        self.wait = wait
        self.sizes: list[int] = []
        self.reports: list[int] = []

    def packet(self, size: int, now: int) -> int:
        self.sizes.append(size)
        return self.wait

    def feedback(self, ece: int, now: int) -> None:
        self.reports.append(ece)


@pytest.fixture(params=PluginHost().pool_allocators.values(), ids=lambda system: system.name)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """On every packet system that is installed."""
    bench = Bench(request.param)
    yield bench
    bench.close()


def test_paced_packets_come_in_order_and_are_asked_for_once(bench: Bench) -> None:
    inside, outside = bench.client().pair()
    gate = Gate(1_000_000)
    paced = PacedEnd(inside, gate)
    paced.set_options(BLOCKING)
    sent = [bytes([i]) * (i + 1) for i in range(20)]
    began = time.monotonic()
    assert outside.write_many(sent) == 20
    got: list[bytes] = []
    while len(got) < 20:
        got += paced.read_many(8)
    assert got == sent
    assert gate.sizes == [len(packet) for packet in sent]
    assert time.monotonic() - began >= 0.020
    paced.close()


def test_what_need_not_wait_comes_in_batches(bench: Bench) -> None:
    inside, outside = bench.client().pair()
    paced = PacedEnd(inside, Gate())
    paced.set_options(BLOCKING)
    outside.write_many([b"x"] * 20)
    assert [len(paced.read_many(8)) for _ in range(3)] == [8, 8, 4]
    assert paced.read_many(0) == []
    paced.close()


def test_a_shut_window_times_out_and_loses_nothing(bench: Bench) -> None:
    inside, outside = bench.client().pair()
    gate = Gate(1_000_000_000)
    paced = PacedEnd(inside, gate)
    paced.set_options(Options(read_timeout=0.02))
    outside.write(b"patient")
    with pytest.raises(FlowTimeout):
        paced.read()
    paced.set_options(BLOCKING)
    assert paced.read() == b"patient"
    assert gate.sizes == [7]
    paced.close()


def test_closing_wakes_whoever_waits(bench: Bench) -> None:
    inside, outside = bench.client().pair()
    paced = PacedEnd(inside, Gate(1_000_000_000))
    paced.set_options(BLOCKING)
    outside.write(b"x")
    errors: list[Exception] = []

    def read() -> None:
        try:
            paced.read()
        except Exception as e:
            errors.append(e)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.02)
    paced.close()
    reader.join(20.0)
    assert [type(e) for e in errors] == [BadDescriptor]
    assert inside.owner is None


def test_an_end_that_is_taken_already(bench: Bench) -> None:
    inside, _ = bench.client().pair()
    PacedEnd(inside, Gate())
    with pytest.raises(PacketsError):
        PacedEnd(inside, Gate())


def test_a_flow_with_a_sender_in_python_through_forwarders(bench: Bench) -> None:
    """Application - paced end - relay - pair - forwarder 1 - forwarder 2 - application; the other way as well."""
    one, two = Node(bench, dt(1, window=reports_only())), Node(bench, dt(2, window=reports_only()))
    here, there = bench.flow(one.ipcp, two.ipcp)
    one.route(2, one.forwarder.add_network(here))
    two.route(1, two.forwarder.add_network(there))
    gate = Gate(100_000)
    outer, inner = one.ipcp.pair()
    x, y = one.ipcp.pair()
    paced = PacedEnd(inner, gate)
    relay = one.ipcp.relay(paced, y)
    one.forwarder.add_flow(1000, x, 2, 2000)
    far, far_inner = two.ipcp.pair()
    two.forwarder.add_flow(2000, far_inner, 1, 1000)
    outer.set_options(BLOCKING)
    far.set_options(BLOCKING)
    for i in range(50):
        outer.write(b"%d" % i)
    assert [far.read() for _ in range(50)] == [b"%d" % i for i in range(50)]
    assert len(gate.sizes) == 50
    far.write(b"back")
    assert outer.read() == b"back"
    paced.feedback(77)
    eventually(lambda: gate.reports == [77])
    relay.stop()
    paced.close()
    one.forwarder.stop()
    two.forwarder.stop()

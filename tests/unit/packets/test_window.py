"""Congestion avoidance by the numbers of a `Window`: the traces of unicast.md 17.6 and 17.7."""

import pytest

from ouro_core.builtin.movers.window import Receiver, Sender
from ouro_core.contracts.programs import Window

CREATED = 1_000_000_000

# i: (wait, bytes, packets, limit, shift, increment, slot, ece, since report, ever reported)
TRACES = {
    100_000: {
        65: (32960, 66000, 66, 65536, 24, 65536, 59, 0, 66, 0),
        66: (0, 0, 0, 65536, 23, 32768, 120, 0, 67, 0),
        132: (1721568, 66000, 66, 65536, 23, 32768, 120, 0, 133, 0),
        150: (0, 0, 0, 65536, 22, 16384, 242, 0, 151, 0),
        192: (0, 0, 0, 65536, 22, 16384, 243, 0, 193, 0),
        401: (0, 0, 0, 57536, 22, 16384, 248, 1000, 1, 1),
        443: (0, 0, 0, 58384, 22, 16384, 249, 0, 43, 1),
        485: (0, 0, 0, 58384, 22, 16384, 250, 0, 85, 1),
    },
    20_000: {
        65: (5312960, 66000, 66, 65536, 24, 65536, 59, 0, 66, 0),
        331: (0, 0, 0, 16384, 21, 8192, 480, 0, 332, 0),
        348: (1750112, 17000, 17, 16384, 21, 8192, 480, 0, 349, 0),
        436: (0, 0, 0, 16384, 20, 4096, 962, 0, 437, 0),
        453: (698688, 17000, 17, 16384, 20, 4096, 962, 0, 454, 0),
        488: (0, 0, 0, 32768, 20, 4096, 963, 0, 489, 0),
        521: (387264, 33000, 33, 32768, 20, 4096, 963, 0, 522, 0),
        541: (0, 0, 0, 65536, 20, 4096, 964, 0, 542, 0),
    },
    5_000_000: {
        1: (0, 0, 0, 262144, 26, 262144, 15, 0, 2, 0),
        14: (0, 0, 0, 262144, 26, 262144, 16, 0, 15, 0),
    },
    40_000_000: {
        0: (0, 0, 0, 524288, 27, 524288, 7, 0, 1, 0),
        1: (0, 0, 0, 4194304, 30, 4194304, 1, 0, 2, 0),
    },
}


@pytest.mark.parametrize("step", TRACES)
def test_sender(step: int) -> None:
    """1000 bytes every `step` ns; after packet 400 of the first trace an UPDATE with ece 1000."""
    sender = Sender(Window(), CREATED)
    for i in range(max(TRACES[step]) + 1):
        wait = sender.packet(1000, CREATED + (i + 1) * step)
        if i in TRACES[step]:
            assert (
                wait, sender.bytes, sender.packets, sender.limit, sender.shift, sender.increment, sender.slot,
                sender.ece, sender.since_report, sender.reported,
            ) == TRACES[step][i]  # fmt: skip
        if step == 100_000 and i == 400:
            sender.feedback(1000)


def test_a_slot_does_not_go_out_at_once() -> None:
    """Somebody who always has a packet: at most some together, all that a slot may hold within half of it."""
    window = Window()
    first = now = CREATED >> 24 << 24
    sender = Sender(window, first)
    sent = []
    for _ in range(65):
        wait = sender.packet(1000, now) or sender.pace(now)
        now += wait
        sent.append(now - first)
    together = max(sent.count(at) for at in set(sent))
    assert 1 < together <= window.burst + 1
    assert 0 < sent[-1] <= 1 << 23
    assert sent == sorted(sent)


def test_a_burst_of_none_is_as_the_prototype() -> None:
    sender = Sender(Window(burst=0), CREATED)
    for i in range(65):
        assert sender.packet(1000, CREATED + i) == sender.pace(CREATED + i) == 0


def test_a_wait_is_a_second_at_most() -> None:
    sender = Sender(Window(slot_shift=40, limit=10), 0)
    assert sender.packet(11, 1) == 1_000_000_000


def test_an_absurd_report_does_not_make_the_window_negative() -> None:
    sender = Sender(Window(), 0)
    sender.feedback(0xFFFF)
    for i in range(1, 200):
        sender.packet(1000, i * 1_000_000)
        assert sender.limit >= 0


def test_receiver() -> None:
    receiver = Receiver(Window())
    reports = [receiver.packet(10 if i < 18 else 0) for i in range(23)]
    assert {i: ece for i, ece in enumerate(reports) if ece is not None} == {0: 10, 2: 30, 10: 99, 21: 0}


def test_average() -> None:
    receiver = Receiver(Window())
    averages = []
    for ecn in [10] * 18 + [0] * 5:
        receiver.packet(ecn)
        averages.append(receiver.ece)
    assert averages == [10, 20, 30, 40, 49, 58, 67, 75, 83, 91, 99, 106, 113, 120, 127, 134, 140, 146, 36, 9, 2, 0, 0]

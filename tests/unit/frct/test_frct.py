"""FRCT between two ends: order, losses, windows, silence, the wrap, hostile input; captured exchanges."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.frct.frct import Frct
from ouro_core.frct.rtt import RoundTrip
from ouro_core.wire.frct import PCI_SIZE, Flags, FrctPci

from .lines import Talker, connect

WRAP = 2**32 - 100


def end(reliable: bool = True, start: int = WRAP, mpl: float = 0.1) -> Frct:
    return Frct(reliable, mpl, lambda: start)


def numbered(count: int) -> list[bytes]:
    return [b"%06d" % n for n in range(count)]


def sent(end: Frct, payload: bytes, now: float) -> bytes:
    packet = end.send(payload, now)
    assert packet is not None
    return packet


def flags(packet: bytes) -> int:
    return FrctPci.decode(packet).flags


# ---------------------------------------------------------------- round trips


def test_round_trips() -> None:
    times = RoundTrip()
    assert (times.srtt, times.mdev, times.rto) == (0, 10_000_000, 1_000_000_000)
    times.sample(8_000_000)
    assert (times.srtt, times.mdev, times.rto) == (8_000_000, 4_000_000, 24_000_000)
    times.sample(16_000_000)  # d = 8e6: srtt + 1e6; e = (8e6 - 4e6) / 4
    assert (times.srtt, times.mdev, times.rto) == (9_000_000, 5_000_000, 29_000_000)
    times.sample(9_000_000)  # e = (0 - 5e6) / 4 = -1250000, / 8
    assert (times.srtt, times.mdev, times.rto) == (9_000_000, 4_843_750, 28_375_000)


def test_round_trips_have_a_floor() -> None:
    times = RoundTrip()
    for _ in range(200):
        times.sample(-5)
    assert (times.srtt, times.rto) == (1000, 250_000)


def test_a_first_round_trip_of_a_packet_that_was_sent_again_makes_nobody_wait_longer() -> None:
    """The peer's answer was lost; what acknowledges at last is its own packet, sent again a second later."""
    sender, receiver = end(), end()
    for n in range(20):
        sent(sender, b"%d" % n, 0.0)
    sender.handle_timeout(sender.next_timeout())
    [beginning] = sender.outgoing(1.02)
    receiver.receive(beginning, 1.03)
    sender.receive(receiver.outgoing(1.05)[0], 2.0)
    assert sender.sender.round_trip.samples == 1
    assert sender.sender.round_trip.rto <= 1_000_000_000


# ---------------------------------------------------------------- long transfers


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.1, 0.3])
@pytest.mark.parametrize("delay", [0.0, 0.005, 0.3])
def test_reliable_transfers(loss: float, delay: float) -> None:
    """Nothing lost, doubled or out of order, both ways, across the wrap, with every fault that a path has."""
    there, back = numbered(3000), numbered(500)
    a, b = Talker(end(), there), Talker(end(start=7), back)
    network = connect(
        a, b, 1, loss=loss, delay=delay, late=max(delay, 0.001), duplication=loss / 3, reordering=loss / 3
    )
    assert network.run_until(3600, lambda: a.done and b.done), (a.frct.counters(), len(a.got), len(b.got))
    assert b.got == there
    assert a.got == back
    assert max(a.deepest, b.deepest) <= 256


def test_a_lossless_transfer_repeats_nothing() -> None:
    a, b = Talker(end(), numbered(5000)), Talker(end())
    network = connect(a, b, 1, delay=0.001)
    assert network.run_until(60, lambda: a.done)
    assert a.frct.counters()["retransmitted"] == 0
    assert b.frct.counters()["duplicates"] == 0
    assert network.statistics.sent < 5000 * 1.05, "an answer for 32 packets, not for each"


def test_a_few_losses_cost_a_few_repetitions() -> None:
    a, b = Talker(end(), numbered(20000)), Talker(end())
    network = connect(a, b, 3, delay=0.005, loss=0.01)
    assert network.run_until(600, lambda: a.done)
    assert b.got == numbered(20000)
    assert a.frct.counters()["retransmitted"] < 20000 * 0.05
    assert network.now < 60


def test_a_slow_reader_holds_the_sender_back() -> None:
    a, b = Talker(end(), numbered(3000)), Talker(end(), pace=1.0)
    network = connect(a, b, 1, delay=0.01)
    assert network.run_until(600, lambda: len(b.got) == 3000)
    assert b.got == numbered(3000)
    assert b.deepest <= 256
    assert a.frct.counters()["retransmitted"] == 0, "what is in order was acknowledged, read or not"


@pytest.mark.parametrize("pace", [0.0, 0.5])
def test_one_way_unreliable_flows_do_not_stall(pace: float) -> None:
    a, b = Talker(end(False), numbered(5000)), Talker(end(False), pace=pace)
    network = connect(a, b, 1, delay=0.001)
    assert network.run_until(600, lambda: len(b.got) == 5000)
    assert b.got == numbered(5000), "and without losses nothing is missing"


def test_unreliable_flows_are_in_order_and_go_on_after_losses() -> None:
    a, b = Talker(end(False), numbered(5000)), Talker(end(False))
    network = connect(a, b, 1, delay=0.001, loss=0.3, duplication=0.1, reordering=0.1, late=0.01)
    assert network.run_until(600, lambda: a.done)
    network.run_until(network.now + 5)
    assert b.got == sorted(set(b.got))
    assert len(b.got) > 2500
    assert b.frct.counters()["gaps"] > 500


def test_an_unreliable_flow_whose_beginning_was_lost() -> None:
    sender, receiver = end(False), end(False)
    for payload in numbered(64):
        assert sender.room(0.0)
        sent(sender, payload, 0.0)
    now = 0.0
    assert not sender.room(now)
    while not sender.room(now):
        for packet in sender.outgoing(now):
            assert flags(packet) == Flags.RDVS
            receiver.receive(packet, now)
            assert receiver.outgoing(now) == [], "there is no window before there is a run"
        now += 0.05
        assert now < 3
    receiver.receive(sent(sender, b"again", now), now)
    assert receiver.take() == b"again"
    for packet in receiver.outgoing(now + 0.011):
        sender.receive(packet, now)
    assert sender.room(now) == 256


def test_only_what_is_missing_is_sent_again() -> None:
    """Three holes in a window: each is found by the acknowledgement that ends there, in one round trip."""
    a, b = end(start=5), end()
    packets = a.send_many(numbered(64), 0.0)
    now, again = 0.010, []
    for n, packet in enumerate(packets):
        if n not in (3, 20, 40):
            b.receive(packet, now)
            a.receive_many(b.outgoing(now), now)
    for _ in range(6):
        found = a.outgoing(now)
        again += [FrctPci.decode(p).seqno - 5 for p in found]
        now += 0.010
        b.receive_many(found, now)
        a.receive_many(b.outgoing(now), now)
    assert again == [3, 20, 40]
    assert a.unacknowledged == 0
    assert b.take_many(99) == numbered(64)
    assert b.counters()["duplicates"] == 0


def test_a_window_that_was_lost_comes_again_in_few_round_trips() -> None:
    a, b = end(start=5), end()
    a.send_many(numbered(64), 0.0)  # all lost
    now, bursts = a.next_timeout(), []
    a.handle_timeout(now)
    while a.unacknowledged:
        found = a.outgoing(now)
        bursts.append(len(found))
        b.receive_many(found, now + 0.001)
        now += 0.012
        a.receive_many(b.outgoing(now), now)
    assert bursts == [1, 2, 4, 8, 16, 32, 1]
    assert b.take_many(99) == numbered(64)


# ---------------------------------------------------------------- silence


def test_rendezvous_when_the_window_stays_shut() -> None:
    sender, receiver = end(), end()
    while sender.room(0.0):
        receiver.receive(sent(sender, b"x", 0.0), 0.0)
    sender.receive(receiver.outgoing(0.0)[0], 0.0)
    while sender.room(0.0):
        receiver.receive(sent(sender, b"x", 0.0), 0.0)
    sender.receive(receiver.outgoing(0.0)[0], 0.0)
    assert (receiver.ready, sender.room(0.0), sender.unacknowledged) == (256, 0, 0)
    assert sender.next_timeout() == pytest.approx(0.1)
    assert sender.outgoing(0.05) == []
    (ask,) = sender.outgoing(0.1)
    assert ask.hex() == "100000000000000000000000"
    receiver.take_many(256)
    receiver.outgoing(0.1)  # lost
    receiver.receive(ask, 0.2)
    sender.receive(receiver.outgoing(0.2)[0], 0.2)
    assert sender.room(0.2) == 256
    sender.outgoing(0.3)
    assert sender.next_timeout() == float("inf")


def test_nobody_asks_for_a_writer_who_went_away() -> None:
    sender = end()
    while sender.room(0.0):
        sent(sender, b"x", 0.0)
    asked = [n for n in range(100) for packet in sender.outgoing(n / 10 + 0.05) if flags(packet) == Flags.RDVS]
    assert asked == list(range(1, 10))


def test_a_peer_that_says_nothing_for_ever() -> None:
    sender = end()
    sent(sender, b"x", 0.0)
    now, count = 0.0, 0
    while not sender.expired:
        now = sender.next_timeout()
        sender.handle_timeout(now)
        count += len(sender.outgoing(now))
        assert now < 130
    assert now > 120
    assert 100 < count < 140, "the waits grow up to a second"
    assert sender.next_timeout() == float("inf")


def test_a_new_run_after_a_long_silence() -> None:
    starts = iter([WRAP, 5])
    sender, receiver = Frct(True, 0.1, lambda: next(starts)), end()
    receiver.receive(sent(sender, b"one", 0.0), 0.0)
    sender.receive(receiver.outgoing(0.02)[0], 0.02)
    again = sent(sender, b"two", 200.0)
    assert FrctPci.decode(again) == FrctPci(Flags.DATA | Flags.DRF, 0, 5)
    receiver.receive(again, 200.0)
    assert receiver.take_many(9) == [b"one", b"two"]


@pytest.mark.parametrize("pause", [130.0, 130.1, 130.3, 131.0, 132.0, 132.2, 132.4, 133.0])
def test_silence_around_the_end_of_a_run(pause: float) -> None:
    """Whichever end believes that the run is over first, and however long the packets take, both go on."""
    for before, after in ((0.0, 0.1), (0.1, 0.0)):
        starts = iter([WRAP, 5])
        sender, receiver = Frct(True, 0.1, lambda: next(starts)), end()  # noqa: B023
        receiver.receive(sent(sender, b"one", 0.0), before)
        sender.receive(receiver.outgoing(0.15)[0], 0.15)
        receiver.receive(sent(sender, b"two", pause), pause + after)
        assert receiver.take_many(9) == [b"one", b"two"]


@pytest.mark.parametrize("jump", [0.5, 20.0, 100.0])
@pytest.mark.parametrize("who", ["sender", "receiver"])
def test_a_clock_that_jumps_on(who: str, jump: float) -> None:
    """As after a host slept: nothing is lost, and nothing sent twice without need."""
    a, b = end(), end()
    ahead = {"sender": 0.0, "receiver": 0.0}
    now, got, payloads = 0.0, [], numbered(2000)
    while len(got) < 2000:
        if 1.0 < now < 1.001:
            ahead[who] += jump
        now += 0.001
        here, there = now + ahead["sender"], now + ahead["receiver"]
        packets = a.send_many(payloads[:2], here) if payloads else []
        payloads = payloads[len(packets) :]
        a.handle_timeout(here)
        b.receive_many(packets + a.outgoing(here), there)
        got += b.take_many(99)
        a.receive_many(b.outgoing(there), here)
        assert now < 10
    assert got == numbered(2000)
    assert not a.expired


def test_a_clock_that_jumps_beyond_the_end_of_a_run() -> None:
    """What was in flight may be lost, so the flow is down: no new run begins as if nothing had been."""
    a = end()
    sent(a, b"x", 0.0)
    assert (a.send(b"y", 500.0), a.expired) == (None, True)
    assert a.room(500.0) == 0
    b = end(reliable=False)
    sent(b, b"x", 0.0)
    sent(b, b"y", 500.0)
    assert not b.expired


@given(st.lists(st.one_of(st.floats(-200, 200), st.sampled_from(["write", "read", "tick"])), max_size=80))
def test_clocks_that_jump_anywhere(steps: list[float | str]) -> None:
    """No error, no bound exceeded; with a clock that goes on again all arrives or the flow is down. In order and once,
    unless it goes back, which a monotonic clock does not: then times mean nothing.
    """
    a, b = end(), end()
    now, latest, wrote, got = 0.0, 0.0, 0, []
    for step in [*steps, *["write", "read", "tick"] * 3]:
        if isinstance(step, float):
            now += step
            latest = max(now, latest)
        elif step == "write":
            packet = a.send(b"%d" % wrote, now)
            wrote += packet is not None
            b.receive_many([packet] if packet else [], now)
        elif step == "read":
            got += b.take_many(9)
        a.handle_timeout(now)
        b.receive_many(a.outgoing(now), now)
        a.receive_many(b.outgoing(now), now)
        assert max(a.unacknowledged, b.ready) <= 256
    for seconds in range(400):
        now = latest + seconds
        a.handle_timeout(now)
        b.receive_many(a.outgoing(now), now)
        got += b.take_many(99)
        a.receive_many(b.outgoing(now), now)
    assert a.expired or a.unacknowledged == 0
    numbers = [int(payload) for payload in got]
    if all(isinstance(step, str) or step >= 0 for step in steps):
        assert numbers == sorted(set(numbers))


# ---------------------------------------------------------------- what a peer may say


def test_no_window_and_no_acknowledgement_before_a_run() -> None:
    """The prototype answers anything with a window of zero, and believes it (flows.md 7.6 b)."""
    a = end()
    for packet in (FrctPci(Flags.ACK | Flags.FC), FrctPci(Flags.RDVS), FrctPci(Flags.DATA, 9, 9, 9)):
        a.receive(packet.encode(), 0.0)
        assert a.outgoing(0.0) == []
    assert not a.ready
    assert a.room(0.0) == 64
    assert FrctPci.decode(sent(a, b"x", 0.0)) == FrctPci(Flags.DATA | Flags.DRF, 0, WRAP)


def test_a_window_of_zero_does_not_shut_us_out() -> None:
    a = end(start=0x01000005)
    sent(a, b"x", 0.0)
    a.receive(FrctPci(Flags.ACK | Flags.FC, 0, 0, 0).encode(), 0.1)
    assert a.room(0.1) == 63
    assert a.unacknowledged == 1


def test_what_there_is_to_say_goes_with_the_beginning_of_a_run() -> None:
    """A prototype that has not seen it takes a control packet for it, and then never ours (flows.md 7.6 b)."""
    a, b = end(), end(start=70)
    b.receive(sent(a, b"x", 0.0), 0.0)
    lost = sent(b, b"reply", 0.0)
    b.receive_many(a.send_many(numbered(60), 0.001), 0.001)
    assert b.outgoing(0.002) == [], "32 packets are to be acknowledged, but the beginning is on its way"
    assert b.next_timeout() == pytest.approx(0.010)
    (again,) = b.outgoing(0.010)
    header = FrctPci.decode(again)
    assert header == FrctPci(Flags.DATA | Flags.DRF | Flags.ACK | Flags.FC, header.window, 70, (WRAP + 61) % 2**32)
    assert again[PCI_SIZE:] == lost[PCI_SIZE:] == b"reply"
    a.receive(again, 0.011)
    assert (a.take(), a.unacknowledged) == (b"reply", 0)
    b.receive(sent(a, b"y", 0.012), 0.012)
    (control,) = b.outgoing(0.023)
    assert flags(control) == Flags.ACK | Flags.FC, "it arrived"


@pytest.mark.parametrize("ackno", [WRAP - 1, WRAP + 3, WRAP + 2**31, 0])
def test_acknowledgements_of_what_was_never_sent(ackno: int) -> None:
    a = end()
    sent(a, b"x", 0.0)
    sent(a, b"y", 0.0)
    a.receive(FrctPci(Flags.ACK, ackno=ackno).encode(), 0.1)
    assert a.unacknowledged == 2
    assert a.counters()["strange"] == 1
    a.receive(FrctPci(Flags.ACK, ackno=WRAP + 2).encode(), 0.1)
    assert a.unacknowledged == 0


def test_a_window_never_moves_back() -> None:
    a = end(start=100)
    sent(a, b"x", 0.0)
    for edge, room in ((357, 256), (150, 256), (101, 256), (99, 256), (358, 257)):
        a.receive(FrctPci(Flags.FC | Flags.ACK, edge, 0, 101).encode(), 0.1)
        assert a.room(0.1) == min(room, 256)


def test_what_was_taken_back_uses_no_number() -> None:
    for reliable in (True, False):
        a, b = end(reliable), end(reliable)
        sent(a, b"lost", 0.0)
        a.take_back(1)
        assert (a.unacknowledged, a.next_timeout()) == (0, float("inf"))
        b.receive(sent(a, b"one", 0.0), 0.0)
        sent(a, b"lost", 0.0)
        sent(a, b"lost", 0.0)
        a.take_back(2)
        b.receive(sent(a, b"two", 0.0), 0.0)
        assert b.take_many(9) == [b"one", b"two"]
        assert b.counters()["gaps"] == 0


def test_batches_are_what_single_packets_are() -> None:
    """The same bytes, across the wrap; as many as there is room for."""
    for reliable in (True, False):
        a, b = end(reliable), end(reliable)
        batch = a.send_many(numbered(100), 0.0)
        assert batch == [sent(b, payload, 0.0) for payload in numbered(64)]
        assert a.send_many([b"x"], 0.0) == []
        c, d = end(reliable), end(reliable)
        c.receive_many([*batch, b"short"], 0.0)
        for packet in batch:
            d.receive(packet, 0.0)
        assert c.take_many(100) == d.take_many(100) == numbered(64)
        assert c.counters()["malformed"] == 1
        assert c.outgoing(1.0) == d.outgoing(1.0) != []


def test_an_acknowledgement_of_what_is_then_taken_back() -> None:
    """A peer that knows our numbers may acknowledge a packet that waits for room in the ring."""
    a, b = end(start=5), end()
    batch = a.send_many(numbered(3), 0.0)
    a.receive(FrctPci(Flags.ACK, ackno=7).encode(), 0.0)
    a.take_back(3)
    assert (a.unacknowledged, a.sender.lwe, a.sender.seqno) == (0, 7, 7)
    for packet in (*batch[:2], sent(a, b"next", 0.1)):
        b.receive(packet, 0.1)
    assert b.take_many(9) == [*numbered(2), b"next"]


@given(
    st.booleans(),
    st.lists(
        st.one_of(
            st.binary(max_size=16),
            st.builds(
                lambda flags, window, seq, ack: (
                    FrctPci(Flags(flags), window, (WRAP + seq) % 2**32, (WRAP + ack) % 2**32).encode() + b"payload"
                ),
                st.integers(0, 255),
                st.integers(0, 2**24 - 1),
                st.integers(-300, 600),
                st.integers(-300, 600),
            ),
            st.floats(0, 200),
            st.just("write"),
            st.just("read"),
        ),
        max_size=60,
    ),
)
def test_any_packets_in_any_state(reliable: bool, steps: list[bytes | float | str]) -> None:
    """No error, no queue beyond its bound, no answer without end, and time always goes on."""
    a = end(reliable)
    now = 0.0
    for step in steps:
        if isinstance(step, float):
            now += step
            a.handle_timeout(now)
        elif step == "write":
            if a.room(now):
                sent(a, b"x", now)
        elif step == "read":
            a.take()
        else:
            assert isinstance(step, bytes)
            a.receive(step, now)
        assert len(a.outgoing(now)) <= 34
        assert a.outgoing(now) == []
        assert a.next_timeout() > now
        assert max(a.ready, a.unacknowledged) <= 256
        assert 0 <= a.quarantine(now) < 140


# ---------------------------------------------------------------- the end


def test_last_words() -> None:
    a, b = end(start=5), end()
    assert b.last_words(0.0) is None
    assert b.quarantine(0.0) == 0
    b.receive(sent(a, b"x", 0.0), 0.0)
    words = b.last_words(0.001)
    assert words is not None
    assert words.hex() == "040000000000000000000006"
    a.receive(words, 0.0)
    assert a.unacknowledged == 0
    assert b.last_words(0.001) is None
    assert b.quarantine(0.2) == pytest.approx(130.0)
    assert a.quarantine(0.3) == pytest.approx(132.0)


# ---------------------------------------------------------------- captured


CLIENT, SERVER = "client", "server"
RELIABLE = [  # oping -q data over udp4, its beginning and its end, PCIs
    (CLIENT, 0.0, "03000000cce0737200000000"),
    (SERVER, 0.0004, "0fe07473d1023f76cce07373"),
    (CLIENT, 0.0118, "0c02407700000000d1023f77"),
    (CLIENT, 0.1003, "0f024077cce07373d1023f77"),
    (SERVER, 0.1007, "0fe07474d1023f77cce07374"),
    (CLIENT, 0.1142, "0c02407800000000d1023f78"),
    (CLIENT, 0.2005, "0f024078cce07374d1023f78"),
    (SERVER, 0.2008, "0fe07475d1023f78cce07375"),
    (CLIENT, 0.2064, "0400000000000000d1023f79"),
]
BEST_EFFORT = [
    (CLIENT, 0.0, "03000000290a509c00000000"),
    (SERVER, 0.0004, "0b0a519d14e3618800000000"),
    (CLIENT, 0.1004, "0be36289290a509d00000000"),
    (SERVER, 0.1007, "0b0a519e14e3618900000000"),
    (CLIENT, 0.2008, "0be3628a290a509e00000000"),
    (SERVER, 0.2010, "0b0a519f14e3618a00000000"),
]


@pytest.mark.parametrize("side", [CLIENT, SERVER])
@pytest.mark.parametrize(("reliable", "recorded"), [(True, RELIABLE), (False, BEST_EFFORT)], ids=["data", "best"])
def test_a_captured_exchange(side: str, reliable: bool, recorded: list[tuple[str, float, str]]) -> None:
    """As either end we say, byte for byte, what the prototype said."""
    us = end(reliable, start=int(next(hexed for who, _, hexed in recorded if who == side)[8:16], 16))
    for who, now, hexed in recorded:
        packet = bytes.fromhex(hexed)
        kind = packet[0]
        if who != side:
            us.receive(packet + b"payload" * (kind & Flags.DATA), now)
            assert us.take() == (b"payload" if kind & Flags.DATA else None)
            continue
        if kind & Flags.DATA:
            said = sent(us, b"payload", now)[:PCI_SIZE]
        elif kind == Flags.ACK:
            said = us.last_words(now) or b""
        else:
            (said,) = us.outgoing(now)
        assert said.hex() == hexed
        assert us.outgoing(now) == []


def test_random_numbers_are_asked_for_once_a_run() -> None:
    random = Random(1)
    a = Frct(True, 5.0, lambda: random.getrandbits(32))
    first = FrctPci.decode(sent(a, b"x", 0.0)).seqno
    assert FrctPci.decode(sent(a, b"x", 0.0)).seqno == first + 1

"""Carriers with each other, in virtual time, over links that do what links do, and against strangers."""

from collections.abc import Callable, Hashable, Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ouro_core.model.capability import Capability
from ouro_core.model.errors import FlowTimeout, OutOfMemory, TooLong
from ouro_core.oap.carrier import Carrier, Delivered, Event, Probed, Sent, Undelivered, too_long
from ouro_core.oap.limits import Limits
from ouro_core.testing.links import Faulty, Link
from ouro_core.testing.network import Network
from ouro_core.wire.extension import Answer, Fragment, Probe, State, Status, decode_extension, fragments_of

BOTH = Capability.FRAGMENTS | Capability.PQ
DEFAULT = Limits()
ROOM = 1457
SEEDS = range(8)


class Member:
    """A management component, reduced to its carrier."""

    def __init__(self, seed: int, capabilities: Capability = BOTH, limits: Limits = DEFAULT) -> None:
        self.carrier: Carrier[Hashable] = Carrier(Random(seed), capabilities, limits)
        self.happened: list[Event[Hashable]] = []
        self.longest = 0

    def receive(self, data: bytes, now: float, source: Hashable) -> None:
        self.carrier.receive(source, data, now)

    def next_timeout(self) -> float | None:
        return self.carrier.next_timeout()

    def handle_timeout(self, now: float) -> None:
        self.carrier.handle_timeout(now)

    def datagrams_to_send(self, now: float) -> Iterable[tuple[Hashable, bytes]]:
        self.happened += self.carrier.events()
        output = self.carrier.output()
        self.longest = max([self.longest, *(len(body) for _, body in output)])
        return output

    def delivered(self) -> list[bytes]:
        return [event.message for event in self.happened if isinstance(event, Delivered)]


class Prototype:
    """A node that ignores codes it does not know."""

    def receive(self, data: bytes, now: float, source: Hashable) -> None: ...
    def next_timeout(self) -> float | None:
        return None

    def handle_timeout(self, now: float) -> None: ...
    def datagrams_to_send(self, now: float) -> Iterable[tuple[Hashable, bytes]]:
        return ()


def network(
    link: Callable[[int], Link] = lambda seed: Link(), seed: int = 0, **limits: int
) -> tuple[Network, Member, Member]:
    a, b = Member(seed), Member(seed + 1000, limits=Limits(**limits))
    net = Network()
    net.link("a", "b", link(2 * seed))
    net.link("b", "a", link(2 * seed + 1))
    net.add("a", a)
    net.add("b", b)
    return net, a, b


def send(net: Network, member: Member, message: bytes, room: int = ROOM, peer: str = "b") -> int:
    id = member.carrier.send(peer, message, room, net.now)
    net.wake("a")
    return id


# ---------------------------------------------------------------- the probe


def test_a_probe_finds_out_what_an_ouro_node_can_do() -> None:
    net, a, b = network()
    assert a.carrier.known("b", net.now) is None
    a.carrier.probe("b", net.now)
    a.carrier.probe("b", net.now)
    net.wake("a")
    net.run_until(0.05)
    assert a.happened == [Probed("b", BOTH)]
    assert a.carrier.known("b", net.now) == BOTH
    assert a.carrier.counters.probes_sent == 1
    assert b.carrier.known("a", net.now) is None  # whoever asks says nothing that we rely on
    assert net.run_until(59.0)
    assert a.carrier.known("b", net.now) == BOTH
    net.run_until(61.0)
    assert a.carrier.known("b", net.now) is None


def test_a_node_of_the_prototype_does_not_answer() -> None:
    net, a, _ = network()
    net.add("c", Prototype())
    net.link("a", "c", Link())
    a.carrier.probe("c", net.now)
    net.wake("a")
    net.run_until(0.29)
    assert a.happened == []
    net.run_until(0.31)
    assert a.happened == [Probed("c", Capability(0))]
    assert a.carrier.counters.probes_sent == 3
    assert a.carrier.known("c", net.now) == Capability(0)
    net.run_until(10.4)
    assert a.carrier.known("c", net.now) is None
    assert a.carrier.next_timeout() is None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_probe_survives_the_loss_of_two(seed: int) -> None:
    lost = iter([True, True, False])

    class Lossy(Link):
        def transmit(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
            return [] if next(lost) else super().transmit(data, now)

    net, a, _ = network(lambda n: Link() if n % 2 else Lossy(), seed)
    a.carrier.probe("b", net.now)
    net.wake("a")
    net.run_until(1.0)
    assert a.happened == [Probed("b", BOTH)]


def test_only_the_right_answer_of_the_asked_peer_counts() -> None:
    a: Carrier[str] = Carrier(Random(1), BOTH)
    a.probe("b", 0.0)
    ((_, body),) = a.output()
    probe = decode_extension(body)
    assert isinstance(probe, Probe)
    a.receive("b", Answer(probe.token ^ 1, BOTH).encode(), 0.01)
    a.receive("eve", Answer(probe.token, BOTH).encode(), 0.01)
    a.receive("b", Probe(probe.token, BOTH).encode(), 0.01)
    assert a.events() == []
    assert a.counters.unexpected == 2
    a.receive("b", Answer(probe.token, Capability.FRAGMENTS).encode(), 0.02)
    a.receive("b", Answer(probe.token, BOTH).encode(), 0.02)  # once is enough
    assert a.events() == [Probed("b", Capability.FRAGMENTS)]
    assert a.known("b", 0.03) == Capability.FRAGMENTS
    a.forget("b")
    assert a.known("b", 0.03) is None


def test_answers_are_never_longer_than_probes_and_come_at_a_bounded_rate() -> None:
    a: Carrier[str] = Carrier(Random(1), BOTH)
    for i in range(1000):
        a.receive("victim", Probe(i, BOTH).encode(), i / 1000)
    answers = a.output()
    assert {len(body) for _, body in answers} == {len(Probe(0, BOTH).encode())}
    assert 10 <= len(answers) <= 31
    assert a.counters.unanswered == 1000 - len(answers)
    a.receive("other", Probe(1, BOTH).encode(), 1.0)
    assert [peer for peer, _ in a.output()] == ["other"]  # nobody pays for another


def test_what_is_remembered_of_peers_is_bounded() -> None:
    a: Carrier[int] = Carrier(Random(1), BOTH, Limits(peers=10, probes=5))
    for peer in range(100):
        a.receive(peer, Probe(peer, BOTH).encode(), 0.0)
        a.probe(peer, 0.0)
        for to, body in a.output():
            asked = decode_extension(body)
            if isinstance(asked, Probe) and not isinstance(asked, Answer):
                a.receive(to, Answer(asked.token, BOTH).encode(), 0.0)
    assert a.status()["peers"] == 10
    assert [peer for peer in range(100) if a.known(peer, 0.0)] == list(range(90, 100))
    assert len(a._buckets) == 10
    for peer in range(5):
        a.probe(1000 + peer, 0.0)
    with pytest.raises(OutOfMemory):
        a.probe(2000, 0.0)


# ---------------------------------------------------------------- fragments


@pytest.mark.parametrize("size", [1, 1437, 1438, 14_000, 100_000, 128 * 1024])
def test_a_message_arrives_whole_and_once(size: int) -> None:
    net, a, b = network()
    message = Random(size).randbytes(size)
    id = send(net, a, message)
    net.run_until(1.0)
    assert b.happened == [Delivered("a", message)]
    assert a.happened == [Sent(id)]
    assert a.longest <= ROOM
    assert a.carrier.counters.fragments_sent == -(-size // 1437)
    assert a.carrier.next_timeout() is None
    assert b.carrier.next_timeout() is None
    assert b.carrier.status()["memory"] == 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_messages_arrive_over_bad_links(seed: int, loss: float) -> None:
    faults = {"loss": loss, "duplication": 0.2, "reordering": 0.5, "late": 0.05}
    net, a, b = network(lambda n: Faulty(n, **faults), seed)
    random = Random(seed)
    messages = [random.randbytes(random.randint(1, 30_000)) for _ in range(4)]
    ids = [send(net, a, message) for message in messages]
    net.run_until(15.0)
    assert sorted(b.delivered()) == sorted(messages), net.links()
    assert {event.id for event in a.happened if isinstance(event, Sent)} == set(ids), net.links()
    assert a.carrier.next_timeout() is None
    assert b.carrier.next_timeout() is None


@pytest.mark.parametrize("seed", SEEDS)
def test_damage_costs_time_and_delivers_nothing_but_what_was_sent(seed: int) -> None:
    """Lower layers drop damaged frames; where one does not, a byte of the data may be wrong, and OAP finds out."""
    net, a, b = network(lambda n: Faulty(n, corruption=0.2), seed)
    message = Random(seed).randbytes(20_000)
    send(net, a, message)
    net.run_until(15.0)
    assert all(len(delivered) == len(message) for delivered in b.delivered()), net.links()
    assert b.carrier.next_timeout() is None


def test_a_peer_that_says_nothing_is_given_up_and_not_believed_any_more() -> None:
    net, a, _ = network()
    net.link("a", "b", Faulty(1, loss=1.0))
    a.carrier._known["b"] = BOTH, 1000.0
    id = send(net, a, bytes(5000))
    net.run_until(9.9)
    assert a.happened == []
    net.run_until(10.1)
    (event,) = a.happened
    assert isinstance(event, Undelivered)
    assert event.id == id
    assert isinstance(event.error, FlowTimeout)
    assert "0 of the 4 fragments of a message of 5000 bytes" in str(event.error)
    assert a.carrier.known("b", net.now) is None
    assert a.carrier.counters.fragments_sent < 60
    assert a.carrier.next_timeout() is None


def test_a_message_that_is_never_finished_is_forgotten() -> None:
    b: Carrier[str] = Carrier(Random(1), BOTH)
    b.receive("a", fragments_of(bytes(3000), 7, 520)[0].encode(), 0.0)
    told = []
    while (due := b.next_timeout()) is not None:
        b.handle_timeout(due)
        told += b.output()
    assert [decode_extension(body) for _, body in told] == [Status(7, State.MISSING, 6, frozenset({0}))]
    assert b.status()["receiving"] == b.status()["memory"] == 0
    assert b.counters.messages_expired == 1
    assert b.events() == []


def test_what_was_cancelled_is_not_sent_any_more() -> None:
    net, a, _ = network()
    net.link("a", "b", Faulty(1, loss=1.0))
    id = send(net, a, bytes(50_000))
    a.carrier.cancel(id)
    a.carrier.cancel(id)
    sent = a.carrier.counters.fragments_sent
    net.run_until(20.0)
    assert a.carrier.counters.fragments_sent == sent
    assert a.happened == []


def test_duplicates_of_a_complete_message_are_answered_and_not_delivered() -> None:
    b: Carrier[str] = Carrier(Random(1), BOTH)
    bodies = [fragment.encode() for fragment in fragments_of(b"x" * 3000, 7, 520)]
    for body in bodies:
        b.receive("a", body, 0.0)
    assert b.events() == [Delivered("a", b"x" * 3000)]
    b.output()
    for body in bodies:
        b.receive("a", body, 5.0)
    assert [decode_extension(body) for _, body in b.output()] == [Status(7, State.COMPLETE)]
    assert b.events() == []
    assert b.counters.duplicates == len(bodies)
    b.receive("other", bodies[0], 5.0)  # an id is a peer's own
    assert b.status()["receiving"] == 1
    b.receive("a", bodies[0], 31.0)  # forgotten: it begins anew
    assert b.status()["receiving"] == 2


def test_too_much_to_send_is_refused_at_once() -> None:
    a: Carrier[str] = Carrier(Random(1), BOTH, Limits(message=5000, sending_a_peer=2, sending=3))
    with pytest.raises(TooLong, match="5001 bytes: at most 5000"):
        a.send("b", bytes(5001), ROOM, 0.0)
    with pytest.raises(TooLong, match="1024 fragments of 1 bytes"):
        a.send("b", bytes(1025), 21, 0.0)
    with pytest.raises(TooLong, match="fragments of 0 bytes"):
        a.send("b", bytes(100), 20, 0.0)
    for _ in range(2):
        a.send("b", bytes(100), 50, 0.0)
    with pytest.raises(OutOfMemory):
        a.send("b", bytes(100), 50, 0.0)
    a.send("c", bytes(100), 50, 0.0)
    with pytest.raises(OutOfMemory):
        a.send("d", bytes(100), 50, 0.0)


def test_the_error_of_a_message_that_fits_nowhere_says_what_to_do() -> None:
    error = too_long(bytes(9000), 1496, "02:00:00:00:00:02")
    assert isinstance(error, TooLong)
    assert "9000 bytes" in str(error)
    assert "1496 bytes" in str(error)
    assert "02:00:00:00:00:02" in str(error)
    assert "larger MTU" in str(error)


# ---------------------------------------------------------------- hostile peers


def test_a_message_longer_than_the_limit_is_refused_and_its_sender_told() -> None:
    net, a, b = network(message=10_000)
    id = send(net, a, bytes(10_001))
    net.run_until(1.0)
    (event,) = a.happened
    assert isinstance(event, Undelivered)
    assert event.id == id
    assert isinstance(event.error, TooLong)
    assert b.carrier.counters.refused >= 1
    assert b.carrier.status()["receiving"] == 0


def test_fragments_that_contradict_each_other_change_nothing() -> None:
    b: Carrier[str] = Carrier(Random(1), BOTH)
    first, *rest = fragments_of(b"right" * 600, 7, 520)
    b.receive("a", first.encode(), 0.0)
    for wrong in (*fragments_of(b"wrong" * 600, 7, 1520), *fragments_of(b"wrong" * 500, 7, 520)):
        b.receive("a", wrong.encode(), 0.0)
    assert b.counters.contradictory > 0
    b.receive("a", Fragment(7, 0, first.count, first.total, b"w" * len(first.data)).encode(), 0.0)  # who comes first
    for fragment in rest:
        b.receive("a", fragment.encode(), 0.0)
    assert b.events() == [Delivered("a", b"right" * 600)]


def test_memory_for_fragments_is_bounded_and_nobody_pays_for_another() -> None:
    limits = Limits(receiving_a_peer=4, receiving=50, memory_a_peer=300_000, memory=1_000_000)
    b: Carrier[str] = Carrier(Random(1), BOTH, limits)
    good = fragments_of(bytes(4000), 1, 1020)
    b.receive("good", good[0].encode(), 0.0)
    for id in range(500):
        for fragment in fragments_of(bytes(100_000), id, 1020)[:90]:
            b.receive("hog", fragment.encode(), 0.001)
    assert b.status()["receiving"] <= 5
    assert b._receiving.memory <= 302_000
    for fragment in good[1:]:
        b.receive("good", fragment.encode(), 0.002)
    assert b.events() == [Delivered("good", bytes(4000))]
    for stranger in range(5000):
        b.receive(str(stranger), good[0].encode(), 0.003)
        assert b._receiving.memory <= 1_000_000
    assert b.status()["receiving"] == 50
    due = b.next_timeout()
    while due is not None:
        b.handle_timeout(due)
        due = b.next_timeout()
    assert b.status()["receiving"] == b.status()["memory"] == 0
    assert not b._receiving._usage


def test_what_is_said_of_messages_never_has_more_bytes_than_came() -> None:
    b: Carrier[str] = Carrier(Random(1), BOTH)
    came = said = 0
    now = 0.0
    for id in range(300):
        count = 1000
        body = Fragment(id, count - 1, count, count, b"x").encode()  # the longest bitmap for the fewest bytes
        for _ in range(id % 12):
            came += len(body)
            b.receive("victim", body, now)
            now += 0.05
            b.handle_timeout(now)
            said += sum(len(out) for _, out in b.output())
            assert said <= came
    assert said > 0


def test_a_receiver_that_asks_without_end_gets_a_bounded_number_of_copies() -> None:
    a: Carrier[str] = Carrier(Random(1), BOTH)
    id = a.send("b", bytes(20_000), ROOM, 0.0)
    count = len(fragments_of(bytes(20_000), id, ROOM))
    a.output()
    sent, now = 0, 0.0
    while now < 10.0:
        now += 0.001
        a.receive("b", Status(id, State.MISSING, count).encode(), now)
        a.receive("b", Status(id, State.MISSING, count + 1).encode(), now)
        a.receive("eve", Status(id, State.COMPLETE).encode(), now)
        a.receive("b", Status(id ^ 1, State.REFUSED).encode(), now)
        a.handle_timeout(now)
        sent += len(a.output())
    assert sent <= 64 * count
    assert [type(event) for event in a.events()] == [Undelivered]


class Memory(RuleBasedStateMachine):
    """A receiver of fragments, valid ones in any order and number: what it counts is what it keeps."""

    def __init__(self) -> None:
        super().__init__()
        limits = Limits(receiving_a_peer=3, receiving=5, memory_a_peer=2000, memory=4000, complete=4)
        self.carrier: Carrier[str] = Carrier(Random(1), BOTH, limits)
        self.now = 0.0

    @rule(peer=st.sampled_from("abc"), id=st.integers(0, 6), size=st.integers(1, 12), index=st.integers(0, 11))
    def fragment(self, peer: str, id: int, size: int, index: int) -> None:
        fragments = fragments_of(bytes(size), id, 21)
        self.carrier.receive(peer, fragments[index % size].encode(), self.now)
        self.carrier.output()
        for event in self.carrier.events():
            assert event == Delivered(peer, bytes(size))

    @rule(later=st.sampled_from([0.01, 0.05, 1.0, 11.0, 40.0]))
    def time_passes(self, later: float) -> None:
        self.now += later
        self.carrier.handle_timeout(self.now)

    @invariant()
    def the_books_are_right(self) -> None:
        receiving = self.carrier._receiving
        kept: dict[str, list[int]] = {}
        for reassembly in receiving._receiving.values():
            kept.setdefault(reassembly.peer, []).append(len(reassembly.parts) * (1 + 128))
        assert receiving.memory == sum(map(sum, kept.values())) <= 4000 + 2000
        assert {peer: (u.messages, u.memory) for peer, u in receiving._usage.items()} == {
            peer: (len(sizes), sum(sizes)) for peer, sizes in kept.items()
        }
        assert len(receiving) <= 5
        assert len(receiving._complete) <= 4


TestMemory = Memory.TestCase
TestMemory.settings = settings(deadline=None, max_examples=60)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.binary(max_size=80), st.floats(0, 1)), max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_bytes_from_anybody_at_any_time(arrivals: list[tuple[str, bytes, float]]) -> None:
    carrier: Carrier[str] = Carrier(Random(1), BOTH)
    carrier.send("a", bytes(100), 60, 0.0)
    carrier.probe("b", 0.0)
    now = 0.0
    for peer, body, later in arrivals:
        now += later
        carrier.receive(peer, body if len(body) % 2 else b"OURO\x01" + body, now)
        carrier.handle_timeout(now)
        carrier.output()
        carrier.events()
    for _ in range(1000):
        due = carrier.next_timeout()
        if due is None:
            break
        carrier.handle_timeout(max(due, now))
    assert carrier.next_timeout() is None
    assert carrier.status()["memory"] == 0

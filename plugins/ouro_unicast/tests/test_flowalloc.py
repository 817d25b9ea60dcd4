"""The flow allocator without packets: its bytes, and pairs of them over links that lose, double, reorder and damage."""

from collections.abc import Hashable, Iterable

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from ouro_unicast.flowalloc import PLAIN, FlowAllocator, Withdrawn, new_eid
from ouro_unicast.wire.fa import LONGEST, Code, FaMessage

from ouro_core.model.capability import Capability
from ouro_core.model.errors import CryptError, OuroError, UnknownName
from ouro_core.model.qos import RAW
from ouro_core.shim.management import Answered, Arrived, Incoming, Refused
from ouro_core.testing.links import Faulty, Link
from ouro_core.testing.network import Network

A, B = 0x04030201, 0x08070605
EID, REMOTE = 0x1122334400000041, 0xAABBCCDD00000042
HASH = bytes(range(32))


@define(eq=False, slots=False)
class Member:
    """An allocator as a node of a network; requests are answered at once with `response`, or not at all."""

    address: int
    response: bytes | OuroError | None = b"response"
    capabilities: Capability = Capability.FRAGMENTS
    answered: list[Answered[int]] = field(factory=list)
    refused: list[Refused] = field(factory=list)
    arrived: list[Incoming[int]] = field(factory=list)
    updates: list[tuple[int, int]] = field(factory=list)
    allocator: FlowAllocator = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.allocator = FlowAllocator(
            self.address, 32, self.capabilities, updated=lambda eid, ece: self.updates.append((eid, ece))
        )

    def receive(self, data: bytes, now: float, source: Hashable) -> None:
        self.allocator.take(data, now)  # who sent it data transfer does not say
        self._events(now)

    def _events(self, now: float) -> None:
        for event in self.allocator.events():
            if isinstance(event, Arrived):
                self.arrived.append(event.request)
                if isinstance(self.response, bytes):
                    self.allocator.accept(event.request, new_eid(), self.response, now)
                elif self.response is not None:
                    self.allocator.refuse(event.request, self.response, now)
            elif isinstance(event, Answered):
                self.answered.append(event)
            elif isinstance(event, Refused):
                self.refused.append(event)

    def next_timeout(self) -> float | None:
        return self.allocator.next_timeout()

    def handle_timeout(self, now: float) -> None:
        self.allocator.handle_timeout(now)
        self._events(now)

    def datagrams_to_send(self, now: float) -> Iterable[tuple[Hashable, bytes]]:
        return self.allocator.datagrams_to_send(now)


def pair(a: Member, b: Member, link: Link | None = None, back: Link | None = None) -> Network:
    network = Network()
    network.link(a.address, b.address, link or Link())
    network.link(b.address, a.address, back or Link())
    network.add(a.address, a)
    network.add(b.address, b)
    return network


def sent(allocator: FlowAllocator) -> list[tuple[int, FaMessage]]:
    return [(peer, FaMessage.decode(data)) for peer, data in allocator.datagrams_to_send(0.0)]


# ---------------------------------------------------------------- messages


def test_a_request_as_the_prototype_makes_it() -> None:
    allocator = FlowAllocator(A, 32)
    allocator.request(EID, B, HASH, RAW, b"OAP", 0.0)
    ((peer, data),) = allocator.datagrams_to_send(0.0)
    assert peer == B
    assert data == bytes.fromhex(
        "0000000004030201 0000000000000000 1122334400000041 0000000000000000"
        "00000000 ffffffff 00000001 00000001 ffffffff 0001d4c0 0000 00 00 00"
    ) + HASH + b"OAP"  # fmt: skip


@pytest.mark.parametrize(("error", "number"), [(UnknownName(), -1007), (CryptError(), -1008)])
def test_a_refusal_carries_the_error(error: OuroError, number: int) -> None:
    a, b = Member(A), Member(B, error)
    network = pair(a, b)
    a.allocator.request(EID, B, HASH, RAW, b"", 0.0)
    network.wake(A)
    network.run_until(5.0, lambda: bool(a.refused))
    assert a.refused[0].error.code == number
    assert type(a.refused[0].error) is type(error)


def test_an_update_is_for_the_flow_with_the_eid() -> None:
    a, b = Member(A), Member(B)
    network = pair(a, b)
    b.allocator.update(A, EID, 320)
    network.wake(B)
    network.run_until(1.0)
    assert a.updates == [(EID, 320)]
    b.allocator.update(A, EID, 70000)
    assert sent(b.allocator) == [(A, FaMessage(Code.UPDATE, r_eid=EID, ece=65535))]


def test_eids_cannot_be_guessed_and_are_no_components() -> None:
    drawn = {new_eid() for _ in range(1000)}
    assert len(drawn) == 1000
    assert min(drawn) >= 64
    assert len({eid >> 32 for eid in drawn}) > 990
    assert len({eid & 0xFFFFFFFF for eid in drawn}) > 990


# ---------------------------------------------------------------- bad input


REPLY = FaMessage(Code.REPLY, r_eid=EID, s_eid=REMOTE)


@pytest.mark.parametrize(
    ("message", "counter"),
    [
        (bytes(60), "malformed"),
        (bytes(2049), "malformed"),
        (bytes(58) + b"\x07" + bytes(2), "malformed"),
        (FaMessage(Code.REQUEST, B, s_eid=EID, body=HASH[:31]).encode(), "malformed"),
        (FaMessage(Code.REQUEST, 0, s_eid=EID, body=HASH).encode(), "malformed"),
        (FaMessage(Code.REQUEST, 2**32, s_eid=EID, body=HASH).encode(), "malformed"),
        (FaMessage(Code.REQUEST, B, s_eid=0, body=HASH).encode(), "malformed"),
        (FaMessage(Code.REQUEST, B, s_eid=63, body=HASH).encode(), "malformed"),
        (FaMessage(Code.REQUEST, B, s_eid=EID).encode(), "unexpected"),
        (FaMessage(Code.REPLY, r_eid=0, s_eid=REMOTE).encode(), "malformed"),
        (FaMessage(Code.REPLY, r_eid=63, s_eid=REMOTE).encode(), "malformed"),
        (FaMessage(Code.REPLY, r_eid=EID, s_eid=1).encode(), "malformed"),
        (FaMessage(Code.REPLY, r_eid=EID + 1, s_eid=REMOTE).encode(), "unexpected"),
        (FaMessage(Code.UPDATE, r_eid=0, ece=1).encode(), "malformed"),
        (FaMessage(Code.UPDATE, r_eid=63, ece=1).encode(), "malformed"),
        (FaMessage(Code.EXTENSION, 0, body=b"x").encode(), "malformed"),
    ],
)
def test_what_makes_no_sense_is_counted(message: bytes, counter: str) -> None:
    member = Member(A)
    member.allocator.request(EID, B, HASH, RAW, b"", 0.0)
    sent(member.allocator)
    member.receive(message, 0.0, B)
    assert getattr(member.allocator.counters, counter) == 1
    assert [*member.arrived, *member.answered, *member.refused, *member.updates, *sent(member.allocator)] == []


def test_a_second_reply_is_nobodys() -> None:
    member = Member(A)
    member.allocator.request(EID, B, HASH, RAW, b"", 0.0)
    for _ in range(2):
        member.receive(REPLY.encode(), 0.0, B)
    assert len(member.answered) == 1
    assert member.allocator.counters.unexpected == 1


def test_a_reply_after_we_gave_up_is_nobodys() -> None:
    member = Member(A)
    member.allocator.request(EID, B, HASH, RAW, b"", 0.0)
    member.allocator.withdraw(EID, 0.0)
    member.receive(REPLY.encode(), 0.0, B)
    assert not member.answered


@given(st.lists(st.binary(max_size=2100), max_size=10))
def test_anything_may_come(messages: list[bytes]) -> None:
    member = Member(A)
    for data in messages:
        member.receive(data, 0.0, B)
    assert member.allocator.view()


@given(st.binary(min_size=61, max_size=61), st.binary(max_size=60), st.integers(0, 3))
def test_anything_with_the_right_size_may_come(fixed: bytes, body: bytes, code: int) -> None:
    member = Member(A, None)
    member.allocator.request(EID, B, HASH, RAW, b"", 0.0)
    member.receive(fixed[:58] + bytes((0x4F if code == 3 else code,)) + fixed[59:] + body, 0.0, B)


def test_requests_that_nobody_answers_are_bounded() -> None:
    member = Member(A, None)
    member.allocator.registered.add(HASH)
    for n in range(5000):
        source = B + n % 100
        member.receive(FaMessage(Code.REQUEST, source, s_eid=1000 + n, qos=RAW, body=HASH).encode(), 0.0, source)
    assert len(member.arrived) <= 1024
    refusals = sent(member.allocator)
    assert len(refusals) == 5000 - len(member.arrived)
    assert {m.response for _, m in refusals} == {-11}


def test_guesses_at_names_are_held_to_a_rate() -> None:
    member = Member(A, None)
    for n in range(5000):
        member.receive(FaMessage(Code.REQUEST, B + n, s_eid=1000, qos=RAW, body=n.to_bytes(32)).encode(), 0.0, B)
    assert len(member.arrived) <= 200


# ---------------------------------------------------------------- withdrawal


def test_a_request_is_withdrawn_from_a_member_like_us_only() -> None:
    for capabilities, withdrawn in ((Capability.FRAGMENTS, 1), (Capability(0), 0)):
        a, b = Member(A), Member(B, None, capabilities)
        network = pair(a, b)
        a.allocator.request(EID, B, HASH, RAW, b"", 0.0)
        network.wake(A)
        network.run_until(2.0)
        assert len(b.arrived) == 1
        events: list[object] = []
        b._events = lambda now, b=b, events=events: events.extend(b.allocator.events())  # type: ignore[method-assign]
        a.allocator.withdraw(EID, network.now)
        network.wake(A)
        network.run_until(3.0)
        assert [type(event) for event in events] == [Withdrawn] * withdrawn
        assert b.arrived[0].superseded is bool(withdrawn)


def test_nobody_else_can_withdraw_a_request() -> None:
    b = Member(B, None)
    b.receive(FaMessage(Code.REQUEST, A, s_eid=EID, qos=RAW, body=HASH).encode(), 0.0, A)
    for source, eid in ((A + 1, EID), (A, EID + 1)):
        b.receive(FaMessage(Code.REQUEST, source, s_eid=eid).encode(), 0.0, A)
    assert not b.arrived[0].superseded


# ---------------------------------------------------------------- long messages


@pytest.mark.parametrize("size", [0, PLAIN, LONGEST, 20_000, 60_000])
def test_messages_of_any_length_between_members_like_us(size: int) -> None:
    a, b = Member(A), Member(B, bytes(size))
    network = pair(a, b)
    a.allocator.request(EID, B, HASH, RAW, bytes(size), 0.0)
    network.wake(A)
    network.run_until(10.0, lambda: bool(a.answered))
    assert b.arrived[0].data == bytes(size)
    assert a.answered[0].data == bytes(size)


def test_long_messages_for_the_prototype() -> None:
    """It takes no fragments: 2048 bytes are the limit, and beyond there is an error that says so."""

    class Prototype(Member):
        def receive(self, data: bytes, now: float, source: Hashable) -> None:
            if FaMessage.decode(data).code is not Code.EXTENSION:
                super().receive(data, now, source)

    for size, arrives in ((LONGEST - 61 - 32, True), (LONGEST - 61 - 31, False)):
        a, b = Member(A), Prototype(B)
        network = pair(a, b)
        a.allocator.request(EID, B, HASH, RAW, bytes(size), 0.0)
        network.wake(A)
        network.run_until(5.0, lambda a=a: bool(a.answered or a.refused))
        assert bool(a.answered) is arrives
        if not arrives:
            assert a.refused[0].error.errno == 90


# ---------------------------------------------------------------- faulty links


def test_flows_over_faulty_links() -> None:
    """Between members like us a request is repeated, so it comes through; and it is offered once."""
    allocated = 0
    for seed in range(60):
        faults = {"loss": 0.25, "duplication": 0.2, "reordering": 0.2, "corruption": 0.05}
        links = Faulty(seed, **faults), Faulty(seed + 10**6, **faults)
        a, b = Member(A), Member(B)
        network = pair(a, b, *links)
        a.allocator.request(EID, B, HASH, RAW, b"request", 0.0)
        network.wake(A)
        network.run_until(20.0, lambda a=a: bool(a.answered or a.refused))
        same = [request for request in b.arrived if request.eid == EID and request.hash == HASH]
        assert len([r for r in same if r.data == b"request"]) <= 1, links
        allocated += bool(a.answered)
    assert allocated > 50

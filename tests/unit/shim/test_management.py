"""Flow allocation over links that do everything to messages, and by hosts that lie."""

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouro_core.model.errors import (
    CryptError,
    FlowDown,
    FlowTimeout,
    IpcpError,
    OuroError,
    TooLong,
    UnknownName,
    WouldBlock,
)
from ouro_core.model.qos import RAW
from ouro_core.shim import Arrived, Extension, FlowReply, FlowRequest, Management
from ouro_core.shim.management import (
    MAX_INCOMING,
    MAX_INCOMING_A_NAME,
    MAX_INCOMING_A_PEER,
    MAX_REMEMBERED,
    REMEMBERED,
    UNREGISTERED_BURST,
    UNREGISTERED_RATE,
)
from ouro_core.testing.links import Faulty, Link
from ouro_core.testing.network import Network
from ouro_core.wire.extension import fragments_of

from .member import HASH, Member, PlainCodec

CODEC = PlainCodec()


class Layer:
    """Two members, and what is on the link between them."""

    def __init__(self, there: Link | None = None, back: Link | None = None, capable: bool = True) -> None:
        self.network = Network()
        self.client, self.server = Member(1), Member(2, capable=capable)
        self.server.management.registered.add(HASH)
        self.there, self.back = there or Link(), back or Link()
        self.network.link("client", "server", self.there)
        self.network.link("server", "client", self.back)
        self.network.add("client", self.client)
        self.network.add("server", self.server)

    def ask(self, data: bytes = b"request", hash: bytes = HASH) -> int:
        self.client.management.directory.learn(hash, "server")
        eid = self.client.ask("server", self.network.now, data, hash)
        self.network.wake("client")
        return eid

    def run(self, seconds: float) -> None:
        self.network.run_until(self.network.now + seconds)


@pytest.fixture
def layer() -> Layer:
    return Layer()


def test_a_flow(layer: Layer) -> None:
    eid = layer.ask()
    layer.run(0.1)
    [answer] = layer.client.answered
    [(remote, request)] = layer.server.accepted.items()
    assert (answer.eid, answer.peer, answer.remote, answer.data) == (eid, "server", remote, b"response")
    assert (request.eid, request.peer, request.hash, request.qos, request.data) == (
        eid,
        "client",
        HASH,
        RAW,
        b"request",
    )
    assert layer.there.statistics.sent == layer.back.statistics.sent == 1
    layer.run(100.0)
    assert layer.there.statistics.sent == layer.back.statistics.sent == 1


def test_a_refusal_comes_unchanged_and_leaves_nothing(layer: Layer) -> None:
    for error in (CryptError("wanted"), OuroError("odd", errno=4711), UnknownName("gone")):
        layer.server.answers = error
        eid = layer.ask()
        layer.run(0.1)
        refused = layer.client.refused[-1]
        assert (refused.eid, refused.error.code) == (eid, error.code)
        known = layer.client.management.directory.find(HASH)
        assert known == (None if isinstance(error, UnknownName) else "server")
    layer.run(REMEMBERED + 1)
    layer.server.answers = None
    layer.ask()
    layer.run(0.1)
    assert layer.client.answered
    view = layer.server.management.view()
    assert view["waiting"] == view["pending"] == 0


def test_a_response_code_that_is_positive_is_a_refusal(layer: Layer) -> None:
    eid = layer.ask()
    layer.client.management.receive(CODEC.encode(FlowReply(eid, 0, 12)), 0.0, "server")
    layer.network.wake("client")
    assert layer.client.refused[0].error.code == -12


def test_an_unregistered_name_is_silence(layer: Layer) -> None:
    layer.ask(hash=b"another")
    layer.run(0.2)
    assert not layer.server.arrived
    assert layer.back.statistics.sent == 0
    assert layer.server.management.counters.unknown_name == 1


def test_any_name_where_the_type_wants_it() -> None:
    member = Member(1)
    member.management._any_name = True
    member.management.receive(CODEC.encode(FlowRequest(5, b"unheard of", RAW, b"")), 0.0, "somebody")
    assert isinstance(member.management.events()[0], Arrived)


def test_guesses_at_names_are_held_to_a_rate_and_registered_names_are_not() -> None:
    management: Management[str] = Management(CODEC, Random(1), 1000, any_name=True)
    management.registered.add(HASH)
    for n in range(10_000):
        guess = FlowRequest(1 + n, Random(n).randbytes(16), RAW, b"")
        management.receive(CODEC.encode(guess), n / 10_000, f"host {n % 700}")
    offered = len(management.events())
    assert UNREGISTERED_BURST <= offered <= UNREGISTERED_BURST + UNREGISTERED_RATE
    assert management.counters.unknown_name == 10_000 - offered
    management.receive(CODEC.encode(FlowRequest(5, HASH, RAW, b"")), 1.0, "somebody")
    assert len(management.events()) == 1


# ---------------------------------------------------------------- loss, duplicates, late and false replies


@pytest.mark.parametrize("seed", range(20))
def test_links_may_lose_double_delay_and_damage_messages(seed: int) -> None:
    links = [
        Faulty(2 * seed + i, loss=0.2, duplication=0.2, reordering=0.3, corruption=0.1, late=0.2) for i in range(2)
    ]
    layer = Layer(*links)
    print(layer.there, layer.back)
    layer.server.delay = 0.3
    eids = [layer.ask(b"%d" % i) for i in range(10)]
    layer.run(60.0)
    assert sorted(answer.eid for answer in layer.client.answered) == eids
    assert not layer.client.refused
    data = [request.data for request in layer.server.accepted.values()]
    assert len(data) == len(set(data)) or links[0].statistics.corrupted
    for answer in layer.client.answered:
        assert layer.server.accepted[answer.remote].eid == answer.eid


def test_a_request_that_was_lost_is_repeated_to_one_of_us(layer: Layer) -> None:
    layer.network.link("client", "server", Faulty(1, loss=1.0))
    layer.ask()
    layer.run(0.2)
    layer.network.link("client", "server", layer.there)
    layer.run(2.0)
    assert layer.client.answered
    assert len(layer.server.arrived) == 1
    assert layer.client.management.counters.requests_repeated == 1


def test_a_reply_that_was_lost_is_sent_again(layer: Layer) -> None:
    layer.network.link("server", "client", Faulty(1, loss=1.0))
    layer.ask()
    layer.run(0.2)
    layer.network.link("server", "client", layer.back)
    layer.run(2.0)
    assert layer.client.answered
    assert len(layer.server.arrived) == 1
    assert layer.server.management.counters.duplicates == 1


def test_no_request_is_repeated_to_a_node_of_the_prototype() -> None:
    layer = Layer(capable=False)
    layer.server.delay = 25.0
    layer.ask()
    layer.run(20.0)
    assert layer.there.statistics.sent == 1 + 6  # the request, and three probes twice
    assert len(layer.server.arrived) == 1
    layer.run(10.0)
    assert layer.client.answered


def test_a_request_that_waits_is_offered_once(layer: Layer) -> None:
    layer.server.delay = 10.0
    layer.ask()
    layer.run(30.0)
    assert len(layer.server.arrived) == 1
    assert layer.server.management.counters.duplicates >= 4
    assert len(layer.client.answered) == 1


def test_a_reply_counts_once_and_only_from_who_was_asked(layer: Layer) -> None:
    management = layer.client.management
    management.request(70, "server", HASH, RAW, b"", 0.0)
    good = CODEC.encode(FlowReply(70, 99, 0, b"yes"))
    management.receive(good, 0.0, "liar")
    management.receive(CODEC.encode(FlowReply(71, 99, 0, b"")), 0.0, "server")
    management.receive(CODEC.encode(FlowReply(70, 0, 0, b"")), 0.0, "server")
    assert management.events() == []
    for _ in range(3):
        management.receive(good, 0.0, "server")
    assert [event.data for event in management.events() if hasattr(event, "data")] == [b"yes"]
    counters = management.counters
    assert (counters.wrong_source, counters.unexpected, counters.malformed) == (1, 1 + 2, 1)


def test_a_cancelled_request_forgets_where_it_went(layer: Layer) -> None:
    layer.server.delay = 1.0
    eid = layer.ask()
    layer.run(0.1)
    layer.client.management.cancel(eid)
    layer.client.management.cancel(eid)
    assert layer.client.management.directory.find(HASH) is None
    layer.run(5.0)
    assert not layer.client.answered
    assert layer.client.management.counters.unexpected == 1
    assert layer.client.management.view()["pending"] == 0


def test_unreachable_hosts_fail_what_waits_for_them_alone(layer: Layer) -> None:
    management = layer.client.management
    management.request(70, "server", HASH, RAW, b"", 0.0)
    management.request(71, "other", HASH, RAW, b"", 0.0)
    management.directory.learn(HASH, "other")
    management.directory.learn(HASH, "server")
    management.unreachable("server", FlowDown("device v0 is down"))
    [event] = management.events()
    assert (event.eid, str(event.error)) == (70, "device v0 is down")  # type: ignore[union-attr]
    assert management.directory.entries() == {HASH: ("other",)}
    assert management.counters.evicted == 1
    with pytest.raises(ValueError, match="waits for a reply"):
        management.request(71, "other", HASH, RAW, b"", 0.0)


def test_another_request_from_the_same_endpoint_takes_the_place_of_the_first(layer: Layer) -> None:
    management = layer.server.management
    for data in (b"first", b"second"):
        management.receive(CODEC.encode(FlowRequest(64, HASH, RAW, data)), 0.0, "client")
    first, second = (event.request for event in management.events() if isinstance(event, Arrived))
    assert not management.accept(first, 80, b"", 0.0)
    management.refuse(first, IpcpError("late"), 0.0)
    assert management.datagrams_to_send(0.0) == []
    assert management.accept(second, 81, b"", 0.0)
    [(_, reply)] = management.datagrams_to_send(0.0)
    assert CODEC.decode(reply) == FlowReply(64, 81, 0, b"")
    assert management.counters.superseded == 1
    assert management.view()["waiting"] == 0


def test_a_request_is_recognised_for_a_while(layer: Layer) -> None:
    management = layer.server.management
    frame = CODEC.encode(FlowRequest(64, HASH, RAW, b"one"))
    for now, offered in ((0.0, 1), (REMEMBERED - 0.1, 0), (REMEMBERED + 0.1, 1)):
        management.receive(frame, now, "client")
        arrived = [event.request for event in management.events() if isinstance(event, Arrived)]
        assert len(arrived) == offered
        for request in arrived:
            management.accept(request, 80, b"", now)
        assert len(management.datagrams_to_send(now)) == 1


# ---------------------------------------------------------------- floods


def test_requests_of_one_host_are_bounded_and_others_are_served(layer: Layer) -> None:
    management = layer.server.management
    for i in range(1, 1001):
        management.receive(CODEC.encode(FlowRequest(i, HASH, RAW, b"flood")), 0.0, "flooder")
    arrived = [event.request for event in management.events() if isinstance(event, Arrived)]
    assert len(arrived) == MAX_INCOMING_A_PEER
    refusals = management.datagrams_to_send(0.0)
    assert len(refusals) == management.counters.too_many == 1000 - MAX_INCOMING_A_PEER
    assert CODEC.decode(refusals[0][1]).response == WouldBlock().code
    layer.ask()
    layer.run(0.1)
    assert layer.client.answered
    for request in arrived:
        management.accept(request, 80, b"", 0.0)
    management.receive(CODEC.encode(FlowRequest(2000, HASH, RAW, b"again")), 0.0, "flooder")
    assert isinstance(management.events()[0], Arrived)


def test_requests_for_a_name_that_nobody_accepts_leave_room_for_others(layer: Layer) -> None:
    management = layer.server.management
    other = b"another name...."
    management.registered.add(other)
    for i in range(2 * MAX_INCOMING):
        management.receive(CODEC.encode(FlowRequest(1 + i % 7, other, RAW, b"%d" % i)), 0.0, f"spoofed {i}")
    arrived = [event.request for event in management.events() if isinstance(event, Arrived)]
    assert len(arrived) == management.view()["waiting"] == MAX_INCOMING_A_NAME
    assert management.counters.too_many == 2 * MAX_INCOMING - MAX_INCOMING_A_NAME
    management.datagrams_to_send(0.0)
    layer.ask()
    layer.run(0.1)
    assert layer.client.answered
    for request in arrived:
        management.refuse(request, FlowTimeout("nobody"), 0.0)
    assert management.view()["waiting"] == 0
    management.receive(CODEC.encode(FlowRequest(1, other, RAW, b"again")), 0.0, "honest")
    assert isinstance(management.events()[0], Arrived)


def test_memory_does_not_grow_with_hosts(layer: Layer) -> None:
    management = layer.server.management
    names = [HASH, b"another name....", b"a third name...."]
    management.registered.update(names)
    arrived = []
    for i in range(3 * MAX_INCOMING):
        management.receive(CODEC.encode(FlowRequest(1 + i % 7, names[i % 3], RAW, b"%d" % i)), 0.0, f"spoofed {i}")
        arrived += [event.request for event in management.events() if isinstance(event, Arrived)]
        management.datagrams_to_send(0.0)
    assert len(arrived) == MAX_INCOMING
    for round in range(3):
        for request in arrived:
            management.refuse(request, FlowTimeout("nobody"), float(round))
        arrived = []
        for i in range(MAX_INCOMING):
            frame = CODEC.encode(FlowRequest(1 + i % 7, names[i % 3], RAW, b"%d" % i))
            management.receive(frame, float(round), f"spoofed {round} {i}")
        arrived = [event.request for event in management.events() if isinstance(event, Arrived)]
        management.datagrams_to_send(0.0)
    assert len(management._incoming) <= MAX_INCOMING + MAX_REMEMBERED
    assert len(management._by_requester) <= MAX_INCOMING + MAX_REMEMBERED


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.binary(max_size=40)), max_size=20))
def test_any_bytes_do_no_harm(frames: list[tuple[str, bytes]]) -> None:
    member = Member(1)
    for source, data in frames:
        member.management.receive(data, 0.0, source)
    assert member.management.counters.malformed == len(frames)
    assert member.management.datagrams_to_send(0.0) == []
    assert member.management.next_timeout() is None


def test_unknown_codes_are_counted_apart(layer: Layer) -> None:
    layer.client.management.receive(json.dumps([9]).encode(), 0.0, "server")
    assert layer.client.management.counters.unknown_code == 1


# ---------------------------------------------------------------- messages of any length


@pytest.mark.parametrize("fault", [{}, {"loss": 0.2}, {"duplication": 0.5, "reordering": 0.5}])
def test_long_messages_go_in_fragments_both_ways(fault: dict[str, float]) -> None:
    layer = Layer(Faulty(1, **fault), Faulty(2, **fault))  # type: ignore[arg-type]
    layer.server.response = Random(1).randbytes(7000)
    request = Random(2).randbytes(9000)
    layer.ask(request)
    layer.run(15.0)
    assert [answer.data for answer in layer.client.answered] == [layer.server.response]
    assert [r.data for r in layer.server.arrived] == [request]


@pytest.mark.parametrize("room", [400, 3000])
def test_fragments_are_as_long_as_the_way_to_a_peer_allows(room: int) -> None:
    management: Management[str] = Management(PlainCodec(), Random(1), 1000, room={"server": room}.__getitem__)
    management.request(1, "server", HASH, RAW, Random(2).randbytes(9000), 0.0)
    [(_, probe)] = management.datagrams_to_send(0.0)
    peer: Management[str] = Management(PlainCodec(), Random(2), 1000)
    peer.receive(probe, 0.0, "client")
    [(_, answer)] = peer.datagrams_to_send(0.0)
    management.receive(answer, 0.0, "server")
    sizes = [len(PlainCodec().decode(fragment).body) for _, fragment in management.datagrams_to_send(0.0)]
    assert 0.8 * room < max(sizes) <= room - len(PlainCodec().encode(Extension(b"")))


def test_a_long_request_to_a_node_of_the_prototype_fails_with_both_sizes() -> None:
    layer = Layer(capable=False)
    eid = layer.ask(bytes(5000))
    layer.run(1.0)
    [refused] = layer.client.refused
    assert refused.eid == eid
    assert isinstance(refused.error, TooLong)
    assert "1000" in str(refused.error)
    assert not layer.server.arrived
    assert not layer.client.management.directory.entries()


def test_a_long_request_whose_fragments_are_lost_forgets_where_they_went(layer: Layer) -> None:
    layer.ask()
    layer.client.management.ask("server", layer.network.now)
    layer.network.wake("client")
    layer.run(1.0)
    layer.network.link("client", "server", Faulty(1, loss=1.0))
    layer.ask(bytes(5000))
    layer.run(20.0)
    [refused] = layer.client.refused
    assert isinstance(refused.error, FlowTimeout)
    assert not layer.client.management.directory.entries()


def test_a_long_reply_to_a_node_of_the_prototype_is_a_refusal() -> None:
    layer = Layer()
    layer.client.capable = False
    layer.server.response = bytes(5000)
    layer.ask()
    layer.run(1.0)
    assert layer.client.refused[0].error.code == TooLong().code
    [undelivered] = layer.server.undelivered
    assert undelivered.eid in layer.server.accepted
    assert isinstance(undelivered.error, TooLong)


def test_a_cancelled_long_request_is_sent_no_more(layer: Layer) -> None:
    layer.network.link("server", "client", Faulty(1, loss=1.0))
    eid = layer.ask(bytes(5000))
    layer.client.management.cancel(eid)
    layer.run(20.0)
    assert not layer.client.refused
    assert not layer.server.arrived
    assert layer.client.next_timeout() is None


def test_what_a_peer_can_do(layer: Layer) -> None:
    assert layer.client.management.ask("server", 0.0) is None
    layer.network.wake("client")
    layer.run(1.0)
    known = layer.client.management.ask("server", 1.0)
    assert known is not None
    assert known == layer.client.management.known("server", 1.0)
    assert layer.client.seen[0].capabilities == known


def test_an_extension_within_fragments_is_no_message(layer: Layer) -> None:
    management = layer.client.management
    whole = CODEC.encode(Extension(b"\0" * 2000))
    for fragment in _fragments(whole):
        management.receive(CODEC.encode(Extension(fragment)), 0.0, "server")
    assert management.counters.malformed == 1


def _fragments(message: bytes) -> list[bytes]:
    return [fragment.encode() for fragment in fragments_of(message, 7, 400)]

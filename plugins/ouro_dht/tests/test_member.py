"""One member, message by message: the checklist of the specification (dht.md 12), bad input (9), limits."""

import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ouro_dht.node import Dht
from ouro_dht.pb import dht_pb2 as pb
from ouro_dht.timers import Deadlines
from ouro_dht.wire import MAX_SIZE, Contact, Message, Request, Response, Store, Value, encode, value_of

from ouro_core.contracts.directory import DirectorySetup
from ouro_core.model.errors import ConfigError, InvalidArgument
from ouro_core.model.log import PP, logger
from ouro_core.model.names import HashAlgorithm
from ouro_core.rib import Rib

OWN = 0x1234567890ABCDEF


def requests(sent: list[tuple[int, Message]]) -> list[tuple[int, Request]]:
    return [(a, m) for a, m in sent if isinstance(m, Request)]


def responses(sent: list[tuple[int, Message]]) -> list[Response]:
    return [m for _, m in sent if isinstance(m, Response)]


def stores(sent: list[tuple[int, Message]]) -> list[tuple[int, Store]]:
    return [(a, m) for a, m in sent if isinstance(m, Store)]


# ---------------------------------------------------------------- answering (5.4)


def test_a_request_is_answered_once(lone: Any) -> None:
    asker = lone.contact()
    key = lone.key()
    ((address, reply), *others) = lone.take(Request(asker, key, 77))
    assert address == asker.address
    assert isinstance(reply, Response)
    assert (reply.key, reply.cookie, reply.values) == (key, 77, None)
    assert reply.contacts == (asker,)  # never none: the prototype aborts on an empty list
    assert not responses(others)


def test_any_cookie_is_echoed(lone: Any) -> None:
    for cookie in (0, 1, (1 << 64) - 1):
        assert responses(lone.take(Request(lone.contact(), lone.key(), cookie)))[0].cookie == cookie


def test_a_request_for_values_is_answered_with_contacts_too(lone: Any) -> None:
    lone.meet(3)
    key = lone.key()
    reply = responses(lone.take(Request(lone.contact(), key, 1, True, ouro=True)))[0]
    assert reply.values == ()
    assert reply.contacts
    owner = lone.contact()
    lone.store(owner, key, value_of(owner.address))
    reply = responses(lone.take(Request(lone.contact(), key, 1, True, ouro=True)))[0]
    assert [v.data for v in reply.values or ()] == [value_of(owner.address)]
    assert reply.contacts


def test_the_closest_are_named_and_never_ourselves(lone: Any) -> None:
    met = lone.meet(200)
    for _ in range(20):
        asker, key = lone.contact(), lone.key()
        named = responses(lone.take(Request(asker, key, 1, ouro=True)))[0].contacts
        assert len(named) == 8
        assert set(named) <= {*met, asker} | set(lone.sent and [asker])
        assert OWN not in {c.address for c in named}
        order = [int.from_bytes(c.id[:8], "big") ^ int.from_bytes(key[:8], "big") for c in named]
        assert order == sorted(order)


def test_values_come_in_the_order_they_should_be_tried_in(lone: Any) -> None:
    """The prototype looks at the first two: what is fresh comes first, and what is no use to it last."""
    key = lone.key()
    first, second, third = (lone.contact() for _ in range(3))
    for owner in (first, second, third):
        lone.store(owner, key, value_of(owner.address))
        lone.now += 5
    assert lone.held(key) == [value_of(c.address) for c in (third, second, first)]
    reply = responses(lone.take(Request(third, key, 1, True, ouro=True)))[0]
    assert [v.data for v in reply.values or ()][-1] == value_of(third.address)
    lone.dht.peer_down(second.address, lone.now)
    assert lone.held(key) == [value_of(c.address) for c in (third, first, second)]


def test_a_name_of_ours_is_answered(lone: Any) -> None:
    key = lone.key()
    lone.dht.register(key, lone.now)
    assert lone.held(key) == [value_of(OWN)]
    lone.dht.unregister(key, lone.now)
    assert lone.held(key) == []


def test_eight_values_are_answered(lone: Any) -> None:
    """Of 3 values 3, of 23 eight."""
    key = lone.key()
    for count in (3, 20):
        for _ in range(count):
            owner = lone.contact()
            lone.store(owner, key, value_of(owner.address))
        assert len(lone.held(key)) == min(8, count + (3 if count == 20 else 0))


def test_ten_thousand_values_for_a_key(lone: Any) -> None:
    key, spammer = lone.key(), lone.contact()
    for i in range(10000):
        lone.now += 0.002
        lone.store(spammer, key, value_of(i + 1))
    assert len(lone.held(key)) == 8
    owner = lone.contact()
    lone.store(owner, key, value_of(owner.address))
    assert value_of(owner.address) in lone.held(key)


def test_ten_thousand_values_for_a_key_from_as_many(lone: Any) -> None:
    """Each under the address that it stores: whoever comes last is answered."""
    key = lone.key()
    for i in range(10000):
        forged = Contact(lone.rng.randbytes(32), i + 1)
        lone.store(forged, key, value_of(forged.address), life=1e6)
    lone.now += 1
    owner = lone.contact()
    lone.store(owner, key, value_of(owner.address))
    assert lone.held(key)[0] == value_of(owner.address)
    assert lone.rib.read("dht/state")["values"] == 16


@pytest.mark.parametrize("algorithm", [HashAlgorithm.SHA3_224, HashAlgorithm.SHA3_512])
def test_responses_fit_into_a_frame(algorithm: HashAlgorithm, make_lone: Callable[..., Any]) -> None:
    lone = make_lone(algorithm=algorithm, dht_k=20)
    lone.start()
    lone.meet(300)
    key = lone.key()
    for _ in range(12):
        owner = lone.contact()
        lone.store(owner, key, value_of(owner.address))
    reply = responses(lone.take(Request(lone.contact(), key, (1 << 64) - 1, True, ouro=True)))[0]
    assert len(encode(reply)) <= MAX_SIZE
    assert len(reply.values or ()) == 8
    assert len(reply.contacts) >= 8


# ---------------------------------------------------------------- joining (7)


def test_the_first_member_has_nobody_to_ask(lone: Any) -> None:
    assert lone.sent == []
    assert lone.wait(60.0) == []


def test_the_enrolment_peer_is_asked_until_it_answers(make_lone: Callable[..., Any]) -> None:
    lone = make_lone()
    lone.start(55)
    lone.wait(20.0)
    asked = requests(lone.sent)
    assert len(asked) >= 5
    assert {a for a, _ in asked} == {55}
    assert {(m.key, m.source.id) for _, m in asked} == {(asked[0][1].source.id,) * 2}
    magic = {m.cookie for _, m in asked}
    assert len(magic) == 1
    assert magic != {0}
    peer = Contact(lone.rng.randbytes(32), 55)
    others = tuple(lone.contact() for _ in range(4))
    sent = requests(lone.take(Response(peer, asked[0][1].key, magic.pop(), others, ouro=True)))
    assert len(sent) == 3  # a lookup for our own id begins
    assert len({m.cookie for _, m in sent}) == 3
    assert {m.key for _, m in sent} == {asked[0][1].key}


def test_everybody_in_reach_is_asked_when_the_enrolment_peer_is_silent(make_lone: Callable[..., Any]) -> None:
    """Those that came into reach last may be as silent, or hostile."""
    lone = make_lone()
    lone.start(55)
    for address in range(100, 120):
        lone.dht.peer_up(address, lone.now)
    lone.collect()
    before = len(lone.sent)
    lone.wait(90.0)
    asked = [a for a, _ in requests(lone.sent[before:])]
    assert set(asked) == {55, *range(100, 120)}
    assert asked.count(55) > asked.count(100) > 0


def test_no_answer_to_the_magic_cookie_from_others(make_lone: Callable[..., Any]) -> None:
    lone = make_lone()
    lone.start(55)
    ((_, asked),) = requests(lone.sent)
    lone.take(Response(lone.contact(), asked.key, asked.cookie, (lone.contact(),)))
    lone.take(Response(Contact(bytes(32), 55), lone.key(), asked.cookie, (lone.contact(),)))
    assert lone.counters.impostors == 2
    assert lone.rib.read("dht/contacts") == []


def test_peers_that_make_no_sense_are_ignored(make_lone: Callable[..., Any]) -> None:
    lone = make_lone()
    lone.start(0, OWN)
    assert lone.sent == []


# ---------------------------------------------------------------- lookups (12)


def test_a_query_of_a_stranger(lone: Any) -> None:
    """Ten contacts: FIND_VALUE_REQ is sent, and it ends in time, with nothing."""
    lone.meet(10)
    sent = lone.sent[:]
    key = lone.key()
    number = lone.query(key)
    asked = requests(lone.sent[len(sent) :])
    assert len(asked) == 3
    assert all(m.for_value and m.key == key and m.cookie for _, m in asked)
    assert lone.addresses(number) is None
    lone.wait(2.0)
    assert lone.addresses(number) == ()


def test_a_query_without_contacts_is_answered_at_once(make_lone: Callable[..., Any]) -> None:
    lone = make_lone()
    lone.start(55)
    before = len(lone.sent)
    assert lone.addresses(lone.query(lone.key())) == ()
    assert len(lone.sent) == before


def test_a_name_registered_here_is_not_found_here_but_others_are(lone: Any) -> None:
    """reg, query: not our own address; after a STORE of 1234321: that."""
    key = lone.key()
    lone.dht.register(key, lone.now)
    number = lone.query(key)
    assert lone.answers[number].addresses == ()
    assert lone.answers[number].here
    lone.store(lone.contact(), key, value_of(1234321))
    number = lone.query(key)
    assert lone.answers[number].addresses == (1234321,)
    assert lone.answers[number].here


def test_a_name_registered_here_is_looked_for_elsewhere_too(lone: Any) -> None:
    """What is registered here does not end the lookup (13.1, item 16)."""
    (peer,) = lone.meet()
    key = lone.key()
    lone.dht.register(key, lone.now)
    lone.collect()
    number = lone.query(key)
    ((_, asked),) = [x for x in requests(lone.sent) if x[1].key == key]
    lone.take(Response(peer, key, asked.cookie, (peer,), (Value(value_of(5), lone.unix, lone.unix + 60),), ouro=True))
    assert lone.answers[number].addresses == (5,)


def find(lone: Any, peer: Contact, key: bytes) -> tuple[int, Request]:
    number = lone.query(key)
    return number, [m for a, m in requests(lone.sent) if m.key == key and a == peer.address][-1]


def test_an_answer_is_taken_once_and_from_the_right_member(lone: Any) -> None:
    (peer,) = lone.meet()
    key = lone.key()
    number, asked = find(lone, peer, key)
    good = Response(peer, key, asked.cookie, (peer,), (Value(value_of(5)),), ouro=True)
    stranger = lone.contact()
    lone.take(Response(stranger, key, asked.cookie, (peer,), (Value(value_of(6)),)))
    lone.take(Response(peer, lone.key(), asked.cookie, (peer,), (Value(value_of(6)),)))
    lone.take(Response(peer, key, asked.cookie, (peer,)))  # to another question
    assert lone.counters.impostors == 3
    lone.take(Response(peer, key, asked.cookie ^ 1, (peer,), (Value(value_of(6)),)))
    lone.take(Response(peer, key, 0, (peer,), (Value(value_of(6)),)))
    assert lone.counters.unexpected == 2
    assert lone.addresses(number) is None
    lone.take(good)
    assert lone.addresses(number) == (5,)
    lone.take(good)
    assert lone.counters.unexpected == 3
    assert stranger.address not in [c["address"] for c in lone.rib.read("dht/contacts")]


def test_queries_for_one_key_share_a_lookup(lone: Any) -> None:
    (peer,) = lone.meet()
    key = lone.key()
    numbers = [lone.query(key) for _ in range(5)]
    asked = [m for _, m in requests(lone.sent) if m.key == key]
    assert len(asked) == 1
    lone.take(Response(peer, key, asked[0].cookie, (peer,), (Value(value_of(5)),), ouro=True))
    assert [lone.addresses(n) for n in numbers] == [(5,)] * 5


def test_more_than_128_lookups_at_once(lone: Any) -> None:
    """13.1, item 9."""
    (peer,) = lone.meet()
    numbers = {}
    for _ in range(200):
        key = lone.key()
        number, asked = find(lone, peer, key)
        numbers[key] = number, asked
    for key, (_, asked) in numbers.items():
        lone.take(Response(peer, key, asked.cookie, (peer,), (Value(value_of(5)),), ouro=True))
    assert all(lone.addresses(n) == (5,) for n, _ in numbers.values())


def test_the_cache_lasts_a_minute_and_nothing_a_second(lone: Any) -> None:
    (peer,) = lone.meet()
    key = lone.key()
    for values, life in (((), 1.0), ((Value(value_of(5)),), 60.0)):
        key = lone.key()
        number, asked = find(lone, peer, key)
        lone.take(Response(peer, key, asked.cookie, (peer,), values, ouro=True))
        assert lone.addresses(number) == tuple(5 for _ in values)
        count = lone.counters.lookups
        lone.now += life - 0.1
        lone.query(key)
        assert lone.counters.lookups == count
        lone.now += 0.2
        number = lone.query(key)
        assert lone.counters.lookups == count + 1
        lone.wait(3.0)


def test_a_cached_value_does_not_outlive_itself(lone: Any) -> None:
    (peer,) = lone.meet()
    key = lone.key()
    _, asked = find(lone, peer, key)
    value = Value(value_of(5), lone.unix, lone.unix + 10)
    lone.take(Response(peer, key, asked.cookie, (peer,), (value,), ouro=True))
    lone.now += 11
    assert lone.addresses(lone.query(key)) is None


def test_the_one_published_last_is_the_best(lone: Any) -> None:
    (peer,) = lone.meet()
    key = lone.key()
    number, asked = find(lone, peer, key)
    values = (Value(value_of(5), lone.unix - 50, 0), Value(value_of(6), lone.unix - 5, 0), Value(value_of(7), 1, 0))
    lone.take(Response(peer, key, asked.cookie, (peer,), values, ouro=True))
    assert lone.addresses(number) == (6, 5, 7)


def test_values_that_are_no_addresses_are_passed_over(lone: Any) -> None:
    (peer,) = lone.meet()
    key = lone.key()
    number, asked = find(lone, peer, key)
    values = tuple(map(Value, (b"", b"short", bytes(8), value_of(OWN), b"x" * 64, value_of(9))))
    lone.take(Response(peer, key, asked.cookie, (peer,), values, ouro=True))
    assert lone.addresses(number) == (9,)


def test_without_a_route_nobody_is_asked(lone: Any) -> None:
    """13.1, item 8: one of them does not fail the query, and is not asked."""
    met = lone.meet(4)
    lone.dht.peer_down(met[1].address, lone.now)
    before = len(lone.sent)
    lone.query(lone.key())
    asked = {a for a, _ in requests(lone.sent[before:])}
    assert len(asked) == 3
    assert met[1].address not in asked


# ---------------------------------------------------------------- bad input (9)


def test_bad_messages_are_counted_and_change_nothing(lone: Any) -> None:
    contact = pb.Contact(id=bytes(32), addr=5)
    node = pb.Node(cookie=1, key=bytes(32))
    cases = {
        "incomplete": [b"", b"\x08\x01", pb.Message(code=4, src=contact, node=node).SerializeToString()],
        "undecodable": [b"\xff" * 20],
        "source_id": [encode(Request(Contact(bytes(31), 5), bytes(32), 1))],
        "source_address": [encode(Request(Contact(bytes(32), 0), bytes(32), 1))],
        "key": [encode(Request(Contact(bytes(32), 5), bytes(28), 1)), encode(Request(Contact(bytes(32), 5), b"", 1))],
        "code": [
            pb.Message(code=code, src=contact, node=node).SerializeToString() for code in (5, 9, 255, (1 << 32) - 1)
        ],
        "own_address": [encode(Request(Contact(bytes(32), OWN), bytes(32), 1))],
        "contact_id": [encode(Response(Contact(bytes(32), 5), bytes(32), 1, (Contact(b"short", 7),)))],
    }
    for data in [d for kind in cases.values() for d in kind]:
        assert lone.take_bytes(data) == []
    assert lone.counters.malformed == {reason: len(data) for reason, data in cases.items()}
    assert lone.rib.read("dht/contacts") == []


def test_bad_values_are_counted(lone: Any) -> None:
    owner, key = lone.contact(), lone.key()
    lone.store(owner, key, b"short")
    lone.store(owner, key, bytes(8))
    lone.store(owner, key, value_of(owner.address), life=-10)
    assert lone.held(key) == []
    lone.take(Store(owner, key, value_of(owner.address), (1 << 32) - 1))
    assert lone.counters.stores == {"value": 2, "expired": 1, "stored": 1}
    assert lone.rib.read("dht/database").count("V<") == 1
    lone.wait(86400 + 3700.0)
    assert lone.held(key) == []


def test_a_flood_is_cut(lone: Any) -> None:
    """13.1, item 10: the prototype may send a STORE 168,000 times a second."""
    flooder, key = lone.contact(), lone.key()
    for _ in range(20000):
        lone.store(flooder, key, value_of(flooder.address))
    assert lone.counters.limited >= 17000
    assert lone.counters.stores_received <= 2100
    calm = lone.contact()
    assert responses(lone.take(Request(calm, key, 1, True)))
    lone.now += 10
    assert responses(lone.take(Request(flooder, key, 1, True)))


def test_values_that_come_and_go_take_no_room(lone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is full: everybody who stores something there drives out another."""
    monkeypatch.setattr(Deadlines, "MANY", 256)
    lone = type(lone)()
    lone.start()
    key = lone.key()
    for i in range(3000):
        owner = Contact(lone.rng.randbytes(32), i + 1)
        lone.store(owner, key, value_of(owner.address), ouro=True)
    assert lone.rib.read("dht/state")["values"] == 16
    assert len(lone.dht._publishing._due) <= 256
    assert len(lone.dht._member.store._ends) <= 256


def test_lookups_for_others_are_few_at_once_whoever_they_say_they_are(lone: Any) -> None:
    """Each asks once, for a name that nobody has, from another address; then all is as before."""
    known = lone.meet(8)
    lone.among(known, 5.0)
    begin = lone.counters.lookups
    for i in range(1000):
        lone.take(Request(Contact(lone.rng.randbytes(32), 100000 + i), lone.key(), 5, True))
    assert lone.counters.responses_sent >= 1000  # contacts were named to each
    assert 10 <= lone.counters.lookups - begin <= 64
    lone.wait(3.0)
    begin = lone.counters.lookups
    for i in range(1000):
        lone.take(Request(Contact(lone.rng.randbytes(32), 200000 + i), lone.key(), 5, True))
        lone.wait(0.02)
    assert 100 <= lone.counters.lookups - begin <= 1300


def test_addresses_without_a_route_are_bounded_and_the_latest_are_known(lone: Any) -> None:
    for i in range(70000):
        lone.dht.peer_down(1000 + i, lone.now)
    down = lone.dht._member.down
    assert len(down) == 65536
    assert 1000 not in down
    assert 70999 in down
    lone.dht.peer_up(70999, lone.now)
    assert 70999 not in down


def test_addresses_that_come_into_reach_are_not_remembered_for_ever(lone: Any) -> None:
    """Somebody tells routing of ever new members, none of which is there."""
    for i in range(5000):
        lone.dht.peer_up(1000 + i, lone.now)
        lone.dht.peer_down(1000 + i, lone.now)
        lone.collect()
    assert lone.counters.requests_sent >= 5000
    assert len(lone.dht._exchange._magic_asked) == 1024


def test_invented_members_do_not_take_the_place_of_real_ones(lone: Any) -> None:
    real = lone.meet(5)
    for _ in real:
        lone.dht.query(lone.key(), lone.now)
        lone.among(real, 3.0)
    for _ in range(3000):
        lone.take(Request(lone.contact(), lone.key(), 1))
        lone.among(real, 0.001)
    known = {c["address"] for c in lone.rib.read("dht/contacts")}
    assert {c.address for c in real} <= known
    assert len(known) < 8 * 64


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=120), max_size=20))
def test_any_bytes(messages: list[bytes]) -> None:
    from .conftest import Lone

    lone = Lone()
    lone.start(5)
    for data in messages:
        lone.take_bytes(data)
    lone.wait(10.0)
    assert lone.counters.received == len(messages)


# ---------------------------------------------------------------- the rest


def test_hashes_that_are_too_short() -> None:
    setup = DirectorySetup(1, HashAlgorithm.CRC32, Dht.Config(), random.Random(1), Rib(), lambda now: now)
    with pytest.raises(ConfigError, match="at least 8 bytes; CRC32 has 4"):
        Dht(setup)


def test_addresses_that_are_none() -> None:
    for address in (0, -1, 1 << 64):
        setup = DirectorySetup(address, HashAlgorithm.SHA3_256, Dht.Config(), random.Random(1), Rib(), lambda now: now)
        with pytest.raises(ConfigError, match="is no address"):
            Dht(setup)


def test_the_log(lone: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Incoming messages and outgoing requests; outgoing responses are not shown (10.1)."""
    log = logger("dht")
    log.setLevel(PP)
    try:
        with caplog.at_level(PP, "ouro.dht"):
            asker, key = lone.contact(), lone.key()
            lone.take(Request(asker, key, 5, ouro=True))
            lone.query(key)
    finally:
        log.setLevel(logging.NOTSET)
    shown = [r.getMessage() for r in caplog.records if r.levelno == PP]
    heads = [text.splitlines()[0] for text in shown if key[:8].hex() in text]
    assert [h.split(" [")[0] for h in heads] == ["DHT_FIND_NODE_REQ <--", "DHT_FIND_VALUE_REQ -->"]
    assert asker.id[:8].hex() in heads[0]


def test_what_an_operator_is_warned_of(
    make_lone: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood, a full store, and that nobody answers: who, how many, what to do; once a minute."""
    monkeypatch.setattr("ouro_dht.store.MAX_PER_SOURCE", 3)
    lone = make_lone()
    lone.start(0x55)
    lone.wait(30.0)
    flooder = Contact(lone.rng.randbytes(32), 0x0A0B0C0D)
    for _ in range(3000):
        lone.store(flooder, lone.key(), value_of(flooder.address))
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert [w.split(".")[0][:40] for w in warnings] == [
        "No member of the layer answers, asked la", "The directory keeps 3 values, and no mor", "Member 0d"
    ]  # fmt: skip
    assert "55.00.00.00" in warnings[0]
    assert "ouro ipcp show" in warnings[0]
    assert "0d.0c.0b.0a" in warnings[1]
    assert "0d.0c.0b.0a sends more than 1000 messages a second" in warnings[2]
    lone.store(flooder, lone.key(), value_of(flooder.address))
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 3


def test_what_the_rib_shows(lone: Any) -> None:
    lone.meet(3)
    key = lone.key()
    lone.dht.register(key, lone.now)
    stats = lone.rib.read("dht/stats")
    assert len(stats) == 545
    assert stats.splitlines()[-1] == "  Number of non-local values:                        0"
    assert stats.splitlines()[2] == "  Address: ef.cd.ab.90"
    owner = lone.contact()
    lone.store(owner, key, value_of(owner.address))
    database = lone.rib.read("dht/database")
    assert database.splitlines()[:5] == [
        "DHT database:",
        "",
        "Number of keys:                      1",
        "Number of local values:              1",
        "Number of non-local values:          1",
    ]
    assert f"Key: K<{key[:8].hex()}>" in database
    assert f"V<{OWN:016x}>" in database
    state = lone.rib.read("dht/state")
    assert (state["names"], state["values"], state["usable"]) == (1, 1, len(lone.rib.read("dht/contacts")))
    assert lone.rib.read("dht/counters/received") == 4


def test_an_empty_database(lone: Any) -> None:
    assert lone.rib.read("dht/database") == "  No entries.\n"


@pytest.mark.parametrize(
    "words",
    [(), ("show", "me"), ("lookup",), ("lookup", "xyz"), ("lookup", "00"), ("put", "00" * 32), ("put", "00" * 32, "0"),
     ("put", "00" * 32, "1", "0"), ("put", "00" * 32, "1", "86401"), ("put", "00" * 32, "x")],
)  # fmt: skip
def test_questions_that_make_no_sense(lone: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument):
        lone.dht.ask(words, lone.now)


def test_questions(lone: Any) -> None:
    (peer,) = lone.meet()
    number = lone.dht.ask(("show",), lone.now)
    lone.collect()
    assert lone.reports[number].value["contacts"][0]["address"] == peer.address
    key = lone.key()
    number = lone.dht.ask(("lookup", key.hex()), lone.now)
    ((_, asked),) = [x for x in requests(lone.collect()) if x[1].for_value]
    lone.take(Response(peer, key, asked.cookie, (peer,), (Value(value_of(5), 7, 0),), ouro=True))
    report = lone.reports[number].value
    assert report["values"] == [{"address": 5, "published": 7, "expiry": 0}]
    assert (report["rounds"], report["asked"]) == (1, 1)
    number = lone.dht.ask(("put", key.hex(), "0x10", "60"), lone.now)
    ((_, asked),) = requests(lone.collect())
    ((to, store),) = stores(lone.take(Response(peer, key, asked.cookie, (peer,), ouro=True)))
    assert (to, store.key, store.value, store.expiry) == (peer.address, key, value_of(16), lone.unix + 60)
    assert lone.reports[number].value["stored"] == [peer.address]
    assert not lone.reports[number].error


def test_nodes_of_the_prototype_are_remembered_and_their_number_is_bounded(lone: Any) -> None:
    """Somebody names ever new ones: what is kept of them, and how many are asked, has an end."""
    lone.meet(1, ouro=False)
    for _ in range(150):
        lone.query(lone.key())
        for address, asked in [x for x in requests(lone.sent) if x[1].for_value][-3:]:
            named = tuple(lone.contact() for _ in range(16))
            lone.take(Response(Contact(lone.rng.randbytes(32), address), asked.key, asked.cookie, named, ()))
        lone.now += 0.01
    member = lone.dht._member
    assert 900 < len(member.others) <= 1024
    before = lone.counters.lookup_requests
    lone.wait(3.0)
    lone.query(lone.key())
    lone.wait(3.0)
    assert lone.counters.lookup_requests - before <= 151 * 256
    assert len(member.others) < 900  # who does not answer is forgotten

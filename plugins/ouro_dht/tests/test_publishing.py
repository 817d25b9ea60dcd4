"""Names that are registered, what is stored for others, and what becomes of it."""

from collections.abc import Callable
from typing import Any

import pytest
from ouro_dht.publishing import MAX_RUNNING
from ouro_dht.testing.layer import EPOCH, Layer, Place
from ouro_dht.wire import Contact, Message, Request, Store, value_of

OWN = 0x1234567890ABCDEF


def stores(sent: list[tuple[int, Message]]) -> list[tuple[int, Store]]:
    return [(a, m) for a, m in sent if isinstance(m, Store)]


def serve(lone: Any, known: list[Contact], seconds: float) -> list[tuple[int, Store]]:
    """What is stored at contacts in a time in which they answer."""
    return stores(lone.among(known, seconds))


def test_register_without_contacts_sends_nothing(lone: Any) -> None:
    """Spec: dht.md 12."""
    lone.dht.register(lone.key(), lone.now)
    assert lone.collect() == []


def test_register_sends_to_alpha_at_once(lone: Any) -> None:
    """Spec: dht.md 12: with four contacts, exactly alpha messages, valid STOREs; then unregister."""
    lone.meet(4)
    key = lone.key()
    lone.dht.register(key, lone.now)
    sent = lone.collect()
    assert len(sent) == 3
    for _, message in sent:
        assert isinstance(message, Store)
        assert (message.key, message.value) == (key, value_of(OWN))
        assert message.expiry == lone.unix + 60
    lone.dht.unregister(key, lone.now)


def test_then_to_the_closest_that_answer(lone: Any) -> None:
    known = lone.meet(30)
    key = lone.key()
    lone.dht.register(key, lone.now)
    lone.collect()
    later = serve(lone, known, 4.0)
    assert len(later) == len({a for a, _ in later}) == 8
    assert {m.expiry - lone.unix for _, m in later} <= set(range(2700 - 6, 2701))


def test_what_was_registered_without_contacts_goes_out_with_the_first(lone: Any) -> None:
    """13.1, item 7."""
    key = lone.key()
    lone.dht.register(key, lone.now)
    lone.wait(100.0)
    first = lone.contact()
    lone.take(Request(first, lone.key(), 1, ouro=True))
    assert [(a, m.key) for a, m in serve(lone, [first], 6.0)] == [(first.address, key)]


def test_every_name_is_published_again(lone: Any) -> None:
    """13.1, item 6: all of them, every t_replicate, with a new end."""
    known = lone.meet(3)
    keys = [lone.key() for _ in range(50)]
    for key in keys:
        lone.dht.register(key, lone.now)
    first = serve(lone, known, 60.0)
    again = serve(lone, known, 1000.0)
    for sent in (first, again):
        assert {m.key for _, m in sent} == set(keys)
    assert min(m.expiry for _, m in again) > max(m.expiry for _, m in first)


def test_unregistered_names_are_taken_back(lone: Any) -> None:
    known = lone.meet(3)
    key = lone.key()
    lone.dht.register(key, lone.now)
    serve(lone, known, 5.0)
    lone.dht.unregister(key, lone.now)
    sent = stores(lone.collect())
    assert {a for a, _ in sent} == {c.address for c in known}
    assert all(m.withdraw and m.expiry == 0 and m.value == value_of(OWN) for _, m in sent)
    assert serve(lone, known, 3000.0) == []


def test_whoever_was_given_a_name_is_told_that_it_is_taken_back(lone: Any) -> None:
    """Also those that were slow when it was published again; but not those that forgot it long ago."""
    known = lone.meet(3)
    key = lone.key()
    lone.dht.register(key, lone.now)
    assert {a for a, _ in stores(lone.collect())} == {c.address for c in known}
    slow, *others = known
    assert {a for a, _ in serve(lone, others, 3.0)} == {c.address for c in others}
    lone.dht.unregister(key, lone.now)
    assert {a for a, m in stores(lone.collect()) if m.withdraw} == {c.address for c in known}

    lone.dht.register(key, lone.now)
    lone.collect()
    serve(lone, others, 100.0)
    lone.take(Request(slow, lone.key(), 1, ouro=True))  # it is still there
    lone.dht.unregister(key, lone.now)
    assert {a for a, m in stores(lone.collect()) if m.withdraw} == {c.address for c in others}


def test_nodes_of_the_prototype_are_not_bothered_with_withdrawals(lone: Any) -> None:
    known = lone.meet(3, ouro=False)
    key = lone.key()
    lone.dht.register(key, lone.now)
    lone.collect()
    lone.dht.unregister(key, lone.now)
    assert known
    assert stores(lone.collect()) == []


def test_registering_again_at_once_is_newer_than_the_withdrawal(lone: Any) -> None:
    lone.meet(3)
    key = lone.key()
    lone.dht.register(key, lone.now)
    lone.dht.unregister(key, lone.now)
    lone.collect()
    lone.dht.register(key, lone.now)
    again = stores(lone.collect())
    assert again
    assert all(m.published > lone.unix for _, m in again)


def test_only_the_owner_takes_back(lone: Any) -> None:
    owner, key = lone.contact(), lone.key()
    lone.store(owner, key, value_of(owner.address), ouro=True)
    value = value_of(owner.address)
    lone.take(Store(lone.contact(), key, value, 0, lone.unix + 5, withdraw=True, ouro=True))
    assert lone.held(key) == [value]
    lone.take(Store(owner, key, value, 0, lone.unix + 5, withdraw=True, ouro=True))
    assert lone.held(key) == []
    lone.take(Store(lone.contact(), key, value, lone.unix + 600, lone.unix, ouro=True))
    assert lone.held(key) == []
    assert lone.counters.stores["withdrawn"] == 1


def test_our_own_address_is_not_kept_for_names_that_are_not_here(lone: Any) -> None:
    """6.4: holders pass names back to where they came from."""
    (holder,) = lone.meet()
    key = lone.key()
    lone.dht.register(key, lone.now)
    lone.dht.unregister(key, lone.now)
    lone.collect()
    before = len(lone.sent)
    lone.take(Store(holder, key, value_of(OWN), lone.unix + 500, lone.unix - 1, ouro=True))
    assert lone.held(key) == []
    ((to, taken_back),) = stores(lone.sent[before:])
    assert to == holder.address
    assert taken_back.withdraw
    lone.take(Store(holder, lone.key(), value_of(OWN), lone.unix + 500, ouro=True))
    assert lone.counters.stores["ghost"] == 2


def test_what_nobody_brings_any_more_is_passed_on(lone: Any) -> None:
    """With the end and the time it had; one that is published again is left alone."""
    known = lone.meet(4)
    owner, other = lone.contact(), lone.contact()
    quiet, lively = lone.key(), lone.key()
    expiry = lone.unix + 40000
    lone.take(Store(owner, quiet, value_of(owner.address), expiry, lone.unix - 3, ouro=True))
    found = []
    for _ in range(4):
        lone.take(Store(other, lively, value_of(other.address), lone.unix + 2700, lone.unix, ouro=True))
        found += serve(lone, [*known, owner, other], 800.0)
    assert {m.key for _, m in found} == {quiet}
    assert {(m.expiry, m.published, m.value) for _, m in found} == {
        (expiry, found[0][1].published, value_of(owner.address))
    }


def test_what_the_prototype_leaves_here_is_passed_on_soon(lone: Any) -> None:
    known = lone.meet(4)
    theirs = lone.contact()
    key = lone.key()
    lone.take(Store(theirs, key, value_of(theirs.address), lone.unix + 86400))
    found = serve(lone, [*known, theirs], 10.0)
    assert {m.key for _, m in found} == {key}
    assert {a for a, _ in found} >= {c.address for c in known}


def test_a_storm_of_registrations_is_spread(make_lone: Callable[..., Any]) -> None:
    lone = make_lone()
    lone.start()
    known = lone.meet(3)
    for _ in range(2000):
        lone.dht.register(lone.key(), lone.now)
    assert len(lone.collect()) <= 3 * MAX_RUNNING
    lone.now += 0.2
    lone.dht.handle_timeout(lone.now)
    assert len(lone.collect()) <= 200
    assert lone.rib.read("dht/state")["lookups"] <= MAX_RUNNING + 1  # and one for our own id
    found = serve(lone, known, 30.0)
    assert len({m.key for _, m in found}) >= 1900


# ---------------------------------------------------------------- in layers


def holders(layer: Layer, key: bytes) -> set[int]:
    """Members that have an unexpired value for a key."""
    found = set()
    for place in layer.places.values():
        member = getattr(place.directory, "_member", None)
        if member is not None and member.store.values(key, EPOCH + layer.now):
            found.add(place.address)
    return found


def closest(layer: Layer, key: bytes, count: int) -> set[int]:
    number = int.from_bytes(key[:8], "big")
    places: list[Place] = sorted(
        layer.places.values(),
        key=lambda p: p.directory._member.table.number ^ number,  # type: ignore[attr-defined]
    )
    return {p.address for p in places[:count]}


def test_the_closest_hold_a_name() -> None:
    """Replicas are at the k closest, not at a few busy ones (13.1, items 2, 5)."""
    layer = Layer(3)
    places = layer.grow(100)
    layer.run(10.0)
    keys = layer.names(50)
    layer.run(10.0)
    share = [len(holders(layer, key) & closest(layer, key, 8)) for key in keys]
    assert min(share) >= 7
    load = sorted((sum(p.address in holders(layer, key) for key in keys) for p in places), reverse=True)
    assert sum(load[:3]) < 0.15 * sum(load)


def test_a_newcomer_gets_what_it_should_hold() -> None:
    layer = Layer(4)
    layer.grow(30)
    layer.run(10.0)
    keys = layer.names(60)
    layer.run(10.0)
    newcomer = layer.add(next(iter(layer.places.values())))
    layer.run(10.0)
    should = [key for key in keys if newcomer.address in closest(layer, key, 8)]
    has = [key for key in should if newcomer.address in holders(layer, key)]
    assert len(should) >= 5
    assert len(has) >= 0.9 * len(should)


def test_a_dead_server_is_forgotten_within_three_periods() -> None:
    layer = Layer(5)
    places = layer.grow(20)
    layer.run(10.0)
    (key,) = layer.names(1, [places[3]])
    layer.run(1000.0)
    layer.remove(places[3])
    layer.run(10.0)
    assert layer.ask(places[7], "lookup", key.hex()).value["values"]
    layer.run(3 * 900 + 10.0)
    assert holders(layer, key) == set()


def test_values_live_as_long_as_their_server() -> None:
    layer = Layer(6)
    places = layer.grow(20)
    (key,) = layer.names(1, [places[3]])
    layer.run(4 * 3600.0)
    assert layer.find(places[9], key).correct


@pytest.mark.parametrize("prototype", [False, True])
def test_a_name_that_is_taken_back_is_gone_at_once(prototype: bool) -> None:
    layer = Layer(7)
    places = layer.grow(20)
    layer.run(10.0)
    (key,) = layer.names(1, [places[3]])
    layer.run(10.0)
    layer.unregister(places[3], key)
    layer.run(1.0)
    assert holders(layer, key) == set()
    if prototype:
        layer.add(places[0], prototype=True)
        layer.run(10.0)
        assert holders(layer, key) == set()

"""Values of others: how long, in which order, how many."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ouro_dht import store as module
from ouro_dht.store import MAX_PER_KEY, ValueStore
from ouro_dht.timers import Deadlines
from ouro_dht.wire import Contact, value_of

KEY = b"k" * 32
UNIX = 1_800_000_000.0
T_EXPIRE = 86400


def source(address: int) -> Contact:
    return Contact(address.to_bytes(32, "big"), address)


def put(
    held: ValueStore,
    address: int,
    by: int | None = None,
    life: float = 600.0,
    unix: float = UNIX,
    key: bytes = KEY,
    published: float = 0.0,
) -> str:
    by = address if by is None else by
    outcome, _ = held.put(key, value_of(address), source(by), unix + life, published, unix - UNIX, unix)
    return outcome


def addresses(held: ValueStore, unix: float = UNIX, key: bytes = KEY) -> list[int]:
    return [int.from_bytes(v.data, "big") for v in held.values(key, unix)]


def test_a_value_is_kept_until_it_ends() -> None:
    held = ValueStore(T_EXPIRE)
    assert put(held, 5, life=10) == "stored"
    assert addresses(held) == [5]
    assert addresses(held, UNIX + 11) == []
    assert held.expire(UNIX + 9) == 0
    assert held.expire(UNIX + 11) == 1
    assert held.count == 0
    assert held.keys == {}


def test_a_later_end_counts_an_earlier_does_not() -> None:
    """Spec: dht.md 12."""
    held = ValueStore(T_EXPIRE)
    put(held, 5, life=10)
    item = held.item(KEY, value_of(5))
    assert put(held, 5, life=15) == "renewed"
    assert item is not None
    assert item.expiry == UNIX + 15
    assert put(held, 5, life=5) == "renewed"
    assert held.item(KEY, value_of(5)) is item
    assert item.expiry == UNIX + 15
    assert held.expire(UNIX + 12) == 0
    assert held.expire(UNIX + 16) == 1


def test_unknown_values() -> None:
    held = ValueStore(T_EXPIRE)
    assert held.item(KEY, value_of(5)) is None
    put(held, 5)
    assert held.item(KEY, value_of(6)) is None
    assert held.values(b"x" * 32, UNIX) == []


def test_the_past_is_refused_and_the_far_future_cut() -> None:
    held = ValueStore(T_EXPIRE)
    assert put(held, 5, life=-1) == "expired"
    assert held.keys == {}
    assert put(held, 5, life=0) == "stored"
    assert put(held, 6, life=(1 << 32) - 1 - UNIX) == "stored"
    item = held.item(KEY, value_of(6))
    assert item is not None
    assert item.expiry == UNIX + T_EXPIRE


@pytest.mark.parametrize("value", [b"", b"1", b"1234567", b"123456789", bytes(8), b"x" * 4000])
def test_what_is_no_address_is_refused(value: bytes) -> None:
    held = ValueStore(T_EXPIRE)
    assert held.put(KEY, value, source(1), UNIX + 10, 0, 0.0, UNIX) == ("value", None)


def test_the_one_published_last_comes_first() -> None:
    held = ValueStore(T_EXPIRE)
    put(held, 5)
    put(held, 6, unix=UNIX + 10)
    assert addresses(held, UNIX + 10) == [6, 5]
    put(held, 5, unix=UNIX + 20)
    assert addresses(held, UNIX + 20) == [5, 6]


def test_what_others_pass_on_is_as_old_as_it_is() -> None:
    """From the prototype: published a whole life before it ends. From Ouro: as it says."""
    held = ValueStore(T_EXPIRE)
    put(held, 5, by=99, life=T_EXPIRE - 1000)
    put(held, 6, by=99, life=300.0, published=UNIX - 500)
    put(held, 7, by=99, life=T_EXPIRE - 100)
    assert addresses(held) == [7, 6, 5]


def test_nobody_publishes_in_the_future() -> None:
    held = ValueStore(T_EXPIRE)
    put(held, 5, published=UNIX + 1e6)
    put(held, 6, unix=UNIX + 120)
    assert addresses(held, UNIX + 120) == [6, 5]


def test_many_values_for_a_key() -> None:
    """Spec: dht.md 12: 3 of 3; of 23 as many as may be."""
    held = ValueStore(T_EXPIRE)
    for i in range(1, 4):
        put(held, i, by=99)
    assert len(addresses(held)) == 3
    outcomes = {put(held, i, by=99) for i in range(4, 10001)}
    assert outcomes == {"stored", "key_full"}
    assert len(addresses(held)) == MAX_PER_KEY
    assert held.count == MAX_PER_KEY


def test_owners_make_room_for_themselves_among_what_others_say() -> None:
    held = ValueStore(T_EXPIRE)
    for i in range(1, MAX_PER_KEY + 1):
        put(held, i, by=99)
    assert put(held, 500, by=99) == "key_full"
    for i in range(500, 500 + MAX_PER_KEY):
        assert put(held, i) == "stored"
    assert all(a >= 500 for a in addresses(held))
    assert put(held, 501, by=99, unix=UNIX + 5) == "renewed"
    assert put(held, 777, unix=UNIX + 5) == "stored"
    assert put(held, 778, by=99) == "key_full"
    assert set(addresses(held)) == {777, *range(501, 500 + MAX_PER_KEY)}


def test_forged_values_do_not_keep_a_name_away() -> None:
    """10,000 that seem to come from their owners, and the true one among them, which says so from time to time."""
    held = ValueStore(T_EXPIRE)
    for i in range(10000):
        unix = UNIX + i / 100
        put(held, 1000 + i, life=T_EXPIRE, unix=unix, published=unix + 60)
        if i % 10 == 0:
            assert put(held, 7, life=2700, unix=unix) in ("stored", "renewed")
        assert 7 in addresses(held, unix)
    assert held.count == MAX_PER_KEY


def test_one_source_has_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PER_SOURCE", 10)
    held = ValueStore(T_EXPIRE)
    keys = [i.to_bytes(32, "big") for i in range(20)]
    assert [put(held, 5, key=k) for k in keys] == ["stored"] * 10 + ["source_full"] * 10
    assert put(held, 6, key=keys[15]) == "stored"
    assert held.expire(UNIX + 1000) == 11
    assert put(held, 5, key=keys[15]) == "stored"


def test_who_has_as_many_as_one_may_drives_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PER_SOURCE", 3)
    held = ValueStore(T_EXPIRE)
    for i in range(3):
        put(held, 5, key=b"%032d" % i)
    for address in range(100, 100 + MAX_PER_KEY):
        put(held, address)
    assert put(held, 5) == "source_full"
    assert len(addresses(held)) == MAX_PER_KEY


def test_all_have_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VALUES", 10)
    held = ValueStore(T_EXPIRE)
    outcomes = [put(held, i, key=i.to_bytes(32, "big")) for i in range(1, 21)]
    assert outcomes == ["stored"] * 10 + ["store_full"] * 10
    assert put(held, 5, key=(5).to_bytes(32, "big"), life=700) == "renewed"


def test_one_that_fills_the_store_makes_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many from each in the end; who has as many as the others is refused."""
    monkeypatch.setattr(module, "MAX_VALUES", 100)
    held = ValueStore(T_EXPIRE)
    for i in range(100):
        assert put(held, 1000 + i, by=1, key=b"%032d" % i) == "stored"
    assert put(held, 1100, by=1, key=b"%032d" % 100) == "store_full"
    outcomes = [put(held, 2, life=60.0, key=b"%032d" % (200 + i)) for i in range(100)]
    assert outcomes.count("stored") == 50
    assert set(outcomes) == {"stored", "store_full"}
    assert held.count == 100
    assert sum(1 for _, item in held if item.source == 2) == 50


def test_one_value_renewed_for_ever_takes_the_room_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message moves its end, as time goes on."""
    monkeypatch.setattr(Deadlines, "MANY", 256)
    held = ValueStore(T_EXPIRE)
    for i in range(5000):
        put(held, 7, life=1e9, unix=UNIX + i / 1000)
    assert len(held._ends) <= 256
    assert held.expire(UNIX + T_EXPIRE + 4.9) == 0
    assert held.expire(UNIX + T_EXPIRE + 5.1) == 1


def test_what_is_withdrawn_does_not_come_back_by_old_copies() -> None:
    held = ValueStore(T_EXPIRE)
    put(held, 5)
    assert held.withdraw(KEY, value_of(5), UNIX, UNIX)
    assert addresses(held) == []
    assert not held.withdraw(KEY, value_of(5), UNIX, UNIX)
    assert put(held, 5, by=99, published=UNIX - 1) == "withdrawn"
    assert put(held, 5, published=UNIX + 1) == "stored"
    assert addresses(held) == [5]


def test_tombstones_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOMBSTONES", 5)
    held = ValueStore(T_EXPIRE)
    for i in range(1, 20):
        held.withdraw(KEY, value_of(i), UNIX, UNIX)
    assert put(held, 1, published=UNIX) == "stored"
    assert put(held, 19, published=UNIX) == "withdrawn"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.booleans())
def test_counts_are_right(seed: int, narrow: bool) -> None:
    """Also where everything is full."""
    with pytest.MonkeyPatch.context() as patch:
        if narrow:
            patch.setattr(module, "MAX_VALUES", 20)
            patch.setattr(module, "MAX_PER_SOURCE", 9)
            patch.setattr(Deadlines, "MANY", 32)
        work(random.Random(seed))


def work(rng: random.Random) -> None:
    held = ValueStore(1000)
    unix = UNIX
    for _ in range(300):
        key = bytes([rng.randrange(5)]) * 32
        address = rng.randrange(1, 30)
        what = rng.random()
        if what < 0.7:
            put(held, address, by=rng.choice([address, 99]), life=rng.uniform(-5, 400), unix=unix, key=key)
        elif what < 0.85:
            held.withdraw(key, value_of(address), unix, unix)
        else:
            unix += rng.uniform(0, 200)
            held.expire(unix)
        values = list(held)
        assert held.count == len(values) <= module.MAX_VALUES
        assert max(held._per_source.values(), default=0) <= module.MAX_PER_SOURCE
        assert sum(held._per_source.values()) == len(values)
        assert all(len(k.items) <= MAX_PER_KEY for k in held.keys.values())
    held.expire(unix + 2000)
    assert held.count == 0
    assert not held.keys
    assert not +held._per_source

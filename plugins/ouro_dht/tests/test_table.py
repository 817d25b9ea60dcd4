"""Contacts: buckets, splits, who is named, who makes room."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ouro_dht.table import Standing, Table, number_of
from ouro_dht.wire import Contact

K = 8


def contact(rng: random.Random) -> Contact:
    return Contact(rng.randbytes(32), rng.randrange(1, 1 << 32))


def table(seed: int = 1, count: int = 0) -> tuple[Table, random.Random]:
    rng = random.Random(seed)
    made = Table(contact(rng), K)
    for i in range(count):
        made.heard(contact(rng), float(i), ouro=True)
    return made, rng


def near(made: Table, bits: int, rng: random.Random) -> Contact:
    """A contact that shares exactly so many bits with us."""
    number = made.number ^ (1 << (63 - bits))
    number = (number >> (63 - bits) << (63 - bits)) | rng.getrandbits(63 - bits)
    return Contact(number.to_bytes(8, "big") + bytes(24), rng.randrange(1, 1 << 32))


def check(made: Table) -> None:
    """What must always hold."""
    seen = set()
    for index, bucket in enumerate(made.buckets):
        assert len(bucket.entries) <= K
        assert len(bucket.spare) <= K
        for entry in (*bucket.entries, *bucket.spare):
            assert made.index(entry.number) == index
            assert made.get(entry.contact.address) is entry
            assert entry.contact.address not in seen
            seen.add(entry.contact.address)
    assert len(made) == len(seen)
    assert made.own.address not in seen


def test_a_thousand_contacts() -> None:
    made, _ = table(count=1000)
    check(made)
    assert 5 <= len(made.buckets) <= 12
    assert sum(1 for _ in made) >= 5 * K


def test_the_neighbourhood_is_complete() -> None:
    """Spec: dht.md 4.3 to 4.5, done right: whatever is asked for near ourselves, the true closest come."""
    made, rng = table()
    known = [contact(rng) for _ in range(500)]
    for c in known:
        made.heard(c, 0.0, ouro=True)
    nearest = sorted(known, key=lambda c: number_of(c.id) ^ made.number)[:K]
    assert [e.contact for e in made.closest(made.number, K)] == nearest


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, (1 << 64) - 1), st.integers(1, 30))
def test_the_closest_are_the_closest_of_all_in_the_table(seed: int, number: int, count: int) -> None:
    made, _ = table(seed, 200)
    expected = sorted(made, key=lambda e: e.number ^ number)[:count]
    assert made.closest(number, count) == expected


def test_five_then_a_hundred() -> None:
    """Spec: dht.md 12."""
    made, rng = table(count=5)
    assert len(made.closest(made.number, 20)) == 5
    for _ in range(100):
        made.heard(contact(rng), 0.0, ouro=True)
    assert len(made.closest(made.number, 100)) >= K


def test_who_is_full_keeps_who_was_there_first() -> None:
    made, rng = table()
    first = [near(made, 0, rng) for _ in range(K)]
    for c in first:
        made.heard(c, 0.0, ouro=True)
    made.heard(near(made, 3, rng), 0.0, ouro=True)  # splits
    late = near(made, 0, rng)
    entry, new = made.heard(late, 1.0, ouro=True)
    assert not new
    assert [e.contact for e in made.buckets[0].entries] == first
    assert made.buckets[0].spare == [entry]
    check(made)


def test_one_that_fails_makes_room() -> None:
    made, rng = table()
    first = [near(made, 0, rng) for _ in range(K)]
    for c in (*first, near(made, 3, rng)):
        made.heard(c, 0.0, ouro=True, answered=True)
    late = near(made, 0, rng)
    made.heard(late, 1.0, ouro=True)
    made.failed(first[2].address, 2.0, 4.0)
    assert made.get(late.address) in made.buckets[0].spare
    made.failed(first[2].address, 3.0, 5.0)  # was under way when the other failed
    assert made.get(late.address) in made.buckets[0].spare
    made.failed(first[2].address, 4.0, 6.0)
    assert [e.contact for e in made.buckets[0].entries] == [*first[:2], *first[3:], late]
    assert list(made.lost) == [first[2]]
    check(made)


def test_one_that_fails_stays_while_nobody_waits() -> None:
    made, rng = table()
    only = contact(rng)
    entry, _ = made.heard(only, 0.0, ouro=True)
    assert entry is not None
    for sent in (1.0, 3.0):
        made.failed(only.address, sent, sent + 2.0)
    assert entry.bad
    assert made.closest(0, 5) == []
    assert made.heard(only, 6.0, ouro=True) == (entry, True)
    assert not entry.bad
    made.failed(only.address, 5.0, 7.0)  # it spoke since
    assert entry.fails == 0
    for sent in (8.0, 10.0, 12.0, 14.0, 16.0):
        made.failed(only.address, sent, sent + 2.0)
    assert made.get(only.address) is None
    made.failed(only.address, 20.0, 22.0)


def test_a_route_lost_and_found() -> None:
    made, rng = table()
    only = contact(rng)
    entry, _ = made.heard(only, 0.0, ouro=True)
    made.unreachable(only.address)
    assert made.closest(0, 5) == []
    made.reachable(only.address)
    assert made.closest(0, 5) == [entry]
    made.unreachable(77)
    made.reachable(77)


def test_what_others_say_is_not_passed_on() -> None:
    made, rng = table()
    made.learnt(contact(rng), 1, 0.0)
    assert made.closest(0, 5, shown=True) == []
    assert len(made.closest(0, 5)) == 1


def test_what_others_say_gives_way_to_who_speaks() -> None:
    made, rng = table()
    for via in (1, 2, 3):
        for _ in range(K):
            made.learnt(near(made, 0, rng), via, 0.0)
    made.heard(near(made, 5, rng), 0.0, ouro=True)
    speakers = [near(made, 0, rng) for _ in range(K)]
    for c in speakers:
        made.heard(c, 1.0, ouro=True)
    assert {e.contact for e in made.buckets[0].entries} == set(speakers)
    check(made)


def test_one_member_cannot_fill_a_bucket_with_what_it_says() -> None:
    made, rng = table()
    for _ in range(1000):
        made.learnt(near(made, rng.randrange(4), rng), 66, 0.0)
    for bucket in made.buckets:
        assert sum(1 for e in bucket.entries if e.standing is Standing.LEARNT) <= K // 2
    check(made)


def test_an_address_has_one_contact() -> None:
    made, rng = table()
    old = contact(rng)
    made.heard(old, 0.0, ouro=True)
    new = Contact(rng.randbytes(32), old.address)
    entry, _ = made.heard(new, 1.0, ouro=True)
    assert entry is not None
    assert [e.contact for e in made] == [new]
    check(made)


def test_an_id_and_an_address_that_answered_are_not_taken_over() -> None:
    made, rng = table()
    true = contact(rng)
    made.heard(true, 0.0, ouro=True, answered=True)
    assert made.heard(Contact(rng.randbytes(32), true.address), 1.0, ouro=True) == (None, False)
    assert made.heard(Contact(true.id, 77), 1.0, ouro=True) == (None, False)
    assert [e.contact for e in made] == [true]
    moved, _ = made.heard(Contact(true.id, 77), 1000.0, ouro=True)
    assert moved is not None
    assert [e.contact.address for e in made] == [77]
    check(made)


def test_ourselves_are_no_contact() -> None:
    made, rng = table()
    assert made.heard(Contact(made.own.id, 5), 0.0, ouro=True) == (None, False)
    assert made.heard(Contact(rng.randbytes(32), made.own.address), 0.0, ouro=True) == (None, False)
    made.learnt(made.own, 1, 0.0)
    assert len(made) == 0


def test_ids_that_all_begin_like_ours() -> None:
    """They split buckets to the last bit, and no further."""
    made, rng = table()
    for _ in range(200):
        made.heard(Contact(made.own.id[:8] + rng.randbytes(24), rng.randrange(1, 1 << 32)), 0.0, ouro=True)
    assert len(made.buckets) == 64
    assert sum(1 for _ in made) == K
    check(made)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_random_numbers_fall_into_their_bucket(index: int) -> None:
    made, rng = table(count=200)
    for i in (index, len(made.buckets) - 1):
        for _ in range(50):
            assert made.index(made.random_number(i, rng.getrandbits(64))) == i


def test_rank() -> None:
    made, rng = table(count=300)
    for _ in range(20):
        number = rng.getrandbits(64)
        closer = sum(1 for e in made if e.number ^ number < made.number ^ number)
        assert made.rank(number, K) == min(closer, K)
    assert made.rank(made.number, K) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30), st.integers(0, 30)), max_size=200))
def test_whatever_happens(steps: list[tuple[int, int, int]]) -> None:
    made, rng = table()
    ids = [near(made, i % 6, rng).id for i in range(31)]
    for now, (what, id, address) in enumerate(steps):
        c = Contact(ids[id], address + 1)
        if what == 0:
            made.heard(c, now * 20.0, ouro=True)
        elif what == 1:
            made.heard(c, now * 20.0, ouro=False, answered=True)
        elif what == 2:
            made.learnt(c, id + 1, now * 20.0)
        elif what == 3:
            made.failed(address + 1, now * 20.0, now * 20.0)
        else:
            (made.unreachable if id % 2 else made.reachable)(address + 1)
        check(made)

"""One lookup: whom it asks, when it ends."""

import random
from collections.abc import Callable, Sequence

import pytest
from ouro_dht.lookup import LIFETIME, MAX_ASKED, Lookup, Peer
from ouro_dht.table import Entry, Standing, number_of
from ouro_dht.wire import Contact, Value

KEY = bytes(32)
OWN = 999


def contact(distance: int) -> Contact:
    """So far from the key; its address is the distance."""
    return Contact(distance.to_bytes(8, "big") + bytes(24), distance)


def lookup(
    distances: Sequence[int], *, for_value: bool = True, k: int = 4, alpha: int = 2, thorough: bool = False
) -> Lookup:
    made = Lookup(KEY, OWN, for_value=for_value, k=k, alpha=alpha, now=0.0, thorough=thorough)
    made.seed([Entry(contact(d), Standing.ANSWERED, 0.0) for d in distances], lambda entry: 0.1)
    return made


def addresses(peers: Sequence[Peer]) -> list[int]:
    return [p.contact.address for p in peers]


def answer(
    made: Lookup, peer: Peer, distances: Sequence[int] = (), values: Sequence[Value] = (), now: float = 0.01
) -> None:
    made.answered(peer, [contact(d) for d in distances], values, now, lambda c: (None, 0.1))


VALUE = Value(b"12345678", 100, 200)


def test_the_closest_are_asked_first() -> None:
    made = lookup([40, 10, 30, 20, 50])
    assert addresses(made.step(0.0)) == [10, 20]
    assert made.step(0.0) == []


def test_each_answer_frees_a_place() -> None:
    made = lookup([10, 20, 30, 40, 50])
    first, second = made.step(0.0)
    answer(made, first, [15, 60])
    assert addresses(made.step(0.01)) == [15]
    answer(made, second)
    assert addresses(made.step(0.02)) == [30]


def test_it_ends_when_the_closest_have_answered() -> None:
    made = lookup([10, 20, 30, 40, 50, 60], for_value=False)
    asked = []
    while peers := made.step(0.0):
        for peer in peers:
            asked.append(peer.contact.address)
            answer(made, peer)
    assert asked == [10, 20, 30, 40]
    assert made.finished == 0.0
    assert [c.address for c in made.closest()] == [10, 20, 30, 40]


def test_it_comes_closer_round_by_round() -> None:
    made = lookup([1000, 1001], alpha=1)
    depths = []
    for step in range(4):
        (peer,) = made.step(0.0)
        depths.append(peer.depth)
        answer(made, peer, [100 - step])
    assert depths == [1, 2, 3, 4]
    assert made.rounds == 4


def test_it_ends_when_two_had_values() -> None:
    """One may have missed what was published last."""
    made = lookup([10, 20, 30])
    first, second = made.step(0.0)
    answer(made, first, values=[VALUE], now=0.01)
    assert made.step(0.01) == []  # the other is still being asked
    assert made.finished is None
    answer(made, second, values=[Value(b"ABCDEFGH", 150, 200)], now=0.015)
    assert made.step(0.015) == []
    assert made.finished == 0.015
    assert set(made.values) == {b"12345678", b"ABCDEFGH"}


def test_a_second_opinion_is_asked_for() -> None:
    made = lookup([10, 20, 30])
    first, second = made.step(0.0)
    answer(made, second)
    answer(made, first, values=[VALUE], now=0.01)
    assert addresses(made.step(0.01)) == [30]


@pytest.mark.parametrize(("first", "end"), [(0.01, 0.1), (0.06, 0.1), (0.09, 0.12), (0.15, 0.18), (0.002, 0.1)])
def test_the_second_answer_is_not_waited_for_for_long(first: float, end: float) -> None:
    """Until half of the budget is over, or a moment when that is soon, or past."""
    made = lookup([10, 20, 30])
    made.seed([Entry(contact(1), Standing.ANSWERED, 0.0)], lambda entry: 60.0)
    patient, other = made.step(0.0)
    answer(made, other, values=[VALUE], now=first)
    made.step(first)
    while made.finished is None:
        due = made.next_timeout()
        assert due is not None
        made.step(due)
    assert not patient.answered
    assert made.finished == pytest.approx(end)


def test_those_farther_away_are_not_believed_when_nearer_ones_can_be_asked() -> None:
    """They may hold what is long over: two of them are not enough."""
    made = lookup([50, 60], k=2)
    for peer in made.step(0.0):
        answer(made, peer, [10, 20], values=[VALUE], now=0.01)
    nearer = made.step(0.01)
    assert addresses(nearer) == [10, 20]
    for peer in nearer:
        answer(made, peer, values=[Value(b"ABCDEFGH", 900, 1000)], now=0.02)
    assert made.step(0.02) == []
    assert b"ABCDEFGH" in made.values


def test_when_all_that_it_began_with_are_gone_others_are_asked() -> None:
    entries = [Entry(contact(d), Standing.ANSWERED, 0.0) for d in (10, 20, 30, 40)]
    made = Lookup(KEY, OWN, for_value=True, k=2, alpha=2, now=0.0, reserve=lambda: entries)
    made.seed(entries[:2], lambda entry: 0.1)
    assert addresses(made.step(0.0)) == [10, 20]
    assert addresses(made.step(0.1)) == [30, 40]


def test_one_that_is_the_only_one_is_enough() -> None:
    made = lookup([10])
    (first,) = made.step(0.0)
    answer(made, first, values=[VALUE], now=0.01)
    assert made.step(0.01) == []
    assert made.finished == 0.01


def test_the_later_of_two_times_counts() -> None:
    made = lookup([10, 20])
    first, second = made.step(0.0)
    answer(made, first, values=[VALUE._replace(published=5)])
    answer(made, second, values=[VALUE._replace(published=9), VALUE._replace(published=7)])
    assert made.values[VALUE.data].published == 9


def test_the_prototype_has_the_oldest_first() -> None:
    made = lookup([10])
    (peer,) = made.step(0.0)
    answer(made, peer, values=[Value(b"old.....", 0, 0), Value(b"new.....", 0, 0)])
    assert made.values[b"new....."].published > made.values[b"old....."].published


def test_who_is_slow_is_passed_over() -> None:
    made = lookup([10, 20, 30, 40, 50, 60], alpha=2)
    made.step(0.0)
    assert made.next_timeout() == pytest.approx(0.1)
    assert addresses(made.step(0.1)) == [30, 40, 50, 60]  # both are slow, and twice as many are asked


def test_who_is_slow_may_still_answer() -> None:
    made = lookup([10, 20, 30, 40], alpha=2)
    first, _ = made.step(0.0)
    made.step(0.2)
    answer(made, first, values=[VALUE], now=0.25)
    assert made.found == 0.25


def test_the_slow_are_asked_once_more_before_it_fails() -> None:
    made = lookup([10, 20], alpha=2)
    assert addresses(made.step(0.0)) == [10, 20]
    assert addresses(made.step(0.1)) == [10, 20]
    assert made.step(0.2) == []
    assert made.finished == 0.2


def test_it_ends_in_time() -> None:
    made = lookup([10])
    made.seed([Entry(contact(11), Standing.ANSWERED, 0.0)], lambda entry: 60.0)
    made.step(0.0)
    assert made.step(LIFETIME) == []
    assert made.finished == LIFETIME


def test_nobody_to_ask() -> None:
    made = lookup([])
    assert made.step(0.0) == []
    assert made.finished == 0.0
    assert made.next_timeout() is None
    assert made.closest() == []


def test_ourselves_are_not_asked_and_nobody_twice() -> None:
    made = lookup([10])
    (peer,) = made.step(0.0)
    answer(made, peer, [10, OWN, 10, 12, 12])
    assert addresses(made.step(0.01)) == [12]


def test_who_cannot_be_reached_is_not_asked() -> None:
    made = lookup([10])
    (peer,) = made.step(0.0)
    made.answered(peer, [contact(5), contact(6)], (), 0.01, lambda c: None if c.address == 5 else (None, 0.1))
    assert addresses(made.step(0.01)) == [6]


def test_of_equally_near_ones_the_quick_is_asked_first() -> None:
    made = Lookup(KEY, OWN, for_value=True, k=4, alpha=1, now=0.0)
    entries = [Entry(contact(d), Standing.ANSWERED, 0.0) for d in (8, 9, 10, 20)]
    for entry, rtt in zip(entries, (0.3, 0.2, 0.1, 0.001), strict=True):
        entry.rtt = rtt
    made.seed(entries, lambda entry: 0.5)
    assert addresses(made.step(0.0)) == [10]


def test_a_thorough_lookup_asks_everybody() -> None:
    for thorough in (False, True):
        made = lookup(range(10, 30), k=2, thorough=thorough)
        asked = []
        while peers := made.step(0.0):
            for peer in peers:
                asked.append(peer.contact.address)
                answer(made, peer)
        assert asked == (list(range(10, 30)) if thorough else [10, 11])


def test_work_is_bounded() -> None:
    """Somebody who names ever new members, all nearer than the last."""
    made = lookup([1 << 60], k=20, alpha=10, thorough=True)
    rng = random.Random(1)
    now = 0.0
    while made.finished is None:
        peers = made.step(now)
        for peer in peers:
            answer(made, peer, [rng.randrange(1, 1 << 50) for _ in range(80)], now=now)
    assert made.asked <= MAX_ASKED


def test_a_network_of_lookups_finds_the_closest() -> None:
    """Members that know others at random: the result is compared with the truth."""
    rng = random.Random(3)
    members = {rng.getrandbits(60): None for _ in range(200)}
    knows: dict[int, list[int]] = {}
    for m in members:  # everybody knows near ones and a few far ones
        knows[m] = [*sorted(members, key=lambda n: n ^ m)[1:9], *rng.sample(list(members), 20)]
    made = lookup(rng.sample(list(members), 3), for_value=False, k=8, alpha=3)
    while peers := made.step(0.0):
        for peer in peers:
            answer(
                made, peer, sorted(knows[peer.contact.address])[:4] + sorted(knows[peer.contact.address], key=int)[:8]
            )
    assert [c.address for c in made.closest()] == sorted(members)[:8]


def test_numbers() -> None:
    assert number_of(b"\x00" * 7 + b"\x01" + b"\xff" * 24) == 1
    make: Callable[[int], Contact] = contact
    assert number_of(make(77).id) == 77

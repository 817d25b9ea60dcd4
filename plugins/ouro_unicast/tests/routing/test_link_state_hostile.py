"""What others say about our own links, nonsense, strangers and storms: what one member makes of them."""

import logging
import time
from random import Random

import pytest
from link_state_member import FAR, LEFT, ME, RIGHT, STRANGER, Member
from ouro_unicast.routing.database import CAPACITY
from ouro_unicast.routing.flooding import BURST, RATE
from ouro_unicast.routing.link_state import HIGHEST_SEQNO

# ---------------------------------------------------------------- about ourselves


def test_a_link_of_ours_that_never_was_is_refused_and_reported_once(
    member: Member, caplog: pytest.LogCaptureFixture
) -> None:
    for seqno in range(3):
        member.hear(LEFT, ME, STRANGER, seqno)
    assert (ME, STRANGER) not in member.links()
    assert member.said() == []
    assert (member.counters.refused, member.counters.conflicts) == (3, 3)
    assert [r.levelno for r in caplog.records if "has our address" in r.getMessage()] == [logging.ERROR]


def test_a_ghost_of_ours_is_refused_and_withdrawn_again(member: Member) -> None:
    """A neighbour that still has a link that we had brings it along."""
    member.routing.neighbour_down(RIGHT, member.now)
    member.wait(70.0)
    member.said()
    member.hear(LEFT, ME, RIGHT, 0)
    assert (LEFT, "10-30:0x") in member.said()
    member.hear(LEFT, ME, RIGHT, 100)
    assert {said for said in member.said() if said[0] == RIGHT} == {(RIGHT, "10-30:100x")}
    assert (ME, RIGHT) not in member.links()
    member.routing.neighbour_up(RIGHT, RIGHT, member.now)
    assert (LEFT, "10-30:101") in member.said()


@pytest.mark.parametrize(("seqno", "withdrawn"), [(1, False), (1000, False), (0, True), (1000, True)])
def test_we_jump_past_whatever_is_said_of_a_link_of_ours(member: Member, seqno: int, withdrawn: bool) -> None:
    member.hear(LEFT, ME, RIGHT, seqno, withdrawn)
    assert sorted(member.said()) == [(LEFT, f"10-30:{seqno + 1}"), (RIGHT, f"10-30:{seqno + 1}")]
    assert (ME, RIGHT) in member.links()


def test_our_own_echo_is_no_news(member: Member) -> None:
    member.hear(LEFT, ME, RIGHT, 0)
    member.wait(1.0)
    assert member.said() == []


# ---------------------------------------------------------------- hostile


@pytest.mark.parametrize(
    ("source", "destination", "seqno"),
    [(0, 5, 1), (5, 0, 1), (5, 5, 1), (0, 0, 0), (ME, ME, 1), (5, 6, HIGHEST_SEQNO), (5, 6, 2**64 - 1)],
)
def test_nonsense(member: Member, source: int, destination: int, seqno: int) -> None:
    before = member.links()
    member.hear(LEFT, source, destination, seqno)
    assert (member.links(), member.said(), member.counters.bogus) == (before, [], 1)


def test_strangers(member: Member) -> None:
    member.hear(STRANGER, FAR, 60)
    member.routing.management_down(LEFT, member.now)
    member.hear(LEFT, FAR, 61)
    assert member.counters.strangers == 2
    assert member.links() & {(FAR, 60), (FAR, 61)} == set()


def test_what_is_no_update_is_counted(member: Member) -> None:
    for data in (b"", b"x", bytes(23), bytes(25), bytes(24) + b"\x02", bytes(2000)):
        member.routing.receive(LEFT, data, member.now)
    assert member.counters.malformed == 6


def test_ten_thousand_updates_a_second_are_bounded() -> None:
    """Ten seconds of new links, half of them in pairs: what is kept, computed and sent has limits."""
    member = Member()
    member.connect(LEFT)
    member.connect(RIGHT)
    member.hear(LEFT, LEFT, ME)
    member.wait(5.0)
    member.said()
    rng, began = Random(1), time.process_time()
    for i in range(100_000):
        a, b = rng.randrange(100, 2**32), rng.randrange(100, 2**32)
        if i % 4 < 2:
            a, b = (LEFT, 1000 + i // 4)[:: 1 if i % 4 else -1]
        member.wait(0.0001)
        member.hear(LEFT, a, b, i)
    took = time.process_time() - began
    assert len(member.links()) <= CAPACITY + 2
    assert len([one for one in member.said() if one[0] == RIGHT]) <= BURST + 1 + 11 * RATE
    assert member.counters.full > 50_000
    assert member.counters.computations < 30
    assert took < 60, "less than the time in which they came would be good; a loaded machine gets more"


def test_more_news_than_may_be_sent_at_once_follow_in_time_unless_the_neighbour_knows() -> None:
    member = Member()
    for neighbour in (LEFT, RIGHT):
        member.routing.management_up(neighbour, neighbour, 0.0)
    for i in range(5000):
        member.hear(LEFT, 100 + i, 5)
    at_once = [connection for connection, _ in member.said()]
    assert set(at_once) == {RIGHT}
    assert abs(len(at_once) - BURST) <= 1
    for i in range(3000, 5000):
        member.hear(RIGHT, 100 + i, 5)
    member.wait(0.5)
    then = len(member.said())
    assert abs(then - RATE // 2) <= 1
    member.wait(10.0)
    assert len(at_once) + then + len(member.said()) == 3000


def test_a_storm_of_withdrawals_is_bounded_too() -> None:
    member = Member()
    member.connect(LEFT)
    for i in range(CAPACITY + 1000):
        member.hear(LEFT, 100 + i, 5, 1, withdrawn=True)
    assert member.counters.full == 1000
    member.wait(61.0)
    member.hear(LEFT, 100, 5, 1)
    assert (100, 5) in member.links()


def test_a_link_that_flaps_a_thousand_times_a_second_is_computed_seldom(member: Member) -> None:
    before = member.counters.computations
    for i in range(5000):
        member.hear(LEFT, LEFT, FAR, 2 * i + 1, withdrawn=bool(i % 2))
        member.wait(0.001)
    assert member.counters.computations - before < 15
    member.wait(4.0)
    assert (LEFT, FAR) not in member.links()
    assert set(member.table() or ()) == {LEFT, RIGHT}


def test_links_that_come_and_go_all_the_time_delay_nobody(member: Member) -> None:
    """Three every thirty milliseconds are no storm: the table follows each time, and not seconds later."""
    far = {60, 70, 80}
    for n in range(1, 61):
        for address in far:
            for link in ((LEFT, address), (address, LEFT)):
                member.hear(LEFT, *link, n, withdrawn=not n % 2)
        member.wait(0.03)
        table = member.table()
        assert table is not None
        assert set(table) == {LEFT, RIGHT, FAR} | (far if n % 2 else set())


def test_a_full_database_still_has_room_for_our_own_links() -> None:
    member = Member()
    member.connect(LEFT)
    for i in range(CAPACITY):
        member.hear(LEFT, 100 + i, 5)
    member.connect(RIGHT)
    assert (ME, RIGHT) in member.links()

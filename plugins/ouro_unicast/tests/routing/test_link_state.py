"""One member with link-state routing: what it says, keeps and computes, step by step."""

import logging
from random import Random

import pytest
from attrs import evolve
from link_state_member import DEFAULTS, FAR, LEFT, ME, RIGHT, STRANGER, Member
from ouro_unicast.contracts import RoutingSend, RoutingTable
from ouro_unicast.routing.flooding import SPREAD
from ouro_unicast.routing.link_state import (
    EcmpRouting,
    LfaRouting,
    LinkStateConfig,
    LinkStateRouting,
)
from ouro_unicast.routing.wire import LSU_SIZE
from unicast_captures import packets

from ouro_core.model.config import parse_config
from ouro_core.model.errors import ConfigError
from ouro_core.model.log import PP, logger
from ouro_core.rib import Rib

# ---------------------------------------------------------------- announcing


def test_a_new_neighbour_is_told_of_everything_in_order_of_the_database() -> None:
    member = Member()
    member.connect(LEFT)
    for source, destination in ((5, 3), (9, 2), (3, 5), (2, 9)):
        member.hear(LEFT, source, destination, 7)
    member.said()
    member.routing.management_up(RIGHT, RIGHT, member.now)
    assert member.said() == [(RIGHT, f"{u}:7") for u in ("9-2", "5-3", "3-5", "2-9")] + [(RIGHT, "10-20:0")]


def test_a_new_link_is_told_to_all_management_neighbours_with_number_0() -> None:
    member = Member()
    member.routing.management_up(1, LEFT, 0.0)
    member.routing.management_up(2, RIGHT, 0.0)
    member.routing.neighbour_up(3, LEFT, 0.0)
    assert member.said() == [(1, "10-20:0"), (2, "10-20:0")]


def test_own_links_are_advertised_again_every_t_update(member: Member) -> None:
    for number in (1, 2, 3):
        member.wait(15.0)
        assert sorted(member.said()) == sorted(
            (neighbour, f"10-{link}:{number}") for neighbour in (LEFT, RIGHT) for link in (LEFT, RIGHT)
        )


def test_own_links_never_age() -> None:
    member = Member()
    member.connect(LEFT)
    member.wait(1000.0)
    assert member.links() == {(ME, LEFT)}


def test_a_timer_that_comes_an_hour_late(member: Member) -> None:
    member.now += 3600.0
    member.routing.handle_timeout(member.now)
    assert member.links() == {(ME, LEFT), (ME, RIGHT)}
    assert member.table() == {}


def test_a_link_that_jumped_is_advertised_again_when_its_own_time_comes() -> None:
    member = Member()
    member.connect(LEFT)
    member.wait(5.0)
    member.connect(RIGHT)
    member.wait(5.0)
    member.hear(RIGHT, ME, LEFT, 50)
    member.said()
    member.wait(10.0)
    assert {update for _, update in member.said()} == {"10-30:1"}
    member.wait(5.0)
    assert {update for _, update in member.said()} == {"10-20:52"}


# ---------------------------------------------------------------- flooding


def test_news_go_on_at_once_to_all_others(member: Member) -> None:
    member.connect(STRANGER)
    member.said()
    member.hear(LEFT, FAR, 60, 9)
    assert member.said() == [(RIGHT, "40-60:9"), (STRANGER, "40-60:9")]


def test_a_refreshed_number_goes_on_within_the_spread(member: Member) -> None:
    member.hear(LEFT, LEFT, FAR, 4)
    member.wait(SPREAD)
    assert member.said() == [(RIGHT, "20-40:4")]


def test_whoever_says_it_himself_is_not_told(member: Member) -> None:
    member.hear(LEFT, LEFT, FAR, 4)
    member.hear(RIGHT, LEFT, FAR, 4)
    member.wait(1.0)
    assert member.said() == []


def test_whoever_says_something_older_is_told(member: Member) -> None:
    member.hear(LEFT, LEFT, FAR, 4)
    member.hear(RIGHT, LEFT, FAR, 3)
    member.wait(SPREAD)
    assert member.said() == [(RIGHT, "20-40:4")]


@pytest.mark.parametrize("seqno", [0, 3])
def test_what_is_not_newer_goes_nowhere(member: Member, seqno: int) -> None:
    member.hear(LEFT, LEFT, FAR, 3)
    member.wait(1.0)
    member.said()
    member.hear(RIGHT, LEFT, FAR, seqno)
    member.wait(1.0)
    assert member.said() == []


def test_what_changes_while_it_waits_is_told_once_as_it_is_then(member: Member) -> None:
    member.hear(LEFT, LEFT, FAR, 4)
    member.hear(LEFT, LEFT, FAR, 5)
    member.hear(LEFT, LEFT, FAR, 6, withdrawn=True)
    member.wait(1.0)
    assert member.said() == [(RIGHT, "20-40:6x")]


# ---------------------------------------------------------------- ageing


def test_a_link_that_is_not_heard_of_is_dropped_and_the_table_follows_at_once(member: Member) -> None:
    member.wait(40.0)
    for neighbour in (LEFT, RIGHT):
        member.hear(neighbour, neighbour, ME, 1)
    member.table()
    member.wait(14.9)
    assert (member.table(), (FAR, LEFT) in member.links()) == (None, True)
    member.wait(0.2)
    assert member.table() == {LEFT: (LEFT,), RIGHT: (RIGHT,)}
    assert member.links() == {(ME, LEFT), (LEFT, ME), (ME, RIGHT), (RIGHT, ME)}
    assert member.counters.aged == 2


def test_when_all_links_are_gone_so_is_the_table(member: Member) -> None:
    for port in (LEFT, RIGHT):
        member.routing.neighbour_down(port, member.now)
    member.wait(1.0)
    assert member.table() == {}


def test_an_aged_link_comes_back_with_any_number(member: Member) -> None:
    member.hear(LEFT, FAR, 60, 100)
    member.wait(61.0)
    member.said()
    member.hear(LEFT, FAR, 60, 0)
    assert (FAR, 60) in member.links()


# ---------------------------------------------------------------- withdrawing


def test_a_neighbour_that_is_lost_is_told_of_and_computed_at_once(member: Member) -> None:
    member.wait(10.0)
    member.hear(LEFT, LEFT, FAR, 1)
    member.wait(0.1)
    member.routing.output()
    member.routing.neighbour_down(RIGHT, member.now)
    output = member.routing.output()
    assert [o.connection for o in output if isinstance(o, RoutingSend)] == [LEFT, RIGHT]
    assert [set(o.hops) for o in output if isinstance(o, RoutingTable)] == [{LEFT, FAR}]
    member.wait(15.0)
    assert member.said() == [(LEFT, "10-20:2"), (RIGHT, "10-20:2")], "the lost link is not advertised any more"


def test_a_link_that_is_made_again_goes_on_counting(member: Member) -> None:
    member.wait(11.0)
    member.routing.neighbour_down(RIGHT, member.now)
    member.said()
    member.routing.neighbour_up(7, RIGHT, member.now)
    assert (LEFT, "10-30:2") in member.said()


def test_a_second_port_keeps_the_link(member: Member) -> None:
    member.routing.neighbour_up(99, RIGHT, member.now)
    member.said()
    member.routing.neighbour_down(RIGHT, member.now)
    assert (member.said(), member.table()) == ([], None)
    member.routing.neighbour_down(99, member.now)
    assert (LEFT, "10-30:0x") in member.said()


def test_a_port_that_leads_elsewhere_now(member: Member) -> None:
    member.routing.neighbour_up(RIGHT, STRANGER, member.now)
    assert member.links() >= {(ME, STRANGER), (ME, LEFT)}
    assert (ME, RIGHT) not in member.links()


def woken(member: Member) -> list[int]:
    """Who was sent the link of nobody, which makes a prototype compute."""
    return [connection for connection, update in member.said() if update.split("-")[1] == "0:0"]


def test_a_neighbour_that_is_connected_anew_is_woken(member: Member) -> None:
    """A prototype goes on with the connection it had."""
    member.routing.neighbour_down(RIGHT, member.now)
    member.wait(20.0)
    member.said()
    member.routing.neighbour_up(98, RIGHT, member.now)
    assert woken(member) == [RIGHT]
    member.routing.neighbour_up(99, RIGHT, member.now)
    assert woken(member) == [RIGHT], "a second connection, too"


def test_nobody_is_woken_without_need(member: Member) -> None:
    member.routing.neighbour_down(RIGHT, member.now)
    member.routing.neighbour_up(RIGHT, RIGHT, member.now)
    assert woken(member) == [], "the connection was there all the time"
    member.routing.neighbour_down(RIGHT, member.now)
    member.wait(200.0)
    member.said()
    member.routing.neighbour_up(99, RIGHT, member.now)
    assert woken(member) == [], "our link is new to everybody"
    member.routing.neighbour_up(100, STRANGER, member.now)
    assert woken(member) == []


def test_a_withdrawn_link_is_dropped_and_told_on(member: Member) -> None:
    member.hear(LEFT, LEFT, FAR, 0, withdrawn=True)
    assert member.said() == [(RIGHT, "20-40:0x")]
    assert (LEFT, FAR) not in member.links()
    member.hear(RIGHT, LEFT, FAR, 0, withdrawn=True)
    member.hear(LEFT, LEFT, FAR, 0, withdrawn=True)
    member.wait(5.0)
    assert member.said() == []


def test_an_old_copy_does_not_bring_a_withdrawn_link_back(member: Member) -> None:
    member.hear(LEFT, LEFT, FAR, 5)
    member.hear(LEFT, LEFT, FAR, 5, withdrawn=True)
    member.said()
    member.hear(RIGHT, LEFT, FAR, 5)
    assert member.said() == [(RIGHT, "20-40:5x")], "whoever has it learns better"
    assert (LEFT, FAR) not in member.links()
    assert member.counters.stale == 1
    member.hear(LEFT, LEFT, FAR, 6)
    assert (LEFT, FAR) in member.links()


def test_a_withdrawal_that_is_older_than_the_link_is_answered(member: Member) -> None:
    member.hear(LEFT, LEFT, FAR, 5)
    member.wait(1.0)
    member.said()
    member.hear(RIGHT, LEFT, FAR, 4, withdrawn=True)
    assert member.said() == [(RIGHT, "20-40:5")]
    assert (LEFT, FAR) in member.links()


def test_a_withdrawal_that_overtakes_the_link(member: Member) -> None:
    member.hear(LEFT, FAR, 60, 3, withdrawn=True)
    assert member.said() == [(RIGHT, "40-60:3x")]
    member.hear(LEFT, FAR, 60, 3)
    assert (FAR, 60) not in member.links()


def test_what_was_withdrawn_is_forgotten_in_the_end(member: Member) -> None:
    member.hear(LEFT, FAR, 60, 3, withdrawn=True)
    member.wait(61.0)
    member.hear(LEFT, FAR, 60, 0)
    assert (FAR, 60) in member.links()


# ---------------------------------------------------------------- configuration


def test_defaults() -> None:
    assert parse_config(LinkStateConfig, {}) == LinkStateConfig(4, 15, 60)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ls_t_update": "0"}, 'ls_t_update: "0"'),
        ({"ls_t_recalc": "-1"}, 'ls_t_recalc: "-1"'),
        ({"ls_t_timeo": "soon"}, "whole number"),
        ({"ls_t_update": "60"}, "ls_t_timeo 60"),
        ({"ls_t_timeo": "10"}, "ls_t_update is 15"),
    ],
)
def test_timers_that_make_no_sense(values: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config(LinkStateConfig, values)


@pytest.mark.parametrize("name", ["ls_t_recalc", "ls_t_update", "ls_t_timeo"])
def test_timers_of_0_that_came_over_the_wire(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        evolve(LinkStateConfig(), **{name: 0})


def test_other_timers() -> None:
    member = Member(LinkStateConfig(1, 2, 5))
    member.connect(LEFT)
    member.hear(LEFT, LEFT, FAR)
    member.said()
    member.wait(2.0)
    assert member.said() == [(LEFT, "10-20:1")]
    member.wait(3.0)
    assert member.links() == {(ME, LEFT)}


# ---------------------------------------------------------------- what there is to see


def test_the_database_in_the_rib(member: Member) -> None:
    shown = member.rib.read("lsdb")
    assert shown["14.00.00.00--28.00.00.00"] == {
        "src": "14.00.00.00", "dst": "28.00.00.00", "seqno": 0, "updated": 0.0, "usable": True,
    }  # fmt: skip
    member.hear(LEFT, 60, 61)
    assert not member.rib.read("lsdb")["3c.00.00.00--3d.00.00.00"]["usable"]
    state = member.rib.read()
    assert (state["policy"], state["neighbours"]) == ("link_state", ["14.00.00.00", "1e.00.00.00"])
    assert state["counters"]["received"] == 5


def test_updates_are_logged_when_asked_for(member: Member, caplog: pytest.LogCaptureFixture) -> None:
    log = logger("link-state-routing")
    caplog.set_level(PP, log.name)
    member.hear(LEFT, FAR, 60, 7)
    assert "LSU [40 -- 60 seq: 000000007] <-- 14.00.00.00" in caplog.text
    assert "LSU [40 -- 60 seq: 000000007] --> 1e.00.00.00" in caplog.text


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (LinkStateRouting, "Link State Routing"),
        (LfaRouting, "Loop-Free Alternates"),
        (EcmpRouting, "Equal-Cost Multipath"),
    ],
)
def test_the_policy_and_its_timers_are_logged(
    policy: type[LinkStateRouting], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """unicast.md 14"""
    caplog.set_level(logging.DEBUG, logger("link-state-routing").name)
    policy(ME, DEFAULTS, Random(1), Rib())
    assert [record.getMessage() for record in caplog.records] == [
        f"Using {words} policy.",
        "LS update interval: 15 seconds.",
        "LS link timeout   : 60 seconds.",
        "LS recalc interval: 4 seconds.",
    ]


# ---------------------------------------------------------------- a recorded layer


def test_a_recorded_layer_is_replayed() -> None:
    """Node h1 of the recorded line hears what h2 said, and finds h3."""
    left, middle, right = 0x33378D42, 0xEE1BDC35, 0x484DF2F8
    member = Member(address=left)
    member.connect(middle)
    for packet in packets("seg-h1-h2.pcap"):
        if len(packet.payload) == LSU_SIZE and packet.source.hex() == "020000000002":
            member.wait(1.0)
            member.routing.receive(middle, packet.payload, member.now)
    member.wait(1.0)
    assert member.table() == {middle: (middle,), right: (middle,)}
    assert member.counters.received == 14
    assert member.links() == {(left, middle), (middle, left), (middle, right), (right, middle)}

"""Beside the prototype: how many messages, what becomes of packets meanwhile, and mixed layers."""

from functools import cache

import pytest
from ouro_unicast.contracts import RoutingPolicy
from ouro_unicast.routing.link_state import LinkStateRouting
from ouro_unicast.testing.layer import Links, VirtualLayer, grid, line, random_graph, ring, tree
from routing_prototype import Prototype

FORMS: dict[str, Links] = {
    "line": line(8), "tree": tree(15), "ring": ring(9), "grid": grid(4, 4), "random": random_graph(16, 18, 1),
}  # fmt: skip
WITHDRAWALS = 2  # one from each end


@cache
def story(policy: type[RoutingPolicy], form: str) -> dict[str, int]:
    """Messages in each part of the life of a layer, a minute each."""
    links = FORMS[form]
    layer = VirtualLayer(policy, seed=1)
    told: dict[str, int] = {}

    def part(name: str, what: object, *where: int) -> None:
        before = layer.sent
        if callable(what):
            what(*where)
        layer.run(60.0)
        told[name] = layer.sent - before

    for a, b in links:
        layer.connect(a, b)
        layer.run(0.2)
    told["formation"] = layer.sent
    a, b = links[len(links) // 2]
    part("rest", None)
    part("failure", layer.fail, a, b)
    part("repair", layer.repair, a, b)
    part("disconnected", layer.disconnect, a, b)
    part("connected", layer.connect, a, b)
    return told


@pytest.mark.parametrize("form", FORMS)
def test_no_more_messages_than_the_prototype(form: str) -> None:
    ours, theirs = story(LinkStateRouting, form), story(Prototype, form)
    assert sum(ours.values()) <= sum(theirs.values())
    for part in ("formation", "rest", "repair", "connected"):
        assert ours[part] <= theirs[part], part
    # a withdrawal reaches every member once by each of its links; the prototype keeps silent, and loses packets
    flood = 2 * len(FORMS[form])
    assert ours["disconnected"] <= theirs["disconnected"] + WITHDRAWALS * flood
    assert ours["failure"] <= theirs["failure"] + (0 if form in ("line", "tree") else WITHDRAWALS * flood)


def test_in_a_mesh_a_quarter_less() -> None:
    ours, theirs = story(LinkStateRouting, "random"), story(Prototype, "random")
    assert ours["rest"] < 0.75 * theirs["rest"]


def test_the_prototype_loses_what_ours_delivers() -> None:
    """That the model of the prototype has its defects shows that the other tests can fail."""
    layer = VirtualLayer(Prototype)
    for a, b in ring(6):
        layer.connect(a, b)
    layer.run(60.0)
    assert layer.faults() == []
    layer.fail(2, 3)
    layer.run(60.0)
    assert layer.faults() != []


# ---------------------------------------------------------------- mixed layers


@pytest.mark.parametrize("theirs", [{2}, {1, 3}, {1, 2, 3, 4}, {1, 3, 5, 7}])
@pytest.mark.parametrize("form", [line(7), ring(7), tree(7)], ids=["line", "ring", "tree"])
def test_mixed(form: Links, theirs: set[int]) -> None:
    """Everybody reaches everybody; a new link is known at once; one that is closed when its time is over."""
    layer = VirtualLayer(lambda address: Prototype if address in theirs else LinkStateRouting)
    for a, b in form:
        layer.connect(a, b)
    layer.run(60.0)
    assert layer.faults() == []
    layer.connect(7, 8)
    layer.run(1.0)
    assert layer.faults() == []
    a, b = form[2]
    layer.disconnect(a, b)
    layer.run(100.0)
    # the tables of prototypes keep what aged; ours do not
    assert layer.faults(sources=[address for address in layer.members if address not in theirs]) == [] or theirs
    for address in set(layer.members) - theirs:
        assert {(a, b), (b, a)} & set(layer.members[address].routing.links()) == set()
    layer.connect(a, b)
    layer.run(30.0)
    assert layer.faults() == []


def test_the_prototype_drops_withdrawals() -> None:
    layer = VirtualLayer(lambda address: Prototype if address == 2 else LinkStateRouting)
    for a, b in ring(4):
        layer.connect(a, b)
    layer.run(10.0)
    layer.fail(4, 1)
    layer.run(1.0)
    routing = layer.members[2].routing
    assert isinstance(routing, Prototype)
    assert routing.malformed > 0
    assert {(4, 1), (1, 4)} <= set(routing.links()), "to it the link ages"
    layer.run(80.0)
    assert {(4, 1), (1, 4)} & set(routing.links()) == set()


def test_a_prototype_is_woken_when_a_connection_is_made_anew() -> None:
    layer = VirtualLayer(lambda address: Prototype if address == 2 else LinkStateRouting)
    for a, b in line(4):
        layer.connect(a, b)
    layer.run(20.0)
    routing = layer.members[2].routing
    computed: list[float] = []
    compute = routing._compute  # type: ignore[attr-defined]
    routing._compute = lambda: (computed.append(layer.now), compute())  # type: ignore[attr-defined]
    layer.members[3].down(2, layer.now)
    layer.network.wake(3)
    layer.run(5.0)
    assert computed == [], "it has noticed nothing"
    del layer.members[3].ports[2]  # the next one has another number
    layer.members[3].up(2, layer.now)
    layer.network.wake(3)
    layer.run(0.1)
    assert computed
    layer.run(80.0)
    assert all(0 not in link for link in routing.links()), "and has forgotten it again"
    assert all(0 not in link for link in layer.members[1].routing.links()), "ours never had it"
    assert layer.faults() == []


def test_the_ghost_of_a_prototype() -> None:
    """It still has a link of ours that is gone and says so when it becomes our neighbour: we do not take it back."""
    layer = VirtualLayer(lambda address: Prototype if address == 3 else LinkStateRouting)
    for a, b in line(3):
        layer.connect(a, b)
    layer.run(20.0)
    layer.disconnect(1, 2)
    layer.run(1.0)
    layer.connect(1, 3)
    layer.run(100.0)
    for member in layer.members.values():
        assert {(1, 2), (2, 1)} & set(member.routing.links()) == set()
    assert layer.faults() == []

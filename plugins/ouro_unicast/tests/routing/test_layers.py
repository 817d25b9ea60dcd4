"""Whole layers in virtual time: delivery, freedom from loops, and how long it takes after something failed.

Links take a millisecond. In the big layers links are advertised every thousand seconds, so that what is seen is what
follows from the failure.
"""

from random import Random

import pytest
from ouro_unicast.contracts import RoutingPolicy
from ouro_unicast.routing.link_state import EcmpRouting, LfaRouting, LinkStateConfig, LinkStateRouting
from ouro_unicast.testing.layer import Links, VirtualLayer, grid, line, random_graph, ring, star, tree

from ouro_core.testing.links import Faulty

POLICIES = (LinkStateRouting, LfaRouting, EcmpRouting)
SELDOM = LinkStateConfig(4, 1000, 4000)
SOON = 0.1
"""Seconds that a layer has to converge after a failure was noticed."""


def settled(links: Links, policy: type[RoutingPolicy] = LinkStateRouting, **options: object) -> VirtualLayer:
    layer = VirtualLayer(policy, options.pop("config", SELDOM), **options)  # type: ignore[arg-type]
    for a, b in links:
        layer.connect(a, b)
    layer.run(20.0)
    assert layer.faults() == []
    return layer


def redundant(layer: VirtualLayer, links: Links) -> Links:
    """Links that may fail without a partition."""
    found = []
    for a, b in links:
        layer.up.discard(frozenset((a, b)))
        if b in layer.reachable(a):
            found.append((a, b))
        layer.up.add(frozenset((a, b)))
    return found


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(3))
def test_paths_are_the_shortest(policy: type[RoutingPolicy], seed: int) -> None:
    layer = settled(random_graph(40, 30, seed), policy, seed=seed)
    for a in layer.members:
        for b, distance in layer.reachable(a).items():
            path = layer.path(a, b)
            assert path is not None
            assert len(path) == distance + 1


FORMS = {"line": line(100), "ring": ring(60), "star": star(100), "tree": tree(100), "grid": grid(7, 7)}


@pytest.mark.parametrize("form", FORMS)
def test_a_link_of_a_big_layer_fails(form: str) -> None:
    links = FORMS[form]
    layer = settled(links)
    a, b = links[len(links) // 2]
    layer.fail(a, b)
    layer.run(SOON + 0.001 * len(layer.members))  # the news travels that far
    assert layer.faults() == []


def test_two_hundred_members_at_random() -> None:
    links = random_graph(200, 40, 1)
    layer = settled(links)
    rng = Random(1)
    for a, b in rng.sample(redundant(layer, links), 2):
        layer.fail(a, b)
        layer.run(SOON)
        assert layer.faults() == []
        layer.run(2.0)
    victim = max(layer.members, key=lambda address: len(layer.neighbours(address)))
    layer.kill(victim)
    layer.run(SOON)
    assert layer.faults() == []


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(2))
def test_any_link_may_fail_and_come_back(policy: type[RoutingPolicy], seed: int) -> None:
    links = random_graph(25, 15, seed)
    layer = settled(links, policy, seed=seed)
    for a, b in Random(seed).sample(links, 10):
        layer.fail(a, b)
        layer.run(SOON)
        assert layer.faults() == []
        layer.run(2.0)
        layer.repair(a, b)
        layer.run(SOON)
        assert layer.faults() == []
        layer.run(2.0)


@pytest.mark.parametrize("seed", range(3))
def test_many_links_fail_at_once(seed: int) -> None:
    links = random_graph(30, 45, seed)
    layer = settled(links, seed=seed)
    for a, b in Random(seed).sample(links, 25):
        layer.fail(a, b)
    layer.run(SOON + 0.1)
    assert layer.faults() == []


def test_with_lfa_the_next_packet_takes_the_alternate() -> None:
    """Before anybody computed anything."""
    layer = settled([(1, 2), (2, 3), (1, 3)], LfaRouting)
    layer.network.link(1, 2, layer.network.links()[1, 3])  # whatever is said now does not matter
    port = layer.members[1].port(2)
    layer.members[1].forwarding.neighbour_down(port)
    layer.members[1].forwarding.output()
    assert layer.members[1].next_hops(2) == [3]
    layer.members[1].forwarding.neighbour_up(port, 2)
    layer.members[1].forwarding.output()
    assert layer.members[1].next_hops(2)[0] == 2


def test_with_ecmp_all_shortest_paths_are_taken() -> None:
    layer = settled(grid(3, 3), EcmpRouting)
    assert sorted(layer.members[1].next_hops(9)) == [2, 4]


def test_a_link_that_nobody_notices_ages() -> None:
    """Its ends are told nothing; what lies beyond is forgotten when its time is over, and so is the way there."""
    layer = settled(line(5), config=LinkStateConfig())
    layer.break_silently(3, 4)
    for a in (3, 4):
        layer.members[a].routing.management_down(layer.members[a].connections[7 - a], layer.now)
    layer.run(62.0)
    wrong = layer.faults(sources=[1, 2, 5])
    assert wrong == []


def test_a_partition_forgets_and_heals() -> None:
    links = [*ring(10), (10, 11), *[(a + 10, b + 10) for a, b in ring(10)]]
    layer = settled(links, config=LinkStateConfig())
    layer.fail(10, 11)
    layer.run(SOON)
    assert layer.faults() == []
    layer.run(200.0)
    assert all(max(a, b) <= 10 for a, b in layer.members[1].routing.links())
    layer.repair(10, 11)
    layer.run(SOON)
    assert layer.members[1].next_hops(11), "the link itself is known"
    layer.run(16.0)
    assert layer.faults() == [], "the rest with the next updates"


def test_reconnecting_brings_everything_at_once() -> None:
    links = [*ring(10), (10, 11), *[(a + 10, b + 10) for a, b in ring(10)]]
    layer = settled(links, config=LinkStateConfig())
    layer.disconnect(10, 11)
    layer.run(200.0)
    assert layer.faults() == []
    layer.connect(10, 11)
    layer.run(SOON)
    assert layer.faults() == []


def test_a_link_that_moves_is_no_ghost() -> None:
    """Disconnected here, made there, back again, within the life of the old updates."""
    layer = settled(ring(6), config=LinkStateConfig())
    for a, b in ((1, 2), (3, 4), (1, 2)):
        layer.disconnect(a, b)
        layer.run(5.0)
        assert layer.faults() == []
        for member in layer.members.values():
            assert {(a, b), (b, a)} & set(member.routing.links()) == set()
        layer.connect(a, b)
        layer.run(5.0)
        assert layer.faults() == []


@pytest.mark.parametrize("loss", [0.05, 0.15])
def test_lost_withdrawals_are_made_up_for_by_age(loss: float) -> None:
    links = random_graph(20, 15, 3)
    made = iter(range(10_000))
    layer = VirtualLayer(LinkStateRouting, LinkStateConfig(), link=lambda a, b: Faulty(next(made), loss=loss))
    for a, b in links:
        layer.connect(a, b)
    layer.run(60.0)
    for a, b in redundant(layer, links)[:3]:
        layer.fail(a, b)
        layer.run(80.0)
    paths = [layer.path(a, b) for a in layer.members for b in layer.reachable(a)]
    assert paths.count(None) == 0


def test_churn() -> None:
    """Members join, leave and die, links fail and come back, for ten minutes; then all is well."""
    rng = Random(7)
    layer = VirtualLayer(LinkStateRouting, LinkStateConfig())
    for a, b in random_graph(20, 15, 7):
        layer.connect(a, b)
    fresh, failed = 100, set[tuple[int, int]]()
    for _ in range(200):
        layer.run(rng.uniform(0.0, 6.0))
        working = sorted(tuple(sorted(pair)) for pair in layer.up)
        action = rng.random()
        if action < 0.3 and working:
            a, b = rng.choice(working)
            failed.add((a, b))
            layer.fail(a, b)
        elif action < 0.6 and failed:
            back = failed.pop()
            if set(back) <= set(layer.members):
                layer.repair(*back)
        elif action < 0.7 and len(layer.members) > 10:
            layer.kill(rng.choice(sorted(layer.members)))
        elif action < 0.9:
            fresh += 1
            layer.connect(fresh, rng.choice(sorted(layer.members)))
        else:
            a, b = rng.sample(sorted(layer.members), 2)
            if frozenset((a, b)) not in layer.up and (min(a, b), max(a, b)) not in failed:
                layer.connect(a, b)
    layer.run(80.0)
    assert layer.faults() == []


@pytest.mark.parametrize("form", [ring(5), line(5), grid(3, 3)], ids=["ring", "line", "grid"])
@pytest.mark.parametrize("policy", POLICIES)
def test_any_cuts_and_repairs_are_over_at_once(policy: type[LinkStateRouting], form: Links) -> None:
    """Connections closed and made again in any order, at any pace: no table is wrong for longer than `SOON`."""
    rng = Random(len(form))
    layer = settled(form, policy)
    for _ in range(150):
        links = rng.sample(form, rng.randrange(1, 4))
        for what in (layer.disconnect, layer.connect):
            rng.shuffle(links)
            for a, b in links:
                what(a, b)
                layer.run(rng.choice([0.0, 0.001, 0.01, 0.1, 1.0, 20.0]))
            layer.run(SOON)
            assert layer.faults() == []

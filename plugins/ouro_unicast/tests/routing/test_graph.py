"""Shortest paths: the tables of the specification, and random graphs against networkx."""

from random import Random

import networkx
import pytest
from ouro_unicast.routing.graph import Graph, Table, ecmp, lfa, simple
from ouro_unicast.testing.layer import Links, line, random_graph, ring

GRAPH_TEST = [(1, 2), (2, 3), (1, 3), (3, 4), (4, 5), (2, 6), (6, 7), (3, 7)]


def graph(links: Links) -> Graph:
    made = Graph()
    for a, b in links:
        made.add(a, b)
        made.add(b, a)
    return made


def first(table: Table) -> dict[int, int]:
    return {destination: hops[0] for destination, hops in table.items()}


# ---------------------------------------------------------------- unicast.md 17.8


def test_line() -> None:
    made = graph(line(3))
    assert simple(made, 1) == {2: (2,), 3: (2,)}
    assert lfa(made, 1) == {2: (2,), 3: (2, 2)}
    assert ecmp(made, 1) == {2: (2,), 3: (2,)}
    made.remove(2, 3)
    assert simple(made, 1) == {2: (2,)}


def test_a_pair_of_which_one_advertises() -> None:
    made = Graph()
    made.add(1, 2)
    for algorithm in (simple, lfa, ecmp):
        assert algorithm(made, 1) == {}


def test_no_links() -> None:
    for algorithm in (simple, lfa, ecmp):
        assert algorithm(Graph(), 1) == {}


def test_triangle() -> None:
    made = graph([(1, 2), (2, 3), (1, 3)])
    assert simple(made, 1) == {2: (2,), 3: (3,)}
    assert lfa(made, 1) == {2: (2, 3), 3: (3, 2)}
    assert ecmp(made, 1) == {2: (2,), 3: (3,)}


def test_square() -> None:
    made = graph([(1, 2), (2, 4), (1, 3), (3, 4)])
    assert simple(made, 1)[4] == (2,)
    assert lfa(made, 1)[4] == (2, 3, 2)
    assert ecmp(made, 1)[4] == (3, 2)


def test_ring() -> None:
    made = graph(ring(5))
    assert first(simple(made, 1)) == {2: 2, 3: 2, 4: 5, 5: 5}
    assert lfa(made, 1) == {2: (2,), 3: (2, 5, 2), 4: (5, 5, 2), 5: (5,)}
    assert ecmp(made, 1) == {2: (2,), 3: (2,), 4: (5,), 5: (5,)}


def test_the_prototypes_own_test_graph() -> None:
    made = graph(GRAPH_TEST)
    assert first(simple(made, 1)) == {2: 2, 3: 3, 4: 3, 5: 3, 6: 2, 7: 3}
    assert lfa(made, 1) == {2: (2, 3), 3: (3, 2), 4: (3, 3, 2), 5: (3, 3, 2), 6: (2, 3, 2), 7: (3, 3, 2)}
    assert first(simple(made, 7)) == {1: 3, 2: 3, 3: 3, 4: 3, 5: 3, 6: 6}
    table = ecmp(made, 7)
    assert (table[1], table[6]) == ((3,), (6,))
    assert set(table[2]) == {3, 6}
    for algorithm in (simple, lfa, ecmp):
        assert first(algorithm(made, 1)) == {2: 2, 3: 3, 4: 3, 5: 3, 6: 2, 7: 3}


def test_links_come_and_go() -> None:
    """The steps of the prototype's unit test (unicast.md 16)."""
    made = Graph()
    sizes = []
    for links in ([(1, 2)], [(2, 3)], [], [(2, 3), (1, 3)], [(3, 4), (4, 5)], [(2, 6), (6, 7), (3, 7)]):
        if not links:
            assert made.remove(2, 3)
            assert not made.remove(3, 2)
        for a, b in links:
            assert not made.add(a, b)
            assert made.add(b, a)
        sizes.append(len(simple(made, 1)))
    assert sizes == [1, 2, 1, 2, 4, 6]


def test_a_link_that_is_gone_leaves_nothing() -> None:
    made = graph(GRAPH_TEST)
    for a, b in GRAPH_TEST:
        made.remove(a, b)
        made.remove(b, a)
    assert made.neighbours(1) == []
    assert vars(made) == vars(Graph())


def test_the_newest_link_comes_first() -> None:
    made = graph([(1, 2), (2, 4), (1, 3), (3, 4)])
    made.remove(1, 2)
    made.remove(2, 1)
    made.add(2, 1)
    made.add(1, 2)
    assert ecmp(made, 1)[4] == (2, 3)


# ---------------------------------------------------------------- networkx


def scattered(seed: int) -> tuple[Graph, networkx.Graph]:
    """A random graph with random addresses and some links that one end alone advertises."""
    rng = Random(seed)
    n = rng.randrange(2, 40)
    address = dict(enumerate(rng.sample(range(1, 2**32), n), 1))
    links = random_graph(n, rng.randrange(min(n, n * (n - 1) // 2 - n + 2)), seed)
    rng.shuffle(links)
    made, reference = Graph(), networkx.Graph()
    for a, b in links:
        made.add(address[a], address[b])
        if rng.random() < 0.9:
            made.add(address[b], address[a])
            reference.add_edge(address[a], address[b])
        reference.add_nodes_from((address[a], address[b]))
    return made, reference


@pytest.mark.parametrize("seed", range(60))
def test_against_networkx(seed: int) -> None:
    made, reference = scattered(seed)
    source = min(reference.nodes)
    distances = networkx.single_source_shortest_path_length(reference, source)
    far = {a: networkx.single_source_shortest_path_length(reference, a) for a in reference[source]}
    tables = {algorithm: algorithm(made, source) for algorithm in (simple, lfa, ecmp)}
    for table in tables.values():
        assert set(table) == set(distances) - {source}
    for destination in set(distances) - {source}:
        shortest = {n for n in reference[source] if far[n][destination] + 1 == distances[destination]}
        paths = networkx.all_shortest_paths(reference, source, destination)
        # of equal paths that whose members, read from the end, are the lowest
        best = min(paths, key=lambda path: path[::-1])
        assert tables[simple][destination] == (best[1],)
        assert set(tables[ecmp][destination]) == shortest
        assert len(tables[ecmp][destination]) == len(shortest)
        primary, *alternates = tables[lfa][destination]
        assert primary == best[1]
        assert set(alternates) == {
            n for n in reference[source] if n != destination and far[n][destination] < 1 + distances[destination]
        }

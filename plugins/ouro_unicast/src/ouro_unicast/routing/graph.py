"""The graph of a layer, and the shortest paths in it (unicast.md 8.6): all links count the same.

A link is used when both its ends advertise it. The distances of all members from one come from a breadth-first search
that visits each level in ascending order of addresses, so of several shortest paths to D that one is taken whose last
member before D has the lowest address, as in the prototype. Where an algorithm goes through the neighbours of a member
it begins with the newest link. Unlike the prototype, links that one end alone advertises are no alternatives either.
"""

from typing import TypeAlias

__all__ = ["Graph", "Table", "ecmp", "lfa", "simple"]

Table: TypeAlias = dict[int, tuple[int, ...]]
"""For each member that `source` can reach the neighbours of `source` to send to, the best first."""


class Graph:
    """Adjacencies, each advertised by one of the link's ends."""

    def __init__(self) -> None:
        # of each link from both ends how many of them advertise it, oldest link first
        self._links: dict[int, dict[int, int]] = {}

    def add(self, source: int, destination: int) -> bool:
        """`source` advertises the link. To be called once until `remove`. Whether the link has become usable."""
        for a, b in ((source, destination), (destination, source)):
            links = self._links.setdefault(a, {})
            links[b] = links.get(b, 0) + 1
        return self._links[source][destination] == 2

    def remove(self, source: int, destination: int) -> bool:
        """`source` does not advertise it any more. Whether the link was usable before."""
        usable = self._links[source][destination] == 2
        for a, b in ((source, destination), (destination, source)):
            links = self._links[a]
            links[b] -= 1
            if not links[b]:
                del links[b]
            if not links:
                del self._links[a]
        return usable

    def neighbours(self, address: int) -> list[int]:
        """Those that a usable link leads to, the oldest link first."""
        return [other for other, ends in self._links.get(address, {}).items() if ends == 2]

    def search(self, source: int) -> tuple[dict[int, int], dict[int, int]]:
        """(distances, next hops) of all members that can be reached; of the source itself only the distance, 0."""
        distances, hops = {source: 0}, dict[int, int]()
        level = [source]
        while level:
            found = []
            for parent in level:
                hop, distance = hops.get(parent), distances[parent] + 1
                for address in self.neighbours(parent):
                    if address not in distances:
                        distances[address] = distance
                        hops[address] = address if hop is None else hop
                        found.append(address)
            level = sorted(found)
        return distances, hops


def simple(graph: Graph, source: int) -> Table:
    """One shortest path."""
    return {destination: (hop,) for destination, hop in graph.search(source)[1].items()}


def lfa(graph: Graph, source: int) -> Table:
    """Loop-free alternates: the shortest path, then every neighbour that would not send the packet back to us because
    its own shortest path is shorter than the one through us.
    """
    own, hops = graph.search(source)
    table = {destination: [hop] for destination, hop in hops.items()}
    for neighbour in reversed(graph.neighbours(source)):
        distances, _ = graph.search(neighbour)
        for destination, alternatives in table.items():
            if destination != neighbour and distances[destination] < 1 + own[destination]:
                alternatives.append(neighbour)
    return {destination: tuple(alternatives) for destination, alternatives in table.items()}


def ecmp(graph: Graph, source: int) -> Table:
    """Equal-cost multipath: every neighbour that a shortest path leads through."""
    own, _ = graph.search(source)
    table: dict[int, list[int]] = {}
    for neighbour in reversed(graph.neighbours(source)):
        distances, _ = graph.search(neighbour)
        for destination, distance in distances.items():
            if destination != source and distance + 1 == own[destination]:
                table.setdefault(destination, []).append(neighbour)
    return {destination: tuple(hops) for destination, hops in table.items()}

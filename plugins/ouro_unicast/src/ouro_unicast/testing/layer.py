"""`VirtualLayer`: members with routing and forwarding functions, and nothing else, in virtual time.

    layer = VirtualLayer(MyRouting, seed=7)
    for a, b in ((1, 2), (2, 3)):
        layer.connect(a, b)
    layer.run(10.0)
    assert layer.path(1, 3) == [1, 2, 3]
    layer.fail(2, 3)

Members are made by their first `connect`. A link between two of them stands for a management and a data transfer
connection. Packets of data are not sent: `path` follows the tables as they are at that moment.
"""

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from random import Random
from typing import Any

from ouro_core.contracts.programs import Group, Mode
from ouro_core.plugins import PluginHost
from ouro_core.rib import Rib
from ouro_core.testing.links import Link
from ouro_core.testing.network import Network

from .. import pff
from ..contracts import PffPolicy, RoutingPolicy, RoutingTable
from ..pff import ForwardingFunction

__all__ = ["Member", "VirtualLayer", "grid", "line", "random_graph", "ring", "star", "tree"]

Links = list[tuple[int, int]]


class Member:
    """One member; a node of the virtual network. `ports` and `connections` are by neighbour."""

    def __init__(self, routing: RoutingPolicy, forwarding: ForwardingFunction) -> None:
        self.routing = routing
        self.forwarding = forwarding
        self.connections: dict[int, int] = {}
        self.ports: dict[int, int] = {}
        self.sent = 0
        self.bytes = 0
        self._made = 0

    # ---- commands

    def manage(self, address: int, now: float) -> None:
        """A management connection to a neighbour."""
        self._made += 1
        self.connections[address] = self._made
        self.routing.management_up(self._made, address, now)

    def unmanage(self, address: int, now: float) -> None:
        """The management connection is gone."""
        self.routing.management_down(self.connections.pop(address), now)

    def port(self, address: int) -> int:
        """The port of the data transfer connection to a neighbour."""
        if address not in self.ports:
            self._made += 1
            self.ports[address] = self._made
        return self.ports[address]

    def up(self, address: int, now: float) -> None:
        """The data transfer connection works."""
        self.forwarding.neighbour_up(self.port(address), address)
        self.routing.neighbour_up(self.port(address), address, now)

    def down(self, address: int, now: float) -> None:
        """The data transfer connection does not work."""
        self.forwarding.neighbour_down(self.port(address))
        self.routing.neighbour_down(self.port(address), now)

    def next_hops(self, destination: int) -> list[int]:
        """The neighbours that a packet may be sent to now."""
        group = self.forwarding.table().get(destination, Group(()))
        by_port = {port: address for address, port in self.ports.items()}
        ports = group.ports if group.mode is Mode.ROTATE else group.ports[:1]
        return [by_port[port] for port in ports]

    # ---- as a node of the network

    def receive(self, data: bytes, now: float, source: Hashable) -> None:
        assert isinstance(source, int)
        if source in self.connections:
            self.routing.receive(self.connections[source], data, now)

    def next_timeout(self) -> float | None:
        return self.routing.next_timeout()

    def handle_timeout(self, now: float) -> None:
        self.routing.handle_timeout(now)

    def datagrams_to_send(self, now: float) -> Iterable[tuple[Hashable, bytes]]:
        messages: list[tuple[Hashable, bytes]] = []
        output = self.routing.output()
        by_connection = {c: address for address, c in self.connections.items()} if output else {}
        for said in output:
            if isinstance(said, RoutingTable):
                self.forwarding.set_table(said)
            elif said.connection in by_connection:
                self.sent += 1
                self.bytes += len(said.data)
                messages.append((by_connection[said.connection], said.data))
        self.forwarding.output()
        return messages


class _Wire(Link):
    """What connects two members, in one direction: lets through what `link` does, while it is whole."""

    def __init__(self, link: Link) -> None:
        super().__init__(link.delay)
        self.link = link
        self.whole = True

    def transmit(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
        return self.link.transmit(data, now) if self.whole else []


class VirtualLayer:
    """`policy`: a class, or what gives the class for an address; `link(a, b)` makes what carries messages to b."""

    def __init__(
        self,
        policy: type[RoutingPolicy] | Callable[[int], type[RoutingPolicy]],
        config: Any = None,
        *,
        seed: int = 0,
        link: Callable[[int, int], Link] = lambda a, b: Link(0.001),
        pff_policy: PffPolicy | None = None,
    ) -> None:
        self.network = Network()
        self.members: dict[int, Member] = {}
        self.up: set[frozenset[int]] = set()
        self._policy, self._config, self._link = policy, config, link
        self._random = Random(seed)
        self._pff = pff_policy

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.network.now

    @property
    def sent(self) -> int:
        """Messages that were ever sent."""
        return sum(member.sent for member in self.members.values())

    def member(self, address: int) -> Member:
        """The member of this address, which is made if there is none."""
        if address not in self.members:
            chosen = self._policy
            policy: type[RoutingPolicy] = chosen if isinstance(chosen, type) else chosen(address)
            config = policy.Config() if self._config is None else self._config
            routing = policy(address, config, Random(self._random.getrandbits(64)), Rib())
            forwarding = ForwardingFunction(self._pff or _pff(policy.pff), cubes=1)
            self.members[address] = Member(routing, forwarding)
            self.network.add(address, self.members[address])
        return self.members[address]

    # ---- what happens to links

    def connect(self, a: int, b: int) -> None:
        """Join two members, management first."""
        for x, y in ((a, b), (b, a)):
            self.member(x)
            self.network.link(x, y, _Wire(self._link(x, y)))
        for x, y in ((a, b), (b, a)):
            self._tell(x, Member.manage, y)
        self._working(a, b)

    def disconnect(self, a: int, b: int) -> None:
        """Both connections are closed, data transfer first; what was said of it can still be sent."""
        self._failed(a, b)
        for x, y in ((a, b), (b, a)):
            self._tell(x, Member.unmanage, y)

    def fail(self, a: int, b: int) -> None:
        """The link carries nothing any more, and both ends notice. The connections stay."""
        self.break_silently(a, b)
        self._failed(a, b)

    def break_silently(self, a: int, b: int) -> None:
        """The link carries nothing any more, and nobody notices."""
        self._whole(a, b, False)
        self.up.discard(frozenset((a, b)))

    def repair(self, a: int, b: int) -> None:
        """The reverse of `fail`."""
        self._whole(a, b, True)
        self._working(a, b)

    def kill(self, address: int) -> None:
        """A member is gone without a word; its neighbours notice."""
        for neighbour in self.neighbours(address):
            self.up.discard(frozenset((address, neighbour)))
            self._tell(neighbour, Member.down, address)
            self._tell(neighbour, Member.unmanage, address)
        self.network.remove(address)
        del self.members[address]

    def _working(self, a: int, b: int) -> None:
        self.up.add(frozenset((a, b)))
        for x, y in ((a, b), (b, a)):
            self._tell(x, Member.up, y)

    def _failed(self, a: int, b: int) -> None:
        self.up.discard(frozenset((a, b)))
        for x, y in ((a, b), (b, a)):
            self._tell(x, Member.down, y)

    def _tell(self, address: int, what: Callable[[Member, int, float], None], other: int) -> None:
        what(self.members[address], other, self.now)
        self.network.wake(address)

    def _whole(self, a: int, b: int, whole: bool) -> None:
        links = self.network.links()
        for direction in ((a, b), (b, a)):
            wire = links[direction]
            assert isinstance(wire, _Wire)
            wire.whole = whole

    # ---- what there is

    def run(self, seconds: float, condition: Callable[[], bool] | None = None) -> bool:
        """Let time pass; see `Network.run_until`."""
        return self.network.run_until(self.now + seconds, condition)

    def neighbours(self, address: int) -> list[int]:
        """Those that a working link leads to."""
        return sorted(other for pair in self.up if address in pair for other in pair if other != address)

    def reachable(self, source: int) -> dict[int, int]:
        """Distances from a member over the links that work."""
        around: dict[int, list[int]] = {address: [] for address in self.members}
        for a, b in map(tuple, self.up):
            around[a].append(b)
            around[b].append(a)
        found = {source: 0}
        waiting = deque([source])
        while waiting:
            here = waiting.popleft()
            for other in around[here]:
                if other not in found:
                    found[other] = found[here] + 1
                    waiting.append(other)
        return found

    def path(self, source: int, destination: int) -> list[int] | None:
        """The members that a packet passes, with both ends; None: it would be dropped or go in circles."""
        path = [source]
        while path[-1] != destination:
            hops = self.members[path[-1]].next_hops(destination) if path[-1] in self.members else []
            if not hops or hops[0] in path or frozenset((path[-1], hops[0])) not in self.up:
                return None
            path.append(hops[0])
        return path

    def faults(self, sources: Collection[int] | None = None) -> list[str]:
        """What is wrong with the tables now, in words: members that are reachable and not reached, by any of the hops
        that a packet may take; circles; ways to what cannot be reached.
        """
        wrong = []
        reachable = {address: self.reachable(address) for address in self.members}
        for destination in self.members:
            hops = {a: self.members[a].next_hops(destination) for a in self.members if a != destination}
            loop = _loop(hops)
            if loop:
                wrong.append(f"to {destination} in circles: {loop}")
            for source, choices in hops.items():
                if sources is not None and source not in sources:
                    continue
                if (destination in reachable[source]) != bool(choices):
                    wrong.append(f"{source} to {destination}: {choices or 'no hop'}")
                wrong += [
                    f"{source} to {destination} over the broken link to {hop}"
                    for hop in choices
                    if frozenset((source, hop)) not in self.up
                ]
        return wrong


def _loop(hops: Mapping[int, Collection[int]]) -> list[int]:
    """A circle in the graph of next hops, or nothing."""
    done: set[int] = set()
    for start in hops:
        trail: dict[int, None] = {}
        stack = [(start, iter(hops[start]))] if start not in done else []
        trail.update({start: None} if stack else {})
        while stack:
            here, rest = stack[-1]
            following = next((hop for hop in rest if hop not in done), None)
            if following is None:
                done.add(here)
                trail.pop(here)
                stack.pop()
            elif following in trail:
                return [*trail][[*trail].index(following) :]
            else:
                trail[following] = None
                stack.append((following, iter(hops.get(following, ()))))
    return []


def _pff(name: str) -> PffPolicy:
    for policy in pff.POLICIES:
        if policy.name == name:
            return policy()
    chosen: type[PffPolicy] = PluginHost().get("pff_policies", name)  # says what is known, and what to install
    return chosen()


# ---------------------------------------------------------------- topologies, with addresses 1 to n


def line(n: int) -> Links:
    """One after the other."""
    return [(i, i + 1) for i in range(1, n)]


def ring(n: int) -> Links:
    """A line that is closed."""
    return [*line(n), (n, 1)]


def star(n: int) -> Links:
    """All at member 1."""
    return [(1, i) for i in range(2, n + 1)]


def tree(n: int, width: int = 2) -> Links:
    """Each member has `width` below it."""
    return [((i - 2) // width + 1, i) for i in range(2, n + 1)]


def grid(rows: int, columns: int) -> Links:
    """Rows and columns."""
    return [
        (r * columns + c + 1, (r + down) * columns + c + right + 1)
        for r in range(rows)
        for c in range(columns)
        for down, right in ((0, 1), (1, 0))
        if r + down < rows and c + right < columns
    ]


def random_graph(n: int, more: int, seed: int) -> Links:
    """A random tree of n members and `more` links between others."""
    rng = Random(seed)
    links = {(rng.randrange(1, i), i) for i in range(2, n + 1)}
    while len(links) < n - 1 + more:
        a, b = sorted(rng.sample(range(1, n + 1), 2))
        links.add((a, b))
    return sorted(links)

"""A network in virtual time: runs sans-IO objects, one or thousands, over links, with no socket and no waiting.

Theory of operation. All that will happen stands in one heap: arrivals of packets and time-outs of nodes, ordered by
time and, at one time, by when they were put there; so a run depends on its links' seeds alone. After everything that
happens to a node, and after `wake`, the network takes what the node wants to send, puts it on the links, and asks for
the node's next time-out. A time-out that has been overtaken stays in the heap and is passed over when its turn comes.

Nodes have addresses, any hashable value, and send to addresses; there must be a link, or the network's `default_link`
makes one for the pair at first use. `connect` joins two objects that know of no addresses.
"""

from collections.abc import Callable, Hashable, Iterable
from heapq import heappop, heappush
from typing import Protocol

from attrs import define

from .links import Link

__all__ = ["Endpoint", "Network", "NetworkStatistics", "Node"]

_SPIN_LIMIT = 1000


class Node(Protocol):
    """A sans-IO object that talks to others by address. Times are seconds of the network's clock."""

    def receive(self, data: bytes, now: float, source: Hashable) -> None: ...
    def next_timeout(self) -> float | None: ...
    def handle_timeout(self, now: float) -> None: ...
    def datagrams_to_send(self, now: float) -> Iterable[tuple[Hashable, bytes]]:
        """(destination, data), each given once."""


class Endpoint(Protocol):
    """A sans-IO object that has one peer and no addresses."""

    def receive(self, data: bytes, now: float) -> None: ...
    def next_timeout(self) -> float | None: ...
    def handle_timeout(self, now: float) -> None: ...
    def datagrams_to_send(self, now: float) -> Iterable[bytes]:
        """Data for the peer, each given once."""


@define
class NetworkStatistics:
    """Counts of a network. Losses are with the links."""

    sent: int = 0
    delivered: int = 0
    unreachable: int = 0
    """Sent to an address that has no node or no link."""
    timeouts: int = 0


@define(eq=False)
class _Slot:
    node: Node
    due: float | None = None
    timer: int | None = None
    """Place in the order of events of its time-out; others of this node in the heap are overtaken."""
    fired: float | None = None
    spins: int = 0


class _Addressed:
    """An endpoint as a node: all it sends goes to the peer."""

    def __init__(self, endpoint: Endpoint, peer: Hashable) -> None:
        self._endpoint, self._peer = endpoint, peer
        self.next_timeout, self.handle_timeout = endpoint.next_timeout, endpoint.handle_timeout

    def receive(self, data: bytes, now: float, source: Hashable) -> None:
        self._endpoint.receive(data, now)

    def datagrams_to_send(self, now: float) -> Iterable[tuple[Hashable, bytes]]:
        return [(self._peer, data) for data in self._endpoint.datagrams_to_send(now)]


class Network:
    """Nodes, links and the time. `default_link(source, destination)` makes links that were not given; None: there are
    only those given.
    """

    def __init__(self, default_link: Callable[[Hashable, Hashable], Link] | None = None) -> None:
        self.now = 0.0
        self.statistics = NetworkStatistics()
        self._default_link = default_link
        self._slots: dict[Hashable, _Slot] = {}
        self._links: dict[tuple[Hashable, Hashable], Link] = {}
        self._events: list[tuple[float, int, Hashable, tuple[Hashable, bytes] | None]] = []
        self._order = 0
        self._endpoints = 0

    def add(self, address: Hashable, node: Node) -> None:
        """Put a node at an address and let it begin. ValueError: the address is taken."""
        if address in self._slots:
            raise ValueError(f"there is a node at {address!r} already")
        self._slots[address] = _Slot(node)
        self.wake(address)

    def remove(self, address: Hashable) -> None:
        """The node is gone, as if its host lost power. What is on its way to it is lost."""
        del self._slots[address]

    def link(self, source: Hashable, destination: Hashable, link: Link) -> None:
        """Set the link of one direction; replaces the one there was."""
        self._links[source, destination] = link

    def links(self) -> dict[tuple[Hashable, Hashable], Link]:
        """All links there are, by (source, destination)."""
        return dict(self._links)

    def connect(self, a: Endpoint, b: Endpoint, there: Link, back: Link) -> tuple[Hashable, Hashable]:
        """Join two endpoints by two links; returns the addresses they got, for `wake` and `remove`."""
        self._endpoints += 2
        first, second = ("endpoint", self._endpoints - 2), ("endpoint", self._endpoints - 1)
        self.link(first, second, there)
        self.link(second, first, back)
        self.add(first, _Addressed(a, second))
        self.add(second, _Addressed(b, first))
        return first, second

    def wake(self, address: Hashable) -> None:
        """Look after a node that was given a command from outside: send what it has to send, note its time-out."""
        slot = self._slots[address]
        for destination, data in slot.node.datagrams_to_send(self.now):
            self._send(address, destination, data)
        due = slot.node.next_timeout()
        if due != slot.due or slot.timer is None:
            slot.due = due
            slot.timer = None if due is None else self._put(max(due, self.now), address, None)

    def run_until(self, end: float, condition: Callable[[], bool] | None = None) -> bool:
        """Let everything up to the time `end` happen, or stop as soon as `condition()` holds. Returns whether it holds
        (True when there is none). The clock then stands at `end`, or where the condition was met.
        """
        if condition is not None and condition():
            return True
        while self._events and self._events[0][0] <= end:
            if self._step() and condition is not None and condition():
                return True
        self.now = max(self.now, end)
        return condition is None

    def _step(self) -> bool:
        """Let the next event happen. False: it was overtaken."""
        time, order, address, packet = heappop(self._events)
        slot = self._slots.get(address)
        if packet is None:
            if slot is None or slot.timer != order:
                return False
            slot.timer = None
            self._time_out(slot, address, time)
        elif slot is None:
            self.now = time
            self.statistics.unreachable += 1
            return True
        else:
            self.now = time
            self.statistics.delivered += 1
            slot.node.receive(packet[1], time, packet[0])
        self.wake(address)
        return True

    def _time_out(self, slot: _Slot, address: Hashable, time: float) -> None:
        slot.spins = slot.spins + 1 if slot.fired == time else 1
        slot.fired = self.now = time
        if slot.spins > _SPIN_LIMIT:
            raise RuntimeError(f"the node at {address!r} does not get past its time-out at {time}: {slot.node!r}")
        self.statistics.timeouts += 1
        slot.node.handle_timeout(time)

    def _send(self, source: Hashable, destination: Hashable, data: bytes) -> None:
        self.statistics.sent += 1
        link = self._links.get((source, destination))
        if link is None and self._default_link is not None and destination in self._slots:
            link = self._links[source, destination] = self._default_link(source, destination)
        if link is None:
            self.statistics.unreachable += 1
            return
        for arrival, arrived in link.transmit(data, self.now):
            self._put(arrival, destination, (source, arrived))

    def _put(self, time: float, address: Hashable, packet: tuple[Hashable, bytes] | None) -> int:
        self._order += 1
        heappush(self._events, (time, self._order, address, packet))
        return self._order

"""The management of an Ethernet layer, sans-IO: flow allocation of all shims, and queries for names (shims.md 4.5).

A query is broadcast up to three times within the 200 ms that the IRM waits; whoever has registered the hash answers to
the asker alone. Replies are believed until two seconds after the last one, so that one that comes late serves the next
allocation; a reply that nobody asked for is counted and that is all. The prototype believes those too: then a neighbour
fills the directory as he likes.
"""

from heapq import heappop, heappush
from random import Random
from typing import Final

from attrs import define, frozen

from ouro_core.model.capability import Capability
from ouro_core.shim import Management
from ouro_core.shim.management import Counters

from .wire import BROADCAST, Framing, NameQuery, NameQueryReply

__all__ = ["EthManagement", "Found"]

REPEATS: Final = (0.05, 0.07)
"""Seconds from one broadcast to the next."""
BELIEVED: Final = 2.0
"""Seconds from the last broadcast for which replies count."""


@frozen
class Found:
    """The directory knows this hash now."""

    hash: bytes


@define(eq=False)
class _Query:
    """For one hash. `sent`: broadcasts so far; more than all there are: only replies are waited for."""

    sent: int = 0


@define
class EthCounters(Counters):
    """With those of queries."""

    queries_sent: int = 0
    queries_received: int = 0
    query_replies_sent: int = 0
    query_replies_received: int = 0
    unasked: int = 0
    """Replies to queries that there are not."""


class EthManagement(Management[bytes]):
    """Hosts are MAC addresses."""

    counters: EthCounters

    def __init__(
        self, framing: Framing, rng: Random, max_message: int, capabilities: Capability = Capability.FRAGMENTS
    ) -> None:
        super().__init__(framing, rng, max_message, capabilities, counters=EthCounters())
        self._queries: dict[bytes, _Query] = {}
        self._query_timers: list[tuple[float, bytes, _Query]] = []

    def query(self, hash: bytes, now: float) -> bool:
        """Whether the directory knows a hash. If not, the layer is asked, and `Found` may follow."""
        if self.directory.find(hash) is not None:
            return True
        query = self._queries.get(hash)
        if query is None or query.sent > len(REPEATS):
            query = self._queries[hash] = _Query()
            self._broadcast(hash, query, now)
        return False

    def _broadcast(self, hash: bytes, query: _Query, now: float) -> None:
        self.counters.queries_sent += 1
        self.send(BROADCAST, NameQuery(hash))
        due = now + (REPEATS[query.sent] if query.sent < len(REPEATS) else BELIEVED)
        query.sent += 1
        heappush(self._query_timers, (due, hash, query))

    def handle(self, message: object, data: bytes, now: float, source: bytes) -> None:
        if isinstance(message, NameQuery):
            self.counters.queries_received += 1
            if message.hash in self.registered:
                self.counters.query_replies_sent += 1
                self.send(source, NameQueryReply(message.hash))
        elif isinstance(message, NameQueryReply):
            if message.hash in self._queries:
                self.counters.query_replies_received += 1
                self.directory.learn(message.hash, source)
                self.tell(Found(message.hash))
            else:
                self.counters.unasked += 1
        else:
            super().handle(message, data, now, source)

    def next_timeout(self) -> float | None:
        timers = self._query_timers
        while timers and self._queries.get(timers[0][1]) is not timers[0][2]:
            heappop(timers)
        due = super().next_timeout()
        if not timers:
            return due
        return timers[0][0] if due is None else min(due, timers[0][0])

    def handle_timeout(self, now: float) -> None:
        super().handle_timeout(now)
        while self._query_timers and self._query_timers[0][0] <= now:
            _, hash, query = heappop(self._query_timers)
            if self._queries.get(hash) is not query:
                continue
            if query.sent > len(REPEATS):
                del self._queries[hash]
            elif self.directory.find(hash) is None:
                self._broadcast(hash, query, now)
            else:  # known: no need to ask again, but another host may have it too
                query.sent = len(REPEATS) + 1
                heappush(self._query_timers, (now + BELIEVED, hash, query))

"""Flooding: what has yet to be told to which neighbour, and when.

Theory of operation. The prototype sends an update on as it comes, so in a layer with cycles each one crosses most links
twice. Here every management connection has a queue of links that its neighbour has to be told of; an update is made
when its turn comes, from what the database knows then. News (a link that appears or is withdrawn) goes out at once. A
refreshed number of a known link can wait: the first one that does sets a time by chance, up to `SPREAD` seconds later,
when all that waits is sent. What the neighbour tells us itself meanwhile, it need not be told. A link stands in a queue
once, however often it changes, and no connection gets more than `RATE` updates a second after a burst of `BURST`: so
whatever comes in, what goes out is bounded.
"""

import random
from collections.abc import Iterable, Iterator
from math import inf
from typing import Final

from attrs import define, field

from .database import Key

__all__ = ["BURST", "RATE", "SPREAD", "Flooding"]

SPREAD: Final = 0.05
"""Seconds that a refreshed number waits at most."""
RATE: Final = 2000
"""Updates a second over one connection, in the long run."""
BURST: Final = 512
"""Updates that may go at once."""


@define(eq=False)
class _Queue:
    """`due`: when what waits is to be sent. `free`: when the next update may be sent at all."""

    free: float
    news: dict[Key, None] = field(factory=dict)
    waiting: dict[Key, None] = field(factory=dict)
    due: float = inf

    def next_time(self) -> float:
        if self.news:
            return self.free
        return max(self.due, self.free) if self.waiting else inf

    def take(self, now: float) -> Iterator[Key]:
        """What is due and may be sent."""
        for queue in (self.news, self.waiting):
            if queue is self.waiting and self.due > now:
                return
            while queue and self.free <= now:
                key = next(iter(queue))
                del queue[key]
                self.free = max(self.free, now - BURST / RATE) + 1 / RATE
                yield key
        if not self.waiting:
            self.due = inf


class Flooding:
    """Queues by connection."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._queues: dict[int, _Queue] = {}

    def open(self, connection: int, now: float) -> None:
        """Begin with an empty queue."""
        self._queues[connection] = _Queue(now - BURST / RATE)

    def close(self, connection: int) -> None:
        """Forget the queue. Unknown ones are ignored."""
        self._queues.pop(connection, None)

    def tell(self, key: Key, connections: Iterable[int]) -> None:
        """News of a link: these neighbours are to be told at once."""
        for connection in connections:
            if (queue := self._queues.get(connection)) is not None:
                queue.waiting.pop(key, None)
                queue.news[key] = None

    def refresh(self, key: Key, told_by: int, now: float) -> None:
        """A link has a new number. All but one neighbour are to be told when it suits."""
        self.knows(key, told_by)
        for connection, queue in self._queues.items():
            if connection != told_by and key not in queue.news:
                queue.waiting[key] = None
                if queue.due == inf:
                    queue.due = now + self._rng.uniform(0.0, SPREAD)

    def knows(self, key: Key, connection: int) -> None:
        """The neighbour has told us itself what we would have told it."""
        if (queue := self._queues.get(connection)) is not None:
            queue.news.pop(key, None)
            queue.waiting.pop(key, None)

    def next_timeout(self) -> float | None:
        """When `take` will have something."""
        soonest = min((queue.next_time() for queue in self._queues.values()), default=inf)
        return None if soonest == inf else soonest

    def take(self, now: float) -> Iterator[tuple[int, Key]]:
        """(connection, link) for all that is due and may be sent."""
        for connection, queue in self._queues.items():
            if queue.next_time() <= now:
                for key in queue.take(now):
                    yield connection, key

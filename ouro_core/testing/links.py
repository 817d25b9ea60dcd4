"""Links for tests: what they do to packets, without a clock or a socket of their own.

A link is one direction. `transmit(data, now)` says what arrives at the other end, and when. Everything is drawn from
one seeded generator, so that the seed in the `repr` of a link gives the same run again.
"""

from random import Random

from attrs import define

__all__ = ["Faulty", "Link", "LinkStatistics"]


@define
class LinkStatistics:
    """What happened on a link, in packets. `sent` = `lost` + arrivals - `duplicated`."""

    sent: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0


class Link:
    """A perfect link: every packet arrives once, unharmed and in order, `delay` seconds later."""

    def __init__(self, delay: float = 0.001) -> None:
        self.delay = delay
        self.statistics = LinkStatistics()

    def transmit(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
        """(time of arrival, packet) for each packet that arrives, none when it is lost."""
        self.statistics.sent += 1
        return [(now + self.delay, data)]

    def __repr__(self) -> str:
        return f"Link(delay={self.delay})"


class Faulty(Link):
    """A link that loses, doubles, delays and damages packets, each with its own probability 0..1.

    A packet that is reordered takes up to `late` seconds longer, so that later ones overtake it; the others keep their
    order. A corrupted packet has one to four bytes changed, or is cut short; an empty one cannot be corrupted. Copies
    of a packet are delayed and damaged independently.
    """

    def __init__(
        self,
        seed: int,
        *,
        loss: float = 0.0,
        duplication: float = 0.0,
        reordering: float = 0.0,
        corruption: float = 0.0,
        delay: float = 0.001,
        late: float = 0.01,
    ) -> None:
        super().__init__(delay)
        self.seed = seed
        self.loss, self.duplication, self.reordering, self.corruption = loss, duplication, reordering, corruption
        self.late = late
        self._random = Random(seed)

    def __repr__(self) -> str:
        return (
            f"Faulty(seed={self.seed}, loss={self.loss}, duplication={self.duplication}, reordering={self.reordering}, "
            f"corruption={self.corruption}, delay={self.delay}, late={self.late})"
        )

    def transmit(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
        random, counts = self._random, self.statistics
        counts.sent += 1
        if random.random() < self.loss:
            counts.lost += 1
            return []
        copies = 1
        if random.random() < self.duplication:
            counts.duplicated += 1
            copies = 2
        return [(self._arrival(now), self._damaged(data)) for _ in range(copies)]

    def _arrival(self, now: float) -> float:
        if self._random.random() >= self.reordering:
            return now + self.delay
        self.statistics.reordered += 1
        return now + self.delay + self._random.uniform(0.0, self.late)

    def _damaged(self, data: bytes) -> bytes:
        random = self._random
        if not data or random.random() >= self.corruption:
            return data
        self.statistics.corrupted += 1
        if random.random() < 0.2:
            return data[: random.randrange(len(data))]
        damaged = bytearray(data)
        for place in random.sample(range(len(data)), min(len(data), random.randint(1, 4))):
            damaged[place] ^= random.randint(1, 255)
        return bytes(damaged)

"""A unicast layer in virtual time: nothing but its directories, and what is lost between them.

Theory of operation. Every member has a place, and the delay from one place to another is fixed: 1 to 20 ms each way.
There are no routes to learn: members are in reach, or they are gone, or on the other side of a partition, and
nobody is told unless with `oracle`. A run depends on its seed alone.
"""

import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from statistics import median
from typing import Any, Final, Protocol

from attrs import define, frozen

from ouro_core.contracts.directory import DirectoryAnswer, DirectoryReport, DirectorySend, DirectorySetup
from ouro_core.model.names import HashAlgorithm
from ouro_core.rib import Rib
from ouro_core.testing.links import Link
from ouro_core.testing.network import Network

from ..config import DhtConfig
from ..node import Dht
from .prototype import Prototype

__all__ = ["EPOCH", "Found", "Layer", "Place", "Summary", "percentile"]

EPOCH: Final = 1_800_000_000.0
"""Seconds since 1970 at the beginning of virtual time."""
_DELAYS: Final = 64
_QUERY_LIMIT: Final = 2.5


class Directory(Protocol):
    """What the layer needs of a member's directory."""

    def start(self, peers: Sequence[int], now: float) -> None: ...
    def register(self, hash: bytes, now: float) -> None: ...
    def unregister(self, hash: bytes, now: float) -> None: ...
    def query(self, hash: bytes, now: float) -> int: ...
    def receive(self, data: bytes, now: float) -> None: ...
    def next_timeout(self) -> float | None: ...
    def handle_timeout(self, now: float) -> None: ...
    def output(self) -> Sequence[DirectorySend | DirectoryAnswer | DirectoryReport]: ...


class _Lossy(Link):
    """Links of one delay; all share one source of randomness, and the layer's loss."""

    def __init__(self, delay: float, layer: "Layer") -> None:
        super().__init__(delay)
        self._layer = layer

    def transmit(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
        if self._layer.loss and self._layer.rng.random() < self._layer.loss:
            return []
        return [(now + self.delay, data)]


class Place:
    """A member: its directory and its traffic."""

    def __init__(self, layer: "Layer", address: int, directory: Directory, prototype: bool) -> None:
        self.layer, self.address, self.directory, self.prototype = layer, address, directory, prototype
        self.side = 0
        self.sent = self.sent_bytes = 0
        self.answers: dict[int, tuple[float, DirectoryAnswer]] = {}
        self.reports: dict[int, DirectoryReport] = {}
        self.next_timeout = directory.next_timeout
        self.handle_timeout = directory.handle_timeout

    def receive(self, data: bytes, now: float, source: Hashable) -> None:
        self.directory.receive(data, now)

    def datagrams_to_send(self, now: float) -> Iterable[tuple[Hashable, bytes]]:
        out = []
        for item in self.directory.output():
            if isinstance(item, DirectorySend):
                self.sent += 1
                self.sent_bytes += len(item.data)
                target = self.layer.places.get(item.address)
                if target is not None and target.side == self.side:
                    out.append((item.address, item.data))
            elif isinstance(item, DirectoryAnswer):
                self.answers[item.query] = now, item
            else:
                self.reports[item.question] = item
        return out


@frozen
class Found:
    """What came of one query. `correct`: the address of a member that has the name is the first."""

    correct: bool
    seconds: float
    rounds: int


@define
class Summary:
    """What came of many. Times in seconds, traffic per query."""

    queries: int
    success: float
    in_time: float
    """Share that was answered correctly within 200 ms."""
    rounds: float
    mean_rounds: float
    seconds: float
    slow: float
    """95th percentile of the time."""
    messages: float
    hopeless: float = 0.0
    """Share of queries of nodes of the prototype that nobody could have helped, see `Layer.is_out_of_reach`."""


class Layer:
    """`default` is the configuration of members; `loss` the probability that a message is lost."""

    def __init__(self, seed: int, config: DhtConfig | None = None, *, loss: float = 0.0, oracle: bool = False) -> None:
        self.seed, self.loss, self.oracle = seed, loss, oracle
        self.config = config or DhtConfig()
        self.rng = random.Random(seed)
        self.hash = HashAlgorithm.SHA3_256
        self.places: dict[int, Place] = {}
        self.holders: dict[bytes, set[int]] = {}
        self._where: dict[int, tuple[float, float]] = {}
        self._links = [_Lossy(0.001 + 0.019 * i / _DELAYS, self) for i in range(_DELAYS)]
        self.network = Network(self._link)

    @property
    def now(self) -> float:
        return self.network.now

    def _link(self, source: Hashable, destination: Hashable) -> Link:
        (ax, ay), (bx, by) = self._where[source], self._where[destination]  # type: ignore[index]
        distance = ((ax - bx) ** 2 + (ay - by) ** 2) ** 0.5 / 2**0.5
        return self._links[min(_DELAYS - 1, int(distance * _DELAYS))]

    # ------------------------------------------------------------ members

    def add(self, *peers: Place, prototype: bool = False) -> Place:
        """A new member, which knows some others."""
        address = self.rng.randrange(1, 1 << 32)
        while address in self._where:
            address = self.rng.randrange(1, 1 << 32)
        self._where[address] = self.rng.random(), self.rng.random()
        rng = random.Random(self.rng.getrandbits(64))
        setup = DirectorySetup(address, self.hash, self.config, rng, Rib(), lambda now: EPOCH + now)
        directory: Directory = Prototype(setup, self._has_no_route) if prototype else Dht(setup)
        place = self.places[address] = Place(self, address, directory, prototype)
        directory.start([p.address for p in peers], self.now)
        self.network.add(address, place)
        return place

    def _has_no_route(self, address: int) -> bool:
        return self.oracle and address not in self.places

    def grow(
        self, members: int, *, prototypes: float = 0.0, apart: float = 0.05, first: bool = False,
        joined: Callable[[Place], None] | None = None,
    ) -> list[Place]:  # fmt: skip
        """So many members, one after another, each with the help of an earlier one, or of the first."""
        places: list[Place] = list(self.places.values())
        kinds = [i < round(members * prototypes) for i in range(members)]
        self.rng.shuffle(kinds)
        for kind in kinds:
            peers = [places[0] if first else self.rng.choice(places)] if places else []
            place = self.add(*peers, prototype=kind)
            places.append(place)
            self.run(apart)
            if joined is not None:
                joined(place)
        return places

    def remove(self, place: Place) -> None:
        """A member is gone without a word."""
        del self.places[place.address]
        self.network.remove(place.address)
        for holders in self.holders.values():
            holders.discard(place.address)
        if self.oracle:
            for other in self.places.values():
                if isinstance(other.directory, Dht):
                    other.directory.peer_down(place.address, self.now)
                    self.network.wake(other.address)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.network.run_until(self.network.now + seconds)

    # ------------------------------------------------------------ names

    def key(self) -> bytes:
        """A random key."""
        return self.rng.randbytes(self.hash.size)

    def register(self, place: Place, key: bytes) -> None:
        self.holders.setdefault(key, set()).add(place.address)
        place.directory.register(key, self.now)
        self.network.wake(place.address)

    def unregister(self, place: Place, key: bytes) -> None:
        self.holders[key].discard(place.address)
        place.directory.unregister(key, self.now)
        self.network.wake(place.address)

    def names(self, count: int, among: Sequence[Place] | None = None, apart: float = 0.0) -> list[bytes]:
        """So many names, each registered at a random member."""
        keys = [self.key() for _ in range(count)]
        places = list(among if among is not None else self.places.values())
        for key in keys:
            self.register(self.rng.choice(places), key)
            if apart:
                self.run(apart)
        return keys

    def find(self, place: Place, key: bytes) -> Found:
        """Query, and wait for the answer."""
        begin = self.now
        before = self._rounds(place)
        number = place.directory.query(key, begin)
        self.network.wake(place.address)
        self.network.run_until(begin + _QUERY_LIMIT, lambda: number in place.answers)
        at, answer = place.answers.pop(number, (self.now, DirectoryAnswer(number, ())))
        correct = bool(answer.addresses) and answer.addresses[0] in self.holders.get(key, ())
        return Found(correct, at - begin, self._rounds(place) - before)

    def is_out_of_reach(self, place: Place, key: bytes) -> bool:
        """Whether nobody can help a node of the prototype: all whom it would ask are of its kind, and no one has it."""
        if not isinstance(place.directory, Prototype) or place.directory.has(key):
            return False
        asked = [self.places.get(c.address) for c in place.directory.would_ask(key, self.now)]
        others = [p.directory for p in asked if p is not None]
        return all(isinstance(d, Prototype) and not d.has(key) for d in others)

    @staticmethod
    def _rounds(place: Place) -> int:
        return place.directory.counters.lookup_rounds if isinstance(place.directory, Dht) else 0

    def survey(
        self, keys: Sequence[bytes], queries: int, among: Sequence[Place] | None = None, tries: int = 1
    ) -> Summary:
        """Random members look for random names that others registered, `tries` times at most."""
        places = list(among if among is not None else self.places.values())
        keys = [key for key in keys if self.holders.get(key)]
        before = sum(p.sent for p in self.places.values())
        found: list[Found] = []
        hopeless = 0
        while len(found) < queries:
            place, key = self.rng.choice(places), self.rng.choice(keys)
            if place.address not in self.holders[key]:
                hopeless += self.is_out_of_reach(place, key)
                found.append(self.find(place, key))
                for _ in range(tries - 1):
                    if not found[-1].correct:
                        self.run(0.5)
                        found[-1] = self.find(place, key)
        messages = sum(p.sent for p in self.places.values()) - before
        good = [f for f in found if f.correct]
        rounds = [f.rounds for f in good if f.rounds] or [0]
        times = sorted(f.seconds for f in good) or [0.0]
        return Summary(
            queries, len(good) / queries, sum(f.seconds <= 0.2 for f in good) / queries, median(rounds),
            sum(rounds) / len(rounds), median(times), percentile(times, 0.95), messages / queries,
            hopeless / queries,
        )  # fmt: skip

    def traffic(self, seconds: float) -> tuple[float, float]:
        """(messages, bytes) that a member sends in an hour, measured over so many seconds."""
        before = {p: (p.sent, p.sent_bytes) for p in self.places.values()}
        self.run(seconds)
        share = 3600.0 / seconds / len(before)
        messages = sum(p.sent - before[p][0] for p in before)
        size = sum(p.sent_bytes - before[p][1] for p in before)
        return messages * share, size * share

    def ask(self, place: Place, *words: str) -> Any:
        """An administrator's question, and the report."""
        assert isinstance(place.directory, Dht)
        number = place.directory.ask(words, self.now)
        self.network.wake(place.address)
        self.network.run_until(self.now + _QUERY_LIMIT, lambda: number in place.reports)
        return place.reports.pop(number)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of values in order."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

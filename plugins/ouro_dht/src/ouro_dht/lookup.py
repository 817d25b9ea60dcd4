"""One iterative lookup (spec: dht.md 5.3, 13.4): who is closest to a key, or who has it.

Theory of operation. All members heard of stand in a list, the closest first. `alpha` of them are being asked at any
time; there are no rounds. An answer brings more of them and frees a place, and so does a member that takes longer than
it should (`slow`): it is passed over, but may still answer. Of members equally near (as many leading bits shared with
the key), the one with the shortest round trip is asked first. A lookup for members ends when the `k` closest of those
that are not slow have answered. One for values ends when two of those had some, as one may have missed what was
published last, and those farther away may hold what is long over; or when the second takes longer than a short while;
or when the same `k` have none.

Before it fails, it asks more of those that we know (`reserve`), and the slow ones once more. And as members of the
prototype name contacts that have nothing to do with the key, and hold values that are not theirs to hold, a `thorough`
lookup then goes on and asks everybody it heard of, `MAX_ASKED` at most.

`Lookup` decides; who sends, and keeps cookies, is `exchange.py`.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from .table import Entry, number_of
from .wire import Contact, Value

__all__ = ["LIFETIME", "MAX_ASKED", "Lookup", "Peer"]

LIFETIME: Final = 1.8
"""Seconds after which a lookup ends, whatever it has."""
MAX_ASKED: Final = 256
MAX_KNOWN: Final = 1024
_BUDGET: Final = 0.2
"""Seconds in which the IRM wants an answer (spec: dht.md 1.1)."""
_SURE: Final = 2
"""Members that must have values before they are believed to be the latest."""
_GRACE: Final = 0.1
"""Longest wait for the second of them, in seconds; shorter when half of the budget is over by then."""
_SHORT_GRACE: Final = 0.03


class Peer:
    """A member in a lookup. `depth`: answers that led to it; 1: we knew it. `patience`: seconds until it is slow.
    `had`: whether it had values.
    """

    __slots__ = (
        "answered", "asked", "contact", "depth", "distance", "had", "patience", "rtt", "sent", "slow", "tries"
    )  # fmt: skip

    def __init__(self, contact: Contact, distance: int, depth: int, rtt: float | None, patience: float) -> None:
        self.contact, self.distance, self.depth = contact, distance, depth
        self.rtt, self.patience = rtt, patience
        self.sent = 0.0
        self.asked = self.answered = self.slow = self.had = False
        self.tries = 0

    def __lt__(self, other: "Peer") -> bool:
        return self.distance < other.distance

    @property
    def waiting(self) -> bool:
        return self.asked and not self.answered and not self.slow


class Lookup:
    """Who is closest to `key`, or has it if `for_value`. `own` is our address, which is never asked; `k` members are
    the closest, `alpha` are asked at once. `done(lookup, now)` is called once by whoever runs it, when it is over;
    `reserve()` gives more members, and is called once at most, before it fails. Times are seconds of `now`'s clock.
    """

    def __init__(
        self, key: bytes, own: int, *, for_value: bool, k: int, alpha: int, now: float,
        done: Callable[["Lookup", float], None] | None = None, thorough: bool = False,
        reserve: Callable[[], Iterable[Entry]] | None = None,
    ) -> None:  # fmt: skip
        self.key, self.number = key, number_of(key)
        self.for_value, self.k, self.alpha = for_value, k, alpha
        self.done = done
        self.started = now
        self.finished: float | None = None
        self.values: dict[bytes, Value] = {}
        self.found: float | None = None
        """When the first values came."""
        self.rounds = 0
        """Depth of the answer that brought the first values, or of the deepest."""
        self.asked = 0
        self.answers = 0
        self._thorough = thorough
        self._reserve = reserve
        self._own = own
        self._peers: list[Peer] = []
        self._known: set[int] = set()
        self._slowed = False
        self._patience: Callable[[Entry | None], float] | None = None

    # ------------------------------------------------------------ what is heard

    def seed(self, entries: Iterable[Entry], patience: Callable[[Entry | None], float]) -> None:
        """Members to begin with."""
        self._patience = patience
        for entry in entries:
            self._add(entry.contact, 1, entry.rtt, patience(entry))

    def _add(self, contact: Contact, depth: int, rtt: float | None, patience: float) -> None:
        if contact.address == self._own or contact.address in self._known or len(self._known) >= MAX_KNOWN:
            return
        self._known.add(contact.address)
        insort(self._peers, Peer(contact, number_of(contact.id) ^ self.number, depth, rtt, patience))

    def answered(
        self,
        peer: Peer,
        contacts: Iterable[Contact],
        values: Sequence[Value],
        now: float,
        about: Callable[[Contact], tuple[float | None, float] | None],
    ) -> None:
        """A member answered. `about` tells the round trip and the patience of a contact; None: it cannot be reached."""
        peer.answered, peer.slow = True, False
        self.answers += 1
        if self.found is None:
            self.rounds = max(self.rounds, peer.depth)
        for contact in contacts:
            known = about(contact)
            if known is not None:
                self._add(contact, peer.depth + 1, *known)
        for place, value in enumerate(values):
            self.add(value, place)
            if self.found is None:
                self.found, self.rounds = now, peer.depth
        peer.had = peer.had or bool(values)

    def add(self, value: Value, place: int = 0) -> None:
        """Without times the later of two is the newer: the prototype has the oldest first."""
        value = value if value.published else value._replace(published=place)
        known = self.values.get(value.data)
        if known is None or value.published > known.published:
            self.values[value.data] = value

    # ------------------------------------------------------------ what to do

    def step(self, now: float) -> list[Peer]:
        """Whom to ask now. An empty list while nobody is asked: it is over, and `finished` says since when."""
        if self.finished is not None:
            return []
        self._pass_over(now)
        active = sum(1 for p in self._peers if p.waiting)
        sure = 0 if self.found is None else sum(1 for p in self._front() if p.had)
        if now >= self.started + LIFETIME or sure >= _SURE or (self.found is not None and now >= self._enough):
            self.finished = now
            return []
        free = (self._width(now) if self.found is None else _SURE - sure) - active
        chosen = self._choose(free) if free > 0 else []
        if not chosen and not active:
            self.finished = now
        for peer in chosen:
            peer.asked, peer.slow, peer.sent = True, False, now
            peer.tries += 1
        self.asked += len(chosen)
        return chosen

    def _pass_over(self, now: float) -> None:
        for peer in self._peers:
            if peer.waiting and now >= peer.sent + peer.patience:
                peer.slow = self._slowed = True

    def _width(self, now: float) -> int:
        """How many to ask at once: more when somebody is slow, or half of the time is over."""
        hurried = self.for_value and (self._slowed or now - self.started > _BUDGET / 2)
        return self.alpha * 2 if hurried else self.alpha

    def _front(self) -> list[Peer]:
        return [p for p in self._peers if not p.slow][: self.k]

    def _choose(self, free: int) -> list[Peer]:
        free = min(free, MAX_ASKED - self.asked)
        if free <= 0:
            return []
        front = self._front()
        fresh = [p for p in front if not p.asked]
        if fresh:
            fresh.sort(key=lambda p: (p.distance.bit_length(), p.rtt if p.rtt is not None else 1.0, p.distance))
            return fresh[:free]
        if self.found is not None or any(p.waiting for p in front):
            return []
        if self._reserve is not None and self._patience is not None and (self._thorough or len(front) < self.k):
            reserve, self._reserve = self._reserve, None
            self.seed(reserve(), self._patience)
            return self._choose(free)
        again = [p for p in self._peers if p.slow and p.tries == 1][: self.k]
        if again and (self.for_value or len([p for p in front if p.answered]) < self.k):
            return again[:free]
        if self.for_value and self._thorough:
            return [p for p in self._peers if not p.asked][:free]
        return []

    @property
    def _enough(self) -> float:
        """When the first values have been alone for long enough."""
        assert self.found is not None
        taken = self.found - self.started
        return self.found + max(min(_SHORT_GRACE, 2 * taken), min(_GRACE, _BUDGET / 2 - taken))

    def next_timeout(self) -> float | None:
        """When `step` is to be called, if no answer comes before."""
        if self.finished is not None:
            return None
        times = [p.sent + p.patience for p in self._peers if p.waiting]
        times.append(self.started + LIFETIME)
        if self.found is not None:
            times.append(self._enough)
        return min(times)

    # ------------------------------------------------------------ what came of it

    def closest(self) -> list[Contact]:
        """The `k` closest members that answered."""
        return [p.contact for p in self._peers if p.answered][: self.k]

"""Management messages that are received in fragments, and the memory they take."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from attrs import define, field

from ..wire.extension import Fragment, State, Status
from .fragments import Timed
from .limits import CarrierCounters, Limits

__all__ = ["Reassembler", "Reassembly"]

P = TypeVar("P", bound=Hashable)

_QUIET = 0.03
"""Seconds without a fragment after which the receiver says what it lacks."""
_AGAIN = 0.01
"""Seconds between two answers about one message that is complete."""
_OVERHEAD = 128
"""Bytes that a stored fragment takes beside its data."""


@define(eq=False)
class Reassembly(Timed, Generic[P]):
    """A message that is received, until it is complete or `deadline`."""

    peer: P
    id: int
    count: int
    total: int
    deadline: float
    parts: dict[int, bytes] = field(factory=dict, repr=False)
    credit: int = 0
    """Bytes that came for this message less those sent about it: it never falls below 0, so nobody can use us to send
    more than he sends himself."""

    def fits(self, fragment: Fragment) -> bool:
        """Whether this is a fragment of the same message."""
        return (fragment.count, fragment.total) == (self.count, self.total)

    def add(self, fragment: Fragment, size: int, now: float) -> bool:
        """Keep a fragment that came in `size` bytes. False: it was here before."""
        self.credit += size
        self.due = min(now + _QUIET, self.deadline)
        if fragment.index in self.parts:
            return False
        self.parts[fragment.index] = fragment.data
        return True

    @property
    def message(self) -> bytes | None:
        """The whole message, once it is there."""
        if len(self.parts) < self.count:
            return None
        return b"".join(self.parts[i] for i in range(self.count))

    def report(self) -> bytes | None:
        """The STATUS that says what is missing, if there is credit for it. The next comes after another fragment."""
        self.due = self.deadline
        body = Status(self.id, State.MISSING, self.count, frozenset(self.parts)).encode()
        if len(body) > self.credit:
            return None
        self.credit -= len(body)
        return body


@define
class _Usage:
    messages: int = 0
    memory: int = 0


class Reassembler(Generic[P]):
    """All messages that are received. `arm(reassembly)`: it is to be looked after at its `due`."""

    def __init__(self, limits: Limits, counters: CarrierCounters, arm: Callable[[Reassembly[P]], None]) -> None:
        self.memory = 0
        self._limits = limits
        self._counters = counters
        self._arm = arm
        self._receiving: OrderedDict[tuple[P, int], Reassembly[P]] = OrderedDict()
        self._usage: dict[P, _Usage] = {}
        self._complete: OrderedDict[tuple[P, int], tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._receiving)

    def fragment(self, peer: P, fragment: Fragment, size: int, now: float) -> tuple[State | None, bytes | None]:
        """Take a fragment that came in `size` bytes: (what to tell the peer of its message, the message if that is
        whole now).
        """
        limits, counters = self._limits, self._counters
        key = peer, fragment.id
        until, said = self._complete.get(key, (now, now))
        if until > now:
            counters.duplicates += 1
            if now - said < _AGAIN:
                return None, None
            self._complete[key] = until, now
            return State.COMPLETE, None
        reassembly = self._receiving.get(key)
        if reassembly is None:
            if fragment.total > limits.message:
                counters.refused += 1
                return State.REFUSED, None
            reassembly = self._begin(peer, fragment, now)
        elif not reassembly.fits(fragment):
            counters.contradictory += 1
            return None, None
        if reassembly.add(fragment, size, now):
            self._account(peer, len(fragment.data) + _OVERHEAD)
        else:
            counters.duplicates += 1
        message = reassembly.message
        if message is not None:
            counters.messages_received += 1
            self._drop(reassembly)
            self._remember(key, now)
            return State.COMPLETE, message
        self._receiving.move_to_end(key)
        self._arm(reassembly)
        self._make_room(reassembly)
        return None, None

    def due(self, reassembly: Reassembly[P], now: float) -> bytes | None:
        """No fragment came for a while: the STATUS to send, if any."""
        if now < reassembly.deadline:
            return reassembly.report()
        self._counters.messages_expired += 1
        self._drop(reassembly)
        return None

    def _begin(self, peer: P, fragment: Fragment, now: float) -> Reassembly[P]:
        deadline = now + self._limits.patience
        reassembly = Reassembly(now, peer, fragment.id, fragment.count, fragment.total, deadline)
        self._receiving[peer, fragment.id] = reassembly
        self._usage.setdefault(peer, _Usage()).messages += 1
        return reassembly

    def _remember(self, key: tuple[P, int], now: float) -> None:
        while self._complete and (
            len(self._complete) >= self._limits.complete or next(iter(self._complete.values()))[0] <= now
        ):
            self._complete.popitem(last=False)
        self._complete[key] = now + self._limits.complete_for, now

    def _make_room(self, newest: Reassembly[P]) -> None:
        """Keep to the limits, the peer's own before those of all: the message that waited longest goes."""
        limits, usage = self._limits, self._usage[newest.peer]
        while usage.messages > limits.receiving_a_peer or usage.memory > limits.memory_a_peer:
            if not self._evict(newest, lambda other: other.peer == newest.peer):
                break
        while len(self._receiving) > limits.receiving or self.memory > limits.memory:
            if not self._evict(newest, lambda other: True):
                break

    def _evict(self, newest: Reassembly[P], among: Callable[[Reassembly[P]], bool]) -> bool:
        for other in self._receiving.values():
            if other is not newest and among(other):
                self._counters.messages_evicted += 1
                self._drop(other)
                return True
        return False

    def _account(self, peer: P, size: int) -> None:
        self._usage[peer].memory += size
        self.memory += size

    def _drop(self, reassembly: Reassembly[P]) -> None:
        reassembly.done = True
        del self._receiving[reassembly.peer, reassembly.id]
        self._account(reassembly.peer, -sum(len(part) + _OVERHEAD for part in reassembly.parts.values()))
        usage = self._usage[reassembly.peer]
        usage.messages -= 1
        if not usage.messages:
            del self._usage[reassembly.peer]

"""A management message that is sent in fragments."""

from collections import deque
from typing import Generic, TypeVar

from attrs import define, field

from ..wire.extension import Fragment, Status

__all__ = ["Outgoing", "Timed"]

P = TypeVar("P")

BURST = 16
"""Fragments that are sent at once, ..."""
PACE = 0.002
"""... and seconds until the next ones: sockets of carriers hold some dozen frames."""
FIRST_TIMEOUT, LAST_TIMEOUT = 0.25, 2.0
"""Seconds without a word of the receiver until fragments are sent again; doubled each time."""
AGAIN = 0.02
"""Seconds between two times of sending again that the receiver asked for."""
ROUNDS = 64
"""Times that fragments are sent again in all, whatever the receiver asks for."""


@define(eq=False)
class Timed:
    """Something that has to be looked after at `due`. `armed`: when it will be, if that is soon enough."""

    due: float
    armed: float | None = field(default=None, init=False)
    done: bool = field(default=False, init=False)


@define(eq=False)
class Outgoing(Timed, Generic[P]):
    """A message that is sent, until the receiver has it or `deadline`."""

    peer: P
    id: int
    fragments: list[Fragment] = field(repr=False)
    deadline: float
    received: set[int] = field(factory=set)
    resent: int = 0
    _queue: deque[int] = field(factory=deque)
    _timeout: float = FIRST_TIMEOUT
    _rounds: int = 0
    _round_at: float = 0.0

    def start(self, now: float) -> list[Fragment]:
        """What to send first. Then again at `due`: see `next`."""
        self._queue.extend(range(len(self.fragments)))
        self._round_at = now
        return self._some(now)

    def next(self, now: float) -> list[Fragment]:
        """What to send now that `due` has come; the deadline is the caller's to look at."""
        if not self._queue:
            self._timeout = min(2 * self._timeout, LAST_TIMEOUT)
            self._again(now, BURST)
        return self._some(now)

    def status(self, status: Status, now: float) -> list[Fragment]:
        """The receiver lacks some: what to send again."""
        if status.count != len(self.fragments):
            return []
        if not status.received <= self.received:
            self.received |= status.received
            self._timeout = FIRST_TIMEOUT
        if self._queue or now - self._round_at < AGAIN:
            return []
        self._again(now, len(self.fragments))
        return self._some(now)

    def _again(self, now: float, most: int) -> None:
        if self._rounds >= ROUNDS:
            return
        self._rounds += 1
        self._round_at = now
        missing = [i for i in range(len(self.fragments)) if i not in self.received][:most]
        self.resent += len(missing)
        self._queue.extend(missing)

    def _some(self, now: float) -> list[Fragment]:
        sent: list[Fragment] = []
        while self._queue and len(sent) < BURST:
            index = self._queue.popleft()
            if index not in self.received:
                sent.append(self.fragments[index])
        self.due = min(now + (PACE if self._queue else self._timeout), self.deadline)
        return sent

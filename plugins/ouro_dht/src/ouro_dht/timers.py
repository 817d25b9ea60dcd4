"""What is to happen later, in order of time."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

__all__ = ["Deadlines", "Timer", "Timers"]


class Timer:
    """One call to come. Ordered by time, then by when it was asked for."""

    __slots__ = ("action", "order", "time")

    def __init__(self, time: float, order: int, action: Callable[[float], None]) -> None:
        self.time, self.order = time, order
        self.action: Callable[[float], None] | None = action

    def __lt__(self, other: "Timer") -> bool:
        return (self.time, self.order) < (other.time, other.order)


class Timers:
    """A heap of timers. One that was cancelled stays in it until its turn comes, or until most are of that kind."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._order = 0
        self._cancelled = 0

    def at(self, time: float, action: Callable[[float], None]) -> Timer:
        """Call `action(now)` at a time or soon after."""
        self._order += 1
        timer = Timer(time, self._order, action)
        heappush(self._heap, timer)
        return timer

    def cancel(self, timer: Timer | None) -> None:
        """It is not to happen. None, and timers that are over, are ignored."""
        if timer is None or timer.action is None:
            return
        timer.action = None
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [t for t in self._heap if t.action is not None]
            heapify(self._heap)
            self._cancelled = 0

    def next(self) -> float | None:
        """The time of the first one."""
        while self._heap and self._heap[0].action is None:
            heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0].time if self._heap else None

    def run(self, now: float) -> None:
        """Call what is due. What that asks for, and is due at once, waits for the next run."""
        due = []
        while self._heap and self._heap[0].time <= now:
            timer = heappop(self._heap)
            if timer.action is None:
                self._cancelled -= 1
            else:
                due.append(timer)
        for timer in due:
            action, timer.action = timer.action, None
            if action is not None:  # an earlier one cancelled it
                action(now)


class Deadlines:
    """Values, by when something is to be done about them: a heap of (time, key, value).

    A value may be in it more than once, or be gone when its time comes, so whoever takes one out looks at what it is.
    Others can put entries in faster than their time comes: beyond `MANY` of them, and twice as many as were left the
    last time, all are gone through. Of those for which `counts(time, key, value)`, the first of each value stays.
    """

    MANY: Final = 16384

    def __init__(self, counts: Callable[[float, bytes, bytes], bool]) -> None:
        self._counts = counts
        self._heap: list[tuple[float, bytes, bytes]] = []
        self._limit = self.MANY
        self._turn = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, time: float, key: bytes, value: bytes) -> None:
        """Something is to be done about a value."""
        heappush(self._heap, (time, key, value))
        if len(self._heap) > self._limit:
            self._clear_out()

    def next(self) -> float | None:
        """The time of the first one."""
        return self._heap[0][0] if self._heap else None

    def pop(self) -> tuple[float, bytes, bytes]:
        """Take out the first one, which must be there."""
        return heappop(self._heap)

    def some(self, count: int) -> list[tuple[float, bytes, bytes]]:
        """So many of them at most, others each time."""
        if self._turn >= len(self._heap):
            self._turn = 0
        self._turn += count
        return self._heap[self._turn - count : self._turn]

    def _clear_out(self) -> None:
        first: dict[tuple[bytes, bytes], tuple[float, bytes, bytes]] = {}
        for entry in self._heap:
            if self._counts(*entry):
                known = first.setdefault(entry[1:], entry)
                if entry < known:
                    first[entry[1:]] = entry
        self._heap = list(first.values())
        heapify(self._heap)
        self._limit = max(self.MANY, 2 * len(self._heap))

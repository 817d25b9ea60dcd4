"""What is to happen later, in order of time."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush

__all__ = ["Timer", "Timers"]


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

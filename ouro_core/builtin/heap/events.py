"""`HeapEventSet`: which of many ends has something."""

from __future__ import annotations

import os
import time

from ouro_core.contracts.packets import Event, EventSet, FlowEnd, State
from ouro_core.model.errors import BadDescriptor, FlowTimeout, PacketsError

from .end import HeapEnd
from .flow import Seat, Side
from .pool import Guard


class HeapEventSet(EventSet):
    """`_pending` holds the sides that may have an event: those that were poked, and those that had one when it was last
    looked, as a packet stays an event until it is read. The eventfd is readable while `_pending` is not empty.
    """

    def __init__(self, seat: Seat, guard: Guard) -> None:
        self._seat = seat
        self._guard = guard
        self._changed = guard.condition()
        self._ends: dict[Side, FlowEnd] = {}
        self._pending: dict[Side, None] = {}  # ordered: who waits longest comes first
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._signalled = False

    def _open(self) -> None:
        if self._fd < 0:
            raise BadDescriptor("the event set is closed; make another one")

    def add(self, end: FlowEnd) -> None:
        if not isinstance(end, HeapEnd):
            raise PacketsError(f"cannot watch a {type(end).__name__}; add a flow end of this system")
        with self._guard:
            self._open()
            side = end.watchable(self._seat)
            side.set = self
            side.reported = State.UP  # what is different from that is news to this set
            self._ends[side] = end
            self.poke(side)

    def remove(self, end: FlowEnd) -> None:
        with self._guard:
            for side in [s for s, e in self._ends.items() if e is end]:
                self.forget(side)

    def forget(self, side: Side) -> None:
        side.set = None
        self._ends.pop(side, None)
        self._pending.pop(side, None)

    def poke(self, side: Side) -> None:
        self._pending[side] = None
        self._changed.notify_all()
        if not self._signalled:
            self._signalled = True
            os.eventfd_write(self._fd, 1)

    def _collect(self) -> list[tuple[FlowEnd, Event]]:
        pending, self._pending = self._pending, {}
        found = []
        for side in pending:
            events = side.events()
            if events:
                found.append((self._ends[side], events))
                self._pending[side] = None
        if not self._pending and self._signalled:
            self._signalled = False
            os.eventfd_read(self._fd)
        return found

    def wait(self, timeout: float | None = None) -> list[tuple[FlowEnd, Event]]:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._guard:
            while True:
                self._open()
                found = self._collect()
                if found:
                    return found
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise FlowTimeout(f"no event on {len(self._ends)} flows within {timeout} s")
                self._changed.wait(left)

    def poll(self) -> list[tuple[FlowEnd, Event]]:
        with self._guard:
            self._open()
            return self._collect()

    def spin(self) -> bool:
        """Looks once: see the theory of operation."""
        with self._guard:
            self._open()
            return any(side.may_have_event() for side in self._pending)

    def fileno(self) -> int:
        self._open()
        return self._fd

    def close(self) -> None:
        with self._guard:
            if self._fd < 0:
                return
            for side in list(self._ends):
                self.forget(side)
            os.close(self._fd)
            self._fd = -1
            self._changed.notify_all()

    def __del__(self) -> None:
        try:
            self.close()
        except PacketsError:
            pass  # a forked child has its own copy of the descriptor and leaves it to the end of the process

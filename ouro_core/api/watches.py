"""Keep-alives of all flows of a process, or of one loop: `frct.liveness` put on a clock (flows.md 3.8).

`Watches` is a table of ends and when to look at each. It has no clock: `Keeper` drives one from a thread that exists
only while there is something to watch, `aio` from timers of its loop.
"""

from __future__ import annotations

import _thread
import itertools
import os
import select
import socket
import threading
from collections.abc import Callable
from heapq import heappop, heappush
from time import monotonic
from typing import Final

from ouro_core.contracts.packets import FlowEnd, State
from ouro_core.frct.liveness import Liveness, LivenessAction
from ouro_core.model.errors import OuroError

from .signals import block_signals

__all__ = ["Keeper", "Watches"]

_LINGER: Final = 1.0
"""Seconds that the thread waits for another flow before it ends: starting it costs more than its whole work."""


class _Watch:
    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.liveness = Liveness(timeout)


class Watches:
    """Ends whose peers are watched. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._watched: dict[FlowEnd, _Watch] = {}
        self._due: list[tuple[float, int, FlowEnd, _Watch]] = []  # what is not in `_watched` any more is passed over
        self._order = itertools.count()

    def add(self, end: FlowEnd, timeout: float, now: float) -> float:
        "Watch an end from now on; `timeout` in seconds, more than 0. When to `run` at the latest."
        watch = self._watched[end] = _Watch(timeout)
        self._look(end, watch, now)
        return watch.liveness.next_timeout() or now

    def remove(self, end: FlowEnd) -> None:
        "Watch it no more. An end that is not watched is no error."
        self._watched.pop(end, None)

    def __len__(self) -> int:
        return len(self._watched)

    def run(self, now: float) -> float | None:
        "Look after every end whose time has come. When to come again; None: there is nothing to watch."
        while self._due:
            due, _, end, watch = self._due[0]
            if self._watched.get(end) is not watch:
                heappop(self._due)
            elif due <= now:
                heappop(self._due)
                self._look(end, watch, now)
            else:
                return due
        return None

    def _look(self, end: FlowEnd, watch: _Watch, now: float) -> None:
        try:
            state, sequence = end.state, end.sequence()
        except OuroError:  # closed
            state, sequence = State.CLOSED, (0, 0)
        if state & (State.CLOSED | State.DEAD | State.PEER):
            self.remove(end)
            return
        if state & State.DOWN:  # nobody can be heard; the time begins anew when the flow is up again
            watch.liveness = Liveness(watch.timeout)
        action = watch.liveness.sample(sequence, now)
        try:
            if action is LivenessAction.PEER_TIMED_OUT:
                end.mark(set=State.PEER)
            elif action is LivenessAction.KEEPALIVE:
                end.keepalive()
        except OuroError:
            pass  # it went down or was closed just now, or the other end does not read: the next look finds out
        due = watch.liveness.next_timeout()
        if due is None:
            self.remove(end)
        else:
            heappush(self._due, (due, next(self._order), end, watch))


class Keeper:
    """The watches of a process, and the watch over its IRMd: one thread, none while no flow has a time-out.

    `lifetime` is the connection at whose end `lost` is called. The thread is not woken when there is less to do, and
    ends when it finds nothing twice.
    """

    def __init__(self, lifetime: socket.socket, lost: Callable[[], None]) -> None:
        self._watches = Watches()
        self._lock = threading.RLock()  # re-entrant: `remove` is called by finalizers, anywhere
        self._poll = select.poll()
        self._poll.register(lifetime, select.POLLIN)
        self._lost = lost
        self._wake = -1  # an eventfd while there is a thread
        self._until = 0.0  # when it wakes by itself

    def add(self, end: FlowEnd, timeout: float) -> None:
        "Watch an end; a timeout of 0 asks for nothing."
        if timeout <= 0:
            return
        with self._lock:
            due = self._watches.add(end, timeout, monotonic())
            if self._wake < 0:
                self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                self._poll.register(self._wake, select.POLLIN)
                self._until = due
                # not `threading.Thread`, whose start goes wrong when a signal's handler raises in it
                _thread.start_new_thread(self._run, ())
            elif due < self._until:
                os.eventfd_write(self._wake, 1)

    def remove(self, end: FlowEnd) -> None:
        "Watch it no more."
        with self._lock:
            self._watches.remove(end)

    def _run(self) -> None:
        block_signals()
        idle = False
        while True:
            with self._lock:
                now = monotonic()
                due = self._watches.run(now)
                if due is None and idle:
                    self._poll.unregister(self._wake)
                    os.close(self._wake)
                    self._wake = -1
                    return
                idle = due is None
                self._until = now + _LINGER if due is None else due
            for fd, _ in self._poll.poll(max(self._until - now, 0) * 1000):
                if fd == self._wake:
                    os.eventfd_read(fd)
                else:  # its end, whoever closed it
                    self._poll.unregister(fd)
                    self._lost()

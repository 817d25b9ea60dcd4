"""Keep-alives of all flows of a process, or of one loop: `frct.liveness` put on a clock (flows.md 3.8); and the clock
of FRCT in synchronous code.

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
from functools import partial
from heapq import heappop, heappush
from time import monotonic
from typing import Final

from ouro_core.contracts.packets import FlowEnd, State
from ouro_core.frct.liveness import Liveness, LivenessAction
from ouro_core.frct.ordered import TICK, FrctPipeline
from ouro_core.model.errors import OuroError

from .signals import block_signals

__all__ = ["Keeper", "Watches"]

_LINGER: Final = 1.0
"""Seconds that the thread waits for another flow before it ends: starting it costs more than its whole work."""


class _Watch:
    """The liveness of an end."""

    def __init__(self, end: FlowEnd, timeout: float) -> None:
        self.end = end
        self.timeout = timeout
        self.liveness = Liveness(timeout)

    def look(self, now: float) -> float | None:
        "Do what is due. When to come next; None: never."
        end = self.end
        try:
            state, sequence = end.state, end.sequence()
        except OuroError:  # closed
            return None
        if state & (State.CLOSED | State.DEAD | State.PEER):
            return None
        if state & State.DOWN:  # nobody can be heard; the time begins anew when the flow is up again
            self.liveness = Liveness(self.timeout)
        action = self.liveness.sample(sequence, now)
        try:
            if action is LivenessAction.PEER_TIMED_OUT:
                end.mark(set=State.PEER)
            elif action is LivenessAction.KEEPALIVE:
                end.keepalive()
        except OuroError:
            pass  # it went down or was closed just now, or the other end does not read: the next look finds out
        return self.liveness.next_timeout()


class _Clock:
    """That of a pipeline with FRCT."""

    def __init__(self, path: FrctPipeline) -> None:
        self.path = path

    def look(self, now: float) -> float | None:
        "As a watch's."
        try:
            return self.path.tick(now)
        except OuroError:  # closed
            return None


class Watches:
    """Ends that are looked after. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._watched: dict[tuple[type, FlowEnd], _Watch | _Clock] = {}
        self._due: list[tuple[float, int, tuple[type, FlowEnd], _Watch | _Clock]] = []
        # what is not in `_watched` any more is passed over
        self._order = itertools.count()

    def add(self, end: FlowEnd, timeout: float, now: float) -> float:
        "Watch an end's peer from now on; `timeout` in seconds, more than 0. When to `run` at the latest."
        return self._look((_Watch, end), _Watch(end, timeout), now) or now

    def drive(self, end: FlowEnd, path: FrctPipeline, now: float) -> float:
        "Let the pipeline of an end have a tick soon, and when it wants others. When to `run` at the latest."
        key, clock = (_Clock, end), _Clock(path)
        self._watched[key] = clock
        heappush(self._due, (now + TICK, next(self._order), key, clock))
        return now + TICK

    def remove(self, end: FlowEnd) -> None:
        "Look after it no more. An end that is not there is no error."
        self._watched.pop((_Watch, end), None)
        self._watched.pop((_Clock, end), None)

    def __len__(self) -> int:
        return len(self._watched)

    def run(self, now: float) -> float | None:
        "Look after every end whose time has come. When to come again; None: there is nothing to watch."
        while self._due:
            due, _, key, watch = self._due[0]
            if self._watched.get(key) is not watch:
                heappop(self._due)
            elif due <= now:
                heappop(self._due)
                self._look(key, watch, now)
            else:
                return due
        return None

    def _look(self, key: tuple[type, FlowEnd], watch: _Watch | _Clock, now: float) -> float | None:
        self._watched[key] = watch
        due = watch.look(now)
        if due is not None:
            heappush(self._due, (due, next(self._order), key, watch))
        elif self._watched.get(key) is watch:
            del self._watched[key]
        return due


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
        if timeout > 0:
            with self._lock:
                self._come(self._watches.add(end, timeout, monotonic()))

    def drive(self, end: FlowEnd, path: FrctPipeline) -> None:
        "Be the clock of a pipeline."
        path.alarm = partial(self._tick_soon, end, path)
        path.alarm()

    def _tick_soon(self, end: FlowEnd, path: FrctPipeline) -> None:
        with self._lock:
            self._come(self._watches.drive(end, path, monotonic()))

    def _come(self, due: float) -> None:
        if self._wake < 0:
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._poll.register(self._wake, select.POLLIN)
            self._until = due
            # not `threading.Thread`, whose start goes wrong when a signal's handler raises in it
            _thread.start_new_thread(self._run, ())
        elif due < self._until:
            self._until = due
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

"""What pump and forwarder have in common: the thread, its ports, its events.

Theory of operation. The thread works in turns of at most 32 packets a port, each under the mover's lock, and sleeps in
`poll` without it: on the event set with all its ends, on its bell, and on the socket of a pump. So a change from
outside (bind, routes, stop) happens between two turns, never within one. An end is claimed: its reads and writes work
through the view alone, which never waits.

An event set is level-triggered: an end whose packets are left in the ring on purpose, because there is no room where
they go, would be reported for ever. While such a port exists the thread leaves the event set out of its `poll` and
looks again after `_HELD_BACK` instead. A mover with nothing to do has no timeout.
"""

from __future__ import annotations

import os
import select
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, TypeVar

from ouro_core.contracts.packets import Event, FlowEnd, Mover, MoverEvent, Options, PacketClient, State
from ouro_core.model.errors import BadDescriptor, OuroError, PacketsError

__all__ = ["BATCH", "Port", "ThreadedMover"]

BATCH = 32
_HELD_BACK = 0.002
_MASK = (1 << 64) - 1


class Port:
    """One bound end. `held` are packets taken out of its ring that could not go on yet."""

    def __init__(self, key: int, end: FlowEnd, owner: str) -> None:
        self.key = key
        self.end = end
        self.view = end.claim(owner)
        self.view.set_options(Options(read_blocking=False, write_blocking=False, deliver_empty=True))
        self.held: deque[bytes] = deque()
        self.drain_until: float | None = None  # being unbound
        self.watched = False
        self.farewell: State = State.UP  # CLOSED or DEAD, to be told once its ring is empty
        self.count = dict.fromkeys(("tx", "tx_bytes", "rx", "rx_bytes", "dropped"), 0)

    def refill(self) -> bool:
        """Whether there is a packet in `held`, after a look into the ring."""
        if not self.held and self.view.queued()[0]:
            self.held.extend(self.view.read_many(BATCH))
        return bool(self.held)

    def unread(self) -> int:
        return len(self.held) + self.view.queued()[0]


P = TypeVar("P", bound=Port)


class ThreadedMover(Mover, Generic[P]):
    def __init__(self, client: PacketClient, name: str, counters: tuple[str, ...]) -> None:
        self._name = name
        self._set = client.event_set()
        self._lock = threading.RLock()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._news = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._visitors: deque[None] = deque()  # a length that threads can change without a lock
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._ports: dict[FlowEnd, P] = {}  # by view
        self._ready: dict[P, None] = {}  # may have packets
        self._leaving: dict[P, None] = {}
        self._events: dict[tuple[str, int], MoverEvent] = {}
        self._count = dict.fromkeys((*counters, "sleeps", "stalls"), 0)

    # ---- for the subclasses

    @abstractmethod
    def _turn(self, now: float) -> float | None:
        """Move what can be moved. Returns the time of the next turn: `now` if there is more, None: after an event."""

    def _held_back(self) -> bool:
        """Whether an end in the event set has packets that must wait."""
        return False

    def _descriptors(self) -> list[tuple[int, int]]:
        """What else to sleep on: (descriptor, poll mask)."""
        return []

    def _has_news(self) -> bool:
        return bool(self._events)

    @abstractmethod
    def _forget(self, port: P) -> None:
        """Nothing more goes to this port."""

    def _freed(self, key: int) -> None:
        """The event UNBOUND of `key` was taken."""

    # ---- changes from outside

    @contextmanager
    def _between_turns(self) -> Iterator[None]:
        self._visitors.append(None)
        try:
            with self._lock:
                if self._stopped:
                    raise PacketsError(f"the {self._name} is stopped; make another one")
                yield
        finally:
            self._visitors.pop()
        self._ring()

    def _ring(self) -> None:
        with self._lock:
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def _add(self, port: P) -> None:
        self._ports[port.view] = port
        self._watch(port)
        self._start()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"ouro-{self._name}", daemon=True)
            self._thread.start()

    def _watch(self, port: P) -> None:
        if not port.watched:
            port.watched = True
            self._set.add(port.view)

    def _unwatch(self, port: P) -> None:
        if port.watched:
            port.watched = False
            self._set.remove(port.view)

    def _leave(self, port: P, drain: float) -> None:
        port.drain_until = time.monotonic() + drain
        self._leaving[port] = None
        self._forget(port)
        self._ready[port] = None

    # ---- the thread

    def _run(self) -> None:
        while not self._stopped:
            with self._lock:
                if self._stopped:
                    return
                now = time.monotonic()
                self._look()
                again = self._finish(self._turn(now))
                waiting, held_back = self._descriptors(), self._held_back()
            if self._visitors:
                time.sleep(50e-6)  # the lock is not fair: let them in
            if again is None or again > now:
                self._sleep(again, waiting, held_back)

    def _sleep(self, again: float | None, waiting: list[tuple[int, int]], held_back: bool) -> None:
        poll = select.poll()
        for fd, mask in waiting:
            poll.register(fd, mask)
        poll.register(self._bell, select.POLLIN)
        if held_back:
            soon = time.monotonic() + _HELD_BACK
            again = soon if again is None else min(again, soon)
        else:
            poll.register(self._set.fileno(), select.POLLIN)
        self._count["sleeps"] += 1
        ready = poll.poll(None if again is None else max(0.0, (again - time.monotonic()) * 1000 + 0.5))
        if any(fd == self._bell for fd, _ in ready):
            os.eventfd_read(self._bell)

    def _look(self) -> None:
        for view, events in self._set.poll():
            port = self._ports.get(view)
            if port is None:
                continue
            if events & Event.PACKET:
                self._ready[port] = None
            if events & Event.DEALLOC:
                port.farewell = port.view.state & (State.CLOSED | State.DEAD)
                self._ready[port] = None
            for event in (Event.DOWN, Event.UP):
                if events & event and port.drain_until is None:
                    self._post(event.name or "", port)

    def _finish(self, again: float | None) -> float | None:
        """Say good-bye for ends whose other side has gone, and give back those that are to leave."""
        now = time.monotonic()
        for port in list(self._leaving):
            assert port.drain_until is not None
            if self._drained(port) or now >= port.drain_until:
                self._give_back(port)
            else:
                again = port.drain_until if again is None else min(again, port.drain_until)
        return again

    def _drained(self, port: P) -> bool:
        try:
            return not port.unread()
        except BadDescriptor:
            return True

    def _say_farewell(self, port: P) -> None:
        if port.farewell and port.drain_until is None and self._drained(port):
            self._post("DEAD" if port.farewell & State.DEAD else "CLOSED", port)
            port.farewell = State.UP

    def _give_back(self, port: P) -> None:
        try:
            lost = port.unread()
        except BadDescriptor:  # the client itself closed it
            lost = len(port.held)
        self._drop(port)
        self._post("UNBOUND", port, lost, port.end)

    def _drop(self, port: P) -> None:
        self._unwatch(port)
        del self._ports[port.view]
        self._ready.pop(port, None)
        self._leaving.pop(port, None)
        self._retire(port)
        port.end.unclaim()

    def _retire(self, port: P) -> None:
        """The port is no more."""

    # ---- events and counters

    def _post(self, kind: str, port: P, value: int = 0, end: FlowEnd | None = None) -> None:
        self._tell(MoverEvent(kind, port.key, value, end))

    def _tell(self, event: MoverEvent) -> None:
        self._events[event.kind, event.key] = event
        self._signal()

    def _signal(self) -> None:
        os.eventfd_write(self._news, 1)

    def _quiet(self) -> None:
        """Called when something was taken: fileno() is readable only while there is more."""
        if not self._has_news() and self._news >= 0:
            try:
                os.eventfd_read(self._news)
            except BlockingIOError:
                pass  # was not readable

    def events(self) -> list[MoverEvent]:
        with self._lock:
            found, self._events = list(self._events.values()), {}
            for event in found:
                if event.kind == "UNBOUND":
                    self._freed(event.key)
            self._quiet()
            return found

    def fileno(self) -> int:
        return self._news

    def counters(self) -> Mapping[str, int]:
        return {name: value & _MASK for name, value in list(self._count.items())}

    def flow_counters(self, key: int) -> Mapping[str, int]:
        with self._lock:
            for port in self._ports.values():
                if port.key == key and port.drain_until is None:
                    return dict(port.count)
        raise KeyError(key)

    def stop(self) -> None:
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        self._ring()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)
        with self._lock:
            for port in list(self._ports.values()):
                try:
                    self._drop(port)
                except OuroError:
                    pass  # the end is closed already
            self._set.close()
            for fd in (self._bell, self._news):
                os.close(fd)
            self._bell = self._news = -1

"""The client of oping (spec: tools.md 1.3).

Three ways to ask: paced, a request an interval, whatever comes back; flood, a request after each reply; and flood-busy,
the same without ever sleeping. All in one thread: where a second one waits for packets, three threads of two programs
share the processors, and the times that are measured are the scheduler's.

The clock is read next to the native calls. A signal ends the test by an exception, also out of a native call.
"""

import sys
import time
from math import inf
from time import monotonic, monotonic_ns
from typing import Final

from ouro_core import Flow, flow_alloc
from ouro_core.model.errors import (
    BadDescriptor,
    FlowDown,
    FlowPeer,
    FlowTimeout,
    NotAllocated,
    OuroError,
    WireError,
    WouldBlock,
)

from ..process import on_end, say
from .settings import Settings
from .statistics import Statistics, shown
from .wire import MAX_SIZE, REPLY, decode, encode

__all__ = ["ping"]

_FD: Final = 64
"""The number of a tool's first flow, in the words of the prototype."""
_SHORTEST: Final = 60e-6
"""Seconds that an interval of 0 takes: as long as the prototype, which sleeps for nothing, is asleep."""
_SLACK: Final = 50e-6
"""Seconds by which Linux prolongs each sleep, unless it is told otherwise (timer slack)."""
_OVER: Final = (FlowDown, FlowPeer, NotAllocated, BadDescriptor)
"""A flow that will not come back."""
_SPINS: Final = 1024
"""How often to look for a packet between two looks at the clock."""


def ping(settings: Settings) -> int:
    """Run the client; returns the exit status."""
    try:
        flow = flow_alloc(settings.name, settings.qos)
    except OuroError as e:
        say(f"Failed to allocate flow: {e.code}.")
        say(e, error=True)
        return 1
    test = (Busy if settings.flood_busy else Flood if settings.flood else Paced)(settings, flow)
    on_end(test.signalled)
    start = time.time()
    with flow:
        try:
            test.header()
            test.run()
            test.over = True
        except _Signalled:
            pass
        elapsed = (time.time() - start) * 1000
    say(test.statistics.summary(settings.name, elapsed))
    return 0


class _Signalled(Exception):
    """Somebody wants the test to end."""


class _Test:
    def __init__(self, settings: Settings, flow: Flow) -> None:
        self.settings = settings
        self.flow = flow
        self.statistics = Statistics()
        self.over = False
        self.patience = settings.interval // 1000 + 2  # seconds without any reply that end the test
        self.packet = bytearray(settings.size)
        self.received = bytearray(MAX_SIZE)
        flow.partial_read = False
        flow.read_timeout = flow.write_timeout = self.patience

    def signalled(self) -> None:
        """End the test, once."""
        if not self.over:
            self.over = True
            raise _Signalled

    def header(self, detail: str = "") -> None:
        """What is going to happen."""
        s = self.settings
        if not s.quiet:
            say(f"Pinging {s.name} with {s.size} bytes of data ({s.count} packets{detail}):\n")
            sys.stdout.flush()

    def run(self) -> None:
        """Until all replies are there, or none comes any more."""
        raise NotImplementedError

    def send(self, number: int) -> bool:
        """Send a request. False: the flow takes none."""
        encode(self.packet, number, monotonic_ns())
        try:
            self.flow.write(self.packet)
        except OuroError as e:
            say("Failed to send packet.")
            say(e, error=True)
            return False
        self.statistics.sent += 1
        return True

    def decode(self, length: int, now: int) -> tuple[int, float] | None:
        """(id, round-trip time in ms, of whole µs) of the reply that was read; None: it is none."""
        try:
            kind, number, sent = decode(memoryview(self.received)[:length])
        except WireError:
            kind = number = sent = -1
        if kind != REPLY:
            say(f"Invalid message on fd {_FD}.")
            return None
        return number, (now - sent) // 1000 / 1000


class Paced(_Test):
    """One request an interval."""

    def __init__(self, settings: Settings, flow: Flow) -> None:
        super().__init__(settings, flow)
        self._next = 0  # the least id that is in order
        self._last = 0.0  # when a reply came

    def run(self) -> None:
        if not self.settings.quiet and sys.stdout is sys.__stdout__:
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        pause = max(self.settings.interval / 1000, _SHORTEST)
        time.sleep(pause)
        self._last = monotonic()
        for number in range(self.settings.count):
            if self.flow.read_timeout != pause:
                self.flow.read_timeout = pause
            due = monotonic() + pause
            if not self.send(number):
                break
            if not self._collect(due):
                return
        self._collect(inf)

    def _collect(self, due: float) -> bool:
        """Take replies until it is time for the next request. False: there will be none any more."""
        statistics, readinto, packet = self.statistics, self.flow.readinto, self.received
        while statistics.received < self.settings.count:
            try:
                length = readinto(packet)
                self._take(length, monotonic_ns())
                now = self._last = monotonic()
            except FlowTimeout:
                now = monotonic()
                if now - self._last >= self.patience:
                    say("Server timed out.")
                    return False
            except _OVER as e:
                say(e, error=True)
                return False
            except OuroError:
                now = monotonic()
            if now >= due:
                return True
            if statistics.received >= statistics.sent and due != inf:
                time.sleep(max(due - now - _SLACK, 1e-9))  # no reply is under way
                return True
            self.flow.read_timeout = max(min(due, self._last + self.patience) - now, 0)
        return False

    def _take(self, length: int, now: int) -> None:
        reply = self.decode(length, now)
        if reply is None:
            return
        number, rtt = reply
        if number >= self.settings.count:
            say("Invalid id.")
            return
        in_order = number >= self._next
        if in_order:
            self._next = number + 1
        else:
            self.statistics.out_of_order += 1
        self.statistics.add(rtt)
        if not self.settings.quiet:
            day = f"[{time.time():.6f}] " if self.settings.timeofday else ""
            late = "" if in_order else " [out-of-order]"
            say(f"{day}{length} bytes from {self.settings.name}: seq={number} time={shown(rtt)}{late}")


class Flood(_Test):
    """The next request follows the reply."""

    def run(self) -> None:
        for number in range(self.settings.count):
            if not self.send(number) or not self._reply(number):
                return

    def _reply(self, number: int) -> bool:
        try:
            length = self.receive()
        except FlowTimeout:
            say("Server timed out.")
            return False
        except OuroError as e:
            say("Failed to read packet.")
            say(e, error=True)
            return False
        reply = self.decode(length, monotonic_ns())
        if reply is not None:
            self.statistics.add(reply[1])
            if not self.settings.quiet:
                s = self.settings
                say(f"{s.size} bytes from {s.name}: seq={number} time={shown(reply[1])}")
        return True

    def receive(self) -> int:
        """Read one packet; its length."""
        return self.flow.readinto(self.received)


class Busy(Flood):
    """`Flood` that never sleeps."""

    def header(self, detail: str = "") -> None:
        super().header(", busy-poll")

    def run(self) -> None:
        self.flow.read_blocking = False
        super().run()

    def receive(self) -> int:
        flow, limit = self.flow, monotonic() + self.patience
        while True:
            for _ in range(_SPINS):
                if flow.queued[0]:
                    break
            try:
                return flow.readinto(self.received)  # says also whether the flow is down
            except WouldBlock:
                if monotonic() > limit:
                    raise FlowTimeout from None

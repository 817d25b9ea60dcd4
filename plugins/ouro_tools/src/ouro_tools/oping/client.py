"""The client of oping (spec: tools.md 1.3).

Three ways to ask: paced, a thread that writes and one that reads; flood, one after the other; and flood-busy, the same
without ever sleeping. The clock is read next to the native calls; everything that can be made before is.
"""

import sys
import threading
import time
from queue import SimpleQueue
from time import monotonic_ns
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

from ..process import on_end
from .settings import Settings
from .statistics import Statistics, shown
from .wire import MAX_SIZE, REPLY, decode, encode

__all__ = ["ping"]

_FD: Final = 64
"""The number of a tool's first flow, in the words of the prototype."""
_OVER: Final = (FlowDown, FlowPeer, NotAllocated, BadDescriptor)
"""A flow that will not come back."""
_SPINS: Final = 1024
"""How often to look for a packet between two looks at the clock."""


def ping(settings: Settings) -> int:
    """Run the client; returns the exit status."""
    try:
        flow = flow_alloc(settings.name, settings.qos)
    except OuroError as e:
        print(f"Failed to allocate flow: {e.code}.")
        print(e, file=sys.stderr)
        return 1
    test = (Busy if settings.flood_busy else Flood if settings.flood else Paced)(settings, flow)
    on_end(test.stop)
    with flow:
        flow.partial_read = False
        flow.read_timeout = settings.interval // 1000 + 2
        test.header()
        start = time.time()
        test.run()
        elapsed = (time.time() - start) * 1000
        test.stop()
    print(test.statistics.summary(settings.name, elapsed), flush=True)
    return 0


class _Test:
    def __init__(self, settings: Settings, flow: Flow) -> None:
        self.settings = settings
        self.flow = flow
        self.statistics = Statistics()
        self.packet = bytearray(settings.size)
        self.received = bytearray(MAX_SIZE)
        self.stopped = False

    def stop(self) -> None:
        """Come to an end. Called by a signal handler as well: takes no lock."""
        self.stopped = True

    def header(self, detail: str = "") -> None:
        """What is going to happen."""
        s = self.settings
        if not s.quiet:
            print(f"Pinging {s.name} with {s.size} bytes of data ({s.count} packets{detail}):\n", flush=True)

    def run(self) -> None:
        """Until all replies are there, none comes any more, or somebody wants it to stop."""
        raise NotImplementedError

    def send(self, number: int) -> bool:
        """Send a request. False: the flow takes none."""
        encode(self.packet, number, monotonic_ns())
        try:
            self.flow.write(self.packet)
        except OuroError:
            if not self.stopped:
                print("Failed to send packet.")
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
            print(f"Invalid message on fd {_FD}.")
            return None
        return number, (now - sent) // 1000 / 1000


class Paced(_Test):
    """One request an interval, whatever comes back."""

    def __init__(self, settings: Settings, flow: Flow) -> None:
        super().__init__(settings, flow)
        self._over: SimpleQueue[None] = SimpleQueue()  # its put is safe in a signal handler
        self._next = 0  # the least id that is in order

    def stop(self) -> None:
        super().stop()
        self._over.put(None)

    def run(self) -> None:
        if not self.settings.quiet and sys.stdout is sys.__stdout__:
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()
        self._over.get()

    def _write(self) -> None:
        # the shortest sleep there is, not none: with an interval of 0 as well packets follow replies, not each other
        pause = max(self.settings.interval / 1000, 1e-9)
        for number in range(self.settings.count):
            time.sleep(pause)
            if self.stopped or not self.send(number):
                return

    def _read(self) -> None:
        count, statistics, readinto, packet = self.settings.count, self.statistics, self.flow.readinto, self.received
        while statistics.received < count and not self.stopped:
            try:
                length = readinto(packet)
            except FlowTimeout:
                print("Server timed out.")
                break
            except _OVER as e:
                if not self.stopped:
                    print(e, file=sys.stderr)
                break
            except OuroError:
                continue
            self._take(length, monotonic_ns())
        self.stop()

    def _take(self, length: int, now: int) -> None:
        reply = self.decode(length, now)
        if reply is None:
            return
        number, rtt = reply
        if number >= self.settings.count:
            print("Invalid id.")
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
            print(f"{day}{length} bytes from {self.settings.name}: seq={number} time={shown(rtt)}{late}")


class Flood(_Test):
    """The next request follows the reply."""

    def run(self) -> None:
        for number in range(self.settings.count):
            if self.stopped or not self.send(number) or not self._reply(number):
                return

    def _reply(self, number: int) -> bool:
        try:
            length = self.receive()
        except FlowTimeout:
            print("Server timed out.")
            return False
        except OuroError as e:
            if not self.stopped:
                print("Failed to read packet.")
                print(e, file=sys.stderr)
            return False
        reply = self.decode(length, monotonic_ns())
        if reply is not None:
            self.statistics.add(reply[1])
            if not self.settings.quiet:
                s = self.settings
                print(f"{s.size} bytes from {s.name}: seq={number} time={shown(reply[1])}")
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
        flow, limit = self.flow, monotonic_ns() + int(1e9 * (self.flow.read_timeout or 0))
        while True:
            for _ in range(_SPINS):
                if flow.queued[0]:
                    break
            try:
                return flow.readinto(self.received)  # says also whether the flow is down
            except WouldBlock:
                if self.stopped or monotonic_ns() > limit:
                    raise FlowTimeout from None

"""The server of oping (spec: tools.md 1.4): one process for any number of flows."""

import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from attrs import define

from ouro_core import Flow, FlowSet, flow_accept
from ouro_core.model.errors import FlowTimeout, IrmdError, OuroError, WouldBlock

from ..process import on_end, say
from .settings import Settings
from .wire import reply

__all__ = ["serve"]

_FIRST_FD: Final = 64
_SILENCE: Final = 10.0
"""Seconds without a packet after which a flow is deallocated."""
_SWEEP: Final = 1.0
_WAIT: Final = 0.1
"""Longest wait for an event; signals are looked at in between."""
_BATCH: Final = 32
_SPINS: Final = 1024
"""How often to look for a packet before reading, which is slow when there is none."""


def serve(settings: Settings) -> int:
    """Run the server until a signal comes; returns the exit status."""
    if sys.stdout is sys.__stdout__:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    server = (_BusyServer if settings.busy else _Server)(settings)
    on_end(server.end)  # before anybody can know that it is there
    say(f"Ouroboros ping server started.{' [busy-poll]' if settings.busy else ''}")
    return server.run()


@define(eq=False)
class _Client:
    fd: int
    last: float
    """When a packet came, on the monotonic clock."""


class _Server:
    def __init__(self, settings: Settings) -> None:
        self.quiet = settings.quiet
        self.poll = settings.poll
        self.status: int | None = None  # of the process; None: it goes on
        self.woken: SimpleQueue[None] = SimpleQueue()  # its put is safe in a signal handler
        self.flows: dict[Flow, _Client] = {}
        self.set = FlowSet()

    def end(self, status: int = 0) -> None:
        """Stop as soon as possible. The first status counts."""
        if self.status is None:
            self.status = status
        self.woken.put(None)

    def goes_on(self) -> bool:
        """Whether nobody wants it to end."""
        return self.status is None

    def run(self) -> int:
        """Serve; returns the exit status."""
        threading.Thread(target=self.accept, daemon=True).start()
        sweep = time.monotonic()
        while self.status is None:
            if not self.flows:
                self.woken.get()  # a first flow, or the end
                continue
            for flow, _ in self.events():
                self.answer(flow)
            now = time.monotonic()
            if now - sweep > _SWEEP:
                sweep = now
                self.sweep(now)
        return self.status

    def accept(self) -> None:
        """Take flows in, in a thread of its own."""
        while self.status is None:
            flow = accept(self.goes_on)
            if flow is None:
                self.end(1)
                return
            used = {client.fd for client in list(self.flows.values())}
            fd = next(fd for fd in range(_FIRST_FD, _FIRST_FD + len(used) + 1) if fd not in used)
            say(f"New flow {fd}.")
            flow.read_blocking = flow.partial_read = False
            self.set.add(flow)
            self.flows[flow] = _Client(fd, time.monotonic())
            self.woken.put(None)

    def events(self) -> list[tuple[Flow, object]]:
        """Flows with something to read."""
        if self.poll:
            return list(self.set.poll())
        try:
            return list(self.set.wait(_WAIT))
        except FlowTimeout:
            return []

    def answer(self, flow: Flow) -> None:
        """Send back what came."""
        client = self.flows.get(flow)
        if client is None:
            return
        try:
            packets = flow.read_many(_BATCH)
        except OuroError:
            return  # a flow that is down has no packets any more, and times out
        client.last = time.monotonic()
        for packet in packets:
            echo(flow, client.fd, packet, self.quiet)

    def sweep(self, now: float) -> None:
        """Give up flows that are silent."""
        for flow, client in list(self.flows.items()):
            if now - client.last > _SILENCE:
                say(f"Flow {client.fd} timed out.")
                del self.flows[flow]
                flow.close()


class _BusyServer:
    """One flow, and a processor for it."""

    def __init__(self, settings: Settings) -> None:
        self.quiet = settings.quiet

    def end(self) -> None:
        """Stop as soon as possible."""
        raise SystemExit(0)

    def run(self) -> int:
        """Serve; returns the exit status."""
        flow = accept()
        if flow is None:
            return 1
        say(f"New flow {_FIRST_FD} (busy-poll).")
        with flow:
            flow.read_blocking = flow.partial_read = False
            while True:
                for _ in range(_SPINS):
                    if flow.queued[0]:
                        break
                try:
                    packet = flow.read()  # says also whether the flow is down
                except WouldBlock:
                    continue
                except OuroError:
                    return 0
                echo(flow, _FIRST_FD, packet, self.quiet)


def accept(goes_on: Callable[[], bool] = lambda: True) -> Flow | None:
    """The next flow. None: there is no IRMd any more, or this process is to end."""
    while True:
        try:
            return flow_accept()
        except OuroError as e:
            time.sleep(_WAIT)  # whatever is wrong, it is not made worse by asking at once
            if not goes_on():  # the same signal may have ended the IRMd, and us
                return None
            say(f"Failed to accept flow: {e.code} ")
            if isinstance(e, IrmdError):
                say(e, error=True)
                return None


def echo(flow: Flow, fd: int, packet: bytes, quiet: bool) -> None:
    """Answer a packet, and say so."""
    answer = reply(packet)
    failed = False
    if answer is not None:
        try:
            flow.write(answer)
        except OuroError:
            failed = True
    if not quiet:
        say(f"Received {len(packet)} bytes on fd {fd}.")
    if answer is None:
        say(f"Invalid message on fd {fd}.")
    if failed:
        say(f"Error writing to flow (fd {fd}).")

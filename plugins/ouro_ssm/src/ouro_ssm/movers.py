"""Native movers: what Python does for them, which is to check what it is given, and to keep their tables.

The threads are in the kernel (`_mover.pxi`, `_pump.pxi`, `_forwarder.pxi`). Methods exclude each other by a lock of the
mover, as the kernel releases the GIL while it waits for its thread to be done with an old table.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from ouro_core.builtin.movers import address
from ouro_core.contracts.packets import FlowEnd, ManagementFrame, Mover, MoverEvent, Pump
from ouro_core.contracts.programs import PumpProgram, Route
from ouro_core.model.errors import PacketsError

from . import _kernel

__all__ = ["NativePump"]

_SO_RXQ_OVFL: Final = 40
_SO_RCVBUFFORCE: Final = 33
_RECEIVE_BUFFER: Final = 4 << 20

T = TypeVar("T", bound=_kernel.MoverThread)


class NativeMover(Mover, Generic[T]):
    """`_ports`: by key, until its UNBOUND was taken."""

    def __init__(self, thread: T) -> None:
        self._thread = thread
        self._lock = threading.RLock()
        self._stopped = False
        self._ports: dict[int, _kernel.MoverPort] = {}

    @property
    def stopped(self) -> bool:
        return self._stopped

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            if self._stopped:
                raise PacketsError("this mover is stopped; make another one")
            yield

    def _bound(self, key: int) -> _kernel.MoverPort:
        """KeyError when there is none, or it is leaving."""
        port = self._ports[key]
        if port.leaving:
            raise KeyError(key)
        return port

    def fileno(self) -> int:
        return -1 if self._stopped else self._thread.fileno()

    def events(self) -> list[MoverEvent]:
        with self._lock:
            found = []
            for kind, port, value in self._thread.events():
                key = 0 if port is None else port.key
                end = None
                if port is not None and kind == "UNBOUND":
                    end = port.end
                    self._freed(port)
                found.append(MoverEvent(kind, key, value, end))
            return found

    def _freed(self, port: _kernel.MoverPort) -> None:
        """Its UNBOUND was taken."""
        del self._ports[port.key]

    def counters(self) -> Mapping[str, int]:
        return self._thread.counters()

    def flow_counters(self, key: int) -> Mapping[str, int]:
        with self._lock:
            return self._bound(key).counters()

    def stop(self) -> None:
        with self._lock:
            if not self._stopped:
                self._thread.stop()
                self._stopped = True


class NativePump(NativeMover[_kernel.PumpThread], Pump):
    """Fulfils `Pump`. `rx` and `tx` count data packets of flows, in bytes of payload."""

    def __init__(self, program: PumpProgram, fd: int, pool: _kernel.Pool) -> None:
        """`pool`: the client's own."""
        super().__init__(_kernel.PumpThread(program, _own_socket(fd), pool))
        self._program = program

    def bind(self, key: int, end: FlowEnd, route: Route | None = None) -> None:
        with self._changing():
            if key in self._ports:
                raise KeyError(key)
            if not 0 <= key < 1 << 64:
                raise PacketsError(f"key {key} is not in 0..2**64-1")
            self._ports[key] = self._thread.bind(key, end, self._aim(route))

    def set_route(self, key: int, route: Route | None) -> None:
        with self._changing():
            self._thread.set_route(self._bound(key), self._aim(route))

    def unbind(self, key: int, drain: float = 0.0) -> None:
        with self._changing():
            self._thread.unbind(self._bound(key), drain)

    def management(self, most: int = 32) -> list[ManagementFrame]:
        with self._lock:
            return [ManagementFrame(frame, source) for frame, source in self._thread.management(most)]

    def _aim(self, route: Route | None) -> tuple[bytes, bytes, bytes, bytes] | None:
        """(header, socket address to send to, slices and socket address to demand), checked."""
        program = self._program
        if route is None:
            return None
        if len(route.header) != program.header:
            raise PacketsError(
                f"the route has a header of {len(route.header)} bytes; the program says {program.header}"
            )
        to = b""
        if program.addressed:
            address.unpack(route.to)
            to = route.to
        if not route.source or program.source is None:
            return route.header, to, b"", b""
        size = sum(length for _, length in program.source.slices)
        peer = b""
        if program.source.address:
            peer = route.source[size:]
            address.unpack(peer)
        return route.header, to, route.source[:size], peer


def _own_socket(fd: int) -> int:
    """A descriptor of the same socket, which has a deep receive buffer, as that is where bursts wait, and counts what
    it loses. PacketsError: it is none.
    """
    mine = -1
    try:
        mine = os.dup(fd)
        sock = socket.socket(fileno=mine)
    except OSError as error:
        if mine >= 0:
            os.close(mine)
        raise PacketsError(f"descriptor {fd} is no socket ({error.strerror}); give a bound datagram socket") from None
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, _RECEIVE_BUFFER)
            break
        except PermissionError:
            continue
    sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
    return sock.detach()

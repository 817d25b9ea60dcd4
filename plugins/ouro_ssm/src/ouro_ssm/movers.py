"""Native movers: what Python does for them, which is to check what it is given, and to keep their tables.

The threads are in the kernel (`_mover.pxi`, `_pump.pxi`, `_forwarder.pxi`). Methods exclude each other by a lock of the
mover, as the kernel releases the GIL while it waits for its thread to be done with an old table.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from ouro_core.builtin.movers import address, fields
from ouro_core.contracts.packets import End, FlowEnd, Forwarder, ManagementFrame, Mover, MoverEvent, Pump
from ouro_core.contracts.programs import ForwardProgram, Group, PumpProgram, Route
from ouro_core.model.errors import PacketsError

from . import _kernel

__all__ = ["NativeForwarder", "NativeMover", "NativePump"]

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
            port = self._bound(key)
            self._thread.settle()
            return port.counters()

    def stop(self) -> None:
        with self._lock:
            if not self._stopped:
                self._thread.stop()
                self._stopped = True
                self._drop_tables()

    def _drop_tables(self) -> None:
        """Ends, their client and its mover hold each other, and natives are unknown to the garbage collector."""
        self._ports.clear()


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
            self._ports[key] = self._thread.bind(key, _native(end), self._aim(route))

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
        return route.header, to, *address.demanded(program.source, route.source)


class NativeForwarder(NativeMover[_kernel.ForwardThread], Forwarder):
    """Fulfils `Forwarder`. The key of events and flow counters is the port."""

    def __init__(self, program: ForwardProgram) -> None:
        super().__init__(_kernel.ForwardThread(program))
        self._program = program
        self._numbers = itertools.count(1)
        self._eids: dict[int, tuple[_kernel.MoverPort, bool]] = {}  # whether it is a flow
        self._eid_of: dict[int, int] = {}  # by port
        self._cube_of: dict[int, int] = {}  # of what it sends, by port of a flow

    def add_network(self, end: End, cube: int = 0) -> int:
        with self._changing():
            self._check_cube(cube)
            return self._place(self._thread.add_network(next(self._numbers), _native(end), cube))

    def add_flow(self, eid: int, end: FlowEnd, destination: int, remote_eid: int, cube: int = 0) -> int:
        with self._changing():
            self._check_cube(cube)
            self._check_eid(eid, flow=True)
            pci = self._pci(destination, remote_eid, cube)
            port = self._thread.add_flow(next(self._numbers), _native(end), eid, pci, cube)
            self._cube_of[port.key] = cube
            return self._place(port, eid, flow=True)

    def set_peer(self, port: int, destination: int, remote_eid: int) -> None:
        with self._changing():
            handle = self._bound(port)
            if port not in self._cube_of:
                raise PacketsError(f"port {port} is no flow of the layer above")
            self._thread.set_peer(handle, self._pci(destination, remote_eid, self._cube_of[port]))

    def _pci(self, destination: int, remote_eid: int, cube: int) -> bytes:
        program = self._program
        pci = bytearray(program.header)
        try:
            fields.put(program.destination, pci, destination)
            fields.put(program.eid, pci, remote_eid)
        except OverflowError:
            raise PacketsError(
                f"destination {destination} or EID {remote_eid} does not fit into the header of this layer"
            ) from None
        pci[program.cube] = cube
        pci[program.ttl] = program.max_ttl
        return bytes(pci)

    def add_component(self, eid: int, end: FlowEnd) -> int:
        with self._changing():
            self._check_eid(eid, flow=False)
            port = self._thread.add_component(next(self._numbers), _native(end), eid)
            return self._place(port, eid, flow=False)

    def _place(self, port: _kernel.MoverPort, eid: int | None = None, flow: bool = False) -> int:
        self._ports[port.key] = port
        if eid is not None:
            self._eids[eid] = port, flow
            self._eid_of[port.key] = eid
        return port.key

    def _check_cube(self, cube: int) -> None:
        if not 0 <= cube < self._program.cubes:
            raise PacketsError(f"there is no QoS cube {cube}; this layer has 0 to {self._program.cubes - 1}")

    def _check_eid(self, eid: int, flow: bool) -> None:
        first = self._program.first_flow_eid
        if (eid >= first) is not flow or not 0 <= eid < 1 << 64:
            raise PacketsError(f"EID {eid} does not fit: flows have {first} and more, components less")
        if eid in self._eids:
            raise KeyError(eid)

    def remove(self, port: int, drain: float = 0.0) -> None:
        with self._changing():
            handle = self._bound(port)
            self._thread.remove(handle, drain)
            self._forget_eid(handle)

    def _freed(self, port: _kernel.MoverPort) -> None:
        super()._freed(port)
        self._forget_eid(port)

    def _forget_eid(self, port: _kernel.MoverPort) -> None:
        """Once: it may be another port's by now."""
        self._cube_of.pop(port.key, None)
        eid = self._eid_of.pop(port.key, None)
        if eid is not None:
            del self._eids[eid]

    def _drop_tables(self) -> None:
        super()._drop_tables()
        self._eids.clear()
        self._cube_of.clear()

    def set_routes(self, cube: int, routes: Mapping[int, Group]) -> None:
        with self._changing():
            self._check_cube(cube)
            table = {}
            for destination, group in routes.items():
                if not 0 <= destination < 1 << 64:
                    raise PacketsError(f"destination {destination} is not in 0..2**64-1")
                table[destination] = int(group.mode), tuple(port for port in group.ports if 0 <= port < 1 << 64)
            self._thread.set_routes(cube, table)

    def feedback(self, eid: int, ece: int) -> None:
        """For a flow that is gone: nothing, as the UPDATE may have been on its way."""
        with self._changing():
            port, is_flow = self._eids.get(eid, (None, False))
            if port is not None and is_flow:
                self._thread.feedback(port, ece & 0xFFFF)


def _native(end: End) -> _kernel.FlowEnd:
    if not isinstance(end, _kernel.FlowEnd):
        raise PacketsError(f"a {type(end).__name__} has stages; put a relay and one end of a pair between")
    return end


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

"""`PythonPump`: one datagram socket <-> flows, as a `PumpProgram` says."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections import deque

from ouro_core.contracts.packets import FlowEnd, ManagementFrame, MoverEvent, PacketClient, Pump
from ouro_core.contracts.programs import PumpProgram, Route
from ouro_core.model.errors import BadDescriptor, PacketsError

from . import address, fields
from .base import BATCH, Port, ThreadedMover
from .stall import Delivery

__all__ = ["PythonPump"]

_COUNTERS = (
    "rx", "rx_bytes", "tx", "tx_bytes", "short", "foreign", "bad_length", "management", "management_dropped",
    "unknown_key", "bad_source", "ring_full", "no_block", "too_long", "tx_again", "tx_no_buffer", "tx_error",
    "socket_dropped",
)  # fmt: skip
_SO_RXQ_OVFL = 40
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 4 << 20
_LONGEST = 65536 + 64
_ANCILLARY = socket.CMSG_SPACE(4)
_NO_BUFFER_PAUSE = 50e-6


class _PumpPort(Port):
    def __init__(self, key: int, end: FlowEnd, program: PumpProgram) -> None:
        super().__init__(key, end, "pump")
        self.delivery = Delivery(self.view, program)
        self.route: Route | None = None
        self.to: address.Address | None = None
        self.slices = b""  # what the slices of `Source` must give
        self.peer: tuple[str | int, ...] | None = None


class PythonPump(ThreadedMover[_PumpPort], Pump):
    """Fulfils `Pump` on the ends of any packet system. `rx` and `tx` count data packets of flows, in bytes of payload.

    A flow without a route whose application has written already is not watched: that its other end closed is told when
    a route is set.
    """

    def __init__(self, client: PacketClient, program: PumpProgram, fd: int) -> None:
        _check(program)
        self._socket = _open(fd)
        super().__init__(client, "pump", _COUNTERS)
        self._program = program
        self._buffer = bytearray(_LONGEST)
        self._keys: dict[int, _PumpPort] = {}
        self._taken: set[int] = set()  # keys in use, until UNBOUND was taken
        self._management: deque[ManagementFrame] = deque()
        self._stalled: tuple[_PumpPort, bytes] | None = None
        self._full = False  # the socket takes no more
        self._retry_at: float | None = None
        self._start()  # management frames come before the first flow does

    # ---- tables

    def bind(self, key: int, end: FlowEnd, route: Route | None = None) -> None:
        with self._between_turns():
            if key in self._taken:
                raise KeyError(key)
            aimed = self._aim(route)
            port = _PumpPort(key, end, self._program)
            port.route, port.to, port.slices, port.peer = aimed
            self._taken.add(key)
            self._keys[key] = port
            self._add(port)

    def _aim(
        self, route: Route | None
    ) -> tuple[Route | None, address.Address | None, bytes, tuple[str | int, ...] | None]:
        """The parts of a route, checked."""
        program = self._program
        if route is None:
            return None, None, b"", None
        if len(route.header) != program.header:
            raise PacketsError(
                f"the route has a header of {len(route.header)} bytes; the program says {program.header}"
            )
        to = address.unpack(route.to) if program.addressed else None
        slices, peer = address.demanded(program.source, route.source)
        return route, to, slices, address.peer(address.unpack(peer)) if peer else None

    def set_route(self, key: int, route: Route | None) -> None:
        with self._between_turns():
            port = self._keys[key]
            port.route, port.to, port.slices, port.peer = self._aim(route)
            self._watch(port)
            self._ready[port] = None

    def unbind(self, key: int, drain: float = 0.0) -> None:
        with self._between_turns():
            self._leave(self._keys[key], drain)

    def _forget(self, port: _PumpPort) -> None:
        self._keys.pop(port.key, None)
        if self._stalled is not None and self._stalled[0] is port:
            self._stalled = None

    def _freed(self, key: int) -> None:
        self._taken.discard(key)

    def _drained(self, port: _PumpPort) -> bool:
        return port.route is None or super()._drained(port)

    def management(self, most: int = 32) -> list[ManagementFrame]:
        with self._lock:
            found = [self._management.popleft() for _ in range(min(most, len(self._management)))]
            self._quiet()
            return found

    def _has_news(self) -> bool:
        return super()._has_news() or bool(self._management)

    def stop(self) -> None:
        super().stop()
        self._socket.close()

    # ---- the thread

    def _turn(self, now: float) -> float | None:
        more = self._receive(now)
        self._full = False
        self._retry_at = None
        for port in list(self._ready):
            if self._full or self._retry_at is not None:
                break
            try:
                more |= self._send(port)
            except BadDescriptor:  # closed by the client itself
                self._leave(port, 0.0)
        if more:
            return now
        until = self._stalled[0].delivery.until if self._stalled else None
        return min((t for t in (self._retry_at, until) if t is not None), default=None)

    def _held_back(self) -> bool:
        return self._full or self._retry_at is not None

    def _descriptors(self) -> list[tuple[int, int]]:
        mask = 0 if self._stalled else select.POLLIN
        if self._full:
            mask |= select.POLLOUT
        return [(self._socket.fileno(), mask)] if mask else []

    # ---- from the wire

    def _receive(self, now: float) -> bool:
        """A batch of datagrams. Whether there may be more."""
        if self._stalled is not None:
            port, payload = self._stalled
            if not self._deliver(port, payload, now):
                return False
        for _ in range(BATCH):
            try:
                size, ancillary, _, source = self._socket.recvmsg_into([self._buffer], _ANCILLARY, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError as error:
                self._failed(error)
                return False
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                    self._count["socket_dropped"] = int.from_bytes(data[:4], "little")
            if not self._frame(bytes(memoryview(self._buffer)[:size]), source, now):
                return False
        return True

    def _frame(self, frame: bytes, source: address.Address, now: float) -> bool:
        """The tests in the order of the contract. False: an application makes the pump wait."""
        program = self._program
        payload = len(frame) - program.header
        if payload < 0:
            return self._refuse("short")
        if not fields.all_match(program.require, frame):
            return self._refuse("foreign")
        if program.accept and not fields.any_match(program.accept, frame):
            return self._refuse("foreign")
        if program.length is not None:
            announced = fields.get(program.length, frame)
            if not 0 <= announced <= payload:
                return self._refuse("bad_length")
            frame, payload = frame[: program.header + announced], announced
        if program.management and fields.all_match(program.management, frame):
            return self._manage(frame, payload, source)
        port = self._keys.get(fields.get(program.key, frame))
        if port is None:
            return self._refuse("unknown_key")
        if not self._from_peer(port, frame, source):
            return self._refuse("bad_source")
        return self._deliver(port, frame[program.header :], now)

    def _refuse(self, why: str) -> bool:
        self._count[why] += 1
        return True

    def _manage(self, frame: bytes, payload: int, source: address.Address) -> bool:
        if payload < self._program.management_min:
            return self._refuse("short")
        if len(self._management) >= self._program.management_queue:
            return self._refuse("management_dropped")
        self._count["management"] += 1
        self._management.append(ManagementFrame(frame, address.pack(source) if self._program.addressed else b""))
        self._signal()
        return True

    def _from_peer(self, port: _PumpPort, frame: bytes, source: address.Address) -> bool:
        if port.peer is not None and address.peer(source) != port.peer:
            return False
        if not port.slices or self._program.source is None:
            return True
        return port.slices == b"".join(frame[o : o + n] for o, n in self._program.source.slices)

    def _deliver(self, port: _PumpPort, payload: bytes, now: float) -> bool:
        """False: the packet waits until the application reads."""
        others = max((p.delivery.last for p in self._keys.values() if p is not port), default=float("-inf"))
        waited = self._stalled is not None
        try:
            loss = port.delivery.offer(payload, now, others)
        except BadDescriptor:
            loss = "down"
            self._leave(port, 0.0)
        if loss is None:
            if not waited:
                self._count["stalls"] += 1
            self._stalled = port, payload
            return False
        self._stalled = None
        if loss:
            port.count["dropped"] += 1
            if loss in self._count:
                self._count[loss] += 1
            return True
        port.count["rx"] += 1
        port.count["rx_bytes"] += len(payload)
        self._count["rx"] += 1
        self._count["rx_bytes"] += len(payload)
        return True

    # ---- to the wire

    def _send(self, port: _PumpPort) -> bool:
        """A batch of what the application wrote. Whether there is more."""
        if port.route is None:
            del self._ready[port]
            if port.unread():
                self._unwatch(port)
            self._say_farewell(port)
            return False
        if port.refill():
            while port.held:
                if not self._send_one(port, port.held[0]):
                    return False
                port.held.popleft()
        if port.view.queued()[0]:
            return True
        del self._ready[port]
        self._say_farewell(port)
        return False

    def _send_one(self, port: _PumpPort, payload: bytes) -> bool:
        """False: the packet must wait for the socket."""
        program, route = self._program, port.route
        assert route is not None
        if len(payload) > program.max_payload:
            self._count["too_long"] += 1
            port.count["dropped"] += 1
            return True
        header = bytearray(route.header)
        if program.length is not None:
            fields.put(program.length, header, len(payload))
        frame = b"".join((header, payload)).ljust(program.pad_to, b"\0")
        try:
            flags = program.send_flags | socket.MSG_DONTWAIT
            if port.to is None:
                self._socket.send(frame, flags)
            else:
                self._socket.sendto(frame, flags, port.to)
        except BlockingIOError:
            self._count["tx_again"] += 1
            self._full = True
            return False
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                self._count["tx_no_buffer"] += 1
                self._retry_at = time.monotonic() + _NO_BUFFER_PAUSE
                return False
            self._count["tx_error"] += 1
            port.count["dropped"] += 1
            self._failed(error, port.key)
            return True
        port.count["tx"] += 1
        port.count["tx_bytes"] += len(payload)
        self._count["tx"] += 1
        self._count["tx_bytes"] += len(payload)
        return True

    def _failed(self, error: OSError, key: int = 0) -> None:
        self._tell(MoverEvent("FAILED", key, error.errno or 0))


def _check(program: PumpProgram) -> None:
    """PacketsError for a program that no frame can follow."""
    if not 0 < program.header <= 64:
        raise PacketsError(f"a header of {program.header} bytes is not possible; it has 1 to 64")
    fields.check(program.key, program.header)
    if program.length is not None:
        fields.check(program.length, program.header)
    for match in (*program.require, *program.accept, *program.management):
        if not 0 < len(match.value) <= 16 or not 0 <= match.offset <= program.header - len(match.value):
            raise PacketsError(f"{match} is longer than 16 bytes or lies outside the header of {program.header} bytes")


def _open(fd: int) -> socket.socket:
    """The socket, with a deep receive buffer, as that is where bursts wait, and a count of what it loses."""
    try:
        sock = socket.socket(fileno=os.dup(fd))
    except OSError as error:
        raise PacketsError(f"descriptor {fd} is no socket ({error.strerror}); give a bound datagram socket") from None
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, _RECEIVE_BUFFER)
            break
        except PermissionError:
            continue
    sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
    return sock

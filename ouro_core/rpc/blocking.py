"""Requests over a Unix stream socket for synchronous code: one at a time on a connection, no event loop, no thread."""

import os
import select
import socket
import threading
import time
from pathlib import Path
from typing import Any, TypeVar

from ..model.errors import FlowTimeout, IrmdError, WireError
from ..model.request import Request
from ..wire.control import Frame, FrameDecoder, Kind, decode, encode, frame_bytes
from . import fds as _fds

__all__ = ["BlockingChannel", "connect"]

R = TypeVar("R")


def connect(path: Path) -> socket.socket:
    """A connection to the IRMd's socket. IrmdError says what to do when nobody listens there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.connect(os.fspath(path))
    except OSError as e:
        sock.close()
        raise IrmdError(f"no IRMd answers at {path} ({e.strerror or e}); start it with: ouro irmd") from None
    return sock


class BlockingChannel:
    """One connection. A second thread that calls waits for the first."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._decoder = FrameDecoder()
        self._received: list[int] = []
        self._number = 0
        self.closed = False

    def call(self, request: Request[R], timeout: float | None = None) -> R:
        """Send and wait for the answer. After a time-out, an interrupt or a lost connection the channel is closed."""
        with self._lock:
            if self.closed:
                raise IrmdError("the connection to the IRMd is closed")
            try:
                return self._call(request, timeout)
            except BaseException as e:
                if not getattr(e, "_ouro_answer", False):
                    self.close()
                raise

    def _call(self, request: Request[R], timeout: float | None) -> R:
        deadline = None if timeout is None else time.monotonic() + timeout
        self._number += 1
        name, body, fds = encode(request)
        data = memoryview(frame_bytes(Frame(Kind.REQUEST, self._number, name, body, fds=len(fds))))
        try:
            sent = _fds.send(self._sock, data, fds)
            self._sock.sendall(data[sent:])
            frame = self._read(deadline)
        except OSError as e:
            raise IrmdError(f"the connection to the IRMd broke ({e.strerror or e})") from None
        value: Any = decode(frame.type, frame.body, self._take(frame.fds))
        if frame.kind is Kind.ERROR:
            error = frame.error()
            error._ouro_answer = True  # type: ignore[attr-defined]
            raise error
        if frame.kind is not Kind.REPLY or frame.id != self._number:
            _fds.close_grants(value)
            raise WireError(f"the IRMd sent something else than an answer: {frame}")
        result: R = value
        return result

    def _read(self, deadline: float | None) -> Frame:
        while True:
            if deadline is not None:
                rest = deadline - time.monotonic()
                if rest <= 0 or not select.select([self._sock], [], [], rest)[0]:
                    raise FlowTimeout("the IRMd did not answer in time")
            data, fds = _fds.receive(self._sock)
            self._received.extend(fds)
            if not data:
                raise IrmdError("the IRMd closed the connection")
            frames = self._decoder.feed(data)
            if frames:
                return frames[0]

    def _take(self, count: int) -> list[int]:
        if count > len(self._received):
            raise WireError(f"{count} descriptors announced, {len(self._received)} came")
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def close(self) -> None:
        """The IRMd cancels what it is doing for this connection. Idempotent."""
        self.closed = True
        self._sock.close()
        _fds.close_fds(self._received)
        self._received = []

"""Requests over a Unix stream socket for synchronous code: one at a time on a connection, no event loop, no thread."""

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, TypeVar

from ..model.errors import FlowTimeout, IrmdError, OuroError, WireError
from ..model.request import Request
from ..wire.control import Frame, FrameDecoder, Kind, decode, encode, frame_bytes
from . import fds as _fds
from .credentials import peer_credentials
from .paths import anybodys

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
    if anybodys(path) and (uid := peer_credentials(sock).uid) not in (0, os.geteuid()):
        sock.close()
        raise IrmdError(
            f"{path} is served by user {uid}, no IRMd of yours; set OURO_RUNTIME_DIR to a directory of yours"
        )
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
        """Send and wait for the answer, at most `timeout` seconds (FlowTimeout). After anything else than an answer the
        channel is closed: time-outs, interrupts, a lost connection or a peer that talks nonsense.
        """
        with self._lock:
            if self.closed:
                raise IrmdError("the connection to the IRMd is closed")
            try:
                answer = self._call(request, timeout)
            except BaseException:
                self.close()
                raise
        if isinstance(answer, OuroError):
            raise answer
        return answer

    def _call(self, request: Request[R], timeout: float | None) -> R | OuroError:
        deadline = None if timeout is None else time.monotonic() + timeout
        self._number += 1
        name, body, fds = encode(request)
        data = memoryview(frame_bytes(Frame(Kind.REQUEST, self._number, name, body, fds=len(fds))))
        try:
            self._within(deadline)
            sent = _fds.send(self._sock, data, fds)
            if sent < len(data):
                self._within(deadline)
                self._sock.sendall(data[sent:])
            frame = self._read(deadline)
            if deadline is not None:
                self._sock.settimeout(None)
        except TimeoutError:
            raise FlowTimeout(f"the IRMd did not answer within {timeout:g} s") from None
        except OSError as e:
            raise IrmdError(f"the connection to the IRMd broke ({e.strerror or e})") from None
        answer: R | OuroError = self._answer(frame)
        return answer

    def _within(self, deadline: float | None) -> None:
        """Whatever is done next with the socket ends at the deadline. Without one it waits, as between two calls."""
        if deadline is None:
            return
        rest = deadline - time.monotonic()
        if rest <= 0:
            raise TimeoutError
        self._sock.settimeout(rest)

    def _read(self, deadline: float | None) -> Frame:
        while True:
            self._within(deadline)
            data, fds = _fds.receive(self._sock)
            self._received.extend(fds)
            if not data:
                raise IrmdError("the IRMd closed the connection")
            frames = self._decoder.feed(data)
            if len(frames) > 1 or (frames and self._decoder.unfinished):
                raise WireError(f"the IRMd sent more than an answer: {frames[0]}, ...")
            if frames:
                return frames[0]

    def _answer(self, frame: Frame) -> Any:
        fds = self._take(frame.fds)
        try:
            if frame.kind not in (Kind.REPLY, Kind.ERROR) or frame.id != self._number or self._received:
                raise WireError(f"the IRMd sent something else than an answer: {frame}")
            value = decode(frame.type, frame.body, fds)
        except WireError:
            _fds.close_fds(fds)
            raise
        return value if frame.kind is Kind.REPLY else frame.error()

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

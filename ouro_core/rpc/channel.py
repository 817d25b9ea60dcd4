"""Requests and replies, both ways, over one Unix stream socket in an asyncio loop.

Theory of operation. A `Channel` numbers its own requests and keeps a future for each; frames that arrive are either
answers to those or requests of the peer. A request goes to `answer`, which returns a reply, a `Promise` of one, or
another awaitable: only then a task is made, so the hot path is a callback. A cancelled call sends CANCEL, and the peer
cancels its task or promise; when the socket closes all of a peer's tasks are cancelled and all own calls fail. Replies
to cancelled calls are still read, so that descriptors in them are closed (`discarded` sees the value); a reply that the
peer certainly did not get, because the connection ended before all of it was sent, goes to `undelivered`.

Descriptors come with the first byte of their frame, so between two reads there are never more than those of one
unfinished frame; whoever sends more, or some that no frame announces, loses the connection.

asyncio's own streams and transports lose descriptors; hence add_reader and recvmsg.
"""

import asyncio
import inspect
import itertools
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import attrs

from ..model.errors import IpcpError, IrmdError, OuroError, OutOfMemory, WireError
from ..model.log import logger
from ..model.request import Request, reply_type
from ..wire.control import Frame, FrameDecoder, Kind, decode, encode, frame_bytes
from . import fds as _fds
from .budget import Budget
from .steps import Promise

__all__ = ["Answer", "Channel"]

R = TypeVar("R")
Answer = Callable[[Request[Any]], Any]
"""What is done with a request of the peer: returns the reply, or an awaitable of it; raises OuroError. It owns the
descriptors of the request's grants, also when it raises; those of the reply's grants it keeps.
"""

MAX_OUTSTANDING: Final = 1024
"""Requests of the peer that may be under way at once; more are refused with ENOMEM."""
MAX_UNSENT: Final = 16 * 2**20
"""Bytes that wait for a peer which does not read; then the channel closes."""
log = logger("rpc")


FD_WEIGHT: Final = 2**15
"""Bytes that a descriptor counts for which waits to be sent: 2048 of them are 64 MiB."""


@attrs.define
class _Unsent:
    """What is left of a frame. `value` is the reply in it."""

    data: memoryview
    fds: tuple[int, ...]
    value: Any


class Channel:
    """One connection. `answer` None: the peer may only reply. `on_close` is called once, from the loop."""

    def __init__(
        self,
        sock: socket.socket,
        answer: Answer | None = None,
        *,
        on_close: Callable[[], None] | None = None,
        discarded: Callable[[Any], None] | None = None,
        undelivered: Callable[[Any], None] | None = None,
        closed_error: Callable[[], OuroError] = IrmdError,
        budget: Budget | None = None,
    ) -> None:
        sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._answer = answer
        self._on_close = on_close
        self._discarded = discarded
        self._undelivered = undelivered
        self._closed_error = closed_error
        self._decoder = FrameDecoder()
        self._received: deque[int] = deque()
        self._frames: deque[Frame] = deque()  # whole ones that wait for their turn
        self._frames_bytes = 0
        self._ids = itertools.count(1)
        self._calls: dict[int, tuple[asyncio.Future[Any], type]] = {}  # and the type of its reply
        self._tasks: dict[int, asyncio.Future[Any]] = {}
        self._unsent: deque[_Unsent] = deque()
        self._unsent_bytes = 0
        self._unsent_fds = 0
        self._asked_bytes = 0
        self._budget = budget
        self._held = 0  # of the budget
        self.closed = False
        self._loop.add_reader(sock.fileno(), self._readable)

    # ------------------------------------------------------------ own requests

    def call(self, request: Request[R]) -> Awaitable[R]:
        """Send a request. The future fails with the peer's error, or with `closed_error` when the channel closes."""
        future: asyncio.Future[R] = self._loop.create_future()
        if self.closed:
            future.set_exception(self._closed_error())
            return future
        number = next(self._ids) & 0xFFFFFFFF
        name, body, fds = encode(request)
        data = frame_bytes(Frame(Kind.REQUEST, number, name, body, fds=len(fds)))
        self._calls[number] = future, reply_type(type(request))  # type: ignore[arg-type]
        future.add_done_callback(lambda f: self._cancelled(number) if f.cancelled() else None)
        self._send(data, fds)
        return future

    def _cancelled(self, number: int) -> None:
        if number in self._calls and not self.closed:
            self._send(frame_bytes(Frame(Kind.CANCEL, number)))

    # ------------------------------------------------------------ what waits

    def _within_budget(self) -> bool:
        """To be called after a change of what is held."""
        budget = self._budget
        if budget is None:
            return True
        held = (
            self._decoder.unfinished
            + self._frames_bytes
            + self._asked_bytes
            + self._unsent_bytes
            + self._unsent_fds * FD_WEIGHT
        )
        budget.used += held - self._held
        self._held = held
        return budget.used <= budget.most

    # ------------------------------------------------------------ sending

    def _send(self, data: bytes, fds: Sequence[int] = (), value: Any = None) -> None:
        if self._transmit(_Unsent(memoryview(data), tuple(fds), value)):
            return
        self._lost(value)
        self.close()

    def _transmit(self, frame: _Unsent) -> bool:
        """Send what goes now, keep the rest for later. False: the connection is lost, or has to be given up."""
        try:
            if self._unsent or not self._push(frame):
                # the giver may close its descriptors before we get to send them
                frame.fds = _fds.dup_fds(frame.fds)
                if not self._unsent:
                    self._loop.add_writer(self._sock.fileno(), self._writable)
                self._unsent.append(frame)
                self._unsent_bytes += len(frame.data)
                self._unsent_fds += len(frame.fds)
        except (OSError, OutOfMemory) as e:
            log.debug("Connection lost: %s", e)
            return False
        if self._unsent and (self._unsent_bytes > MAX_UNSENT or not self._within_budget()):
            log.warning("Peer does not read what it is sent: connection closed.")
            self._unsent.pop()
            _fds.close_fds(frame.fds)
            return False
        return True

    def _push(self, frame: _Unsent) -> bool:
        """Send what goes of it now; its descriptors go with the first byte. Whether it is all gone."""
        try:
            sent = _fds.send(self._sock, frame.data, frame.fds)
        except (BlockingIOError, InterruptedError):
            return False
        frame.data = frame.data[sent:]
        frame.fds = ()
        return not frame.data

    def _writable(self) -> None:
        while self._unsent:
            frame = self._unsent[0]
            size, fds = len(frame.data), frame.fds
            try:
                done = self._push(frame)
            except OSError:
                self.close()
                return
            self._unsent_bytes -= size - len(frame.data)
            if not frame.fds:
                self._unsent_fds -= len(fds)
                _fds.close_fds(fds)
            if not done:
                break
            self._unsent.popleft()
        else:
            self._loop.remove_writer(self._sock.fileno())
        self._within_budget()

    def _lost(self, value: Any) -> None:
        if value is not None and self._undelivered is not None:
            self._undelivered(value)

    # ------------------------------------------------------------ receiving

    def _readable(self) -> None:
        if self._budget is None:
            self.serve()
        else:
            self._budget.readable(self)

    def serve(self, until: float | None = None) -> bool:
        """Read once, unless frames are left of last time, and answer until that time of `time.perf_counter`, or all.
        Whether frames are left.
        """
        try:
            if not self._frames and not self._receive():
                return False
            while self._frames:
                frame = self._frames.popleft()
                self._frames_bytes -= len(frame.body)
                self._frame(frame)
                if self.closed:
                    return False
                if until is not None and self._frames and time.perf_counter() >= until:
                    break
            else:
                if len(self._received) > (_fds.MAX_FDS if self._decoder.unfinished else 0):
                    raise WireError("descriptors came that belong to no message")
            if not self._within_budget():
                raise WireError("all connections of this user keep too much waiting")
        except WireError as e:
            log.warning("Connection closed: %s", e)
            self.close()
        return bool(self._frames)

    def _receive(self) -> bool:
        """Read once. False: nothing came, or the end. WireError."""
        try:
            data, fds = _fds.receive(self._sock)
        except (BlockingIOError, InterruptedError):
            return False
        except (OSError, WireError) as e:
            log.debug("Connection lost: %s", e)
            self.close()
            return False
        self._received.extend(fds)
        if not data:
            self.close()
            return False
        self._frames.extend(self._decoder.feed(data))
        self._frames_bytes = sum(len(frame.body) for frame in self._frames)
        return True

    def pause(self) -> None:
        """Do not read until `resume`."""
        self._loop.remove_reader(self._sock.fileno())

    def resume(self) -> None:
        """The reverse of `pause`; of a channel that was closed meanwhile nothing."""
        if not self.closed:
            self._loop.add_reader(self._sock.fileno(), self._readable)

    def _take_fds(self, count: int) -> list[int]:
        if count > len(self._received):
            raise WireError(f"{count} descriptors announced, {len(self._received)} came")
        return [self._received.popleft() for _ in range(count)]

    def _value(self, frame: Frame, fds: list[int], expected: type = object) -> Any:
        try:
            return decode(frame.type, frame.body, fds, expected)
        except WireError:
            _fds.close_fds(fds)
            raise

    def _frame(self, frame: Frame) -> None:
        fds = self._take_fds(frame.fds)
        if frame.kind is Kind.REQUEST:
            self._request(frame, fds)
        elif frame.kind is Kind.REPLY:
            _, expected = self._calls.get(frame.id, (None, object))
            self._reply(frame, self._value(frame, fds, expected))
        elif fds:
            _fds.close_fds(fds)
            raise WireError(f"descriptors came with {frame}")
        elif frame.kind is Kind.ERROR:
            self._refused(frame)
        elif frame.id in self._tasks:
            self._cancel(self._tasks[frame.id])

    def _reply(self, frame: Frame, value: Any) -> None:
        future, _ = self._calls.pop(frame.id, (None, object))
        if future is not None and not future.done():
            future.set_result(value)
        elif value is not None:
            self._discard(value)

    def _refused(self, frame: Frame) -> None:
        future, _ = self._calls.pop(frame.id, (None, object))
        if future is not None and not future.done():
            future.set_exception(frame.error())

    def _discard(self, value: Any) -> None:
        _fds.close_grants(value)
        if self._discarded is not None:
            self._discarded(value)

    def _request(self, frame: Frame, fds: list[int]) -> None:
        if self._answer is None or frame.id in self._tasks:
            _fds.close_fds(fds)
            raise WireError(f"unexpected request {frame}")
        if len(self._tasks) >= MAX_OUTSTANDING:
            _fds.close_fds(fds)
            self._send_error(frame.id, OutOfMemory(f"more than {MAX_OUTSTANDING} requests at once on one connection"))
            return
        try:
            result = self._answer(self._value(frame, fds, Request))
        except Exception as e:
            self._send_error(frame.id, e)
            return
        task: asyncio.Future[Any]
        if isinstance(result, Promise):
            task = result.future
            task.add_done_callback(partial(self._resolved, frame.id))
        elif inspect.isawaitable(result):
            task = self._loop.create_task(self._finish(frame.id, result))
        else:
            self._send_reply(frame.id, result)
            return
        self._tasks[frame.id] = task
        size = len(frame.body)
        self._asked_bytes += size
        task.add_done_callback(lambda _: self._answered(frame.id, size))

    def _answered(self, number: int, size: int) -> None:
        self._tasks.pop(number, None)
        self._asked_bytes -= size
        self._within_budget()

    async def _finish(self, number: int, result: Awaitable[Any]) -> None:
        try:
            value = await result
        except asyncio.CancelledError:
            self._send_error(number, OuroError("cancelled", errno=125))
        except Exception as e:
            self._send_error(number, e)
        else:
            self._send_reply(number, value)

    def _resolved(self, number: int, future: "asyncio.Future[Any]") -> None:
        if future.cancelled():
            self._send_error(number, OuroError("cancelled", errno=125))
        elif (error := future.exception()) is None:
            self._send_reply(number, future.result())
        elif isinstance(error, Exception):
            self._send_error(number, error)

    def _cancel(self, task: "asyncio.Future[Any]") -> None:
        # later, for a task that never began would neither answer nor let go what it was given
        self._loop.call_soon(task.cancel)

    def _send_reply(self, number: int, value: Any) -> None:
        if self.closed:
            self._lost(value)
            return
        try:
            name, body, fds = encode(value)
            data = frame_bytes(Frame(Kind.REPLY, number, name, body, fds=len(fds)))
        except WireError as e:
            self._lost(value)
            self._send_error(number, e)
        else:
            self._send(data, fds, value)

    def _send_error(self, number: int, error: Exception) -> None:
        if not isinstance(error, OuroError):
            log.error("Internal error: %r", error, exc_info=error)
            error = IpcpError(f"internal error: {error!r}; the daemon's log has the details")
        if not self.closed:
            self._send(frame_bytes(Frame(Kind.ERROR, number, code=error.code, text=str(error))))

    # ------------------------------------------------------------ end

    def close(self) -> None:
        """Cancel what the peer asked for, fail what it was asked. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        _fds.close_fds(self._received)
        self._received.clear()
        self._frames.clear()
        self._frames_bytes = 0
        for task in self._tasks.values():
            self._cancel(task)
        unsent, self._unsent = self._unsent, deque()
        self._unsent_bytes = self._unsent_fds = 0
        self._decoder = FrameDecoder()
        self._within_budget()
        for frame in unsent:
            _fds.close_fds(frame.fds)
            self._lost(frame.value)
        calls, self._calls = self._calls, {}
        for future, _ in calls.values():
            if not future.done():
                future.set_exception(self._closed_error())
        if self._on_close is not None:
            self._on_close()

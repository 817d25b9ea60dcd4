"""Streams of bytes over a reliable flow: a file object for synchronous code, reader and writer of asyncio itself.

A stream is cut into packets of any size, and put together again; nothing is added, so the other end may as well read
and write packets. It ends when the other end deallocates the flow; a layer that does not tell (Ethernet, UDP) leaves
that to the protocol.

Messages of any length, for two ends that both want them, are a matter of the bytes in the stream:

    | offset | size | field                                |
    |--------|------|--------------------------------------|
    | 0      | 4    | length of the message, big endian    |
    | 4      | n    | message                              |
"""

from __future__ import annotations

import asyncio
import io
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ouro_core.contracts.packets import Buffer
from ouro_core.model.errors import FlowDown, FlowTimeout, InvalidArgument, NotPermitted, OuroError, TooLong, WouldBlock

if TYPE_CHECKING:
    from .aio import AsyncFlow
    from .flow import Flow, FlowBase

__all__ = ["LONGEST", "PACKET_SIZE", "FlowFile", "FlowReader", "FlowTransport", "FlowWriter", "file_for", "streams_for"]

PACKET_SIZE: Final = 1400
"""Bytes in a packet, which a frame of Ethernet has room for, encrypted, too."""
LONGEST: Final = 2**24
"""Bytes of a message that is read, unless one asks for more."""
_LENGTH: Final = 4
_BATCH: Final = 64
_HIGH: Final = 2**16


def _check(flow: FlowBase, packet_size: int) -> None:
    if not flow.qos.needs_frct or flow.qos.loss:
        raise NotPermitted(f"flow {flow.flow_id} may lose packets; allocate it with a QoS such as DATA for a stream")
    if packet_size < 1:
        raise InvalidArgument(f"packets of {packet_size} bytes; 1 or more is right")


def _slices(data: memoryview, size: int, most: int) -> list[memoryview]:
    return [data[at : at + size] for at in range(0, min(len(data), most * size), size)]


def _length(message: Buffer) -> bytes:
    size = memoryview(message).nbytes
    if size >> 8 * _LENGTH:
        raise TooLong(f"a message of {size} bytes; its length must fit into {8 * _LENGTH} bits: send it in parts")
    return size.to_bytes(_LENGTH, "big")


def _announced(header: bytes, most: int) -> int:
    size = int.from_bytes(header, "big")
    if size > most:
        raise TooLong(f"the peer sends a message of {size} bytes; {most} are allowed: ask for more, or close the flow")
    return size


# ---------------------------------------------------------------- synchronous


class _Raw(io.RawIOBase):
    def __init__(self, flow: Flow, size: int) -> None:
        self._flow = flow
        self._size = size
        self._rest = memoryview(b"")
        self._out_of_step = False

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._out_of_step:
            raise InvalidArgument(f"a read of flow {self._flow.flow_id} timed out, so bytes may be lost; close it")
        if not self._rest:
            try:
                self._rest = memoryview(b"".join(self._flow.read_many(_BATCH)))
            except WouldBlock:
                return None
            except FlowTimeout:
                self._out_of_step = True  # the buffer above may have had a part of what was asked for
                raise
            except FlowDown:
                if self._flow._ended():
                    return 0
                raise
        count = min(len(self._rest), len(buffer))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def write(self, data: Any) -> int | None:
        view = memoryview(data).cast("B")
        if not view:
            return 0
        try:
            accepted = self._flow.write_many(_slices(view, self._size, _BATCH))
        except WouldBlock:
            return None
        return min(accepted * self._size, len(view))

    def close(self) -> None:
        if not self.closed:
            try:
                super().close()
            finally:
                self._flow.close()


class FlowFile(io.BufferedRWPair):
    """A file over a flow, as `Flow.stream` makes it. What is written waits in a buffer for `flush` or more of it.

    Errors are those of the flow. What a `flush` that timed out did not write is written by the next one; after a read
    that timed out nothing can be read any more, as with files over sockets.
    """

    def write_message(self, message: Buffer) -> None:
        """Write a message that the peer's `read_message` gives, and flush. The flow must be blocking. TooLong: 2**32
        bytes or more.
        """
        self.write(_length(message))
        self.write(message)
        self.flush()

    def read_message(self, most: int = LONGEST) -> bytes:
        """The next message. TooLong: the peer says that it has more than `most` bytes; EOFError: the peer deallocated
        the flow. Nothing can be read after either.
        """
        return self._exactly(_announced(self._exactly(_LENGTH), most))

    def _exactly(self, size: int) -> bytes:
        data = (self.read(size) if size else b"") or b""
        if len(data) < size:
            raise EOFError(f"the stream ended after {len(data)} of {size} bytes")
        return data


def file_for(flow: Flow, packet_size: int) -> FlowFile:
    """As `Flow.stream`."""
    _check(flow, packet_size)
    raw = _Raw(flow, packet_size)
    return FlowFile(raw, raw, max(_BATCH * packet_size, io.DEFAULT_BUFFER_SIZE))


# ---------------------------------------------------------------- asyncio


class FlowTransport(asyncio.Transport):
    """A transport over a reliable flow. It has the flow for itself, and closes it.

    Two tasks, one a direction. The writing one is the transport's life: when it ends, for whatever reason, the flow is
    closed and the protocol hears that the connection is lost.
    """

    def __init__(self, flow: AsyncFlow, protocol: asyncio.Protocol, packet_size: int) -> None:
        super().__init__({"flow": flow})
        self._flow = flow
        self._protocol = protocol
        self._size = packet_size
        self._out: deque[bytes] = deque()
        self._waiting = 0  # bytes in `_out`
        self._high, self._low = _HIGH, _HIGH // 4
        self._paused = self._closing = False
        self._news, self._resumed = asyncio.Event(), asyncio.Event()
        self._resumed.set()
        self._error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        protocol.connection_made(self)
        self._reading = self._loop.create_task(self._read())
        self._writing = self._loop.create_task(self._write())

    async def _read(self) -> None:
        try:
            while True:
                await self._resumed.wait()
                for packet in await self._flow.read_many(_BATCH):
                    await self._resumed.wait()
                    self._protocol.data_received(packet)
        except OuroError as e:
            if not isinstance(e, FlowDown) or not self._flow._ended():
                self._give_up(e)
            elif not self._protocol.eof_received():
                self.close()
        except Exception as e:  # the protocol's
            self._loop.call_exception_handler(
                {"message": "a protocol did not take its data", "exception": e, "transport": self}
            )
            self._give_up(e)

    async def _write(self) -> None:
        try:
            await self._send()
        except OuroError as e:
            self._error = self._error or e
        except asyncio.CancelledError:
            pass  # `_give_up`, or the end of the loop
        self._closing = True
        self._reading.cancel()
        try:
            await self._flow.close()
        finally:
            self._protocol.connection_lost(self._error)

    async def _send(self) -> None:
        out = self._out
        while out or not self._closing:
            if not out:
                self._news.clear()
                await self._news.wait()
                continue
            batch = list(islice(out, _BATCH))
            accepted = await self._flow.write_many(batch)
            for packet in batch[:accepted]:
                if out[0] is packet:
                    out.popleft()
                else:  # the last one, which had room for more
                    out[0] = out[0][len(packet) :]
                self._waiting -= len(packet)
            if self._paused and self._waiting <= self._low:
                self._paused = False
                self._protocol.resume_writing()

    def _give_up(self, error: Exception | None = None) -> None:
        self._closing = True
        self._error = self._error or error
        self._loop.call_soon(self._writing.cancel)  # it has begun by then

    # ---- what asyncio asks for

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data).cast("B")
        if self._closing or not view:
            return
        self._waiting += len(view)
        if self._out and len(self._out[-1]) < self._size:  # small writes fill a packet together
            room = self._size - len(self._out[-1])
            self._out[-1] += bytes(view[:room])
            view = view[room:]
        self._out.extend(map(bytes, _slices(view, self._size, len(view))))
        self._news.set()
        self._check_high()

    def _check_high(self) -> None:
        if self._waiting > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self._resumed.clear()

    def resume_reading(self) -> None:
        self._resumed.set()

    def is_reading(self) -> bool:
        return self._resumed.is_set() and not self._closing

    def get_write_buffer_size(self) -> int:
        return self._waiting

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = (_HIGH if low is None else 4 * low) if high is None else high
        self._low = self._high // 4 if low is None else low
        self._check_high()

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def close(self) -> None:
        self._closing = True
        self._news.set()

    def abort(self) -> None:
        self._flow.linger = False
        self._give_up()


class FlowReader(asyncio.StreamReader):
    """asyncio's, with messages."""

    async def read_message(self, most: int = LONGEST) -> bytes:
        """As that of `FlowFile`; the EOFError is asyncio's IncompleteReadError."""
        return await self.readexactly(_announced(await self.readexactly(_LENGTH), most))


class FlowWriter(asyncio.StreamWriter):
    """asyncio's, with messages."""

    def write_message(self, message: Buffer) -> None:
        """Write a message that the peer's `read_message` gives; `drain` as after `write`. TooLong: 2**32 bytes or
        more.
        """
        self.write(_length(message))
        self.write(message)


def streams_for(flow: AsyncFlow, packet_size: int) -> tuple[FlowReader, FlowWriter]:
    """As `AsyncFlow.stream`."""
    _check(flow, packet_size)
    loop = asyncio.get_running_loop()
    reader = FlowReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    return reader, FlowWriter(FlowTransport(flow, protocol, packet_size), protocol, reader, loop)

"""Flows in asyncio.

Theory of operation. Each loop has one `Client`: a channel to the IRM on which all requests of the loop run at once, and
one event set. Ends never block; a coroutine that finds nothing puts its flow into the event set and waits for a future.
When the set's descriptor is readable a callback looks at all events and wakes whom they concern; a flow for which
nobody waits leaves the set, so that packets nobody reads cost nothing. There is no task and no thread per flow.

A cancelled read or write loses no packet: packets are taken and given when the coroutine runs, not when it is woken.
A cancelled allocation leaves no flow, also when the answer was under way already: it is deallocated on arrival.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakSet, WeakValueDictionary

from ouro_core.contracts.packets import Buffer, Event, FlowEnd, Options, PacketClient
from ouro_core.frct.ordered import FrctPipeline
from ouro_core.frct.pipeline import FindSuite, Pipeline
from ouro_core.frct.ticker import Ticker
from ouro_core.model.errors import Exists, FlowDown, OuroError, WouldBlock
from ouro_core.model.irm_requests import Allocation, BindProcess, FlowDealloc
from ouro_core.model.qos import QosSpec
from ouro_core.model.request import Request
from ouro_core.rpc.blocking import connect
from ouro_core.rpc.channel import Channel
from ouro_core.rpc.fds import close_grants

from .flow import FlowBase, accept_request, alloc_request, attach, join_request, load_suite, text
from .process import Process, current
from .watches import Watches

if TYPE_CHECKING:
    from .stream import FlowReader, FlowWriter

__all__ = ["AsyncFlow", "Client", "announce", "announced", "flow_accept", "flow_alloc", "flow_join"]

R = TypeVar("R")

_OPTIONS: Final = Options(read_blocking=False, write_blocking=False)
_RETRY: Final = 0.005
"""Seconds after which a writer looks again for room: there is no event for blocks that become free."""
_FAREWELL: Final = 1.0
"""Seconds that the IRM may take to deallocate what is left at the end."""
_FOR_READERS: Final = ~Event.SPACE
_FOR_WRITERS: Final = ~Event.PACKET


class AsyncFlow(FlowBase):
    """One end of a flow. `async with` deallocates it; `async for` gives packets until the other end deallocates.

    Reads and writes wait as long as need be: bound them with `asyncio.timeout`. All calls in the flow's loop.
    Errors: FlowDown, FlowPeer once nothing is queued; TooLong; BadDescriptor after `close`.
    """

    __slots__ = ("_owner", "_read", "_read_many", "_readers", "_readinto", "_write", "_write_many", "_writers")

    def __init__(
        self,
        allocation: Allocation,
        packets: PacketClient,
        end: FlowEnd,
        path: FlowEnd | Pipeline,
        client: Client,
    ) -> None:
        super().__init__(allocation, packets, end, path, _OPTIONS)
        self._owner = client
        self._readers: deque[asyncio.Future[None]] = deque()
        self._writers: deque[asyncio.Future[None]] = deque()
        self._bind()

    def _bind(self) -> None:
        self._read, self._readinto, self._read_many = self._path.read, self._path.readinto, self._path.read_many
        self._write, self._write_many = self._write_methods()

    # ---- packets

    async def read(self) -> bytes:
        """One packet. Does not wait when one is queued."""
        while True:
            try:
                return self._read()
            except WouldBlock:
                await self._owner.readable(self)

    async def readinto(self, buffer: Buffer) -> int:
        """One packet into a buffer; its size. `partial_read` says what happens when it does not fit."""
        while True:
            try:
                return self._readinto(buffer)
            except WouldBlock:
                await self._owner.readable(self)

    async def read_many(self, most: int = 32) -> list[bytes]:
        """Up to `most` packets of those queued; at least one, waits only for the first."""
        while True:
            try:
                return self._read_many(most)
            except WouldBlock:
                await self._owner.readable(self)

    async def write(self, data: Buffer) -> None:
        """Send one packet; waits for room. Accepted, or raises: it is never lost silently on this host."""
        while True:
            try:
                return self._write(data)
            except WouldBlock:
                await self._owner.writable(self)

    async def write_many(self, packets: Sequence[Buffer]) -> int:
        """Send packets; how many were accepted, at least one. Waits only for room for the first."""
        while True:
            try:
                return self._write_many(packets)
            except WouldBlock:
                await self._owner.writable(self)

    def stream(self, packet_size: int = 1400) -> tuple[FlowReader, FlowWriter]:
        """asyncio's reader and writer over this flow, for bytes without packets, with `read_message` and
        `write_message`; closing the writer deallocates. The stream ends when the other end deallocates. Packets have
        at most `packet_size` bytes, which the layers must be able to carry. NotPermitted: not a reliable flow. The
        flow must not be used otherwise any more.
        """
        from .stream import streams_for

        return streams_for(self, packet_size)

    def __aiter__(self) -> AsyncFlow:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.read()
        except FlowDown:
            if self._ended():
                raise StopAsyncIteration from None
            raise

    # ---- end

    async def close(self) -> None:
        """Deallocate the flow. What was written is still delivered; with `linger` this waits until it was. Then whoever
        waits is woken. Idempotent. A lost IRM is no error, for it took its flows along. Deallocation goes on when this
        is cancelled.
        """
        if self._once.acquire(blocking=False):
            try:
                await self._owner.finish(self)
            finally:
                self._close_end()
                dealloc = self._owner.dealloc(self.flow_id, self._quarantine())
            await asyncio.shield(dealloc)

    dealloc = close

    def _close_end(self) -> None:
        self._owner.forget(self)
        self._path.close()
        _wake(self._readers)
        _wake(self._writers)

    async def __aenter__(self) -> AsyncFlow:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        if self._once.acquire(blocking=False):
            quarantine = self._quarantine()
            try:
                warnings.warn(f"flow {self.flow_id} to {self.name!r} was not closed", ResourceWarning, 2, self)
            finally:
                self._owner.forget(self)
                self._path.close()
                self._owner.dealloc_later(self.flow_id, quarantine)


class Client:
    """What one loop has of one IRM: its requests, its event set, its keep-alives. Made in the loop."""

    def __init__(
        self,
        call: Callable[[Request[Any]], Awaitable[Any]],
        packets: PacketClient,
        find: FindSuite = load_suite,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._call = call
        self._packets = packets
        self._find = find
        self._set = packets.event_set()
        self._watched: WeakValueDictionary[FlowEnd, AsyncFlow] = WeakValueDictionary()
        self._flows: WeakSet[AsyncFlow] = WeakSet()
        self._deallocating: set[asyncio.Future[None]] = set()
        self._keeper = Watches()
        self._tickers: dict[FlowEnd, Ticker] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.closed = False
        self._loop.add_reader(self._set, self._events)

    # ---- allocation

    async def flow_alloc(
        self, name: str, qos: QosSpec | None = None, timeout: float | None = None, data: bytes = b""
    ) -> AsyncFlow:
        """As the function of this name."""
        return await self._flow(alloc_request(name, qos, timeout, data))

    async def flow_accept(self, timeout: float | None = None, data: bytes = b"") -> AsyncFlow:
        """As the function of this name."""
        return await self._flow(accept_request(timeout, data))

    async def flow_join(self, layer: str, timeout: float | None = None) -> AsyncFlow:
        """As the function of this name."""
        return await self._flow(join_request(layer, timeout))

    async def _flow(self, request: Request[Allocation]) -> AsyncFlow:
        answer = self._call(request)
        try:
            allocation: Allocation = await answer
        except asyncio.CancelledError:
            if isinstance(answer, asyncio.Future) and _has_result(answer):
                self.discard(answer.result())
            raise
        try:
            end, path = attach(self._packets, allocation, _OPTIONS, self._find)
        except BaseException:
            self.dealloc(allocation.flow_id)
            raise
        flow = AsyncFlow(allocation, self._packets, end, path, self)
        self._flows.add(flow)
        if allocation.qos.timeout:
            self._keeper.add(end, allocation.qos.timeout / 1000, monotonic())
            self._keep()
        if isinstance(path, FrctPipeline):
            path.set_on_events(True)
            self._tickers[end] = Ticker(path)
            self._watch(flow)
        return flow

    def discard(self, reply: object) -> None:
        """An answer that nobody waits for any more: a flow in it is given back."""
        if isinstance(reply, Allocation):
            close_grants(reply)
            self.dealloc(reply.flow_id)

    def dealloc(self, flow_id: int, linger: float = 0.0) -> asyncio.Future[None]:
        """Give a flow back to the IRM. Goes on also when nobody waits."""
        future = asyncio.ensure_future(self._dealloc(FlowDealloc(flow_id, linger)), loop=self._loop)
        self._deallocating.add(future)
        future.add_done_callback(self._deallocating.discard)
        return future

    async def _dealloc(self, request: FlowDealloc) -> None:
        try:
            await self._call(request)
        except OuroError:
            pass  # it is gone, or goes with the IRM

    def dealloc_later(self, flow_id: int, linger: float) -> None:
        """The same, from a finalizer: in whatever thread, in whatever state the loop is."""
        if not self.closed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.dealloc, flow_id, linger)

    # ---- events

    async def readable(self, flow: AsyncFlow) -> None:
        """Wait until it makes sense to read again."""
        self._watch(flow)
        await self._wait(flow._readers)

    async def writable(self, flow: AsyncFlow) -> None:
        """Wait until it makes sense to write again."""
        self._watch(flow)
        timer = self._loop.call_later(_RETRY, _wake, flow._writers)
        try:
            await self._wait(flow._writers)
        finally:
            timer.cancel()

    async def _wait(self, waiters: deque[asyncio.Future[None]]) -> None:
        future = self._loop.create_future()
        waiters.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future in waiters:  # else it was woken in the same moment
                waiters.remove(future)
            raise

    def _watch(self, flow: AsyncFlow) -> None:
        if flow._end not in self._watched:
            self._set.add(flow._end)
            self._watched[flow._end] = flow

    async def finish(self, flow: AsyncFlow) -> None:
        """The orderly end of a flow with FRCT."""
        ticker = self._tickers.get(flow._end)
        if ticker is not None:
            await ticker.finish()

    def forget(self, flow: AsyncFlow) -> None:
        """The flow is about to be closed."""
        if self._watched.pop(flow._end, None) is not None and not self.closed:
            self._set.remove(flow._end)
        self._keeper.remove(flow._end)
        ticker = self._tickers.pop(flow._end, None)
        if ticker is not None:
            ticker.stop()

    def _events(self) -> None:
        for end, events in self._set.poll():
            flow = self._watched.get(end)
            if flow is None:
                self._set.remove(end)
                continue
            path = flow._path
            if isinstance(path, FrctPipeline):
                path.pump()
                if not path.has_rest:
                    events &= ~Event.PACKET
                events |= Event.SPACE  # the window may be open
            woken = bool(events & _FOR_READERS) and _wake(flow._readers)
            woken |= bool(events & _FOR_WRITERS) and _wake(flow._writers)
            if not woken and not isinstance(path, FrctPipeline):
                del self._watched[end]
                self._set.remove(end)

    # ---- keep-alives

    def _keep(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = monotonic()
        due = self._keeper.run(now)
        self._timer = None if due is None else self._loop.call_later(max(due - now, 0), self._keep)

    # ---- end

    def lost(self) -> None:
        """The IRM is gone: flows over layers are down."""
        for flow in list(self._flows):
            flow._lost()

    async def close(self) -> None:
        """Deallocate all flows of the loop. Idempotent."""
        if self.closed:
            return
        for flow in list(self._flows):
            if flow._once.acquire(blocking=False):
                flow._close_end()
                self.dealloc(flow.flow_id, flow._quarantine())
        if self._deallocating:
            await asyncio.wait(self._deallocating, timeout=_FAREWELL)
        self.closed = True
        self._loop.remove_reader(self._set.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._set.close()


def _has_result(future: asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _wake(waiters: deque[asyncio.Future[None]]) -> bool:
    """Let all who wait look again. Whether there was anybody."""
    woken = False
    while waiters:
        future = waiters.popleft()
        if not future.done():
            future.set_result(None)
            woken = True
    return woken


# ---------------------------------------------------------------- the IRMd of this process


async def announced() -> Process:
    """This process, announced: the same announcement that synchronous code makes. IrmdError."""
    announcing = ThreadPoolExecutor(1)  # of our own, to be rid of it at once
    try:
        return await asyncio.get_running_loop().run_in_executor(announcing, current)
    finally:
        announcing.shutdown(wait=False)


class _Remote(Client):
    """The client of a loop at the IRMd."""

    def __init__(self, channel: Channel, packets: PacketClient) -> None:
        super().__init__(channel.call, packets)
        self.channel = channel
        self._lifetime = self._as_long_as_the_loop()

    @classmethod
    async def connect(cls) -> _Remote:
        process = await announced()
        channel = Channel(
            connect(process.path), on_close=lambda: made.lost(), discarded=lambda reply: made.discard(reply)
        )
        try:
            made = cls(channel, process.client)
        except BaseException:
            channel.close()
            raise
        await anext(made._lifetime)
        return made

    async def _as_long_as_the_loop(self) -> AsyncGenerator[None, None]:
        # loops close the asynchronous generators they know before they end: the only farewell there is
        try:
            yield
        finally:
            await self.close()
            self.channel.close()


_clients: dict[asyncio.AbstractEventLoop, asyncio.Task[_Remote]] = {}


async def _client() -> _Remote:
    """That of the running loop; a new one when the IRMd of the last one went away."""
    loop = asyncio.get_running_loop()
    task = _clients.get(loop)
    if task is not None and task.done() and (task.cancelled() or task.exception() or task.result().channel.closed):
        task = None
    if task is None:
        for other in [other for other in _clients if other.is_closed()]:
            del _clients[other]
        task = _clients[loop] = loop.create_task(_Remote.connect())
    return await asyncio.shield(task)


async def announce(*names: str) -> None:
    """Make this process known to the IRMd, which allocations do by themselves, and bind it to `names`; as
    `ouro_core.announce`, without holding the loop up. One announcement is for both.
    """
    checked = [text("name", name) for name in names]
    channel = (await _client()).channel
    for name in checked:
        try:
            await channel.call(BindProcess(os.getpid(), name))
        except Exists:
            pass


async def flow_alloc(
    name: str, qos: QosSpec | None = None, timeout: float | None = None, data: bytes = b""
) -> AsyncFlow:
    """A flow to a name. `qos` None: `RAW`. `timeout` in seconds, None: the IRMd's 20. `data` goes along to the peer.

    UnknownName, IpcpError (no layer knows it), FlowTimeout, NotPermitted, CryptError, AuthenticationFailed;
    IrmdError.
    """
    return await (await _client()).flow_alloc(name, qos, timeout, data)


async def flow_accept(timeout: float | None = None, data: bytes = b"") -> AsyncFlow:
    """The next flow for a name that this process is bound to. `timeout` in seconds, None: for ever. `data` goes along
    with the answer. FlowTimeout, IrmdError.
    """
    return await (await _client()).flow_accept(timeout, data)


async def flow_join(layer: str, timeout: float | None = None) -> AsyncFlow:
    """A flow to everybody in a broadcast layer. `timeout` in seconds, None: the IRMd's 20. IpcpError (no such layer),
    NotAllocated (refused), FlowTimeout, IrmdError.
    """
    return await (await _client()).flow_join(layer, timeout)

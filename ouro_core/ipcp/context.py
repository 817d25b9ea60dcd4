"""What a hosted IPCP has of the world: its flows of both sides, the RIB, its tasks."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Any, Final, TypeVar

from ..contracts.ipcp import ArrivedFlow, IpcpContext, NFlow, Registrations
from ..contracts.packets import End, FlowEnd, PacketClient
from ..frct.ordered import FrctPipeline, above
from ..frct.pipeline import stages_for
from ..frct.ticker import Ticker
from ..model.capability import Capability
from ..model.errors import IpcpStateError, OuroError
from ..model.flow import FlowState, Grant
from ..model.irm_requests import Allocation, Arrival, FlowAccept, FlowAlloc, FlowArrived, FlowClosed, FlowDealloc
from ..model.log import logger
from ..model.qos import RAW, QosSpec
from ..model.request import AsyncCaller, Request
from ..plugins.suites import own_capabilities
from ..rib import Rib
from ..rpc.fds import close_fds, close_grants
from .flows import FlowTable
from .launcher import IpcpStart

__all__ = ["Context"]

R = TypeVar("R")

_COMPONENTS: Final = {"local": "ipcpd-local", "unicast": "unicast-ipcp", "broadcast": "broadcast-ipcp"}
_log = logger("ipcpd/ipcp")


class Context(IpcpContext):
    """`failed` is told why when a task of the IPCP ends that should not have."""

    def __init__(
        self,
        start: IpcpStart,
        packets: PacketClient,
        plugins: Registrations,
        irm: AsyncCaller,
        failed: Callable[[str], None],
        rng: random.Random,
    ) -> None:
        self.name = start.name
        self.packets = packets
        self.plugins = plugins
        self.rib: Rib = Rib()
        self.log = logger(_COMPONENTS.get(start.type, f"ipcpd/{start.type}"))
        self.random = rng
        self.flows = FlowTable(packets)
        self.stopped = False
        self._irm = irm
        self._failed = failed
        self._lower: dict[int, tuple[FlowEnd, Ticker | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._messages: set[asyncio.Task[None]] = set()

    @cached_property
    def capabilities(self) -> Capability:  # type: ignore[override]
        return own_capabilities(self.plugins)

    # ------------------------------------------------------------ asking the IRM

    async def _ask(self, request: Request[R]) -> R:
        if self.stopped and not isinstance(request, FlowDealloc):
            raise IpcpStateError(f"IPCP {self.name} is shutting down")
        future: asyncio.Future[R] = asyncio.ensure_future(self._irm.call(request))
        try:
            return await future
        except asyncio.CancelledError:
            # the reply may be here already, and nobody else will look at it
            if future.done() and not future.cancelled() and future.exception() is None:
                close_grants(future.result())
                self.discarded(future.result())
            raise

    def _tell(self, request: Request[None]) -> None:
        if not self.stopped:
            task = asyncio.get_running_loop().create_task(self._message(request))
            self._messages.add(task)
            task.add_done_callback(self._messages.discard)

    async def _message(self, request: Request[None]) -> None:
        try:
            await self._irm.call(request)
        except OuroError as e:
            _log.debug("%s was refused: %s", request, e)

    def discarded(self, value: object) -> None:
        """The reply to a call that was cancelled: whatever flow it brought is not wanted. Its grants are closed."""
        if isinstance(value, Arrival):
            self._tell(FlowClosed(value.flow_id))
        elif isinstance(value, Allocation):
            self._tell(FlowDealloc(value.flow_id))

    # ------------------------------------------------------------ flows of the layer above

    async def flow_arrived(self, hash: bytes, qos: QosSpec, mpl: int, data: bytes, joins: int = 0) -> ArrivedFlow:
        arrival = await self._ask(FlowArrived(hash, qos, mpl, data, joins))
        if arrival.grant is None:
            return ArrivedFlow(NFlow(arrival.flow_id, None), arrival.data)
        joined: Grant | None = arrival.joined
        try:
            record = self.flows.open(arrival.flow_id, arrival.grant, FlowState.ALLOCATED)
            try:
                end = None
                if joined is not None:
                    grant, joined = joined, None
                    end = self.flows.join(joins, grant)
            except BaseException:
                self.flows.release(record)
                raise
        except BaseException:
            close_fds(joined.fds if joined is not None else ())
            self._tell(FlowClosed(arrival.flow_id))
            raise
        return ArrivedFlow(record.flow, arrival.data, end)

    def flow_closed(self, flow_id: int) -> None:
        if flow_id in self.flows:
            self._tell(FlowClosed(flow_id))

    # ------------------------------------------------------------ own flows

    async def flow_alloc(self, dst: str, qos: QosSpec = RAW, timeout: float | None = None) -> tuple[End, Allocation]:
        return self._own(await self._ask(FlowAlloc(dst, qos, timeout)))

    async def flow_accept(self, timeout: float | None = None) -> tuple[End, Allocation]:
        return self._own(await self._ask(FlowAccept(timeout)))

    def _own(self, allocation: Allocation) -> tuple[End, Allocation]:
        try:
            try:
                stages = stages_for(allocation, lambda _, name: self.plugins.get("cipher_suites", name))
            except BaseException:
                close_grants(allocation)
                raise
            end = self.packets.attach(allocation.grant.data, allocation.grant.fds)
        except BaseException:
            self._tell(FlowDealloc(allocation.flow_id))
            raise
        path = above(end, stages, allocation)
        self._lower[allocation.flow_id] = end, Ticker(path) if isinstance(path, FrctPipeline) else None
        return path, allocation

    async def flow_dealloc(self, flow_id: int) -> None:
        end, ticker = self._lower.pop(flow_id, (None, None))
        linger = 0.0
        if ticker is not None:
            linger = await ticker.finish()
        if end is not None:
            end.close()
        try:
            await self._ask(FlowDealloc(flow_id, linger))
        except OuroError:
            if not self.stopped:  # the IRM may be what went first
                raise

    # ------------------------------------------------------------ tasks

    def spawn(self, task: Coroutine[Any, Any, None], name: str) -> None:
        if self.stopped:
            task.close()
            return
        running = asyncio.get_running_loop().create_task(self._supervise(task, name), name=f"{self.name}: {name}")
        self._tasks.add(running)
        running.add_done_callback(self._tasks.discard)

    async def _supervise(self, task: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await task
        except asyncio.CancelledError as e:
            if self.stopped:
                raise
            self._fail(name, e)
        except (Exception, SystemExit) as e:
            self._fail(name, e)

    def _fail(self, name: str, error: BaseException) -> None:
        if self.stopped:
            _log.debug("Task %s ended while the IPCP stops: %r", name, error)
            return
        _log.error("Task %s of IPCP %s failed: %r", name, self.name, error, exc_info=error)
        self._failed(f"its task {name} failed: {error!r}")

    def stop(self) -> set[asyncio.Task[None]]:
        """No calls and no tasks any more. Returns the tasks that have yet to end."""
        self.stopped = True
        tasks = self._tasks | self._messages
        for task in tasks:
            task.cancel()
        return tasks

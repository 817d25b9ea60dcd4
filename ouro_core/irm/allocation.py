"""How flows come and go (spec: irmd.md 7; the order of the attempts and the true error codes are ours).

Theory of operation. An allocation to a name tries, in this order:

1. *direct*: a process of this host accepts for the name, or is bound to it and may come to accept within the accept
   window, or a program can be started for it. Both applications get the two ends of one segment; no IPCP is involved.
2. *a layer*: the IPCPs are asked, and the first in the order of listings that knows the name gets the request.

An accept call is a `Waiter`. Whoever has a request for a name takes the first waiter of its queue out of all queues in
one step, so no two requests get the same one, and answers it with an `Allocation` or an error.

OAP (`exchange.py`) has its client's half around the request, and its server's half between taking a waiter and
answering it. Plain exchanges are done in the same step; whatever signs, verifies or exchanges keys is awaited from a
worker, and then three things can happen in between:

* the requester gives up: the accept call goes back into the queues as if nothing had been (`_answering`);
* the accept call gives up, or its process dies: the requester gets an error (`_still_there`). An accept call whose time
  is over while a request is under way for it waits for that a little longer (`LATE`);
* the IPCP goes away: `arrived` looks again before it makes a flow.

Every path that ends early goes through `_end`, which knows what there is to undo.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final

from ..contracts.packets import ClientRef, PacketBroker, State
from ..ipcp.launcher import IpcpHandle
from ..model.capability import Capability
from ..model.errors import (
    AuthenticationFailed,
    CryptError,
    FlowTimeout,
    IpcpError,
    IpcpStateError,
    NotAllocated,
    OuroError,
    OutOfMemory,
    UnknownName,
)
from ..model.flow import MAX_FLOWS, FlowState
from ..model.ipcp_requests import FlowReply, IpcpCapabilities, IpcpFlowAlloc, IpcpFlowDealloc, IpcpFlowJoin, IpcpQuery
from ..model.irm_requests import Allocation, Arrival, FlowAccept, FlowAlloc, FlowArrived, FlowJoin
from ..model.layer import IpcpState
from ..model.log import logger
from ..model.names import check_name, hash_name
from ..model.qos import NP1
from ..model.request import Request
from ..oap import OapResult, Security
from ..plugins import PluginHost
from ..plugins.suites import own_capabilities
from ..rpc.steps import Promise, begin
from .exchange import Exchanges
from .programs import Child, Starter
from .registry import Flow, IpcpRecord, Name, Process, Registry, Segment, Waiter
from .settings import (
    CAPABILITIES_TIMEOUT,
    DEALLOC_TIMEOUT,
    DIRECT_MPL,
    FLOW_ALLOC_TIMEOUT,
    MAX_ACCEPTS_PER_PROCESS,
    MAX_PENDING_PER_NAME,
    QUERY_TIMEOUT,
    IrmSettings,
)

__all__ = ["Allocator"]

log = logger("irmd")
LATE: Final = 4.0
"""Seconds that an accept call may be answered after its time, when a request came before that. Less than applications
wait for an IRMd that is late before they take it for dead."""


class Allocator:
    """Flow allocation of one IRM."""

    def __init__(
        self,
        registry: Registry,
        broker: PacketBroker,
        exchanges: Exchanges,
        plugins: PluginHost,
        starter: Starter,
        settings: IrmSettings,
    ) -> None:
        self._registry = registry
        self._broker = broker
        self._exchanges = exchanges
        self._plugins = plugins
        self._starter = starter
        self._settings = settings
        self._endings: set[asyncio.Future[None]] = set()
        self._segments = itertools.count(MAX_FLOWS)
        self.allocated = 0

    # ------------------------------------------------------------ the requesting side

    def alloc(self, process: Process, request: FlowAlloc) -> Allocation | Awaitable[Allocation]:
        """A flow of `process` to a name. At once, where a process of this host accepts for it just now and nothing slow
        is to be computed.
        """
        check_name(request.dst)
        self._plugins.authorize(request.dst, process.uid, process.pid, False)
        log.debug("Allocating flow for %d to %s (uid %d).", process.pid, request.dst, process.ref.domain.uid)
        work = begin(self._alloc(process, request))
        if isinstance(work, Allocation):
            return work
        return self._within(request.timeout, f'no answer from "{request.dst}"', work)

    async def _alloc(self, process: Process, request: FlowAlloc) -> Allocation:
        security = self._exchanges.security(request.dst)
        nobody: FlowTimeout | None = None
        name = self._served_here(request.dst) if self._settings.direct else None
        if name is not None:
            try:
                waiter = await self._acceptor(name, lambda w: _share(w.process.ref, process.ref))
            except FlowTimeout as e:
                nobody, waiter = e, None
            if waiter is not None:
                return await self._alloc_direct(process, request, security, name, waiter)
        try:
            ipcp = await self._find_layer(request.dst)
        except (UnknownName, IpcpError):
            if nobody is not None:
                raise nobody from None  # a process or program of this host was there for it, and did not accept
            raise
        return await self._alloc_layer(process, request, security, ipcp)

    def _served_here(self, dst: str) -> Name | None:
        """A name that a process of this host is bound to, or that a program can be started for."""
        name = self._registry.names.get(dst)
        return name if name is not None and (name.processes or any(p.auto for p in name.programs)) else None

    async def _alloc_direct(
        self, process: Process, request: FlowAlloc, security: Security, name: Name, waiter: Waiter
    ) -> Allocation:
        peer = ("user", process.uid)
        with self._answering(waiter):
            if security.pqc is not None:
                security = self._exchanges.towards(request.dst, security, own_capabilities(self._plugins))
            context = await self._exchanges.prepare(peer, request, security)
            response, theirs = await self._exchanges.serve(peer, name, waiter, context.request)
            ours = await self._exchanges.complete(peer, context, response)
            _still_there(waiter)
            accepted = self._registry.create_flow(waiter.process, name.name, request.qos, None)
            flow = None
            try:
                flow = self._registry.create_flow(process, name.name, request.qos, None)
                self._join(accepted, flow)
                answer = self._allocated(accepted, DIRECT_MPL, theirs)
                allocation = self._allocated(flow, DIRECT_MPL, ours)
            except BaseException:
                for made in (accepted, flow):
                    if made is not None:
                        self._end(made, 0.0)
                raise
            waiter.result.set_result(answer)
        return allocation

    async def _find_layer(self, dst: str) -> IpcpRecord:
        usable = [i for i in self._registry.sorted_ipcps() if i.state is IpcpState.OPERATIONAL and not i.broadcast]
        if usable and not usable[0].carries and self._registered(usable[0], dst):
            return usable[0]
        tasks = [asyncio.ensure_future(self._knows(ipcp, dst)) for ipcp in usable]
        try:
            for ipcp, task in zip(usable, tasks, strict=True):
                if await task:
                    return ipcp
        finally:
            for task in tasks:
                task.cancel()
        layers = ", ".join(i.info.layer_name for i in usable)
        asked = f"no layer knows it; asked: {layers}" if usable else "there is no layer to ask"
        if dst not in self._registry.names:
            raise UnknownName(f'no process of this host has the name "{dst}", and {asked}')
        raise IpcpError(f'no process of this host accepts flows for "{dst}", and {asked}')

    @staticmethod
    def _registered(ipcp: IpcpRecord, dst: str) -> bool:
        """Whether a layer of this host alone knows a name: what is registered there was registered by us."""
        return dst in ipcp.registered and ipcp.handle is not None and ipcp.layer is not None

    async def _knows(self, ipcp: IpcpRecord, dst: str) -> bool:
        if not ipcp.carries:
            return self._registered(ipcp, dst)
        if ipcp.handle is None or ipcp.layer is None:
            return False
        try:
            async with asyncio.timeout(QUERY_TIMEOUT):
                return (await ipcp.handle.call(IpcpQuery(hash_name(dst, ipcp.layer.hash)))).found
        except (OuroError, TimeoutError):
            return False

    async def probe(self, dst: str) -> Capability:
        """What the node can do that a flow to this name would lead to. UnknownName, IpcpError: nobody knows it."""
        if self._settings.direct and self._served_here(dst) is not None:
            return own_capabilities(self._plugins)
        ipcp = await self._find_layer(dst)
        if ipcp.layer is None:
            raise IpcpError(f"IPCP {ipcp.name} went away")
        return await self._capabilities(ipcp, hash_name(dst, ipcp.layer.hash))

    @staticmethod
    async def _capabilities(ipcp: IpcpRecord, hashed: bytes) -> Capability:
        if ipcp.handle is None:
            raise IpcpError(f"IPCP {ipcp.name} went away")
        try:
            async with asyncio.timeout(CAPABILITIES_TIMEOUT):
                return (await ipcp.handle.call(IpcpCapabilities(hashed))).capabilities
        except (OuroError, TimeoutError) as e:
            log.debug("IPCP %s cannot say what its peer can do: %r", ipcp.name, e)
            return Capability(0)

    async def _alloc_layer(
        self, process: Process, request: FlowAlloc, security: Security, ipcp: IpcpRecord
    ) -> Allocation:
        handle, layer = ipcp.handle, ipcp.layer
        if handle is None or layer is None:
            raise IpcpError(f"IPCP {ipcp.name} went away")
        peer = ("user", process.uid)
        flow = self._registry.create_flow(process, request.dst, request.qos, ipcp)
        try:
            hashed = hash_name(request.dst, layer.hash)
            if security.pqc is not None and self._exchanges.asks_peer(security):
                able = await self._capabilities(ipcp, hashed)
                security = self._exchanges.towards(request.dst, security, able)
            grant = self._segment(flow, ipcp).flow.grant(1) if ipcp.carries else None
            context = await self._exchanges.prepare(peer, request, security)
            try:
                asked = IpcpFlowAlloc(flow.id, hashed, request.qos, context.request, grant)
                reply = await self._ask(flow, handle, asked)
            except CryptError as e:
                raise self._exchanges.refused_by_peer(security, e) from e
            return self._allocated(flow, reply.mpl, await self._exchanges.complete(peer, context, reply.data))
        except BaseException:
            self._end(flow, 0.0)
            raise

    async def _ask(self, flow: Flow, handle: IpcpHandle, request: Request[FlowReply]) -> FlowReply:
        """The IPCP's answer. If we stop waiting for it, the IPCP may have the flow all the same and must be told."""
        flow.at_layer = True
        try:
            return await handle.call(request)
        except OuroError as e:
            flow.at_layer = False
            if isinstance(e, CryptError | AuthenticationFailed):
                log.warning("Allocation rejected: %s (%d).", flow.name, e.code)
            raise

    async def join(self, process: Process, request: FlowJoin) -> Allocation:
        """A flow of `process` to everybody in a broadcast layer."""
        check_name(request.layer, "layer")
        return await self._within(
            request.timeout, f'no answer from layer "{request.layer}"', self._join_layer(process, request)
        )

    async def _join_layer(self, process: Process, request: FlowJoin) -> Allocation:
        ipcp = self._broadcast_member(request.layer)
        handle, layer = ipcp.handle, ipcp.layer
        assert handle is not None
        assert layer is not None
        flow = self._registry.create_flow(process, request.layer, NP1, ipcp)
        try:
            grant = self._segment(flow, ipcp).flow.grant(1)
            hashed = hash_name(layer.name, layer.hash)
            reply = await self._ask(flow, handle, IpcpFlowJoin(flow.id, hashed, grant))
            return self._allocated(flow, reply.mpl, OapResult(b"", b""))
        except BaseException:
            self._end(flow, 0.0)
            raise

    def _broadcast_member(self, layer: str) -> IpcpRecord:
        for ipcp in self._registry.sorted_ipcps():
            if ipcp.broadcast and ipcp.handle is not None and ipcp.layer is not None and ipcp.layer.name == layer:
                return ipcp
        raise IpcpError(f'no IPCP of this host is in a broadcast layer "{layer}"; see: ouro ipcp list')

    # ------------------------------------------------------------ the accepting side

    def accept(self, process: Process, request: FlowAccept) -> Promise[Allocation]:
        """The next flow for a name that `process` is bound to."""
        if len(process.waiters) >= MAX_ACCEPTS_PER_PROCESS:
            raise OutOfMemory(f"process {process.pid} has {len(process.waiters)} accept calls under way already")
        loop = asyncio.get_running_loop()
        waiter = Waiter(process, loop.create_future(), request.data)
        self._registry.wait(waiter)
        waiter.result.add_done_callback(lambda _: self._registry.withdraw(waiter))
        if request.timeout is not None:
            timer = loop.call_later(request.timeout, self._expire, waiter, request.timeout)
            waiter.result.add_done_callback(lambda _: timer.cancel())
        return Promise(waiter.result, partial(self._too_late, process))

    def _too_late(self, process: Process, allocation: Allocation) -> None:
        with contextlib.suppress(NotAllocated):
            self.dealloc(process, allocation.flow_id, 0.0)

    def _expire(self, waiter: Waiter, timeout: float) -> None:
        """The time of an accept call is over."""
        if waiter.result.done():
            return
        if waiter in waiter.process.waiters or waiter.last:
            why = "" if waiter.process.names else "; the process is bound to no name: see ouro_core.announce, ouro bind"
            waiter.result.set_exception(FlowTimeout(f"no flow request came within {timeout:g} s{why}"))
        else:
            waiter.last = True
            asyncio.get_running_loop().call_later(LATE, self._expire, waiter, timeout)

    def arrived(self, ipcp: IpcpRecord, request: FlowArrived) -> Arrival | Awaitable[Arrival]:
        """A flow request came to an IPCP over its layer."""
        return begin(self._arrived(ipcp, request))

    async def _arrived(self, ipcp: IpcpRecord, request: FlowArrived) -> Arrival:
        if ipcp.layer is None:
            raise IpcpStateError(f"IPCP {ipcp.name} is in no layer")
        name = self._registry.name_of_hash(request.hash, ipcp.layer.hash)
        waiter = await self._acceptor(name)
        assert waiter is not None
        with self._answering(waiter):
            response, result = await self._exchanges.serve((ipcp.id, name.name), name, waiter, request.data)
            _still_there(waiter)
            if ipcp.handle is None:
                raise IpcpError(f"IPCP {ipcp.name} went away while a flow request of its layer was answered")
            flow = self._registry.create_flow(waiter.process, name.name, request.qos, ipcp)
            try:
                arrival = self._arrival(flow, request, response)
                answer = self._allocated(flow, request.mpl, result)
            except BaseException:
                self._end(flow, 0.0)
                raise
            flow.at_layer = arrival.grant is not None
            waiter.result.set_result(answer)
        return arrival

    def _arrival(self, flow: Flow, request: FlowArrived, response: bytes) -> Arrival:
        ipcp = flow.provider
        assert ipcp is not None
        if not request.joins:
            return Arrival(flow.id, response, self._segment(flow, ipcp).flow.grant(1))
        other = self._registry.flows.get(request.joins)
        if other is None or other.provider is not ipcp or other.state is not FlowState.ALLOC_PENDING:
            raise NotAllocated(f"flow {request.joins} does not wait for an answer of IPCP {ipcp.name}")
        if _share(flow.owner.ref, other.owner.ref):
            self._join(flow, other)
            return Arrival(flow.id, response)
        mine, theirs = self._segment(flow, ipcp), self._segment(other, ipcp)
        return Arrival(flow.id, response, mine.flow.grant(1), theirs.flow.grant(1))

    async def _acceptor(self, name: Name, usable: Callable[[Waiter], bool] | None = None) -> Waiter | None:
        """A waiter of a name, reserved. None: the first one is not `usable`. FlowTimeout: nobody accepted in time."""
        loop = asyncio.get_running_loop()
        may_start = any(p.auto for p in name.programs)
        child: Child | None = None
        deadline = loop.time() + (self._settings.accept_window if name.processes or not may_start else 0.0)
        while True:
            while (first := name.first) is not None and first.result.done():
                self._registry.withdraw(first)
            if first is not None:
                if usable is not None and not usable(first):
                    return None
                return self._registry.take(name)
            if child is not None and child.failure:
                raise FlowTimeout(child.failure)
            if loop.time() >= deadline:
                if not may_start:
                    raise FlowTimeout(f'no process accepted a flow for "{name.name}" in time')
                may_start = False
                child = self._starter.start(name)
                deadline = loop.time() + self._settings.start_window
                continue
            await self._waiter_comes(name, deadline)

    async def _waiter_comes(self, name: Name, deadline: float) -> None:
        if len(name.waiting) >= MAX_PENDING_PER_NAME:
            raise OutOfMemory(f'{len(name.waiting)} flow requests wait for "{name.name}" already')
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        name.waiting.append(future)
        timer = loop.call_at(deadline, _settle, future)
        try:
            await future
        finally:
            timer.cancel()
            with contextlib.suppress(ValueError):
                name.waiting.remove(future)

    @contextlib.contextmanager
    def _answering(self, waiter: Waiter) -> Iterator[None]:
        """For work on behalf of an accept call that was taken out of the queues: what fails is its error too, but for a
        requester that gives up.
        """
        try:
            yield
        except BaseException as e:
            if not waiter.result.done():
                self._failed(waiter, e)
            raise

    def _failed(self, waiter: Waiter, why: BaseException) -> None:
        """Nothing came of a request: tell the accept call, or let it wait for the next one."""
        error = why if isinstance(why, OuroError) else IpcpError(f"the allocation failed: {why!r}")
        if isinstance(why, asyncio.CancelledError):
            try:
                if not waiter.last:
                    self._registry.wait(waiter)
                    return
                error = FlowTimeout("the flow request that came in time was withdrawn")
            except OuroError as e:
                error = e
        waiter.result.set_exception(error)

    # ------------------------------------------------------------ flows that are there

    def _segment(self, flow: Flow, ipcp: IpcpRecord) -> Segment:
        """Between a flow's owner (end 0) and its IPCP (end 1)."""
        flow.segment = Segment(self._broker.create_flow(flow.id, flow.owner.ref, ipcp.process.ref))
        return flow.segment

    def _join(self, accepted: Flow, requested: Flow) -> None:
        """One segment for both applications: end 0 is the accepting one's."""
        # not the id of either flow: that is free again when its own end is deallocated, the segment lives on
        made = self._broker.create_flow(next(self._segments), accepted.owner.ref, requested.owner.ref)
        accepted.segment = requested.segment = Segment(made, 2)
        requested.side = 1
        accepted.peer, requested.peer = requested, accepted
        requested.at_layer = False  # an IPCP has no end of flows that it joins, and forgets them with its reply

    def _allocated(self, flow: Flow, mpl: int, result: OapResult) -> Allocation:
        if flow.state is not FlowState.ALLOC_PENDING or flow.segment is None:
            raise IpcpError("the application or the IPCP went away while the flow was allocated")
        suite, plugin = self._cipher(result.cipher_nid)
        grant = flow.segment.flow.grant(flow.side, flow.id)
        flow.mpl = mpl
        flow.state = FlowState.ALLOCATED
        self.allocated += 1
        self._plugins.observe("ouro_flow_allocated", flow=flow.info)
        return Allocation(
            flow.id, grant, flow.qos, mpl, flow.name, flow.provider is None,
            result.data, result.cipher_nid, result.key or b"", suite, plugin, result.id,
        )  # fmt: skip

    def _cipher(self, nid: int) -> tuple[str, str]:
        """Name and plugin of a cipher, for the process that has to load it."""
        if not nid:
            return "", ""
        name = self._exchanges.suites.ciphers.numbered(nid).name
        return name, self._plugins.provider("cipher_suites", name)

    def dealloc(self, process: Process, flow_id: int, linger: float) -> None:
        """The application gave a flow up. NotAllocated."""
        flow = self._registry.flow(process, flow_id)
        log.debug("Deallocating flow %d for process %d (timeout: %d s).", flow.id, process.pid, linger)
        self._end(flow, linger)

    def closed(self, ipcp: IpcpRecord, flow_id: int) -> None:
        """The layer ended a flow; its application has to give it up still. Unknown ids are ignored."""
        flow = self._registry.flows.get(flow_id)
        if flow is not None and flow.provider is ipcp and flow.segment is not None:
            flow.segment.flow.down(State.CLOSED)

    def abandon(self, process: Process) -> None:
        """All flows of a process that is gone."""
        for flow in list(process.flows.values()):
            self._end(flow, 0.0, State.DEAD | State.DOWN)

    def provider_gone(self, ipcp: IpcpRecord) -> None:
        """All flows over an IPCP that is gone: for good, so that nobody waits for them to come up again."""
        for flow in list(ipcp.flows):
            if flow.segment is not None:
                flow.segment.flow.down(State.DEAD | State.DOWN)

    def _end(self, flow: Flow, linger: float, how: State = State.CLOSED) -> None:
        """Whatever became of it: the flow is its owner's no more. `how` its other end sees that. Idempotent."""
        if flow.state in (FlowState.DEALLOC_PENDING, FlowState.DEALLOCATED):
            return
        was_allocated = flow.state is FlowState.ALLOCATED
        self._registry.disown(flow)
        if flow.segment is not None:
            flow.segment.flow.down(how)
        if was_allocated:
            self._plugins.observe("ouro_flow_deallocated", flow=flow.info)
        ipcp = flow.provider
        if flow.at_layer and ipcp is not None and ipcp.handle is not None:
            self._end_at_layer(flow, ipcp.handle, linger)
        else:
            self._gone(flow)

    def _end_at_layer(self, flow: Flow, handle: IpcpHandle, linger: float) -> None:
        """The IPCP is told, and the flow gone when it has answered, or is late. No task: most flows end like this."""
        limit = linger + DEALLOC_TIMEOUT
        ending = asyncio.ensure_future(handle.call(IpcpFlowDealloc(flow.id, linger)))
        timer = asyncio.get_running_loop().call_later(limit, ending.cancel)
        self._endings.add(ending)
        ending.add_done_callback(partial(self._ended_at_layer, flow, timer, limit))

    def _ended_at_layer(
        self, flow: Flow, timer: asyncio.TimerHandle, limit: float, ending: "asyncio.Future[None]"
    ) -> None:
        self._endings.discard(ending)
        timer.cancel()
        name = flow.provider.name if flow.provider is not None else ""
        if ending.cancelled():
            if timer.when() <= asyncio.get_running_loop().time():
                log.warning("IPCP %s dealloc timed out after %d s.", name, limit)
        elif (error := ending.exception()) is not None:
            level = logging.DEBUG if isinstance(error, OuroError) else logging.ERROR
            log.log(level, "IPCP %s could not deallocate flow %d: %s", name, flow.id, error)
        self._gone(flow)

    def _gone(self, flow: Flow) -> None:
        segment, flow.segment = flow.segment, None
        self._registry.remove_flow(flow)
        if segment is not None:
            segment.release()
        log.debug("Completed deallocation of flow_id %d by process %d.", flow.id, flow.owner.pid)

    async def close(self) -> None:
        """Wait for nothing any more: what is being ended has ended."""
        for ending in list(self._endings):
            ending.cancel()
        await asyncio.gather(*self._endings, return_exceptions=True)

    async def _within(self, timeout: float | None, what: str, work: Awaitable[Allocation]) -> Allocation:
        limit = FLOW_ALLOC_TIMEOUT if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                return await work
        except FlowTimeout:
            raise  # somebody else's time was over, and it says whose
        except TimeoutError:
            raise FlowTimeout(f"{what} within {limit:g} s") from None


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _share(a: ClientRef, b: ClientRef) -> bool:
    """Whether both clients can have one pool."""
    try:
        a.domain.poorer(b.domain)
    except ValueError:
        return False
    return True


def _still_there(waiter: Waiter) -> None:
    """IpcpError when the accept call that a request is for is over."""
    if waiter.result.done():
        raise IpcpError("the application that was to accept the flow gave up, or went away")

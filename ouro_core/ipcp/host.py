"""What stands around one IPCP: its state, the checks of every request, faults, and its end.

Theory of operation. `answer` takes the requests of `model.ipcp_requests`, from a socket or a call. One that the type
does not implement, the state does not allow or that makes no sense is refused before the IPCP sees it (spec: shims.md
1.4, "ours"). Each of the others runs in a task of its own, so that the IPCP can be ended under it; a caller that is
cancelled does not wait for the IPCP to notice. Whatever the IPCP raises stays here: an `OuroError` is the answer,
anything else becomes IpcpError and a line in the log.

States: INIT while it is made, BOOT, OPERATIONAL after `bootstrap` or `enroll`, SHUTDOWN, and NULL when all is freed.
"""

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from ..contracts.ipcp import Ipcp, Registrations
from ..contracts.packets import PacketClient
from ..model.capability import Capability
from ..model.config import parse_config
from ..model.errors import InvalidArgument, IpcpError, IpcpStateError, NotSupported, OuroError
from ..model.flow import FlowState, Grant
from ..model.ipcp_requests import (
    FlowReply,
    Found,
    IpcpAsk,
    IpcpBootstrap,
    IpcpCapabilities,
    IpcpConnect,
    IpcpDisconnect,
    IpcpEnroll,
    IpcpFlowAlloc,
    IpcpFlowDealloc,
    IpcpFlowJoin,
    IpcpQuery,
    IpcpReg,
    IpcpShutdown,
    IpcpUnreg,
)
from ..model.irm_requests import PeerCapabilities, RibList, RibNames, RibRead, RibText, SetDebug
from ..model.layer import NOT_ENROLLED, IpcpState, LayerInfo
from ..model.log import logger, set_debug
from ..model.names import check_name
from ..model.request import AsyncCaller, Request
from ..rib import to_plain
from ..rpc.fds import close_fds, close_grants
from ..rpc.steps import Promise
from .context import Context
from .flows import FlowRecord
from .launcher import IpcpStart

__all__ = ["IpcpHost"]

_log = logger("ipcpd/ipcp")


class _Command(NamedTuple):
    """How a request is dealt with: the operation of `Ipcp` it needs, the state, and who does it."""

    operation: str
    state: IpcpState
    run: Callable[["IpcpHost", Any], Awaitable[Any]]


class IpcpHost:
    """One IPCP. `ended` is called once, with the reason, when everything is freed. IpcpError: it cannot be made.

    `packets` belongs to the host from here on. To be used in the loop it was made in. `failed`: it ends because one of
    its tasks failed.
    """

    def __init__(
        self,
        cls: type[Ipcp],
        start: IpcpStart,
        packets: PacketClient,
        plugins: Registrations,
        irm: AsyncCaller,
        ended: Callable[[str], None],
        rng: random.Random | None = None,
    ) -> None:
        self.state = IpcpState.INIT
        self.layer: LayerInfo | None = None
        self.context = Context(start, packets, plugins, irm, self._failed, rng or random.Random())
        self._cls = cls
        self._name = start.name
        self._packets = packets
        self._flows = self.context.flows
        self.failed = False
        self._ended: Callable[[str], None] | None = ended
        self._entering = False
        self._requests: set[asyncio.Task[Any]] = set()
        self._stopping: asyncio.Task[None] | None = None
        rib = self.context.rib
        rib.publish("info", self._info)
        rib.publish("flows", self._flows.counters)
        rib.publish("packets", packets.counters)
        try:
            self._ipcp = cls(self.context)
        except OuroError:
            packets.close()
            raise
        except (Exception, SystemExit) as e:
            packets.close()
            raise self._fault("being made", e) from e
        self.state = IpcpState.BOOT
        _log.info("IPCP %s %d initialized.", cls.name, os.getpid())

    def _info(self) -> Mapping[str, object]:
        layer = self.layer
        return {
            "name": self._name,
            "type": self._cls.name,
            "state": self.state.name.lower(),
            "layer": layer.name if layer else NOT_ENROLLED,
            "hash": layer.hash.name if layer else "",
        }

    # ------------------------------------------------------------ requests

    def answer(self, request: Request[Any]) -> Any:
        """The reply, or an awaitable of it. Descriptors of grants in the request are taken over."""
        command = _COMMANDS.get(type(request))
        if command is not None:
            return self._run(command, request)
        if isinstance(request, IpcpShutdown):
            return self.stop()
        if isinstance(request, RibRead):
            return RibText(self._look(self.context.rib.json, request.path))
        if isinstance(request, RibList):
            return RibNames(self._look(self.context.rib.names, request.path))
        if isinstance(request, SetDebug):
            return set_debug(request.components)
        close_grants(request)
        raise InvalidArgument(f"{type(request).__name__} is no request for an IPCP")

    def _look(self, read: Callable[[str], Any], path: str) -> Any:
        try:
            return read(path)
        except OuroError:
            raise
        except (Exception, SystemExit) as e:
            raise self._fault(f'reading "{path}" in its RIB', e) from e

    def _run(self, command: _Command, request: Request[Any]) -> Promise[Any]:
        """In a task of its own, which ends with the IPCP; who asked then hears of that, and waits for nothing."""
        try:
            self._check(command, request)
        except OuroError:
            close_grants(request)
            raise
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        task = loop.create_task(self._execute(command, request, answer))
        self._requests.add(task)
        task.add_done_callback(partial(self._executed, answer))
        answer.add_done_callback(lambda answer: task.cancel() if answer.cancelled() else None)
        return Promise(answer, lambda _: None)

    async def _execute(self, command: _Command, request: Request[Any], answer: "asyncio.Future[Any]") -> None:
        try:
            value = await self._result(command, request)
        except OuroError as e:
            if not answer.done():
                answer.set_exception(e)
        else:
            if not answer.done():
                answer.set_result(value)

    async def _result(self, command: _Command, request: Request[Any]) -> Any:
        try:
            return await command.run(self, request)
        except OuroError:
            raise
        except asyncio.CancelledError as e:
            if _cancelled():
                raise
            raise self._fault(command.operation, e) from e
        except KeyboardInterrupt:
            raise
        except BaseException as e:  # SystemExit too, and what test runners and event loops derive from BaseException
            raise self._fault(command.operation, e) from e

    def _executed(self, answer: "asyncio.Future[Any]", task: "asyncio.Task[None]") -> None:
        self._requests.discard(task)
        if not answer.done():  # the task was cancelled, perhaps before it began
            answer.set_exception(IpcpError(f"IPCP {self._name} ended before it could answer"))

    def _fault(self, what: str, error: BaseException) -> IpcpError:
        _log.error("IPCP %s failed in %s: %r", self._name, what, error, exc_info=error)
        return IpcpError(f"IPCP {self._name} of type {self._cls.name} failed in {what}: {error!r}; its log says where")

    def _check(self, command: _Command, request: Request[Any]) -> None:
        operation = command.operation
        if operation != "capabilities" and getattr(self._cls, operation) is getattr(Ipcp, operation):
            raise NotSupported(f"an IPCP of type {self._cls.name} has no operation {operation}")
        if self.layer is not None and command.state is IpcpState.BOOT:
            raise IpcpStateError(f"IPCP {self._name} is already in layer {self.layer.name}")
        if self.state is not command.state:
            raise IpcpStateError(f"IPCP {self._name} is in state {self.state}; {operation} needs {command.state}")
        hash: bytes | None = getattr(request, "hash", None)
        if hash is not None and self.layer is not None and len(hash) != self.layer.hash.size:
            raise InvalidArgument(
                f"a hash of {len(hash)} bytes; layer {self.layer.name} uses {self.layer.hash.name}, "
                f"which has {self.layer.hash.size}"
            )
        if isinstance(request, IpcpFlowAlloc) and request.grant is None and self._cls.carries:
            raise InvalidArgument(f"flow {request.flow_id} came without a grant, but type {self._cls.name} needs one")

    # ------------------------------------------------------------ layers

    async def _bootstrap(self, request: IpcpBootstrap) -> LayerInfo:
        check_name(request.layer.name, "the name of the layer")
        config: Any = parse_config(self._cls.Config, request.options)
        _log.info("Bootstrapping...")
        return await self._enter("bootstrap", self._ipcp.bootstrap, request.layer, config)

    async def _enroll(self, request: IpcpEnroll) -> LayerInfo:
        _log.info("Enrolling with %s...", request.dst)
        return await self._enter("enroll", self._ipcp.enroll, request.dst)

    async def _enter(self, word: str, operation: Callable[..., Awaitable[LayerInfo]], *arguments: Any) -> LayerInfo:
        if self._entering:
            raise IpcpStateError(f"IPCP {self._name} is entering a layer already; wait for the result")
        self._entering = True
        try:
            layer = await operation(*arguments)
        except OuroError as e:
            _log.error("Failed to %s: %s", word, e)
            raise
        finally:
            self._entering = False
        if not isinstance(layer, LayerInfo):
            raise TypeError(f"{word} returned {layer!r} instead of a LayerInfo")
        if self.state is not IpcpState.BOOT:
            raise IpcpStateError(f"IPCP {self._name} is shutting down")
        self.layer, self.state = layer, IpcpState.OPERATIONAL
        _log.info("Finished %s in %s.", {"bootstrap": "bootstrapping", "enroll": "enrolling"}[word], layer.name)
        _log.info("  type: %s", self._cls.name)
        _log.info("  hash: %s [%d bytes]", layer.hash.name, layer.hash.size)
        return layer

    async def _connect(self, request: IpcpConnect) -> None:
        self._check_component(request.component)
        await self._ipcp.connect(request.dst, request.component, request.qos)

    async def _disconnect(self, request: IpcpDisconnect) -> None:
        self._check_component(request.component)
        await self._ipcp.disconnect(request.dst, request.component)

    def _check_component(self, component: str) -> None:
        if component not in self._cls.components:
            known = ", ".join(self._cls.components) or "none"
            raise InvalidArgument(f'type {self._cls.name} has no component "{component}"; known: {known}')

    async def _ask(self, request: IpcpAsk) -> RibText:
        return RibText(json.dumps(to_plain(await self._ipcp.ask(request.component, request.words))))

    # ------------------------------------------------------------ names

    async def _reg(self, request: IpcpReg) -> None:
        _log.info("Registering %s...", _short(request.hash))
        await self._ipcp.reg(request.hash)
        _log.info("Finished registering %s.", _short(request.hash))

    async def _unreg(self, request: IpcpUnreg) -> None:
        _log.info("Unregistering %s...", _short(request.hash))
        await self._ipcp.unreg(request.hash)
        _log.info("Finished unregistering %s.", _short(request.hash))

    async def _query(self, request: IpcpQuery) -> Found:
        return Found(bool(await self._ipcp.query(request.hash)))

    async def _capabilities(self, request: IpcpCapabilities) -> PeerCapabilities:
        return PeerCapabilities(Capability(await self._ipcp.capabilities(request.hash)))

    # ------------------------------------------------------------ flows

    async def _flow_alloc(self, request: IpcpFlowAlloc) -> FlowReply:
        _log.debug("Allocating flow %d to %s.", request.flow_id, _short(request.hash))
        record = await self._open(request.flow_id, request.grant)
        reply = await self._request(record, self._ipcp.flow_alloc(record.flow, request.hash, request.qos, request.data))
        _log.debug("Finished allocating flow %d to %s.", request.flow_id, _short(request.hash))
        return reply

    async def _flow_join(self, request: IpcpFlowJoin) -> FlowReply:
        record = await self._open(request.flow_id, request.grant)
        return await self._request(record, self._ipcp.flow_join(record.flow, request.hash))

    async def _open(self, flow_id: int, grant: Grant | None) -> FlowRecord:
        try:
            await self._flows.vacant(flow_id)
        except BaseException:
            close_fds(grant.fds if grant else ())
            raise
        return self._flows.open(flow_id, grant, FlowState.ALLOC_PENDING)

    async def _request(self, record: FlowRecord, request: Awaitable[FlowReply]) -> FlowReply:
        try:
            reply = await request
            if not isinstance(reply, FlowReply):
                raise TypeError(f"{reply!r} was returned instead of a FlowReply")
        except BaseException:
            self._flows.release(record)
            raise
        record.allocated()
        if not record.ends:
            self._flows.release(record)  # both applications were joined, and do without us from now on
        return reply

    async def _flow_dealloc(self, request: IpcpFlowDealloc) -> None:
        record = await self._flows.allocated(request.flow_id)
        _log.debug("Deallocating flow %d.", request.flow_id)
        record.closing()
        try:
            await self._ipcp.flow_dealloc(record.flow, request.linger)
        finally:
            self._flows.release(record)
        _log.debug("Finished deallocating flow %d.", request.flow_id)

    # ------------------------------------------------------------ end

    def _failed(self, reason: str) -> None:
        self.failed = True
        self.end(reason)

    async def stop(self, reason: str = "it was shut down") -> None:
        """Flows go down, tasks are cancelled, the IPCP stops. Returns when that is over."""
        if self.state is IpcpState.NULL:
            return
        try:
            await asyncio.shield(self.end(reason))
        except asyncio.CancelledError:
            if _cancelled():
                raise  # otherwise it was aborted, and is gone all the same

    def end(self, reason: str) -> asyncio.Task[None]:
        """Begin to stop, unless that has begun already."""
        if self._stopping is None:
            self.state = IpcpState.SHUTDOWN
            self._stopping = asyncio.get_running_loop().create_task(self._stop(reason))
        return self._stopping

    async def _stop(self, reason: str) -> None:
        _log.info("IPCP %d shutting down.", os.getpid())
        tasks = self._silence()
        if tasks:
            await asyncio.wait(tasks)
        try:
            await self._ipcp.stop()
        except (Exception, SystemExit, asyncio.CancelledError) as e:
            if _cancelled():
                raise
            self._fault("stop", e)
        self._free(reason)

    def _silence(self) -> set[asyncio.Task[Any]]:
        self._flows.ending = True
        for record in self._flows:
            record.down()
        for task in self._requests:
            task.cancel()
        return self._requests | self.context.stop()

    def abort(self, reason: str) -> None:
        """End it without asking the IPCP. Nothing happens when it has ended."""
        if self.state is not IpcpState.NULL:
            self.state = IpcpState.SHUTDOWN
            self._silence()
            if self._stopping is not None:
                self._stopping.cancel()
            self._free(reason)

    def _free(self, reason: str) -> None:
        self.state = IpcpState.NULL
        try:
            self._packets.close()  # with all movers, so the ends are free
        except Exception as e:
            self._fault("closing its packet client", e)
        for record in self._flows:
            self._flows.release(record)
        _log.info("IPCP %d out.", os.getpid())
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(reason)


def _cancelled() -> bool:
    """Whether somebody cancelled this task; otherwise a CancelledError is just an exception of the code it runs."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _short(hash: bytes) -> str:
    return hash[:4].hex()


_COMMANDS: Final[Mapping[type, _Command]] = {
    IpcpBootstrap: _Command("bootstrap", IpcpState.BOOT, IpcpHost._bootstrap),
    IpcpEnroll: _Command("enroll", IpcpState.BOOT, IpcpHost._enroll),
    IpcpReg: _Command("reg", IpcpState.OPERATIONAL, IpcpHost._reg),
    IpcpUnreg: _Command("unreg", IpcpState.OPERATIONAL, IpcpHost._unreg),
    IpcpQuery: _Command("query", IpcpState.OPERATIONAL, IpcpHost._query),
    IpcpCapabilities: _Command("capabilities", IpcpState.OPERATIONAL, IpcpHost._capabilities),
    IpcpFlowAlloc: _Command("flow_alloc", IpcpState.OPERATIONAL, IpcpHost._flow_alloc),
    IpcpFlowJoin: _Command("flow_join", IpcpState.OPERATIONAL, IpcpHost._flow_join),
    IpcpFlowDealloc: _Command("flow_dealloc", IpcpState.OPERATIONAL, IpcpHost._flow_dealloc),
    IpcpConnect: _Command("connect", IpcpState.OPERATIONAL, IpcpHost._connect),
    IpcpDisconnect: _Command("disconnect", IpcpState.OPERATIONAL, IpcpHost._disconnect),
    IpcpAsk: _Command("ask", IpcpState.OPERATIONAL, IpcpHost._ask),
}

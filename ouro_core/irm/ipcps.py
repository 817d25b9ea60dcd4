"""The IPCPs of an IRM: made, given to layers, asked, ended (spec: irmd.md 7.6, 8)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..contracts.ipcp import Ipcp
from ..contracts.packets import ClientRef, PacketBroker
from ..ipcp.launcher import IpcpHandle, IpcpStart, Launcher
from ..model.errors import Exists, FlowTimeout, InvalidArgument, IpcpError, OuroError
from ..model.ipcp_requests import (
    IpcpAsk,
    IpcpBootstrap,
    IpcpConnect,
    IpcpDisconnect,
    IpcpEnroll,
    IpcpReg,
    IpcpUnreg,
)
from ..model.irm_requests import AskIpcp, BootstrapIpcp, ConnectIpcp, DisconnectIpcp, EnrollIpcp, RibText, SetDebug
from ..model.layer import IpcpState, LayerInfo
from ..model.log import logger
from ..model.names import check_name, hash_name
from ..model.request import AsyncCaller, Request
from ..plugins import PluginHost
from .registry import IpcpRecord, Process, Registry
from .settings import ASK_TIMEOUT, BOOTSTRAP_TIMEOUT, CONNECT_TIMEOUT, ENROLL_TIMEOUT, REG_TIMEOUT, STOP_TIMEOUT

__all__ = ["IpcpManager"]

R = TypeVar("R")
log = logger("irmd/ipcp")


class IpcpManager:
    """Life and control of IPCPs. `caller_for` gives each the IRM as it may see it; `gone` cleans up after it."""

    def __init__(
        self,
        registry: Registry,
        broker: PacketBroker,
        launcher: Launcher,
        plugins: PluginHost,
        system: str,
        caller_for: Callable[[IpcpRecord], AsyncCaller],
        gone: Callable[[IpcpRecord], None],
    ) -> None:
        self._registry = registry
        self._broker = broker
        self._launcher = launcher
        self._plugins = plugins
        self._system = system
        self._caller_for = caller_for
        self._gone = gone
        self._coming: set[str] = set()
        self.created = 0

    async def create(self, type_name: str, name: str, ref: ClientRef) -> IpcpRecord:
        """A new IPCP in state BOOT. IpcpTypeError lists the known types. Exists: the name is taken, unlike in the
        prototype, where nobody could tell one from the other.
        """
        check_name(name, "IPCP name")
        if "/" in name:
            raise InvalidArgument(f'an IPCP cannot be called "{name}": a slash parts the words of RIB paths')
        if any(other.name == name for other in self._registry.ipcps.values()) or name in self._coming:
            raise Exists(f'there is an IPCP called "{name}" already; see: ouro ipcp list')
        cls: type[Ipcp] = self._plugins.get("ipcp_types", type_name)
        type_name = cls.name  # it may have been an alias
        record = IpcpRecord(Process(ref, 0, 0, name), type_name, name, broadcast=cls.broadcast, carries=cls.carries)
        start = IpcpStart(ref.id, type_name, name, self._system, self._broker.admit(ref))
        ended: list[str] = []

        def on_end(reason: str) -> None:
            ended.append(reason)
            if record.handle is not None:
                self._ended(record, reason)

        self._coming.add(name)
        try:
            handle = await self._launcher.launch(start, self._caller_for(record), on_end)
            if ended:
                raise IpcpError(f"IPCP {name} of type {type_name} ended at once: {ended[0]}")
        except BaseException:
            self._broker.leave(ref, died=True)
            raise
        finally:
            self._coming.discard(name)
        record.handle = handle
        record.process.pid = handle.pid
        self._registry.add_ipcp(record)
        self.created += 1
        self._enter(record, IpcpState.BOOT)
        log.info("Created IPCP %d.", handle.pid)
        return record

    async def destroy(self, record: IpcpRecord) -> None:
        """End it; returns when it is gone."""
        handle = self._handle(record)
        self._enter(record, IpcpState.SHUTDOWN)
        await handle.stop(STOP_TIMEOUT)
        if record.handle is not None:
            self._ended(record, "destroyed")

    async def bootstrap(self, record: IpcpRecord, request: BootstrapIpcp) -> LayerInfo:
        """Found a layer."""
        check_name(request.layer.name, "layer name")
        layer = await self._ask(record, "bootstrap", IpcpBootstrap(request.layer, request.options), BOOTSTRAP_TIMEOUT)
        self._operational(record, layer)
        log.info("Bootstrapped IPCP %d.", record.process.pid)
        return layer

    async def enroll(self, record: IpcpRecord, request: EnrollIpcp) -> LayerInfo:
        """Become a member of a layer."""
        check_name(request.dst, "destination")
        layer = await self._ask(record, "enroll", IpcpEnroll(request.dst), ENROLL_TIMEOUT)
        self._operational(record, layer)
        log.info("Enrolled IPCP %d in layer %s.", record.process.pid, layer.name)
        return layer

    async def connect(self, record: IpcpRecord, request: ConnectIpcp) -> None:
        """Connect a component with that of another member."""
        await self._ask(record, "connect", IpcpConnect(request.dst, request.component, request.qos), CONNECT_TIMEOUT)
        record.connected.add((request.dst, request.component))

    async def disconnect(self, record: IpcpRecord, request: DisconnectIpcp) -> None:
        """The reverse."""
        await self._ask(record, "disconnect", IpcpDisconnect(request.dst, request.component), CONNECT_TIMEOUT)
        record.connected.discard((request.dst, request.component))

    async def ask(self, record: IpcpRecord, request: AskIpcp) -> RibText:
        """Put a question to a component."""
        return await self._ask(record, "ask", IpcpAsk(request.component, request.words), ASK_TIMEOUT)

    async def reg(self, record: IpcpRecord, name: str) -> None:
        """Make a name reachable in the IPCP's layer."""
        await self._ask(record, "reg", IpcpReg(self._hash(record, name)), REG_TIMEOUT)
        record.registered.add(name)

    async def unreg(self, record: IpcpRecord, name: str) -> None:
        """The reverse."""
        await self._ask(record, "unreg", IpcpUnreg(self._hash(record, name)), REG_TIMEOUT)
        record.registered.discard(name)

    async def set_debug(self, request: SetDebug) -> None:
        """Pass it on to all of them, and to those to come. One that does not answer is no reason to fail."""
        self._launcher.debug = request.components
        asked = (self._ask(record, "set_debug", request, REG_TIMEOUT) for record in self._registry.sorted_ipcps())
        await asyncio.gather(*asked, return_exceptions=True)

    async def close(self) -> None:
        """End all of them."""
        records = list(self._registry.ipcps.values())
        await asyncio.gather(*(self.destroy(record) for record in records), return_exceptions=True)
        await self._launcher.close()

    # ------------------------------------------------------------ parts

    def _handle(self, record: IpcpRecord) -> IpcpHandle:
        if record.handle is None:
            raise IpcpError(f"IPCP {record.name} is gone")
        return record.handle

    async def _ask(self, record: IpcpRecord, what: str, request: Request[R], timeout: float) -> R:
        answer: Awaitable[R] = self._handle(record).call(request)
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except FlowTimeout:
            raise  # somebody else's time was over, and it says whose
        except TimeoutError:
            log.error("IPCP %s timed out after %d ms.", what, timeout * 1000)
            raise IpcpError(f"IPCP {record.name} did not {what} within {timeout:g} s") from None

    def _hash(self, record: IpcpRecord, name: str) -> bytes:
        if record.layer is None:
            raise IpcpError(f"IPCP {record.name} is in no layer yet; bootstrap or enroll it first")
        return hash_name(name, record.layer.hash)

    def _operational(self, record: IpcpRecord, layer: LayerInfo) -> None:
        record.layer = layer
        self._enter(record, IpcpState.OPERATIONAL)

    def _enter(self, record: IpcpRecord, state: IpcpState) -> None:
        record.state = state
        self._plugins.observe("ouro_ipcp_state_changed", ipcp=record.info)

    def _ended(self, record: IpcpRecord, reason: str) -> None:
        level = log.info if record.state is IpcpState.SHUTDOWN else log.error
        level("IPCP %d (%s) ended: %s.", record.process.pid, record.name, reason)
        record.handle = None
        try:
            self._gone(record)
        except OuroError:
            log.exception("Could not clean up after IPCP %s.", record.name)
        self._enter(record, IpcpState.NULL)

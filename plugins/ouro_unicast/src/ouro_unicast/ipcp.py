"""The IPCP type `unicast` (unicast.md 1)."""

import asyncio
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from os import urandom
from typing import Any, Final

from ouro_core.contracts.ipcp import Ipcp, IpcpContext, NFlow
from ouro_core.model.capability import Capability
from ouro_core.model.errors import InvalidArgument, IpcpError, IpcpStateError, OuroError
from ouro_core.model.ipcp_requests import FlowReply
from ouro_core.model.layer import LayerInfo
from ouro_core.model.log import logger
from ouro_core.model.qos import QosSpec

from .config import UnicastConfig, described, layer_info, policies
from .connections import ConnectionManager
from .enrolment import CLOCK_OFFSET, EnrolmentClient, EnrolmentServer
from .events import Events
from .io import LowerFlow, Reader, converse
from .member import Member
from .wire import oep
from .wire.ocep import DATA_TRANSFER, ENROLMENT, MANAGEMENT, Identity

__all__ = ["LayerIpcp", "UnicastIpcp"]

ENROL_ATTEMPTS: Final = 3

_log = logger("enrollment")


class LayerIpcp(Ipcp):
    """What types of IPCP have in common whose members enrol with each other. `layer_type`: the number in enrolment."""

    layer_type: int

    def __init__(self, context: IpcpContext) -> None:
        super().__init__(context)
        self._loop = asyncio.get_running_loop()
        self.reader = Reader(context.packets)
        self.events = Events()
        self.connections = ConnectionManager(context, self.reader, self.events)
        self._with = ""
        self._enrolled_here = self._failed_here = 0

    # ---- for the types

    @abstractmethod
    async def become(self, layer: oep.Layer) -> None:
        """Make the components of a member of this layer. What was made is undone when it raises."""

    @abstractmethod
    def described(self) -> oep.Layer:
        """The layer, as who enrols here gets it."""

    # ---- enrolment

    async def _join(self, layer: oep.Layer) -> LayerInfo:
        """A member from now on, also for others."""
        info = layer_info(layer)
        await self.become(layer)
        self.connections.register(ENROLMENT, self._enrol)
        self.connections.start()
        self.ctx.rib.publish("member/enrolment", self._enrolment)
        return info

    def _enrolment(self) -> Mapping[str, object]:
        how = f"enrolled with {self._with}" if self._with else "bootstrapped"
        return {"how": how, "enrolled_here": self._enrolled_here, "failed_here": self._failed_here}

    async def enroll(self, dst: str) -> LayerInfo:
        for attempt in range(ENROL_ATTEMPTS):
            try:
                return await self._enrolled(dst)
            except TimeoutError as e:  # a packet was lost: with another flow
                self.ctx.log.warning("Enrolment with %s: %s", dst, e)
                if attempt == ENROL_ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _enrolled(self, dst: str) -> LayerInfo:
        flow, _ = await self.connections.open(dst, ENROLMENT, attempts=1)
        try:
            client = EnrolmentClient(urandom(oep.ID_SIZE), self.layer_type, self._loop.time(), time.time())
            self.ctx.log.info("[%s] Requesting enrollment.", client.id.hex())
            await converse(flow, client)
            if client.layer is None:
                raise client.error or IpcpError("there was no answer")
            if client.offset > CLOCK_OFFSET:
                _log.warning(
                    "[%s] Clock offset above threshold. It is %.0f ms, round trip included, and above %.0f: compare "
                    "the time here with that of %s.",
                    client.id.hex(), 1000 * client.offset, 1000 * CLOCK_OFFSET, dst,
                )  # fmt: skip
            try:
                info = await self._join(client.layer)
            except OuroError as e:
                client.acknowledge(e.code if e.code < 0 else -1)
                raise
            else:
                client.acknowledge()
            finally:
                for data in client.datagrams_to_send(self._loop.time()):
                    flow.send(data)
            self._with = dst
            self.ctx.log.info("[%s] Enrolled with %s.", client.id.hex(), dst)
            return info
        finally:
            await flow.close()

    async def _enrol(self, flow: LowerFlow, peer: Identity) -> None:
        """Somebody wants to enrol here."""
        _log.info("Incoming enrollment connection on flow %d.", flow.id)
        server = EnrolmentServer(self.described(), self._loop.time(), time.time())
        try:
            await converse(flow, server)
            why = server.error
        except OuroError as e:  # the flow ended
            why = e
        name = server.id.hex() if server.id is not None else "?"
        if why is None:
            self._enrolled_here += 1
            _log.info("[%s] Enrollment completed.", name)
        else:
            self._failed_here += 1
            _log.warning("[%s] Enrollment failed: %s", name, why)
        _log.info("Enrollment flow %d closed.", flow.id)

    # ---- connections

    async def connect(self, dst: str, component: str, qos: QosSpec) -> None:
        await self.connections.connect(dst, component, qos)

    async def disconnect(self, dst: str, component: str) -> None:
        await self.connections.disconnect(dst, component)


class UnicastIpcp(LayerIpcp):
    """A member of a unicast layer."""

    name = "unicast"
    Config = UnicastConfig
    components = (MANAGEMENT.component, DATA_TRANSFER.component)
    layer_type = oep.UNICAST

    def __init__(self, context: IpcpContext) -> None:
        super().__init__(context)
        self._member: Member | None = None

    # ---- life

    async def bootstrap(self, layer: LayerInfo, config: UnicastConfig) -> LayerInfo:
        return await self._join(described(layer, config, self.ctx.plugins))

    async def become(self, layer: oep.Layer) -> None:
        chosen = policies(layer, self.ctx.plugins)
        self._member = Member(self.ctx, self.reader, self.events, self.connections, layer, chosen)

    def described(self) -> oep.Layer:
        return self.member.layer

    @property
    def member(self) -> Member:
        """IpcpStateError: it is in no layer yet."""
        if self._member is None:
            raise IpcpStateError(f"IPCP {self.ctx.name} is in no layer yet; bootstrap or enroll it first")
        return self._member

    async def stop(self) -> None:
        if self._member is not None:
            await self._member.stop()
        await self.connections.stop()
        self.reader.close()

    # ---- names and flows

    async def reg(self, hash: bytes) -> None:
        self.member.register(hash)

    async def unreg(self, hash: bytes) -> None:
        self.member.unregister(hash)

    async def query(self, hash: bytes) -> bool:
        return await self.member.query(hash)

    async def capabilities(self, hash: bytes) -> Capability:
        return await self.member.capabilities(hash)

    async def flow_alloc(self, flow: NFlow, hash: bytes, qos: QosSpec, data: bytes) -> FlowReply:
        return await self.member.alloc(flow, hash, qos, data)

    async def flow_dealloc(self, flow: NFlow, linger: float) -> None:
        await self.member.dealloc(flow, linger)

    async def ask(self, component: str, words: Sequence[str]) -> Mapping[str, Any]:
        if component != "directory":
            raise InvalidArgument(f'component "{component}" answers no questions; "directory" does')
        return await self.member.directory.ask(words)

"""The IPCP type `metered`: a layer of one host that counts what it carries.

The requester of a flow and its acceptor each have a flow with the IPCP; a relay moves the packets between the two. What
went through is in the RIB: `passages/<id of the requester's flow>`.
"""

import asyncio
from typing import Final

from attrs import frozen

from ouro_core.contracts.ipcp import Ipcp, IpcpContext, NFlow
from ouro_core.model.config import integer, option
from ouro_core.model.errors import OutOfMemory, UnknownName
from ouro_core.model.ipcp_requests import FlowReply
from ouro_core.model.layer import LayerInfo
from ouro_core.model.qos import QosSpec

MPL: Final = 100
"""Maximum packet lifetime, ms."""
DRAIN: Final = 1.0
"""Longest wait, in seconds, for what an application wrote before it closed."""


@frozen
class MeteredConfig:
    """Parameters of the layer. The command line, TOML files and the reference know them from here."""

    most: int = option(64, parse=integer(1, 5000), unit="flows", help="largest number of flows at a time")


@frozen
class Passed:
    """What went through a flow, seen from its requester."""

    packets_sent: int
    bytes_sent: int
    packets_received: int
    bytes_received: int


class Passage:
    """A requester's flow, an acceptor's, and the relay between them."""

    def __init__(self, ctx: IpcpContext, requester: NFlow, acceptor: NFlow) -> None:
        self._ctx = ctx
        self._ids = (requester.id, acceptor.id)
        self._relay = ctx.packets.relay(requester.carried, acceptor.carried)
        self._running = True
        self._drained = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._relay.fileno(), self._news)
        ctx.rib.publish(f"passages/{requester.id}", self.passed)

    def passed(self) -> Passed:
        sent, received = self._relay.flow_counters(1), self._relay.flow_counters(0)
        return Passed(sent["tx"], sent["tx_bytes"], received["tx"], received["tx_bytes"])

    def _news(self) -> None:
        if any(event.kind in ("CLOSED", "DEAD") for event in self._relay.events()):
            self._drained.set()  # one side left, and the last packet it wrote has been moved

    async def end(self) -> None:
        """One side gave the flow up: let what it wrote arrive, then take both down."""
        try:
            await asyncio.wait_for(self._drained.wait(), DRAIN)
        except TimeoutError:
            self._ctx.log.warning("flow %d: what was written last may be lost", self._ids[0])
        finally:
            self.stop()

    def stop(self) -> None:
        if self._running:
            self._running = False
            asyncio.get_running_loop().remove_reader(self._relay.fileno())
            self._ctx.rib.withdraw(f"passages/{self._ids[0]}")
            self._relay.stop()
            for flow in self._ids:
                self._ctx.flow_closed(flow)


class MeteredIpcp(Ipcp):
    """Names are registered here and looked up here; every flow is a `Passage`."""

    name = "metered"
    Config = MeteredConfig

    def __init__(self, context: IpcpContext) -> None:
        super().__init__(context)
        self._most = 0
        self._pending = 0
        self._hashes: set[bytes] = set()
        self._passages: dict[int, Passage] = {}  # by the requester's id and by the acceptor's

    async def bootstrap(self, layer: LayerInfo, config: MeteredConfig) -> LayerInfo:
        self._most = config.most
        return layer

    async def reg(self, hash: bytes) -> None:
        self._hashes.add(hash)

    async def unreg(self, hash: bytes) -> None:
        self._hashes.discard(hash)

    async def query(self, hash: bytes) -> bool:
        return hash in self._hashes

    async def flow_alloc(self, flow: NFlow, hash: bytes, qos: QosSpec, data: bytes) -> FlowReply:
        if hash not in self._hashes:
            raise UnknownName(f"hash {hash[:4].hex()}... is not registered in this layer")
        if len(set(self._passages.values())) + self._pending >= self._most:
            raise OutOfMemory(f"this layer carries {self._most} flows at a time; deallocate one, or raise `most`")
        self._pending += 1
        try:
            arrived = await self.ctx.flow_arrived(hash, qos, MPL, data)
        finally:
            self._pending -= 1
        try:
            passage = Passage(self.ctx, flow, arrived.flow)
        except BaseException:
            self.ctx.flow_closed(arrived.flow.id)
            raise
        self._passages[flow.id] = self._passages[arrived.flow.id] = passage
        return FlowReply(MPL, arrived.data)

    async def flow_dealloc(self, flow: NFlow, linger: float) -> None:
        """Called for both flows of a passage, the second time because we closed it. Nothing is far, so no lingering."""
        passage = self._passages.pop(flow.id, None)
        if passage is not None:
            await passage.end()

    async def stop(self) -> None:
        for passage in set(self._passages.values()):
            passage.stop()
        self._passages.clear()

"""The IPCP type `local`: a layer of one host (spec: shims.md 3).

Two applications of such a layer get the two ends of one flow, and the IPCP leaves the data path. Only where their users
share no pool has each a flow of its own with the IPCP, which moves the packets between them.
"""

import asyncio
from typing import Final

from ..contracts.ipcp import ArrivedFlow, Ipcp, IpcpContext, NFlow, NoConfig
from ..contracts.packets import Mover
from ..hookspecs import hookimpl
from ..model.capability import Capability
from ..model.errors import InvalidArgument, UnknownName
from ..model.ipcp_requests import FlowReply
from ..model.layer import LayerInfo
from ..model.qos import QosSpec

OURO_API = (1, 0)

MPL: Final = 100
"""Maximum packet lifetime, ms."""
DRAIN: Final = 1.0
"""Seconds for what an application wrote before it closed."""


class _Relay:
    """What moves packets between two users' flows. `flows`: the requester's id, the acceptor's."""

    def __init__(self, ctx: IpcpContext, mover: Mover, flows: tuple[int, int]) -> None:
        self._ctx = ctx
        self._mover = mover
        self._flows = flows
        self._ended: set[int] = set()  # those that may be other flows by now
        self._drained = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._fd = mover.fileno()
        self._loop.add_reader(self._fd, self._news)

    def _news(self) -> None:
        for event in self._mover.events():
            if event.kind in ("CLOSED", "DEAD"):  # after the last packet of that side
                self._drained.set()
                self._ctx.flow_closed(self._flows[1 - event.key])

    async def end(self, flow_id: int) -> None:
        """Let the last packets of this flow arrive, then stop."""
        try:
            async with asyncio.timeout(DRAIN):
                await self._drained.wait()
        except TimeoutError:
            self._ctx.log.warning("Flows %d and %d: what was written last may be lost.", *self._flows)
        finally:
            self.stop()
            self._ended.add(flow_id)
            other = self._flows[flow_id == self._flows[0]]
            if other not in self._ended:
                self._ctx.flow_closed(other)

    def stop(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._fd = -1
            self._mover.stop()


class LocalIpcp(Ipcp):
    """Registry, query, and the introduction of requester and acceptor to each other."""

    name = "local"
    carries = False
    Config = NoConfig

    def __init__(self, context: IpcpContext) -> None:
        super().__init__(context)
        self._hashes: set[bytes] = set()
        self._relays: dict[int, _Relay] = {}
        context.rib.publish("registry", lambda: {"hashes": sorted(self._hashes), "relays": len(self._relays) // 2})

    async def bootstrap(self, layer: LayerInfo, config: NoConfig) -> LayerInfo:
        return layer

    async def reg(self, hash: bytes) -> None:
        self._hashes.add(hash)

    async def unreg(self, hash: bytes) -> None:
        self._hashes.discard(hash)

    async def query(self, hash: bytes) -> bool:
        return hash in self._hashes

    async def capabilities(self, hash: bytes) -> Capability:
        """Every member is this host."""
        return self.ctx.capabilities

    async def flow_alloc(self, flow: NFlow, hash: bytes, qos: QosSpec, data: bytes) -> FlowReply:
        if hash not in self._hashes:
            raise UnknownName(f"hash {hash[:4].hex()}... is not registered in this layer")
        arrived = await self.ctx.flow_arrived(hash, qos, MPL, data, joins=flow.id)
        if arrived.flow.end is not None:
            self._relay(flow, arrived)
        self.ctx.log.debug("Flow allocation completed, flows (%d, %d).", flow.id, arrived.flow.id)
        return FlowReply(MPL, arrived.data)

    def _relay(self, flow: NFlow, arrived: ArrivedFlow) -> None:
        try:
            if arrived.joined is None or arrived.flow.end is None:
                raise InvalidArgument(f"flow {flow.id} can only be relayed between two ends; the IRM gave one")
            mover = self.ctx.packets.relay(arrived.joined, arrived.flow.end)
        except BaseException:
            self.ctx.flow_closed(arrived.flow.id)
            raise
        relay = _Relay(self.ctx, mover, (flow.id, arrived.flow.id))
        self._relays[flow.id] = self._relays[arrived.flow.id] = relay

    async def flow_dealloc(self, flow: NFlow, linger: float) -> None:
        """Nothing of a flow stays behind on a host, so there is no reason to linger."""
        relay = self._relays.pop(flow.id, None)
        if relay is not None:
            await relay.end(flow.id)
        self.ctx.log.debug("Flow %d deallocated.", flow.id)

    async def stop(self) -> None:
        for relay in self._relays.values():
            relay.stop()
        self._relays.clear()


@hookimpl
def ouro_register_ipcp_types() -> list[type[Ipcp]]:
    return [LocalIpcp]

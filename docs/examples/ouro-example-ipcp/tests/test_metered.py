"""The type `metered` over a real packet system; the IRM is played by `World`."""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from ouro_core.builtin.heap import HeapPacketSystem
from ouro_core.contracts.ipcp import ArrivedFlow, Ipcp, IpcpContext, NFlow
from ouro_core.contracts.packets import ClientRef, Domain, FlowEnd, Geometry, Options, PacketClient, SizeClass
from ouro_core.model.capability import Capability
from ouro_core.model.config import parse_config
from ouro_core.model.errors import FlowTimeout, OuroError, OutOfMemory, UnknownName
from ouro_core.model.ipcp_requests import FlowReply
from ouro_core.model.irm_requests import Allocation
from ouro_core.model.layer import LayerInfo
from ouro_core.model.qos import RAW, QosSpec
from ouro_core.plugins import PluginHost
from ouro_core.rib import Rib

GEOMETRY = Geometry((SizeClass(2048, 512),))
HASH = bytes(32)


class World(IpcpContext):
    """What an IPCP has of the world, and what its tests need of it."""

    def __init__(self) -> None:
        self.broker = HeapPacketSystem.broker(GEOMETRY, GEOMETRY)
        self.refs = ClientRef(1, Domain()), ClientRef(2, Domain())
        self.packets, self.application = map(self._client, self.refs)
        self.name, self.log, self.random = "m", logging.getLogger("metered"), random.Random(1)
        self.capabilities = Capability(0)
        self.rib: Rib = Rib()
        self.closed: list[int] = []
        self.accepted: dict[int, FlowEnd] = {}
        self.refusal: OuroError | None = None
        self._ids = 0

    def _client(self, ref: ClientRef) -> PacketClient:
        grant = self.broker.admit(ref)
        return HeapPacketSystem.client(grant.data, grant.fds)

    def flow(self) -> tuple[NFlow, FlowEnd]:
        """A flow between the IPCP and the application: its end, and theirs."""
        self._ids += 1
        made = self.broker.create_flow(self._ids, *self.refs)
        inner, outer = made.grant(0), made.grant(1)
        end = self.application.attach(outer.data, outer.fds, Options(read_timeout=10.0, write_timeout=10.0))
        return NFlow(self._ids, self.packets.attach(inner.data, inner.fds)), end

    async def flow_arrived(self, hash: bytes, qos: QosSpec, mpl: int, data: bytes, joins: int = 0) -> ArrivedFlow:
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise self.refusal
        flow, end = self.flow()
        self.accepted[flow.id] = end
        return ArrivedFlow(flow, b"response to " + data)

    def flow_closed(self, flow_id: int) -> None:
        self.closed.append(flow_id)

    async def flow_alloc(self, dst: str, qos: QosSpec = RAW, timeout: float | None = None) -> tuple[Any, Allocation]:
        raise AssertionError("this type has no layer below")

    async def flow_accept(self, timeout: float | None = None) -> tuple[Any, Allocation]:
        raise AssertionError("this type has no layer below")

    async def flow_dealloc(self, flow_id: int) -> None:
        raise AssertionError("this type has no layer below")

    def spawn(self, task: Coroutine[Any, Any, None], name: str) -> None:
        raise AssertionError("this type has no tasks")


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.packets.close()
    world.application.close()
    world.broker.close()


@pytest.fixture
def make(world: World) -> Callable[..., Coroutine[Any, Any, Ipcp]]:
    async def make(**options: str) -> Ipcp:
        cls = PluginHost(select=["metered"]).get("ipcp_types", "metered")
        ipcp: Ipcp = cls(world)
        layer = LayerInfo("accounting")
        assert await ipcp.bootstrap(layer, parse_config(cls.Config, options)) == layer
        await ipcp.reg(HASH)
        return ipcp

    return make


Make = Callable[..., Coroutine[Any, Any, Ipcp]]


async def test_packets_pass_and_are_counted(world: World, make: Make) -> None:
    ipcp = await make()
    assert await ipcp.query(HASH)
    flow, requester = world.flow()
    assert await ipcp.flow_alloc(flow, HASH, RAW, b"request") == FlowReply(100, b"response to request")
    ((other, acceptor),) = world.accepted.items()
    for n in range(100):
        requester.write(b"ping %d" % n)
        assert await asyncio.to_thread(acceptor.read) == b"ping %d" % n
        acceptor.write(b"pong")
        assert await asyncio.to_thread(requester.read) == b"pong"
    passed = world.rib.read(f"passages/{flow.id}")
    assert passed == {"packets_sent": 100, "bytes_sent": 690, "packets_received": 100, "bytes_received": 400}

    requester.write(b"last words")
    requester.close()
    await ipcp.flow_dealloc(flow, 0.0)
    assert acceptor.read() == b"last words"
    assert other in world.closed
    assert world.rib.read() == {}
    acceptor.close()
    await ipcp.flow_dealloc(NFlow(other, None), 0.0)
    await ipcp.stop()


async def test_an_unknown_name(world: World, make: Make) -> None:
    ipcp = await make()
    await ipcp.unreg(HASH)
    await ipcp.unreg(HASH)
    assert not await ipcp.query(HASH)
    with pytest.raises(UnknownName):
        await ipcp.flow_alloc(world.flow()[0], HASH, RAW, b"")


async def test_no_more_flows_than_configured(world: World, make: Make) -> None:
    ipcp = await make(most="2")
    flows = [world.flow()[0] for _ in range(3)]
    results = await asyncio.gather(*(ipcp.flow_alloc(f, HASH, RAW, b"") for f in flows), return_exceptions=True)
    assert [type(r) for r in results] == [FlowReply, FlowReply, OutOfMemory]
    await ipcp.stop()
    assert {flow.id for flow in flows[:2]} < set(world.closed)


async def test_a_refusal_reaches_the_requester_and_takes_no_place(world: World, make: Make) -> None:
    ipcp = await make(most="1")
    world.refusal = FlowTimeout("nobody accepted")
    flow, _ = world.flow()
    for _ in range(2):
        with pytest.raises(FlowTimeout):
            await ipcp.flow_alloc(flow, HASH, RAW, b"")
    world.refusal = None
    await ipcp.flow_alloc(flow, HASH, RAW, b"")
    await ipcp.stop()

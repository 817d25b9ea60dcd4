"""A small IRM over real packets: applications that accept, an IPCP under test, and what it asked for."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ouro_core.builtin.heap import HeapPacketSystem
from ouro_core.contracts.ipcp import Ipcp
from ouro_core.contracts.packets import BrokerFlow, ClientRef, Domain, FlowEnd, Geometry, PacketClient, SizeClass
from ouro_core.ipcp.host import IpcpHost
from ouro_core.ipcp.launcher import IpcpStart
from ouro_core.model.errors import NotAllocated, NotFound, OuroError, UnknownName
from ouro_core.model.ipcp_requests import FlowReply, IpcpBootstrap, IpcpFlowAlloc, IpcpFlowDealloc, IpcpReg
from ouro_core.model.irm_requests import Allocation, Arrival, FlowAlloc, FlowArrived, FlowClosed, FlowDealloc
from ouro_core.model.layer import IpcpState, LayerInfo
from ouro_core.model.names import HashAlgorithm, hash_name
from ouro_core.model.qos import RAW
from ouro_core.model.request import Request
from ouro_core.plugins import PluginHost
from ouro_core.rpc.near import NearCaller

GEOMETRY = Geometry((SizeClass(256, 512), SizeClass(2048, 256)))
IPCP, CLIENT, SERVER = 1, 2, 3  # clients of the packet system


class SmallIrm:
    """Everything is accepted for names in `accepting`; `refusal` is raised instead when it is set."""

    def __init__(self) -> None:
        self.system = HeapPacketSystem
        self.broker = self.system.broker(GEOMETRY, GEOMETRY)
        self.refs: dict[int, ClientRef] = {}
        self.clients: dict[int, PacketClient] = {}
        self.flows: dict[int, BrokerFlow] = {}
        self.requesters: dict[int, int] = {}  # flow of type local -> the client that asks
        self.accepted: asyncio.Queue[tuple[int, FlowEnd]] = asyncio.Queue()
        self.accepting: set[bytes] = set()
        self.refusal: OuroError | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        self.seen: list[Request[Any]] = []
        self.closed: asyncio.Queue[int] = asyncio.Queue()
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.lower: list[Allocation] = []
        self.lower_is: dict[str, Any] = {}  # more about allocations of the IPCP's own flows
        self._ids = iter(range(1000, 10000))

    def admit(self, number: int, uid: int = 0) -> None:
        self.refs[number] = ClientRef(number, Domain(uid))
        grant = self.broker.admit(self.refs[number])
        if number != IPCP:
            self.clients[number] = self.system.client(grant.data, grant.fds)
        else:
            self.start = IpcpStart(1, "test", "ipcp", "heap", grant)

    def flow(self, flow_id: int, a: int, b: int) -> BrokerFlow:
        self.flows[flow_id] = self.broker.create_flow(flow_id, self.refs[a], self.refs[b])
        return self.flows[flow_id]

    def attach(self, client: int, flow_id: int, end: int) -> FlowEnd:
        grant = self.flows[flow_id].grant(end)
        return self.clients[client].attach(grant.data, grant.fds)

    async def call(self, request: Request[Any]) -> Any:
        self.seen.append(request)
        await self.hold.wait()
        if self.refusal is not None:
            raise self.refusal
        if isinstance(request, FlowArrived):
            return self._arrived(request)
        if isinstance(request, FlowClosed):
            if request.flow_id in self.flows:
                self.flows[request.flow_id].down()
            self.closed.put_nowait(request.flow_id)
            return None
        if isinstance(request, FlowAlloc):
            number = next(self._ids)
            grant = self.flow(number, IPCP, SERVER).grant(0)
            allocation = Allocation(number, grant, request.qos, 1, request.dst, **self.lower_is)
            self.lower.append(allocation)
            return allocation
        if isinstance(request, FlowDealloc):
            if request.flow_id not in self.flows:
                raise NotAllocated(f"flow {request.flow_id}")
            self.flows.pop(request.flow_id).destroy()
            return None
        raise NotFound(f"{request}")

    def _arrived(self, request: FlowArrived) -> Arrival:
        if request.hash not in self.accepting:
            raise UnknownName("nobody has this hash")
        number = next(self._ids)
        requester = self.requesters.get(request.joins)
        if requester is None:
            flow = self.flow(number, SERVER, IPCP)
            arrival = Arrival(number, b"response", flow.grant(1))
        elif self.refs[requester].domain == self.refs[SERVER].domain:
            self.flow(number, SERVER, requester)
            self.flows[request.joins] = self.flows[number]
            arrival = Arrival(number, b"response")
        else:
            flow, other = self.flow(number, SERVER, IPCP), self.flow(request.joins, requester, IPCP)
            arrival = Arrival(number, b"response", flow.grant(1), other.grant(1))
        self.accepted.put_nowait((number, self.attach(SERVER, number, 0)))
        return arrival


class Setup:
    """One host in the loop, and the steps most tests begin with."""

    def __init__(self, irm: SmallIrm, host: IpcpHost) -> None:
        self.irm = irm
        self.host = host
        self.name = hash_name("name", HashAlgorithm.SHA3_256)
        self._caller = NearCaller(host.answer)

    async def call(self, request: Request[Any]) -> Any:
        return await self._caller.call(request)

    async def bootstrap(self) -> LayerInfo:
        layer: LayerInfo = await self.call(IpcpBootstrap(LayerInfo("layer")))
        return layer

    async def serve(self) -> None:
        """In a layer, with a name that somebody accepts for."""
        await self.bootstrap()
        await self.call(IpcpReg(self.name))
        self.irm.accepting.add(self.name)

    async def alloc(self, flow_id: int = 1) -> FlowEnd:
        """A flow of the client; returns its end."""
        grant = None
        if self.host._cls.carries:
            grant = self.irm.flow(flow_id, CLIENT, IPCP).grant(1)
        else:
            self.irm.requesters[flow_id] = CLIENT
        reply = await self.call(IpcpFlowAlloc(flow_id, self.name, RAW, b"request", grant))
        assert reply == FlowReply(100, b"response")
        end = 1 if self.irm.flows[flow_id] in [f for i, f in self.irm.flows.items() if i != flow_id] else 0
        return self.irm.attach(CLIENT, flow_id, end)

    async def dealloc(self, flow_id: int) -> None:
        await self.call(IpcpFlowDealloc(flow_id, 0.0))


@pytest.fixture
async def irm() -> AsyncIterator[SmallIrm]:
    irm = SmallIrm()
    yield irm
    for client in irm.clients.values():
        client.close()
    irm.broker.close()


@pytest.fixture
async def make(irm: SmallIrm) -> AsyncIterator[Any]:
    """`make(cls, client_uid=0)`: a `Setup`."""
    made: list[IpcpHost] = []

    def make(cls: type[Ipcp], client_uid: int = 0, server_uid: int = 0) -> Setup:
        irm.admit(IPCP)
        irm.admit(CLIENT, client_uid)
        irm.admit(SERVER, server_uid)
        packets = irm.system.client(irm.start.grant.data, ())
        host = IpcpHost(cls, irm.start, packets, PluginHost(), NearCaller(irm.call), irm.ended.put_nowait)
        made.append(host)
        return Setup(irm, host)

    yield make
    for host in made:
        host.abort("the test is over")
        assert host.state is IpcpState.NULL

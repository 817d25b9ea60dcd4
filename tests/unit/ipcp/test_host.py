"""The host of an IPCP: states, checks, faults, flows, and the end."""

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import pytest
from attrs import frozen

from ouro_core.contracts.ipcp import Ipcp, IpcpContext, NFlow
from ouro_core.contracts.packets import State
from ouro_core.frct.ordered import FrctPipeline, above
from ouro_core.frct.pipeline import Pipeline, stages_for
from ouro_core.model.capability import Capability
from ouro_core.model.config import integer, option
from ouro_core.model.errors import (
    AuthenticationFailed,
    ConfigError,
    CryptError,
    Exists,
    FlowDown,
    InvalidArgument,
    IpcpError,
    IpcpStateError,
    NotAllocated,
    NotFound,
    NotSupported,
    OuroError,
    PacketsError,
    UnknownName,
)
from ouro_core.model.flow import Grant
from ouro_core.model.ipcp_requests import (
    FlowReply,
    IpcpAsk,
    IpcpBootstrap,
    IpcpCapabilities,
    IpcpConnect,
    IpcpEnroll,
    IpcpFlowAlloc,
    IpcpFlowDealloc,
    IpcpFlowJoin,
    IpcpQuery,
    IpcpReg,
    IpcpShutdown,
    IpcpUnreg,
)
from ouro_core.model.irm_requests import (
    Arrival,
    FlowArrived,
    FlowClosed,
    FlowDealloc,
    ListFlows,
    PeerCapabilities,
    RibList,
    RibRead,
)
from ouro_core.model.layer import IpcpState, LayerInfo
from ouro_core.model.names import HashAlgorithm
from ouro_core.model.qos import DATA, RAW, RAW_NO_ERRORS, QosSpec

WAIT = 10
HASH = bytes(32)


@frozen
class EchoConfig:
    ttl: int = option(60, parse=integer(1, 255), help="largest number of hops")


class Echo(Ipcp):
    """Carries: what a flow brings in goes to whoever accepts on this host, by a relay. `fault` decides what breaks."""

    name = "echo"
    Config = EchoConfig
    components = ("Management",)

    def __init__(self, context: IpcpContext) -> None:
        super().__init__(context)
        self.fault: dict[str, BaseException] = {}
        self.hang = asyncio.Event()
        self.hanging: set[str] = set()
        self.stubborn = False
        self.config: EchoConfig | None = None
        self.relays: dict[int, Any] = {}
        self.log: list[str] = []

    async def step(self, what: str) -> None:
        self.log.append(what)
        if what in self.fault:
            raise self.fault[what]
        if what in self.hanging:
            try:
                await self.hang.wait()
            except asyncio.CancelledError:
                self.log.append(f"{what} cancelled")
                if not self.stubborn:
                    raise
                await self.hang.wait()

    async def bootstrap(self, layer: LayerInfo, config: EchoConfig) -> LayerInfo:
        await self.step("bootstrap")
        self.config = config
        return layer

    async def reg(self, hash: bytes) -> None:
        await self.step("reg")

    async def unreg(self, hash: bytes) -> None:
        await self.step("unreg")

    async def query(self, hash: bytes) -> bool:
        await self.step("query")
        return True

    async def flow_alloc(self, flow: NFlow, hash: bytes, qos: QosSpec, data: bytes) -> FlowReply:
        await self.step("flow_alloc")
        arrived = await self.ctx.flow_arrived(hash, qos, 100, data)
        assert flow.end is not None
        assert arrived.flow.end is not None
        relay = self.ctx.packets.relay(flow.end, arrived.flow.end)
        self.relays[flow.id] = self.relays[arrived.flow.id] = relay
        return FlowReply(100, arrived.data)

    async def flow_dealloc(self, flow: NFlow, linger: float) -> None:
        await self.step("flow_dealloc")
        self.relays.pop(flow.id).stop()

    async def connect(self, dst: str, component: str, qos: QosSpec) -> None:
        await self.step("connect")

    async def ask(self, component: str, words: Sequence[str]) -> Mapping[str, Any]:
        await self.step("ask")
        return {component: list(words), "hash": HASH[:2]}

    async def stop(self) -> None:
        for relay in self.relays.values():
            relay.stop()
        await self.step("stop")


async def eventually(condition: Any) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110 conditions of code that has no event for tests
            await asyncio.sleep(0.005)


async def read(end: Any) -> bytes:
    return bytes(await asyncio.wait_for(asyncio.to_thread(end.read), WAIT))


# ---------------------------------------------------------------- states and checks


async def test_a_life(make: Any, irm: Any) -> None:
    setup = make(Echo)
    assert setup.host.state == IpcpState.BOOT
    layer = LayerInfo("layer", HashAlgorithm.SHA3_384)
    assert await setup.call(IpcpBootstrap(layer, {"ttl": "7"})) == layer
    assert setup.host.state == IpcpState.OPERATIONAL
    assert setup.host._ipcp.config == EchoConfig(7)
    await setup.call(IpcpReg(bytes(48)))
    await setup.call(IpcpShutdown())
    assert setup.host.state == IpcpState.NULL
    assert await irm.ended.get() == "it was shut down"
    assert setup.host._ipcp.log == ["bootstrap", "reg", "stop"]


@pytest.mark.parametrize(
    "request_",
    [
        IpcpReg(HASH),
        IpcpUnreg(HASH),
        IpcpQuery(HASH),
        IpcpCapabilities(HASH),
        IpcpFlowAlloc(1, HASH, RAW, b"", Grant(b"x")),
        IpcpFlowDealloc(1, 0.0),
        IpcpConnect("dst", "Management"),
        IpcpAsk("directory", ("lookup", "name")),
    ],
    ids=lambda r: type(r).__name__,
)
async def test_before_bootstrap_everything_else_is_refused(make: Any, request_: Any) -> None:
    setup = make(Echo)
    with pytest.raises(IpcpStateError, match="state boot"):
        await setup.call(request_)
    assert setup.host._ipcp.log == []


async def test_a_question_to_a_component(make: Any) -> None:
    setup = make(Echo)
    await setup.bootstrap()
    answer = await setup.call(IpcpAsk("directory", ("lookup", "name")))
    assert json.loads(answer.json) == {"directory": ["lookup", "name"], "hash": HASH[:2].hex()}
    setup.host._ipcp.fault["ask"] = InvalidArgument("no such question")
    with pytest.raises(InvalidArgument, match="no such question"):
        await setup.call(IpcpAsk("directory"))


async def test_bootstrap_happens_once(make: Any) -> None:
    setup = make(Echo)
    await setup.bootstrap()
    with pytest.raises(IpcpStateError, match="IPCP ipcp is already in layer layer"):
        await setup.bootstrap()


async def test_one_bootstrap_at_a_time(make: Any) -> None:
    setup = make(Echo)
    setup.host._ipcp.hanging.add("bootstrap")
    first = asyncio.ensure_future(setup.bootstrap())
    await eventually(lambda: setup.host._ipcp.log)
    with pytest.raises(IpcpStateError, match="already"):
        await setup.bootstrap()
    setup.host._ipcp.hang.set()
    await first


async def test_a_failed_bootstrap_may_be_tried_again(make: Any) -> None:
    setup = make(Echo)
    setup.host._ipcp.fault["bootstrap"] = ConfigError("no such device")
    with pytest.raises(ConfigError, match="no such device"):
        await setup.bootstrap()
    assert setup.host.state == IpcpState.BOOT
    setup.host._ipcp.fault.clear()
    await setup.bootstrap()


@pytest.mark.parametrize(
    ("options", "text"), [({"ttl": "0"}, 'Unknown parameter for ttl: "0"'), ({"tll": "1"}, 'Unknown option: "tll"')]
)
async def test_configuration_is_checked_by_the_class_of_the_type(make: Any, options: Any, text: str) -> None:
    setup = make(Echo)
    with pytest.raises(ConfigError, match=text):
        await setup.call(IpcpBootstrap(LayerInfo("layer"), options))
    with pytest.raises(InvalidArgument, match="name of the layer"):
        await setup.call(IpcpBootstrap(LayerInfo("")))
    assert setup.host._ipcp.log == []


async def test_operations_a_type_does_not_have_come_before_the_state(make: Any) -> None:
    setup = make(Echo)
    with pytest.raises(NotSupported, match="echo"):
        await setup.call(IpcpEnroll("dst"))
    with pytest.raises(NotSupported):
        await setup.call(IpcpFlowJoin(1, HASH, Grant(b"")))


@pytest.mark.parametrize("size", [0, 28, 31, 33, 64])
async def test_hashes_have_the_length_of_the_layer(make: Any, size: int) -> None:
    setup = make(Echo)
    await setup.bootstrap()
    for request in (IpcpReg, IpcpUnreg, IpcpQuery):
        with pytest.raises(InvalidArgument, match=f"{size} bytes"):
            await setup.call(request(bytes(size)))
    with pytest.raises(InvalidArgument):
        await setup.call(IpcpFlowAlloc(1, bytes(size), RAW, b"", Grant(b"")))


async def test_refused_requests_keep_no_descriptors(make: Any) -> None:
    setup = make(Echo)
    fd = os.open("/dev/null", os.O_RDONLY)
    before = sorted(os.listdir("/proc/self/fd"))
    for request in (IpcpFlowAlloc(1, HASH, RAW, b"", Grant(b"x", (fd,))), IpcpFlowJoin(1, HASH, Grant(b"x", (fd,)))):
        with pytest.raises(OuroError):
            await setup.call(request)
    await setup.bootstrap()
    with pytest.raises(PacketsError):
        await setup.call(IpcpFlowAlloc(1, HASH, RAW, b"", Grant(b"x", (fd,))))
    assert sorted(os.listdir("/proc/self/fd")) == before
    os.close(fd)


async def test_requests_for_others_and_unknown_components_and_flows(make: Any) -> None:
    setup = make(Echo)
    await setup.bootstrap()
    with pytest.raises(InvalidArgument, match="ListFlows"):
        await setup.call(ListFlows())
    with pytest.raises(InvalidArgument, match="Management"):
        await setup.call(IpcpConnect("dst", "Data"))
    await setup.call(IpcpConnect("dst", "Management"))
    with pytest.raises(NotAllocated, match="77"):
        await setup.dealloc(77)
    with pytest.raises(InvalidArgument, match="without a grant"):
        await setup.call(IpcpFlowAlloc(1, HASH, RAW, b""))


async def test_the_rib_can_be_read_in_every_state(make: Any) -> None:
    setup = make(Echo)
    assert json.loads((await setup.call(RibRead("info"))).json)["state"] == "boot"
    await setup.serve()
    await setup.alloc(5)
    tree = json.loads((await setup.call(RibRead())).json)
    assert tree["info"] == {
        "name": "ipcp",
        "type": "echo",
        "state": "operational",
        "layer": "layer",
        "hash": "SHA3_256",
    }
    assert tree["flows"]["5"]["state"] == "ALLOCATED"
    assert tree["flows"]["5"]["tx"] == 0
    assert tree["packets"]["pool.0.256.used"] == 0
    assert (await setup.call(RibList("flows"))).names == ("1000/", "5/")
    with pytest.raises(NotFound):
        await setup.call(RibRead("nothing"))


# ---------------------------------------------------------------- faults of the type


@pytest.mark.parametrize("fault", [ValueError("broken"), SystemExit(3), asyncio.CancelledError(), BaseException("x")])
@pytest.mark.parametrize("what", ["bootstrap", "reg", "query", "flow_alloc"])
async def test_what_a_type_raises_is_an_error_for_the_caller(make: Any, what: str, fault: Any) -> None:
    setup = make(Echo)
    if what != "bootstrap":
        await setup.serve()
    setup.host._ipcp.fault[what] = fault
    steps: dict[str, Callable[[], Any]] = {
        "bootstrap": lambda: setup.bootstrap(),
        "reg": lambda: setup.call(IpcpReg(HASH)),
        "query": lambda: setup.call(IpcpQuery(HASH)),
        "flow_alloc": lambda: setup.alloc(),
    }
    request = steps[what]
    with pytest.raises(IpcpError, match="ipcp of type echo failed"):
        await request()
    setup.host._ipcp.fault.clear()
    if what == "flow_alloc":
        assert not list(setup.host._flows)
    else:
        await request()


class Knowing(Echo):
    """Says what its peers can do."""

    async def capabilities(self, hash: bytes) -> Capability:
        await self.step("capabilities")
        return self.ctx.capabilities


async def test_a_type_that_does_not_say_what_peers_can_do(make: Any) -> None:
    setup = make(Echo)
    await setup.serve()
    assert await setup.call(IpcpCapabilities(HASH)) == PeerCapabilities(Capability(0))
    with pytest.raises(InvalidArgument):
        await setup.call(IpcpCapabilities(b"short"))


async def test_a_type_that_says_what_peers_can_do(make: Any) -> None:
    knowing = make(Knowing)
    await knowing.serve()
    found = await knowing.call(IpcpCapabilities(HASH))
    assert Capability.FRAGMENTS in found.capabilities
    assert found.capabilities == knowing.host.context.capabilities
    knowing.host._ipcp.fault["capabilities"] = ValueError("broken")
    with pytest.raises(IpcpError, match="failed in capabilities"):
        await knowing.call(IpcpCapabilities(HASH))


async def test_a_type_that_returns_nonsense(make: Any) -> None:
    class Odd(Echo):
        async def bootstrap(self, layer: LayerInfo, config: EchoConfig) -> Any:
            return "fine"

    setup = make(Odd)
    with pytest.raises(IpcpError, match="LayerInfo"):
        await setup.bootstrap()
    assert setup.host.state == IpcpState.BOOT


@pytest.mark.parametrize("fault", [RuntimeError("no"), SystemExit(1)])
async def test_a_type_that_cannot_be_made(make: Any, fault: BaseException) -> None:
    class Unborn(Echo):
        def __init__(self, context: IpcpContext) -> None:
            raise fault

    with pytest.raises(IpcpError, match="being made"):
        make(Unborn)


async def test_a_rib_source_that_fails(make: Any) -> None:
    setup = make(Echo)
    setup.host.context.rib.publish("bad", lambda: 1 // 0)
    with pytest.raises(IpcpError, match="ZeroDivisionError"):
        await setup.call(RibRead("bad"))
    await setup.call(RibRead("info"))


async def test_cancellation_reaches_the_coroutine(make: Any) -> None:
    setup = make(Echo)
    await setup.serve()
    setup.host._ipcp.hanging.add("flow_alloc")
    call = asyncio.ensure_future(setup.alloc())
    await eventually(lambda: "flow_alloc" in setup.host._ipcp.log)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(lambda: "flow_alloc cancelled" in setup.host._ipcp.log)
    await eventually(lambda: not list(setup.host._flows))


async def test_who_ignores_cancellation_does_not_keep_the_caller(make: Any) -> None:
    setup = make(Echo)
    await setup.serve()
    setup.host._ipcp.hanging.add("flow_alloc")
    setup.host._ipcp.stubborn = True
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(setup.alloc(), 0.05)
    dealloc = asyncio.ensure_future(setup.dealloc(1))  # waits for what became of it
    await asyncio.sleep(0.02)
    assert not dealloc.done()
    setup.host._ipcp.hang.set()
    await asyncio.wait_for(dealloc, WAIT)
    assert not [r for r in setup.host._flows if r.flow.id == 1]


async def test_a_task_that_fails_ends_the_ipcp(make: Any, irm: Any) -> None:
    async def task() -> None:
        raise OSError("socket is gone")

    setup = make(Echo)
    await setup.serve()
    client = await setup.alloc()
    setup.host.context.spawn(task(), "reader")
    assert "its task reader failed" in await asyncio.wait_for(irm.ended.get(), WAIT)
    assert setup.host.state == IpcpState.NULL
    assert client.state & State.DOWN
    with pytest.raises(IpcpStateError):
        await setup.call(IpcpQuery(HASH))


async def test_tasks_are_cancelled_at_the_end_and_not_begun_after_it(make: Any, irm: Any) -> None:
    log = []

    async def task() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            log.append("cancelled")

    setup = make(Echo)
    setup.host.context.spawn(task(), "sleeper")
    await asyncio.sleep(0)
    await setup.host.stop()
    assert log == ["cancelled"]
    setup.host.context.spawn(task(), "too late")
    assert irm.ended.qsize() == 1


# ---------------------------------------------------------------- flows


async def test_packets_both_ways_and_deallocation(make: Any, irm: Any) -> None:
    setup = make(Echo)
    await setup.serve()
    client = await setup.alloc()
    number, server = await irm.accepted.get()
    client.write(b"ping")
    assert await read(server) == b"ping"
    server.write(b"pong")
    assert await read(client) == b"pong"
    client.close()
    await setup.dealloc(1)
    with pytest.raises(NotAllocated):
        await setup.dealloc(1)
    assert [r.flow.id for r in setup.host._flows] == [number]


async def test_a_flow_id_in_use_is_refused_and_free_after_deallocation(make: Any) -> None:
    setup = make(Echo)
    await setup.serve()
    client = await setup.alloc()
    with pytest.raises(Exists):
        await setup.call(IpcpFlowAlloc(1, setup.name, RAW, b"", Grant(b"x")))
    client.close()
    await setup.dealloc(1)
    setup.irm.flows.pop(1).destroy()
    await setup.alloc()


async def test_the_error_of_the_far_end_passes(make: Any, irm: Any) -> None:
    setup = make(Echo)
    await setup.serve()
    irm.refusal = AuthenticationFailed("bad signature")
    with pytest.raises(AuthenticationFailed, match="bad signature"):
        await setup.alloc()
    irm.refusal = None
    irm.accepting.clear()
    setup.irm.flows.pop(1).destroy()
    with pytest.raises(UnknownName):
        await setup.alloc()
    assert not list(setup.host._flows)


async def test_a_dealloc_that_fails_frees_the_flow_all_the_same(make: Any) -> None:
    setup = make(Echo)
    await setup.serve()
    await setup.alloc()
    setup.host._ipcp.relays[1].stop()
    setup.host._ipcp.fault["flow_dealloc"] = ValueError("broken")
    with pytest.raises(IpcpError):
        await setup.dealloc(1)
    assert 1 not in setup.host._flows


async def test_an_end_that_is_still_bound_is_not_closed_under_its_mover(make: Any, caplog: Any) -> None:
    setup = make(Echo)
    await setup.serve()
    client = await setup.alloc()
    setup.host._ipcp.fault["flow_dealloc"] = ValueError("forgets the relay")
    with pytest.raises(IpcpError):
        await setup.dealloc(1)
    assert "unbind ends" in caplog.text
    assert not client.state & State.CLOSED
    await setup.host.stop()
    assert client.state & State.CLOSED


async def test_an_arrival_that_nobody_waits_for_any_more_is_given_back(make: Any, irm: Any) -> None:
    """The reply comes in the same turn of the loop as the cancellation, as it may from a socket."""
    setup = make(Echo)
    replies: list[asyncio.Future[Arrival]] = []

    class Later:
        def call(self, request: Any) -> Any:
            if isinstance(request, FlowArrived):
                replies.append(asyncio.get_running_loop().create_future())
                return replies[-1]
            return irm.call(request)

    context = setup.host.context
    context._irm = Later()
    call = asyncio.ensure_future(context.flow_arrived(HASH, RAW, 100, b""))
    await eventually(lambda: replies)
    fd = os.open("/dev/null", os.O_RDONLY)
    replies[0].set_result(Arrival(1234, b"", Grant(b"x", (fd,))))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert await asyncio.wait_for(irm.closed.get(), WAIT) == 1234


async def test_the_layer_closes_a_flow(make: Any, irm: Any) -> None:
    setup = make(Echo)
    await setup.serve()
    client = await setup.alloc()
    setup.host.context.flow_closed(1)
    setup.host.context.flow_closed(4711)
    assert await asyncio.wait_for(irm.closed.get(), WAIT) == 1
    with pytest.raises(FlowDown):
        await read(client)
    assert [r.flow_id for r in irm.seen if isinstance(r, FlowClosed)] == [1]
    await setup.dealloc(1)


async def test_an_ipcp_has_flows_of_its_own(make: Any, irm: Any) -> None:
    setup = make(Echo)
    end, allocation = await setup.host.context.flow_alloc("below", RAW)
    other = irm.attach(3, allocation.flow_id, 1)
    end.write(b"down")
    assert await read(other) == b"down"
    await setup.host.context.flow_dealloc(allocation.flow_id)
    assert other.state & State.CLOSED
    assert FlowDealloc(allocation.flow_id) in irm.seen


@pytest.mark.parametrize("qos", [RAW, RAW_NO_ERRORS], ids=["raw", "crc"])
async def test_own_flows_may_be_encrypted(make: Any, irm: Any, qos: QosSpec) -> None:
    setup = make(Echo)
    key = bytes(range(32))
    irm.lower_is = {"cipher": 901, "key": key, "suite": "aes-256-gcm", "plugin": "classic"}
    end, allocation = await setup.host.context.flow_alloc("below", qos)
    other = irm.attach(3, allocation.flow_id, 1)
    end.write(b"down")
    packet = await read(other)
    assert len(packet) == 12 + 4 + 16 + (4 if qos.needs_crc else 0)
    stages = stages_for(allocation, lambda _, name: setup.host.context.plugins.get("cipher_suites", name))
    pipeline = Pipeline(other, stages)
    other.write(packet)  # once more, the other way: both directions have one key
    assert end.read() == b"down"
    pipeline.write(b"up")
    assert end.read() == b"up"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"cipher": 901, "suite": "aes-256-gcm"}, CryptError),
        ({"cipher": 1, "suite": "rot13", "key": bytes(range(32))}, NotSupported),
    ],
    ids=["no key", "unknown cipher"],
)
async def test_own_flows_that_cannot_be_used_are_given_up(
    make: Any, irm: Any, wrong: dict[str, Any], error: type[OuroError]
) -> None:
    setup = make(Echo)
    irm.lower_is = wrong
    with pytest.raises(error):
        await setup.host.context.flow_alloc("below", RAW)
    await eventually(lambda: FlowDealloc(irm.lower[0].flow_id) in irm.seen)


async def test_own_flows_may_be_reliable(make: Any, irm: Any) -> None:
    """What is lost is sent again by the clock of the IPCP; at the end the layer learns how long to keep the flow."""
    setup = make(Echo)
    end, allocation = await setup.host.context.flow_alloc("below", DATA)
    other = irm.attach(3, allocation.flow_id, 1)
    peer = above(other, (), allocation)
    assert isinstance(peer, FrctPipeline)
    end.write(b"one")
    other.read()  # lost
    end.write(b"two")
    await eventually(lambda: peer.tick(monotonic()) and peer.frct.ready == 2)
    assert peer.read_many() == [b"one", b"two"]
    await eventually(lambda: peer.tick(monotonic()) and not end.frct.unacknowledged)
    await setup.host.context.flow_dealloc(allocation.flow_id)
    (dealloc,) = (request for request in irm.seen if isinstance(request, FlowDealloc))
    assert 125 < dealloc.linger < 133


async def test_own_flows_can_be_given_up_while_stopping(make: Any, irm: Any) -> None:
    class Tidy(Echo):
        async def stop(self) -> None:
            await self.ctx.flow_dealloc(irm.lower[0].flow_id)
            await self.ctx.flow_dealloc(4711)  # an error of the IRM is none here
            with pytest.raises(IpcpStateError):
                await self.ctx.flow_accept()
            self.log.append("tidy")

    setup = make(Tidy)
    await setup.host.context.flow_alloc("below", RAW)
    await setup.host.stop()
    assert setup.host._ipcp.log == ["tidy"]
    assert not irm.flows


async def test_stop_takes_open_flows_down(make: Any, irm: Any) -> None:
    setup = make(Echo)
    await setup.serve()
    clients = [await setup.alloc(i) for i in range(1, 6)]
    await setup.call(IpcpShutdown())
    for client in clients:
        assert client.state & State.DOWN
    assert setup.host._ipcp.log[-1] == "stop"


async def test_callers_learn_that_the_ipcp_ended_under_them(make: Any) -> None:
    setup = make(Echo)
    await setup.serve()
    setup.host._ipcp.hanging.add("query")
    call = asyncio.ensure_future(setup.call(IpcpQuery(HASH)))
    await eventually(lambda: "query" in setup.host._ipcp.log)
    await setup.host.stop()
    with pytest.raises(IpcpError, match="ended"):
        await call


async def test_abort_does_not_wait(make: Any, irm: Any) -> None:
    setup = make(Echo)
    await setup.serve()
    setup.host._ipcp.hanging |= {"query", "stop"}
    setup.host._ipcp.stubborn = True
    call = asyncio.ensure_future(setup.call(IpcpQuery(HASH)))
    await eventually(lambda: "query" in setup.host._ipcp.log)
    stopping = asyncio.ensure_future(setup.host.stop())
    await asyncio.sleep(0.02)
    setup.host.abort("it took too long")
    assert await irm.ended.get() == "it took too long"
    with pytest.raises(IpcpError):
        await call
    setup.host._ipcp.hang.set()
    await asyncio.wait_for(stopping, WAIT)
    assert irm.ended.empty()


async def test_a_stop_that_fails_ends_all_the_same(make: Any, irm: Any) -> None:
    setup = make(Echo)
    setup.host._ipcp.fault["stop"] = ValueError("broken")
    await setup.host.stop()
    assert setup.host.state == IpcpState.NULL
    assert irm.ended.qsize() == 1

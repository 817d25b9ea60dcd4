"""A N-1 flow whose packets are read here, as those of management are: what becomes of it, and what routing does."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio
from attrs import evolve
from ouro_unicast.contracts import RoutingPolicy
from ouro_unicast.events import Connected, Disconnected, Events, WentUp
from ouro_unicast.io import LowerFlow, Reader
from ouro_unicast.management import RoutingManagement
from ouro_unicast.transfer import DataTransfer
from ouro_unicast.wire.ocep import MANAGEMENT

from ouro_core.contracts.packets import FlowEnd, PacketClient, State
from ouro_core.model.flow import Grant
from ouro_core.model.irm_requests import Allocation
from ouro_core.model.qos import RAW, QosSpec
from ouro_core.plugins import PluginHost
from ouro_core.rib import Rib
from ouro_core.testing.ipcp import eventually
from ouro_core.testing.packets.bench import Bench


@pytest.fixture(params=PluginHost().pool_allocators.values(), ids=lambda system: system.name)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(request.param)
    yield bench
    bench.close()


@asynccontextmanager
async def lower(client: PacketClient, end: FlowEnd, qos: QosSpec) -> AsyncIterator[LowerFlow]:
    async def dealloc(flow_id: int) -> None:
        pass

    context: Any = SimpleNamespace(packets=client, flow_dealloc=dealloc)
    reader = Reader(client)
    flow = LowerFlow(context, reader, end, Allocation(1, Grant(b""), qos, 100, "n2"))
    yield flow
    await flow.close()
    reader.close()


@pytest_asyncio.fixture
async def flow(bench: Bench) -> AsyncIterator[tuple[LowerFlow, FlowEnd]]:
    """A flow, and the end of the IPCP below."""
    client = bench.client()
    above, below = bench.flow(client, bench.client())
    async with lower(client, above, RAW) as made:
        yield made, below


async def so_many(what: Sequence[object], number: int) -> None:
    async def there() -> bool:
        return len(what) == number

    await eventually(there)


async def test_a_flow_goes_down_and_comes_up_any_number_of_times(flow: tuple[LowerFlow, FlowEnd]) -> None:
    above, below = flow
    told: list[str] = []
    packets: list[bytes] = []
    above.changed = told.append
    above.receive(packets.extend)
    for n in range(1, 4):
        below.mark(set=State.DOWN)
        await so_many(told, 2 * n - 1)
        assert not above.send(b"lost")
        below.mark(clear=State.DOWN)
        await so_many(told, 2 * n)
        below.write(b"%d" % n)
        await so_many(packets, n)
    assert told == ["DOWN", "UP"] * 3
    assert packets == [b"1", b"2", b"3"]


async def test_a_flow_that_is_down_for_longer_than_its_time_out_is_gone(bench: Bench) -> None:
    """Its other end, which may not know that it is down, gives it up at that time as well."""
    client = bench.client()
    above, below = bench.flow(client, bench.client())
    async with lower(client, above, evolve(RAW, timeout=100)) as flow:
        told: list[str] = []
        flow.changed = told.append
        flow.receive(lambda packets: None)
        below.mark(set=State.DOWN)
        await so_many(told, 2)
        assert told == ["DOWN", "GONE"]


class Told(RoutingPolicy):
    """Writes down what it is told of management."""

    def __init__(self) -> None:
        super().__init__(1, None, Random(1), Rib())
        self.told: list[str] = []
        self.heard: list[bytes] = []

    def management_up(self, connection: int, address: int, now: float) -> None:
        self.told.append("up")
        self.send(connection, b"all")

    def management_down(self, connection: int, now: float) -> None:
        self.told.append("down")

    def neighbour_up(self, port: int, address: int, now: float) -> None: ...
    def neighbour_down(self, port: int, now: float) -> None: ...

    def receive(self, connection: int, data: bytes, now: float) -> None:
        self.heard.append(data)


async def test_routing_begins_anew_when_management_is_up_again(flow: tuple[LowerFlow, FlowEnd]) -> None:
    """At once, and again when something comes: until then the other end may be down, and lose what it is told."""
    above, below = flow
    policy, events = Told(), Events()
    routing = RoutingManagement(policy, cast(DataTransfer, None))
    routing.subscribe(events)
    connection: Any = (7, MANAGEMENT.component, MANAGEMENT.at(2), "n2", above)
    events.emit(Connected(*connection))
    events.emit(WentUp(*connection))
    assert policy.told == ["up", "down", "up"]
    for word in (b"first", b"second", b"third"):
        below.write(word)
        await so_many(policy.heard, 1)
        assert policy.heard.pop() == word
    assert policy.told == ["up", "down", "up", "down", "up"]
    assert [below.read() for _ in range(3)] == [b"all"] * 3
    events.emit(WentUp(*connection))
    events.emit(Disconnected(*connection))
    told = policy.told[:]
    below.write(b"too late")
    await asyncio.sleep(0.02)
    assert policy.told == told
    routing.stop()

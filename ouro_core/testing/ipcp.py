"""The contract kit of IPCP types: what every type owes to applications, tested through whole hosts.

    import pytest_asyncio
    from ouro_core import Node
    from ouro_core.testing.ipcp import IpcpTypeContract

    class TestMine(IpcpTypeContract):
        type = "mine"

        @pytest_asyncio.fixture
        async def hosts(self):
            async with Node() as a, Node() as b:
                yield a, b

        def options(self, host):
            return {"dev": ("veth0", "veth1")[host]}

`hosts` are the two that the layer connects; a type of one host gives the same `Node(direct=False)` twice. A type whose
members do not all bootstrap overrides `enter`. After each test both hosts must be without flows and without used
blocks, but for those that a pump has to receive into: a type on `ouro_core.shim` says `kept = 32`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, ClassVar, TypeVar

import pytest
import pytest_asyncio
from attrs import frozen

from ..api.aio import AsyncFlow
from ..api.node import Node
from ..contracts.ipcp import Ipcp
from ..model.capability import Capability
from ..model.errors import (
    ConfigError,
    Exists,
    FlowDown,
    FlowTimeout,
    IpcpError,
    IpcpStateError,
    NotFound,
    OuroError,
    UnknownName,
)
from ..model.layer import IpcpInfo
from ..plugins.suites import own_capabilities

__all__ = ["IpcpTypeContract", "Layer"]

R = TypeVar("R")

WAIT = 15.0
"""Seconds for anything that must happen. Less than the IRM's patience with an IPCP that does not answer."""
LAYER = "contract"
NAME = "contract.name"


@frozen
class Layer:
    """Two members. Names are registered at `server`, flows are allocated from `client`."""

    client: Node
    server: Node
    client_ipcp: IpcpInfo
    server_ipcp: IpcpInfo
    kept: int = 0
    """Blocks that each member's mover may keep to receive into."""

    async def serve(self, name: str = NAME) -> None:
        """Register a name that the server's application can accept for."""
        try:
            await self.server.bind(name)
        except Exists:
            pass
        await self.server.irm.reg_name(name, self.server_ipcp)

    async def flow(self, name: str = NAME) -> tuple[AsyncFlow, AsyncFlow]:
        """(the client's end, the server's end) of a new flow."""
        accepting = asyncio.ensure_future(self.server.flow_accept())
        try:
            client = await within(self.client.flow_alloc(name))
        except BaseException:
            accepting.cancel()
            with contextlib.suppress(asyncio.CancelledError, OuroError):
                await (await accepting).close()  # that of a requester that has given up
            raise
        return client, await within(accepting)

    async def quiet(self) -> None:
        """Returns when neither host has flows or used blocks."""
        for node in (self.client, self.server):
            await emptied(node, self.kept)

    async def end(self) -> None:
        """Returns when nothing is left of the layer."""
        await self.quiet()
        for node in (self.client, self.server):
            for ipcp in await node.irm.list_ipcps():
                await node.irm.destroy_ipcp(ipcp)
            await emptied(node)


async def within(awaitable: Awaitable[R]) -> R:
    """The result, or TimeoutError."""
    return await asyncio.wait_for(awaitable, WAIT)


async def eventually(check: Callable[[], Awaitable[Any]]) -> None:
    """Ask again until the answer is true. TimeoutError."""
    async with asyncio.timeout(WAIT):
        while not await check():  # noqa: ASYNC110 what is asked has no event to wait for
            await asyncio.sleep(0.005)


async def unused(node: Node, kept: int = 0) -> bool:
    """Whether a host has neither flows nor used blocks, but for as many as are `kept`."""
    status = await node.irm.rib_read("irm/status")
    return not status["flows"] and status["blocks"] <= kept


async def emptied(node: Node, kept: int = 0) -> None:
    """Returns when a host is `unused`. AssertionError: what is left."""
    try:
        await eventually(partial(unused, node, kept))
    except TimeoutError:
        status = await node.irm.rib_read("irm/status")
        left = f"{status['flows']} flows and {status['blocks']} used blocks"
        text = f"{left} are left after {WAIT:.0f} s; there may be no flows and {kept} blocks, see `kept`"
        raise AssertionError(text) from None


class IpcpTypeContract:
    """Subclass it, set `type` and give it the fixture `hosts`."""

    type: ClassVar[str]
    mtu: ClassVar[int] = 1400
    """Largest packet that every member can carry."""
    burst: ClassVar[int] = 50
    """Packets that may be under way at once without loss."""
    kept: ClassVar[int] = 0
    """Blocks that a member's mover may keep to receive into: 32 for a pump of `ssm`."""
    at_once: ClassVar[int] = 32
    """Flows between both members that the layer has room for."""
    tells_peer: ClassVar[bool] = False
    """Whether the layer tells the other end of a deallocation, and of an allocation that was given up. Otherwise it
    finds out by its time-out.
    """

    carries: ClassVar[bool] = True
    """As `Ipcp.carries` of the type: whether its flows have an end at the IPCP, which shows them."""

    pytestmark = pytest.mark.asyncio

    def options(self, host: int) -> Mapping[str, Any]:
        """Configuration of the IPCP on host 0 (server) or 1 (client)."""
        return {}

    async def enter(self, node: Node, ipcp: IpcpInfo, host: int) -> None:
        """Make an IPCP a member of the layer; host 0 comes first."""
        await node.irm.bootstrap_ipcp(ipcp, LAYER, self.options(host))

    async def _member(self, node: Node, host: int) -> IpcpInfo:
        ipcp = await node.irm.create_ipcp(f"member{host}", self.type)
        await within(self.enter(node, ipcp, host))
        return ipcp

    @pytest_asyncio.fixture
    async def layer(self, hosts: tuple[Node, Node]) -> AsyncIterator[Layer]:
        server, client = hosts
        server_ipcp = await self._member(server, 0)
        client_ipcp = server_ipcp if client is server else await self._member(client, 1)
        layer = Layer(client, server, client_ipcp, server_ipcp, self.kept)
        yield layer
        await layer.end()

    # ------------------------------------------------------------ layers and names

    async def test_bootstrap_or_enrolment_happens_once(self, layer: Layer) -> None:
        with pytest.raises(IpcpStateError):
            await self.enter(layer.server, layer.server_ipcp, 0)
        await layer.serve()
        for flow in await layer.flow():
            await flow.close()

    async def test_unknown_options_are_named(self, hosts: tuple[Node, Node]) -> None:
        ipcp = await hosts[0].irm.create_ipcp("fresh", self.type)
        with pytest.raises(ConfigError, match="no_such_option"):
            await hosts[0].irm.bootstrap_ipcp(ipcp, LAYER, {**self.options(0), "no_such_option": "1"})
        await within(self.enter(hosts[0], ipcp, 0))

    async def test_names_need_a_layer(self, hosts: tuple[Node, Node]) -> None:
        ipcp = await hosts[0].irm.create_ipcp("fresh", self.type)
        with pytest.raises((IpcpError, IpcpStateError)):
            await hosts[0].irm.reg_name(NAME, ipcp)

    async def test_registering_and_unregistering_twice_is_no_error(self, layer: Layer) -> None:
        await layer.serve()
        await layer.server.irm.reg_name(NAME, layer.server_ipcp)
        for flow in await layer.flow():
            await flow.close()
        for _ in range(2):
            await layer.server.irm.unreg_name(NAME, layer.server_ipcp)

    async def test_a_name_that_was_unregistered_is_not_found(self, layer: Layer) -> None:
        await layer.serve()
        await layer.server.irm.unreg_name(NAME, layer.server_ipcp)
        accepting = asyncio.ensure_future(layer.server.flow_accept())
        with pytest.raises((UnknownName, IpcpError)):
            await within(layer.client.flow_alloc(NAME))
        accepting.cancel()

    async def test_a_type_that_probes_finds_out_that_the_other_host_is_of_ouro(self, layer: Layer) -> None:
        await layer.serve()
        found = await within(layer.client.irm.probe_name(NAME))
        plugins = layer.client.plugins
        if plugins.get("ipcp_types", self.type).capabilities is Ipcp.capabilities:
            assert found == Capability(0)
        else:
            assert found == own_capabilities(plugins)
        with pytest.raises((UnknownName, IpcpError)):
            await within(layer.client.irm.probe_name("nobody.has.this"))

    async def test_an_unknown_name_is_not_found(self, layer: Layer) -> None:
        with pytest.raises((UnknownName, IpcpError)):
            await within(layer.client.flow_alloc("nobody.has.this"))

    # ------------------------------------------------------------ allocation

    async def test_data_goes_along_with_request_and_answer(self, layer: Layer) -> None:
        await layer.serve()
        accepting = asyncio.ensure_future(layer.server.flow_accept(data=b"response"))
        client = await within(layer.client.flow_alloc(NAME, data=b"request"))
        async with client, await within(accepting) as server:
            assert (client.data, server.data) == (b"response", b"request")
            assert server.name == NAME
            assert client.mpl == server.mpl > 0

    async def test_a_request_that_nobody_accepts_is_answered(self, layer: Layer) -> None:
        await layer.serve()
        with pytest.raises(FlowTimeout):
            await within(layer.client.flow_alloc(NAME))

    async def test_a_cancelled_allocation_leaves_nothing(self, layer: Layer) -> None:
        await layer.serve()
        allocating = asyncio.ensure_future(layer.client.flow_alloc(NAME))
        await eventually(layer.client.irm.list_flows)
        allocating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await allocating
        await layer.quiet()
        while True:
            try:
                flows = await layer.flow()
                break
            except FlowTimeout:  # accepted was the one that was cancelled
                assert not self.tells_peer
        for flow in flows:
            await flow.close()

    async def test_many_allocations_at_once(self, layer: Layer) -> None:
        await layer.serve()
        number = self.at_once

        async def serve() -> None:
            async with await layer.server.flow_accept() as flow:
                await flow.write(await flow.read())
                await flow.read()

        async def ask(i: int) -> bytes:
            async with await layer.client.flow_alloc(NAME) as flow:
                await flow.write(b"%d" % i)
                answer = await flow.read()
                await flow.write(b"thanks")
                return answer

        async with asyncio.TaskGroup() as group:
            for _ in range(number):
                group.create_task(serve())
            answers = await within(asyncio.gather(*(ask(i) for i in range(number))))
        assert answers == [b"%d" % i for i in range(number)]

    async def test_flows_come_and_go(self, layer: Layer) -> None:
        await layer.serve()
        for i in range(20):
            client, server = await layer.flow()
            await client.write(b"%d" % i)
            assert await within(server.read()) == b"%d" % i
            await (client if i % 2 else server).close()
            await (server if i % 2 else client).close()

    # ------------------------------------------------------------ packets

    @pytest_asyncio.fixture
    async def ends(self, layer: Layer) -> AsyncIterator[tuple[AsyncFlow, AsyncFlow]]:
        """Both ends of a flow."""
        await layer.serve()
        async with AsyncExitStack() as stack:
            client, server = await layer.flow()
            await stack.enter_async_context(client)
            await stack.enter_async_context(server)
            yield client, server

    async def test_packets_of_every_size_are_intact(self, ends: tuple[AsyncFlow, AsyncFlow]) -> None:
        client, server = ends
        sizes = {1, 2, 63, 64, 65, 255, 256, 257, 512, 1024, self.mtu - 1, self.mtu}
        for size in sorted(s for s in sizes if s <= self.mtu):
            packet = bytes(i * 7 + size & 0xFF for i in range(size))
            for source, sink in ((client, server), (server, client)):
                await source.write(packet)
                assert await within(sink.read()) == packet

    async def test_packets_stay_in_order_and_one_by_one(self, ends: tuple[AsyncFlow, AsyncFlow]) -> None:
        for source, sink in (ends, ends[::-1]):
            for start in range(0, 10 * self.burst, self.burst):
                expected = [b"%d" % i * (i % 9 + 1) for i in range(start, start + self.burst)]
                for packet in expected:
                    await source.write(packet)
                assert [await within(sink.read()) for _ in expected] == expected

    async def test_both_directions_at_once(self, ends: tuple[AsyncFlow, AsyncFlow]) -> None:
        async def play(flow: AsyncFlow, letter: bytes) -> list[bytes]:
            got = []
            for i in range(100):
                await flow.write(letter + b"%d" % i)
                got.append(await flow.read())
            return got

        left, right = await within(asyncio.gather(play(ends[0], b"a"), play(ends[1], b"b")))
        assert left == [b"b%d" % i for i in range(100)]
        assert right == [b"a%d" % i for i in range(100)]

    async def test_empty_packets_are_carried(self, ends: tuple[AsyncFlow, AsyncFlow]) -> None:
        """They are keep-alives, which the other end counts and nobody reads."""
        for source, sink in (ends, ends[::-1]):
            before = sink._end.sequence()[1]
            source._end.keepalive()

            async def arrived(sink: AsyncFlow = sink, before: int = before) -> bool:
                return sink._end.sequence()[1] != before

            await eventually(arrived)
            await source.write(b"after it")
            assert await within(sink.read()) == b"after it"

    async def test_flows_do_not_mix(self, layer: Layer) -> None:
        await layer.serve()
        async with AsyncExitStack() as stack:
            flows = []
            for _ in range(5):
                flows.append(await layer.flow())
                for flow in flows[-1]:
                    await stack.enter_async_context(flow)
            for i, (client, _) in enumerate(flows):
                await client.write(b"to %d" % i)
            for i, (_, server) in enumerate(flows):
                assert await within(server.read()) == b"to %d" % i

    # ------------------------------------------------------------ ends

    @pytest.mark.parametrize("side", ["client", "server"])
    async def test_what_was_written_before_deallocation_arrives(self, layer: Layer, side: str) -> None:
        await layer.serve()
        ends = await layer.flow()
        leaving, staying = ends if side == "client" else ends[::-1]
        expected = [b"last %d" % i for i in range(self.burst)]
        for packet in expected:
            await leaving.write(packet)
        await leaving.close()
        async with staying:
            assert [await within(staying.read()) for _ in expected] == expected
            if self.tells_peer:
                with pytest.raises(FlowDown):
                    await within(staying.read())

    async def test_an_ipcp_that_ends_takes_its_flows_down(self, layer: Layer) -> None:
        await layer.serve()
        client, server = await layer.flow()
        async with client, server:
            reading = asyncio.ensure_future(client.read())
            await asyncio.sleep(0)
            await within(layer.client.irm.destroy_ipcp(layer.client_ipcp))
            with pytest.raises(FlowDown):
                await within(reading)
            with pytest.raises(FlowDown):
                await client.write(b"too late")

    async def test_another_ipcp_can_take_its_place(self, layer: Layer) -> None:
        await layer.serve()
        await within(layer.server.irm.destroy_ipcp(layer.server_ipcp))
        ipcp = await self._member(layer.server, 0)
        client_ipcp = ipcp if layer.client is layer.server else layer.client_ipcp
        again = Layer(layer.client, layer.server, client_ipcp, ipcp, self.kept)
        await again.serve()
        for flow in await again.flow():
            await flow.close()

    # ------------------------------------------------------------ looking inside

    async def test_the_rib_shows_the_ipcp_and_its_flows(self, layer: Layer) -> None:
        await layer.serve()
        client, server = await layer.flow()
        async with client, server:
            seen = await layer.client.irm.rib_read(f"ipcps/{layer.client_ipcp.name}/info")
            assert seen["type"] == self.type
            assert seen["state"] == "operational"
            assert seen["layer"] == LAYER
            flows = await layer.client.irm.rib_read(f"ipcps/{layer.client_ipcp.name}/flows")
            assert (str(client.flow_id) in flows) is self.carries
        await layer.quiet()
        with pytest.raises(NotFound):
            await layer.client.irm.rib_read(f"ipcps/{layer.client_ipcp.name}/flows/{client.flow_id}")

"""A member's own address goes away, and comes back, while it has flows. Needs root: networks of their own."""

import asyncio
from collections.abc import Iterator

import pytest

from ouro_core import Node
from ouro_core.model.errors import FlowDown
from ouro_core.testing.ipcp import eventually, within
from ouro_core.testing.netns import Namespace, join, unusable

pytestmark = pytest.mark.skipif(unusable() is not None, reason=str(unusable()))
OWN, PEER = "10.79.0.1", "10.79.1.1"


@pytest.fixture
def network() -> Iterator[Namespace]:
    """With both addresses, on one host."""
    with Namespace() as network, network.inside():
        join(network, "v0", network, "v1")
        network.ip("addr", "add", f"{OWN}/24", "dev", "v0")
        network.ip("addr", "add", f"{PEER}/32", "dev", "lo")
        yield network


async def test_it_is_said_and_flows_go_on_when_it_is_back(network: Namespace, caplog: pytest.LogCaptureFixture) -> None:
    async with Node(direct=False) as server, Node(direct=False) as client:
        for node, options in ((server, {"ip": PEER}), (client, {"ip": OWN, "peers": f"name={PEER}"})):
            ipcp = await node.irm.create_ipcp("u", "udp4")
            await node.irm.bootstrap_ipcp(ipcp, "net", options)
        await server.bind("name")
        await server.irm.reg_name("name", "u")
        accepting = asyncio.ensure_future(server.flow_accept())
        flow = await within(client.flow_alloc("name"))
        async with flow, await within(accepting) as accepted:
            network.ip("addr", "del", f"{OWN}/24", "dev", "v0")
            for _ in range(5):
                await flow.write(b"into the void")

            async def counted() -> bool:
                return bool(await client.irm.rib_read("ipcps/u/frames/tx_error") == 5)

            await eventually(counted)
            await accepted.write(b"to nobody")
            with pytest.raises(FlowDown, match=f"cannot send to {PEER}:3435: .*; {OWN} is no address of this machine"):
                await within(client.flow_alloc("name"))
            network.ip("addr", "add", f"{OWN}/24", "dev", "v0")
            await flow.write(b"there")
            assert await within(accepted.read()) == b"there"
            await accepted.write(b"back")
            assert await within(flow.read()) == b"back"
    said = [r.getMessage() for r in caplog.records if f"Packets to {PEER}:3435 are dropped" in r.getMessage()]
    assert len(said) == 1, "five packets were"
    assert f"{OWN} is no address of this machine any more" in said[0]

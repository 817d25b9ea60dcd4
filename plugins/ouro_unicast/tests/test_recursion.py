"""A layer on a layer on a layer on a layer."""

import asyncio

import pytest
from unicast_net import Net

from ouro_core.model.qos import DATA
from ouro_core.testing.ipcp import within

DEPTH = 4


async def stack(net: Net, depth: int) -> None:
    """Two members a layer. Everything of layer k+1 is registered at the second member of layer k, and the first one is
    asked first, so that all flows between two members cross all layers below.
    """
    over = "lo"
    for k in range(1, depth + 1):
        await net.line(f"c{k}", f"s{k}", layer=f"layer{k}", over=over)
        over = f"s{k}"


@pytest.mark.parametrize("depth", [1, 2, DEPTH])
async def test_packets_cross_all_layers(net: Net, depth: int) -> None:
    await stack(net, depth)
    await net.serve("top", f"s{depth}")
    await net.knows(f"c{depth}", 1)
    before = [(await net.read(f"c{k}", "packets"))["originated"] for k in range(1, depth + 1)]
    accepting = asyncio.ensure_future(net.node.flow_accept())
    async with await within(net.node.flow_alloc("top")) as client, await within(accepting) as server:
        for size in (1, 64, 1000, 1400):
            for i in range(10):
                packet = bytes((i,)) * size
                await client.write(packet)
                assert await within(server.read()) == packet
                await server.write(packet)
                assert await within(client.read()) == packet
    for k in range(1, depth + 1):
        now = (await net.read(f"c{k}", "packets"))["originated"]
        assert now - before[k - 1] >= 40, f"layer {k} was passed by"


async def test_a_reliable_flow_over_all_layers(net: Net) -> None:
    await stack(net, DEPTH)
    await net.serve("top", f"s{DEPTH}")
    await net.knows(f"c{DEPTH}", 1)
    accepting = asyncio.ensure_future(net.node.flow_accept())
    async with await within(net.node.flow_alloc("top", DATA)) as client, await within(accepting) as server:
        for i in range(100):
            await client.write(b"%d" % i)
        assert [await within(server.read()) for _ in range(100)] == [b"%d" % i for i in range(100)]

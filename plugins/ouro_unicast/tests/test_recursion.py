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


async def test_the_lowest_layer_ends_and_comes_back(net: Net) -> None:
    """The layer above it makes its connections again. All others notice nothing but losses; a flow over them lasts."""
    await stack(net, DEPTH)
    await net.serve("top", f"s{DEPTH}")
    await net.knows(f"c{DEPTH}", 1)
    accepting = asyncio.ensure_future(net.node.flow_accept())
    async with await within(net.node.flow_alloc("top")) as client, await within(accepting) as server:
        await client.write(b"before")
        assert await within(server.read()) == b"before"
        await within(net.irm.destroy_ipcp("lo"))
        for member in ("c1", "s1"):
            await net.reaches(member, 0)
        await client.write(b"lost")
        await net.irm.autoboot("lo", "local", "lo")
        for member in ("c1", "s1"):
            await net.irm.reg_name(member, "lo")
        for member in ("c1", "s1"):
            await net.reaches(member, 1)
        await client.write(b"after")
        assert await within(server.read()) == b"after"
    for k in range(2, DEPTH + 1):
        assert (await net.read(f"c{k}", "connections"))["lost"] == 0


async def test_a_reliable_flow_over_all_layers(net: Net) -> None:
    await stack(net, DEPTH)
    await net.serve("top", f"s{DEPTH}")
    await net.knows(f"c{DEPTH}", 1)
    accepting = asyncio.ensure_future(net.node.flow_accept())
    async with await within(net.node.flow_alloc("top", DATA)) as client, await within(accepting) as server:
        for i in range(100):
            await client.write(b"%d" % i)
        assert [await within(server.read()) for _ in range(100)] == [b"%d" % i for i in range(100)]

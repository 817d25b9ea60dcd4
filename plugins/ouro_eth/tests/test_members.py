"""Members that come back, share a device, or are asked for more than they have: flows of others keep apart."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ouro_core import Node
from ouro_core.model.qos import RAW
from ouro_core.shim import FlowRequest
from ouro_core.testing.netns import Namespace

from .ethernet_layer import NAME, WAIT, Layer, digest, eventually, layer


@pytest_asyncio.fixture(params=["eth-dix", "eth-llc"])
async def lay(request: pytest.FixtureRequest, segment: Namespace) -> AsyncIterator[Layer]:
    async with layer(request.param) as made:
        yield made


async def test_packets_of_a_flow_that_is_gone_end_up_in_no_other(lay: Layer) -> None:
    """The server's IPCP ends and another takes its place. The client's old flow does not know, and goes on."""
    old, gone = await lay.flow()
    async with old, gone:
        await lay.server.irm.destroy_ipcp("e")
        await lay.server.irm.create_ipcp("e", lay.type)
        await lay.server.irm.bootstrap_ipcp("e", "layer", {"dev": "v1"})
        await lay.server.irm.reg_name(NAME, "e")
        new, accepted = await lay.flow()
        async with new, accepted:
            for _ in range(20):
                await old.write(b"old")
            await new.write(b"new")
            assert await asyncio.wait_for(accepted.read(), WAIT) == b"new"


async def test_two_members_on_one_device(lay: Layer) -> None:
    """Each hears what is for the other. Their flows are the same peer's, and keep apart."""
    async with Node(direct=False) as other:
        await other.irm.create_ipcp("e", lay.type)
        await other.irm.bootstrap_ipcp("e", "layer", {"dev": "v1"})
        await other.irm.reg_name("other", "e")
        await other.bind("other")
        first = await lay.flow()
        accepting = asyncio.ensure_future(other.flow_accept())
        second = await lay.client.flow_alloc("other", timeout=WAIT), await asyncio.wait_for(accepting, WAIT)
        async with first[0], first[1], second[0], second[1]:
            for _ in range(3):
                for n, (client, server) in enumerate((first, second)):
                    await client.write(b"to %d" % n)
                    assert await asyncio.wait_for(server.read(), WAIT) == b"to %d" % n
                    await server.write(b"from %d" % n)
                    assert await asyncio.wait_for(client.read(), WAIT) == b"from %d" % n


async def test_requests_for_a_name_whose_server_sleeps_are_in_nobody_elses_way(lay: Layer) -> None:
    """A thousand hosts ask for it, again and again, and each waits for a server that does not accept. Flows to another
    name of the same member are had all the same.
    """
    await lay.server.irm.reg_name("sleeper", "e")
    async with asyncio.TaskGroup() as group:
        stop = asyncio.Event()

        async def flood() -> None:
            number = 0
            while not stop.is_set():
                for _ in range(50):
                    number += 1
                    host = bytes((2, 7)) + number.to_bytes(4, "big")
                    message = FlowRequest(2 + number % 60, digest("sleeper"), RAW, number.to_bytes(36, "big"))
                    lay.tell(message, lay.mac("v1"), host)
                await asyncio.sleep(0.02)

        flooding = group.create_task(flood())

        async def full() -> bool:
            return await lay.count(lay.server, "management/too_many") > 0

        await eventually(full)
        for _ in range(20):
            accepting = asyncio.ensure_future(lay.server.flow_accept())
            async with await lay.client.flow_alloc(NAME, timeout=WAIT), await asyncio.wait_for(accepting, WAIT):
                pass
        assert await lay.count(lay.server, "management/waiting") > 100
        stop.set()
        await flooding

"""Type local between two users who share no pool: each has a flow with the IPCP, which relays."""

import asyncio
from typing import Any

import pytest

from ouro_core.builtin.local import LocalIpcp
from ouro_core.contracts.packets import State
from ouro_core.model.errors import FlowDown, NotAllocated, UnknownName
from ouro_core.model.ipcp_requests import FlowReply, IpcpFlowAlloc
from ouro_core.model.irm_requests import FlowClosed
from ouro_core.model.qos import RAW

WAIT = 10


async def read(end: Any) -> bytes:
    return bytes(await asyncio.wait_for(asyncio.to_thread(end.read), WAIT))


async def relayed(make: Any, irm: Any) -> tuple[Any, Any, int, Any]:
    """(setup, the requester's end, the acceptor's flow id and end)."""
    setup = make(LocalIpcp, client_uid=1001, server_uid=1002)
    await setup.serve()
    irm.requesters[1] = 2
    reply = await setup.call(IpcpFlowAlloc(1, setup.name, RAW, b"request"))
    assert reply == FlowReply(100, b"response")
    number, server = await irm.accepted.get()
    return setup, irm.attach(2, 1, 0), number, server


async def test_packets_go_both_ways_in_order(make: Any, irm: Any) -> None:
    _, client, _, server = await relayed(make, irm)
    for i in range(200):
        client.write(b"%d" % i)
    assert [await read(server) for _ in range(200)] == [b"%d" % i for i in range(200)]
    server.write(b"back")
    assert await read(client) == b"back"


@pytest.mark.parametrize("side", ["requester", "acceptor"])
async def test_deallocation_delivers_what_was_written_and_tells_the_other(make: Any, irm: Any, side: str) -> None:
    setup, client, number, server = await relayed(make, irm)
    leaving, other, first, second = (client, server, 1, number) if side == "requester" else (server, client, number, 1)
    for i in range(50):
        leaving.write(b"%d" % i)
    leaving.close()
    await setup.dealloc(first)
    assert [await read(other) for _ in range(50)] == [b"%d" % i for i in range(50)]
    with pytest.raises(FlowDown):
        await read(other)
    assert await asyncio.wait_for(irm.closed.get(), WAIT) == second
    other.close()
    await setup.dealloc(second)
    assert not list(setup.host._flows)


async def test_both_deallocate_at_once(make: Any, irm: Any) -> None:
    setup, client, number, server = await relayed(make, irm)
    client.close()
    server.close()
    await asyncio.wait_for(asyncio.gather(setup.dealloc(1), setup.dealloc(number)), WAIT)
    assert not list(setup.host._flows)


async def test_an_id_that_was_given_to_another_flow_is_not_closed(make: Any, irm: Any) -> None:
    """One side goes, its id is used again, then the other side goes."""
    setup, client, number, server = await relayed(make, irm)
    server.close()
    await setup.dealloc(number)
    irm.flows.pop(number).destroy()
    irm.requesters[number] = 2
    await setup.call(IpcpFlowAlloc(number, setup.name, RAW, b"request"))
    again = irm.attach(2, number, 0)
    client.close()
    await setup.dealloc(1)
    assert FlowClosed(number) not in irm.seen
    again.write(b"up")


async def test_an_application_that_stays_does_not_hold_up_deallocation(make: Any, irm: Any) -> None:
    """The IRM may tell of the deallocation although the application never closed its end."""
    setup, _client, number, server = await relayed(make, irm)
    await asyncio.wait_for(setup.dealloc(1), WAIT)
    assert await asyncio.wait_for(irm.closed.get(), WAIT) == number
    assert server.state & State.DOWN


async def test_stop_with_open_flows(make: Any, irm: Any) -> None:
    setup, client, _, server = await relayed(make, irm)
    await setup.host.stop()
    assert client.state & State.DOWN
    assert server.state & State.DOWN


async def test_an_unregistered_hash_is_unknown_although_somebody_accepts(make: Any, irm: Any) -> None:
    setup = make(LocalIpcp)
    await setup.bootstrap()
    irm.accepting.add(setup.name)
    with pytest.raises(UnknownName):
        await setup.call(IpcpFlowAlloc(1, setup.name, RAW, b""))
    assert irm.seen == []


async def test_joined_flows_leave_the_ipcp_out(make: Any, irm: Any) -> None:
    setup = make(LocalIpcp)
    await setup.serve()
    client = await setup.alloc(1)
    _, server = await irm.accepted.get()
    client.write(b"direct")
    assert await read(server) == b"direct"
    assert not list(setup.host._flows)
    with pytest.raises(NotAllocated):
        await setup.dealloc(1)  # which the IRM does not ask for
    client.close()
    assert server.state & State.CLOSED

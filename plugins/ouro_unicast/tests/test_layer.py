"""Unicast layers over a local one, on one node: members, flows, names."""

import asyncio

import pytest
from unicast_net import Net

from ouro_core.api.aio import AsyncFlow
from ouro_core.model.errors import IpcpError, OuroError, UnknownName
from ouro_core.testing.ipcp import eventually, within


async def flow(net: Net, name: str) -> tuple[AsyncFlow, AsyncFlow]:
    """(the requester's end, the acceptor's). The requester is at the member that was made first."""
    accepting = asyncio.ensure_future(net.node.flow_accept())
    client = await within(net.node.flow_alloc(name))
    return client, await within(accepting)


async def exchange(client: AsyncFlow, server: AsyncFlow, number: int = 50) -> None:
    for i in range(number):
        await client.write(b"ping %d" % i)
        assert await within(server.read()) == b"ping %d" % i
        await server.write(b"pong %d" % i)
        assert await within(client.read()) == b"pong %d" % i


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
async def test_a_line(net: Net, names: str) -> None:
    await net.line(*names)
    last = names[-1]
    await net.serve("echo", last)
    await net.knows("a", 1)
    before = [(await net.read(between, "packets"))["no_route"] for between in names[1:-1]]
    client, server = await flow(net, "echo")
    async with client, server:
        await exchange(client, server)
        seen = await net.read("a", f"flows/{client.flow_id}")
        assert seen["peer"] == (await net.read(last, ""))["address"]
        assert seen["packets"]["rx"] == 50
        for between, no_route in zip(names[1:-1], before, strict=True):
            packets = await net.read(between, "packets")
            assert packets["forwarded"] >= 100
            assert (packets["ttl"], packets["no_route"]) == (0, no_route)


async def test_what_a_member_shows(net: Net) -> None:
    await net.line("a", "b")
    assert await net.read("a", "enrolment") == {"how": "bootstrapped", "enrolled_here": 1, "failed_here": 0}
    seen = await net.read("b", "")
    assert seen["enrolment"] == {"how": "enrolled with a", "enrolled_here": 0, "failed_here": 0}
    assert seen["policies"]["routing"] == "link_state"
    (neighbour,) = seen["neighbours"].values()
    assert (neighbour["name"], neighbour["up"], neighbour["cube"]) == ("a", True, "BEST_EFFORT")
    assert seen["table"]["all"] == {neighbour["address"]: [neighbour["address"]]}
    assert sorted(seen["links"]) == sorted([seen["address"], neighbour["address"]])
    (managing,) = seen["management"].values()
    assert (managing["name"], managing["address"]) == ("a", neighbour["address"])
    for what in ("neighbours", "management"):  # who connected here is known by his address, not by the name he used
        (other,) = (await net.read("a", what)).values()
        assert (other["name"], other["address"]) == (seen["address"], seen["address"])
    assert seen["components"] == {eid: {"waiting": 0, "dropped": 0} for eid in ("0", "1")}


async def test_who_enrols_in_vain_and_founds_a_layer_then(net: Net) -> None:
    await net.line("a")
    ipcp = await net.irm.create_ipcp("b", "broadcast")
    with pytest.raises(OuroError, match="Wrong type"):
        await within(net.irm.enroll_ipcp(ipcp, "a"))
    await net.irm.bootstrap_ipcp(ipcp, "news", {})
    assert (await net.read("b", "enrolment"))["how"] == "bootstrapped"
    await counted_as_failed(net, "a")


async def counted_as_failed(net: Net, member: str) -> None:
    async def failed() -> bool:
        return bool((await net.read(member, "enrolment"))["failed_here"] == 1)

    await eventually(failed)


async def test_a_flow_within_one_member(net: Net) -> None:
    await net.line("a")
    await net.serve("echo", "a")
    client, server = await flow(net, "echo")
    async with client, server:
        await exchange(client, server)


async def test_a_name_that_nobody_has(net: Net) -> None:
    await net.line("a", "b")
    with pytest.raises((UnknownName, IpcpError)):
        await within(net.node.flow_alloc("nobody"))


async def test_a_name_that_is_registered_no_more(net: Net) -> None:
    await net.line("a", "b")
    await net.serve("echo", "b")
    await net.knows("a", 1)
    await net.irm.unreg_name("echo", "b")
    await net.knows("a", 0)
    with pytest.raises((UnknownName, IpcpError)):
        await within(net.node.flow_alloc("echo"))

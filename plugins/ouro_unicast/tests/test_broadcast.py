"""Broadcast layers over a local one, on one node."""

import asyncio
from typing import Any

import pytest
from ouro_unicast.flood import LOOP
from ouro_unicast.tree import TREE
from ouro_unicast.wire import ocep
from unicast_net import Net

from ouro_core.api.aio import AsyncFlow
from ouro_core.model.errors import Exists, FlowTimeout, InvalidArgument, IpcpError, NotSupported, OuroError
from ouro_core.model.qos import DATA, RAW, QosSpec
from ouro_core.testing.ipcp import eventually, within


async def member(net: Net, name: str, via: str | None, connect: bool = True) -> None:
    ipcp = await net.irm.create_ipcp(name, "broadcast")
    if via is None:
        await within(net.irm.bootstrap_ipcp(ipcp, "news"))
    else:
        await within(net.irm.enroll_ipcp(ipcp, via))
    await net.irm.bind_ipcp(ipcp, name)
    await net.irm.reg_name(name, "lo")
    if via is not None and connect:
        await within(net.irm.connect_ipcp(name, via))


async def neighbours(net: Net, name: str, kind: str = "member") -> list[Any]:
    seen = await net.irm.rib_read(f"ipcps/{name}/member/neighbours")
    return [n for n in seen.values() if n["kind"] == kind]


async def connected(net: Net, name: str, number: int) -> None:
    async def enough() -> bool:
        return len(await neighbours(net, name)) == number

    await eventually(enough)


async def silence(flow: AsyncFlow) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flow.read(), 0.1)


async def test_all_who_joined_hear_each_other(net: Net) -> None:
    await member(net, "a", None)
    flows = [await within(net.node.flow_join("news")) for _ in range(3)]
    for speaker in flows:
        await speaker.write(b"from %d" % flows.index(speaker))
        for other in flows:
            if other is not speaker:
                assert await within(other.read()) == b"from %d" % flows.index(speaker)
        await silence(speaker)
    await flows[0].close()
    await flows[1].write(b"without the first")
    assert await within(flows[2].read()) == b"without the first"
    for flow in flows[1:]:
        await flow.close()


async def heard(net: Net, source: str) -> int:
    return sum(n["received"] for n in await neighbours(net, source))


async def test_a_tree_of_members(net: Net) -> None:
    """The application joins the first member; the others show what they got."""
    await member(net, "a", None)
    for name, via in (("b", "a"), ("c", "b"), ("d", "b")):
        await member(net, name, via)
    await connected(net, "b", 3)
    async with await within(net.node.flow_join("news")) as flow:
        for i in range(10):
            await flow.write(b"%d" % i)
        for name in "bcd":

            async def all_there(name: str = name) -> bool:
                return await heard(net, name) == 10

            await eventually(all_there)
        assert await heard(net, "a") == 0
        await silence(flow)


async def test_a_layer_is_joined_by_its_name(net: Net) -> None:
    await member(net, "a", None)
    with pytest.raises((IpcpError, FlowTimeout)):
        await within(net.node.flow_join("olds"))


async def test_what_a_broadcast_layer_cannot_do(net: Net) -> None:
    await member(net, "a", None)
    with pytest.raises(NotSupported):
        await net.irm.reg_name("name", "a")


@pytest.mark.parametrize("again", [("b", "a"), ("a", "b"), ("c", "a"), ("a", "c"), ("a", "a")])
async def test_loops_and_doubles_are_refused(net: Net, again: tuple[str, str]) -> None:
    await member(net, "a", None)
    await member(net, "b", "a")
    await member(net, "c", "b")
    await connected(net, "b", 2)
    source, destination = again
    if again == ("b", "a"):
        await within(net.irm.connect_ipcp(source, destination))  # the same again is no other connection
    else:
        with pytest.raises((Exists, InvalidArgument), match=r"would close a loop|this very IPCP"):
            await within(net.irm.connect_ipcp(source, destination))
    for name, number in (("a", 1), ("b", 2), ("c", 1)):
        await connected(net, name, number)


async def test_a_connection_can_be_broken_and_made_elsewhere(net: Net) -> None:
    await member(net, "a", None)
    await member(net, "b", "a")
    await member(net, "c", "b")
    await within(net.irm.disconnect_ipcp("c", "b"))
    await connected(net, "b", 1)
    await within(net.irm.disconnect_ipcp("c", "b"))  # there is none: no error
    await within(net.irm.connect_ipcp("c", "a"))
    await connected(net, "a", 2)


async def test_a_member_that_ends_is_looked_for(net: Net) -> None:
    await member(net, "a", None)
    await member(net, "b", "a")
    await net.irm.destroy_ipcp("a")
    await connected(net, "b", 0)
    await member(net, "a", "b", connect=False)
    await connected(net, "b", 1)


async def test_types_do_not_mix(net: Net) -> None:
    await member(net, "a", None)
    other = await net.irm.create_ipcp("u", "unicast")
    with pytest.raises(OuroError, match="Wrong type in enrollment response 2"):
        await within(net.irm.enroll_ipcp(other, "a"))
    await net.member("v", "net")
    third = await net.irm.create_ipcp("w", "broadcast")
    with pytest.raises(OuroError, match="Wrong type in enrollment response 1"):
        await within(net.irm.enroll_ipcp(third, "v"))


async def test_who_does_not_read_stops_nobody(net: Net) -> None:
    await member(net, "a", None)
    speaker, deaf, listener = [await within(net.node.flow_join("news")) for _ in range(3)]
    for i in range(4000):
        await speaker.write(b"%d" % i)
        assert await within(listener.read()) == b"%d" % i
    dropped = [n["dropped"] for n in await neighbours(net, "a", "application")]
    assert sorted(dropped)[:2] == [0, 0]
    assert max(dropped) > 1000
    for flow in (speaker, deaf, listener):
        await flow.close()


# ---------------------------------------------------------------- strangers


async def introduced(net: Net, identity: ocep.Identity, qos: QosSpec = RAW) -> AsyncFlow:
    """A flow to a component of a, who takes us for another member."""
    flow = await within(net.node.flow_alloc("a", qos))
    await flow.write(identity.encode())
    assert ocep.Identity.decode(await within(flow.read())).component == identity.component
    return flow


async def two_who_joined(net: Net) -> tuple[AsyncFlow, AsyncFlow]:
    return await within(net.node.flow_join("news")), await within(net.node.flow_join("news"))


async def test_a_member_that_repeats_what_others_say_is_cut_off(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    """It has no component Tree, as those of the prototype: what circulates is found by what comes."""
    await member(net, "a", None)
    speaker, listener = await two_who_joined(net)
    echo = await introduced(net, ocep.BROADCAST_TRANSFER)
    await connected(net, "a", 1)
    for i in range(LOOP + 1):
        await speaker.write(b"%d" % i)
        packet = await within(echo.read())
        assert packet == b"%d" % i
        await echo.write(packet)
    await connected(net, "a", 0)
    (said,) = [r.getMessage() for r in caplog.records if "are a loop" in r.getMessage()]
    assert "the one with a member that connected here is broken" in said
    await speaker.write(b"the end")
    packets = [await within(listener.read()) for _ in range(2 * LOOP + 3)]
    assert packets[-1] == b"the end"
    for flow in (speaker, listener, echo):
        await flow.close()


@pytest.mark.parametrize("said", [b"\0", b"\xff" * 9, bytes((1,)) + bytes(7), bytes(1400), bytes((4,)), bytes((5,))])
async def test_nonsense_on_the_channel_of_the_tree(net: Net, said: bytes) -> None:
    """Whatever a stranger says there, also that it wants to be connected before it told who is behind it."""
    await member(net, "a", None)
    speaker, listener = await two_who_joined(net)
    channel = await introduced(net, TREE.at(0x1234567890ABCDEF), DATA)
    await channel.write(said)
    await speaker.write(b"as ever")
    assert await within(listener.read()) == b"as ever"
    await channel.close()
    await member(net, "b", "a")
    await connected(net, "a", 1)
    for flow in (speaker, listener):
        await flow.close()

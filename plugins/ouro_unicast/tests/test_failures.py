"""What breaks, and what becomes of it: neighbours that end, links that are cut, connections that are made again."""

import asyncio
import logging
import os
import signal
import time
from typing import Any

import pytest
from attrs import evolve
from unicast_net import FLOOD, Net

from ouro_core import Irm
from ouro_core.model.errors import FlowTimeout, IpcpError, IpcpStateError, OuroError
from ouro_core.model.qos import DATA, RAW, QosSpec
from ouro_core.testing.host import Host
from ouro_core.testing.host import eventually as soon
from ouro_core.testing.ipcp import eventually, within


async def until(net: Net, ipcp: str, number: int) -> float:
    """Seconds until a member has routes to so many others."""
    began = time.monotonic()
    await net.reaches(ipcp, number)
    return time.monotonic() - began


async def neighbours(net: Net, ipcp: str) -> dict[str, Any]:
    found: dict[str, Any] = await net.read(ipcp, "neighbours")
    return found


async def test_a_member_that_ends_is_gone_from_all_tables(net: Net) -> None:
    await net.line("a", "b", "c", "d")
    await net.irm.destroy_ipcp("d")
    assert await until(net, "c", 2) < 2.0
    assert await until(net, "a", 2) < 2.0
    assert len(await neighbours(net, "c")) == 1


async def test_connections_are_made_again_when_a_member_comes_back(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ouro")
    await net.line("a", "b", "c")
    await net.irm.unreg_name("b", "lo")  # or attempts wait for somebody to accept
    await net.irm.destroy_ipcp("b")
    for name in ("a", "c"):
        await net.reaches(name, 0)
    await asyncio.sleep(0.5)  # some attempts
    await net.member("b", "net", "a")
    await within(net.irm.connect_ipcp("b", "a"))
    for name in "abc":
        await net.reaches(name, 2)  # c connects with b by itself
    assert (await net.read("c", "connections"))["remade"] == 2
    for component in ("Management", "Data Transfer"):
        said = [r.getMessage() for r in caplog.records if component in r.getMessage()]
        assert f"The connection of {component} with b is gone." in said
        (failed,) = [line for line in said if "It is tried again until it works" in line]
        assert failed.startswith(f"Failed to connect {component} with b: ")
        assert f"{component} is connected with b again." in said


def test_a_neighbour_that_vanishes_without_a_sign(flood: None) -> None:
    """Its process stands still: the layer below has nothing to tell. The connection's own time-out is what tells, long
    before that of links. When the process goes on, it connects again.
    """
    with Host() as host, Irm(host.runtime / "irm.sock") as irm:
        irm.autoboot("lo", "local", "lo")
        for name in "ab":
            ipcp = irm.create_ipcp(name, "unicast")
            irm.bind_ipcp(ipcp, name)
            irm.reg_name(name, "lo")
        irm.bootstrap_ipcp("a", "net", FLOOD)
        irm.enroll_ipcp("b", "a")
        irm.connect_ipcp("b", "a", qos=evolve(RAW, timeout=1000))

        def reached() -> int:
            return len(irm.rib_read("ipcps/a/member/table").get("all", {}))

        soon(lambda: reached() == 1)
        os.kill(ipcp.pid, signal.SIGSTOP)
        try:
            soon(lambda: reached() == 0, what="a knows that b is gone")
        finally:
            os.kill(ipcp.pid, signal.SIGCONT)
        soon(lambda: reached() == 1, what="b is back")


async def test_packets_take_another_way(net: Net) -> None:
    await net.line("a", "b", "c")
    await within(net.irm.connect_ipcp("c", "a"))
    await net.serve("echo", "c")
    await net.knows("a", 1)
    accepting = asyncio.ensure_future(net.node.flow_accept())
    async with await within(net.node.flow_alloc("echo")) as client, await within(accepting) as server:
        await client.write(b"the short way")
        assert await within(server.read()) == b"the short way"
        forwarded = (await net.read("b", "packets"))["forwarded"]
        await within(net.irm.disconnect_ipcp("c", "a", "Data Transfer"))
        deadline = time.monotonic() + 10
        arrived = None
        while arrived is None and time.monotonic() < deadline:
            await client.write(b"round the corner")
            try:
                arrived = await asyncio.wait_for(server.read(), 0.05)
            except TimeoutError:
                continue
        assert arrived == b"round the corner"
        assert (await net.read("b", "packets"))["forwarded"] > forwarded


@pytest.mark.parametrize("component", ["Management", "Data Transfer", "*"])
async def test_disconnecting_and_connecting(net: Net, component: str) -> None:
    await net.line("a", "b")
    for _ in range(3):
        await within(net.irm.disconnect_ipcp("b", "a", component))
        await within(net.irm.disconnect_ipcp("b", "a", component))  # there is nothing: no error
        if component != "Management":
            await net.reaches("b", 0)
            await net.reaches("a", 0)
        await within(net.irm.connect_ipcp("b", "a", component))
        await within(net.irm.connect_ipcp("b", "a", component))  # it is there already
        await net.reaches("b", 1)
        await net.reaches("a", 1)
    assert len(await neighbours(net, "b")) == 1


async def test_only_who_connected_can_disconnect(net: Net) -> None:
    await net.line("a", "b")
    await within(net.irm.disconnect_ipcp("a", "b"))
    await net.reaches("a", 1)


@pytest.mark.parametrize("qos", [QosSpec(), QosSpec(ber=0), DATA])
async def test_data_transfer_over_flows_with_stages(net: Net, qos: QosSpec) -> None:
    await net.member("a", "net")
    await net.member("b", "net", "a")
    await within(net.irm.connect_ipcp("b", "a", qos=qos))
    for name in "ab":
        await net.reaches(name, 1)
    await net.serve("echo", "b")
    await net.knows("a", 1)
    accepting = asyncio.ensure_future(net.node.flow_accept())
    async with await within(net.node.flow_alloc("echo")) as client, await within(accepting) as server:
        for i in range(50):
            await client.write(b"%d" % i)
            assert await within(server.read()) == b"%d" % i
    await net.irm.destroy_ipcp("a")
    await net.reaches("b", 0)


@pytest.mark.parametrize("step", ["enrol", "connect"])
async def test_a_member_that_nobody_knows(net: Net, step: str) -> None:
    await net.line("a")
    if step == "enrol":
        ipcp = await net.irm.create_ipcp("b", "unicast")
        with pytest.raises(OuroError):
            await within(net.irm.enroll_ipcp(ipcp, "nobody"))
        await within(net.irm.enroll_ipcp(ipcp, "a"))  # nothing is left of the attempt
    else:
        with pytest.raises(OuroError, match="Failed to connect Management with nobody"):
            await within(net.irm.connect_ipcp("a", "nobody"))
        assert (await net.irm.rib_read("ipcps/a/info"))["state"] == "operational"


async def test_a_name_that_leads_to_no_member(net: Net) -> None:
    """Whoever accepts there says nothing, and has a second for it, three times."""
    await net.line("a")
    await net.node.bind("mute")
    await net.irm.reg_name("mute", "lo")
    flows = []

    async def listen() -> None:
        while True:
            flows.append(await net.node.flow_accept())

    listening = asyncio.ensure_future(listen())
    ipcp = await net.irm.create_ipcp("b", "unicast")
    with pytest.raises(FlowTimeout, match="did not say who it is"):
        await within(net.irm.enroll_ipcp(ipcp, "mute"))
    assert len(flows) == 3
    with pytest.raises(OuroError, match="did not say who it is"):
        await within(net.irm.connect_ipcp("a", "mute", "Data Transfer"))
    listening.cancel()
    for flow in flows:
        await flow.close()


async def test_a_member_is_not_connected_with_itself(net: Net) -> None:
    await net.line("a")
    for component in ("Management", "Data Transfer"):
        with pytest.raises(OuroError, match="this very IPCP"):
            await within(net.irm.connect_ipcp("a", "a", component))


async def test_bootstrap_and_enrolment_come_once(net: Net) -> None:
    await net.line("a", "b")
    with pytest.raises(IpcpStateError):
        await net.irm.bootstrap_ipcp("a", "net", {"directory": "flood"})
    with pytest.raises(IpcpStateError):
        await net.irm.enroll_ipcp("b", "a")
    fresh = await net.irm.create_ipcp("c", "unicast")
    with pytest.raises((IpcpStateError, IpcpError)):
        await net.irm.connect_ipcp(fresh, "a")


async def test_nothing_is_left(net: Net) -> None:
    await net.line("a", "b", "c")
    await net.serve("echo", "c")
    await net.knows("a", 1)
    accepting = asyncio.ensure_future(net.node.flow_accept())
    client = await within(net.node.flow_alloc("echo"))
    server = await within(accepting)
    await client.close()
    await server.close()
    for name in "cba":
        await within(net.irm.destroy_ipcp(name))

    async def quiet() -> bool:
        status = await net.irm.rib_read("irm/status")
        return not (status["flows"] or status["blocks"])

    await eventually(quiet)

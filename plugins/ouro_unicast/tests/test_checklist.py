"""What of the conformance checklist (unicast.md 16) is tested nowhere else: docs/reference/unicast-checklist.md."""

import asyncio
import re
import time
from pathlib import Path

import pytest
from attrs import evolve
from ouro_unicast.wire import ocep, oep
from unicast_net import Net

from ouro_core.api.aio import AsyncFlow
from ouro_core.contracts.packets import PacketSystem
from ouro_core.contracts.programs import Group
from ouro_core.model.errors import FlowPeer
from ouro_core.model.qos import RAW
from ouro_core.plugins import PluginHost
from ouro_core.testing.ipcp import eventually, within
from ouro_core.testing.packets.bench import Bench
from ouro_core.testing.packets.forwarder import Node, pci
from ouro_core.testing.packets.programs import dt


async def configuration(net: Net, member: str) -> oep.Layer:
    """What a member gives to whoever enrols."""
    async with await within(net.node.flow_alloc(member)) as flow:
        await flow.write(ocep.ENROLMENT.encode())
        assert await within(flow.read()) == ocep.ENROLMENT.encode()
        await flow.write(oep.EnrolRequest(b"enrolled").encode())
        response = oep.EnrolResponse.decode(await within(flow.read()))
        assert response.id == b"enrolled"
        assert response.layer is not None
        return response.layer


async def test_an_enrolled_member_hands_the_configuration_on(net: Net) -> None:
    """As it got it, but for the peer of the directory, which is itself."""
    pytest.importorskip("ouro_dht")
    directory = PluginHost().get("directory_policies", "dht")
    options = {"directory": "dht", "routing": "ecmp", "ls_t_update": "7", "max_ttl": "33", "dht_k": "5"}
    members = ("a", "b", "c")
    await net.line(*members, **options)
    layers = [await configuration(net, member) for member in members]
    for member, layer in zip(members, layers, strict=True):
        assert layer.unicast is not None
        _, peer = directory.decode_config(layer.unicast.directory_settings or b"")
        assert peer == (await net.read(member, ""))["number"]
        assert layers[0].unicast is not None
        same = evolve(layer.unicast, directory_settings=layers[0].unicast.directory_settings)
        assert evolve(layer, unicast=same) == layers[0]


@pytest.mark.parametrize("hears", [True, False])
async def test_the_acknowledgement_comes_when_all_components_run(net: Net, hears: bool) -> None:
    """And whoever does not hear it has enrolled a member all the same."""
    await net.member("good", "net")
    layer = await configuration(net, "good")
    await net.node.bind("server")
    await net.irm.reg_name("server", "lo")

    async def serve() -> bool:
        async with await net.node.flow_accept() as flow:
            await flow.read()
            await flow.write(ocep.ENROLMENT.encode())
            request = oep.EnrolRequest.decode(await flow.read())
            await flow.write(oep.EnrolResponse(request.id, int(time.time()), 0, 0, layer).encode())
            if not hears:
                return False
            acknowledged = oep.EnrolAck.decode(await flow.read())
            assert acknowledged == oep.EnrolAck(request.id, 0)
            seen = await net.read("new", "")
            return bool(seen["number"] and "directory" in seen and "routing" in seen and "allocator" in seen)

    serving = asyncio.ensure_future(serve())
    ipcp = await net.irm.create_ipcp("new", "unicast")
    await within(net.irm.enroll_ipcp(ipcp, "server"))
    assert await within(serving) is hears
    assert (await net.irm.rib_read("ipcps/new/info"))["state"] == "operational"
    await within(net.irm.connect_ipcp("new", "good"))
    await net.reaches("good", 1)


async def flow_across(net: Net, timeout: int) -> tuple[AsyncFlow, AsyncFlow]:
    """From a to c, with b between."""
    await net.line("a", "b", "c")
    await net.serve("echo", "c")
    await net.knows("a", 1)
    accepting = asyncio.ensure_future(net.node.flow_accept())
    client = await within(net.node.flow_alloc("echo", evolve(RAW, timeout=timeout)))
    return client, await within(accepting)


async def test_keepalives_travel_end_to_end_and_there_is_no_message_of_deallocation(net: Net) -> None:
    """An idle flow lives on, since empty packets come across; when one end is given up, only their absence tells."""
    client, server = await flow_across(net, 1000)
    reading = asyncio.ensure_future(server.read())
    await asyncio.sleep(2.5)
    assert not reading.done()
    closed = time.monotonic()
    await client.close()
    with pytest.raises(FlowPeer):
        await within(reading)
    assert time.monotonic() - closed > 0.5
    await server.close()


async def test_data_for_a_member_out_of_reach_is_dropped_and_the_flow_stays(net: Net) -> None:
    client, server = await flow_across(net, 120_000)
    before = (await net.read("a", "packets"))["no_route"]
    await within(net.irm.disconnect_ipcp("c", "b"))
    await net.reaches("a", 1)
    for _ in range(20):
        await client.write(b"lost")

    async def dropped() -> bool:
        return bool((await net.read("a", "packets"))["no_route"] >= before + 20)

    await eventually(dropped)
    await within(net.irm.connect_ipcp("c", "b"))
    await net.reaches("a", 2)
    await client.write(b"here again")
    assert await within(server.read()) == b"here again"
    await client.close()
    await server.close()


async def test_there_is_no_header_in_a_broadcast_layer(net: Net) -> None:
    ipcp = await net.irm.create_ipcp("a", "broadcast")
    await within(net.irm.bootstrap_ipcp(ipcp, "news"))
    await net.irm.bind_ipcp(ipcp, "a")
    await net.irm.reg_name("a", "lo")
    async with await within(net.node.flow_alloc("a")) as member, await within(net.node.flow_join("news")) as joined:
        await member.write(ocep.BROADCAST_TRANSFER.encode())
        assert await within(member.read()) == ocep.BROADCAST_TRANSFER.encode()
        for size in (1, 15, 1399, 1400, 1800):
            packet = bytes((size % 256,)) * size
            await member.write(packet)
            assert await within(joined.read()) == packet
            await joined.write(packet)
            assert await within(member.read()) == packet


@pytest.mark.parametrize("system", PluginHost().pool_allocators.values(), ids=lambda system: system.name)
def test_a_table_whose_keys_collide(system: type[PacketSystem]) -> None:
    """As pft_test of the prototype: keys 0 to 261, of which i and i + 256 share a bucket of its table."""
    bench = Bench(system)
    try:
        node = Node(bench, dt(0x04030201))
        inside, _ = node.network()
        outs, ports = zip(*(node.network() for _ in range(2)), strict=True)
        groups = {key: Group((ports[key >= 256],)) for key in range(262)}

        def arrives(key: int) -> None:
            inside.write(pci(key, 1))
            assert outs[key >= 256].read() == pci(key, 1, ttl=59)

        node.forwarder.set_routes(0, groups)
        for key in (4, 260, 0, 255, 256, 261):
            arrives(key)
        del groups[4]
        node.forwarder.set_routes(0, groups)
        inside.write(pci(4, 1))
        node.counted("no_route")
        arrives(260)
        node.forwarder.stop()
    finally:
        bench.close()


def test_the_table_names_tests_that_there_are() -> None:
    root = Path(__file__).parents[3]
    table = root / "docs" / "reference" / "unicast-checklist.md"
    if not table.exists():
        pytest.skip("the documentation is not here")
    places = (Path(__file__).parent, root / "tests", root / "ouro_core" / "testing", root / "plugins" / "ouro_ssm")
    there: set[str] = set()
    for file in (file for place in places for file in place.rglob("*.py")):
        there |= {file.stem, *re.findall(r"def (test_\w+)", file.read_text())}
    assert set(re.findall(r"\btest_\w+", table.read_text())) <= there

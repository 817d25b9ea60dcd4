"""A neighbour that is no friend: an application that speaks as a member, or does not, at every step."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from ouro_unicast.routing.wire import LinkStateUpdate
from ouro_unicast.wire import ocep, oep
from ouro_unicast.wire.fa import Code, FaMessage
from ouro_unicast.wire.pci import Pci
from unicast_net import Net

from ouro_core.api.aio import AsyncFlow
from ouro_core.model.errors import FlowDown, OuroError
from ouro_core.model.qos import RAW
from ouro_core.testing.ipcp import eventually, within

STRANGER = 0x0BADF00D
HASH = bytes(32)


@pytest_asyncio.fixture
async def line(net: Net) -> AsyncIterator[Net]:
    """a - b, with a flow from a to a name at b; after the test it still works."""
    await net.line("a", "b")
    await net.serve("echo", "b")
    await net.knows("a", 1)
    yield net
    await works(net)


async def works(net: Net) -> None:
    accepting = asyncio.ensure_future(net.node.flow_accept())
    async with await within(net.node.flow_alloc("echo")) as client, await within(accepting) as server:
        for i in range(20):
            await client.write(b"%d" % i)
            assert await within(server.read()) == b"%d" % i


async def introduced(net: Net, identity: ocep.Identity, to: str = "a") -> tuple[AsyncFlow, ocep.Identity]:
    """A flow to a component of a member, who takes us for another member."""
    flow = await within(net.node.flow_alloc(to))
    await flow.write(identity.encode())
    return flow, ocep.Identity.decode(await within(flow.read()))


async def neighbour(net: Net, to: str = "a") -> tuple[AsyncFlow, AsyncFlow, int]:
    """Connections of management and data transfer, and the member's address."""
    management, _ = await introduced(net, ocep.MANAGEMENT.at(STRANGER), to)
    transfer, peer = await introduced(net, ocep.DATA_TRANSFER.at(STRANGER), to)
    await management.write(LinkStateUpdate(STRANGER, peer.address, 0).encode())

    async def there() -> bool:
        return str(len(await net.read(to, "neighbours"))) != "0" and any(
            n["address"] == "0d.f0.ad.0b" for n in (await net.read(to, "neighbours")).values()
        )

    await eventually(there)
    return management, transfer, peer.address


async def counted(net: Net, member: str, name: str, number: int, where: str = "packets") -> None:
    async def enough() -> bool:
        return bool((await net.read(member, where))[name] >= number)

    await eventually(enough)


async def gone(flow: AsyncFlow) -> None:
    try:
        while True:
            await within(flow.read())
    except FlowDown:
        await flow.close()


# ---------------------------------------------------------------- at the door


@pytest.mark.parametrize(
    "hello",
    [
        b"\0", b"\xff" * 128, b"x" * 1400, bytes(24), ocep.UNKNOWN.encode(),
        ocep.Identity("Weather", "dtp", 1, 2, STRANGER).encode(),
        ocep.Identity("Data Transfer", "dtp", 2, 2, STRANGER).encode(),
        ocep.Identity("Data Transfer", "", 0, 0).encode(),
        ocep.DATA_TRANSFER.at(0).encode(), ocep.DATA_TRANSFER.at(2**40).encode(), ocep.MANAGEMENT.at(0).encode(),
    ],
)  # fmt: skip
async def test_whoever_says_nonsense_is_shown_out(line: Net, hello: bytes) -> None:
    flow = await within(line.node.flow_alloc("a"))
    await flow.write(hello)
    await gone(flow)
    assert (await line.read("a", "connections"))["refused"] == 1


async def test_a_member_with_our_address_is_refused(line: Net) -> None:
    own = (await line.read("a", ""))["number"]
    for identity in (ocep.MANAGEMENT.at(own), ocep.DATA_TRANSFER.at(own)):
        flow, peer = await introduced(line, identity)
        assert peer.address == own
        await gone(flow)


async def test_a_member_with_the_address_of_another(line: Net) -> None:
    """Nobody can tell who lies, so the newest connection is used. When it is gone the way is as before."""
    other = (await line.read("b", ""))["number"]
    flows = [(await introduced(line, of.at(other)))[0] for of in (ocep.MANAGEMENT, ocep.DATA_TRANSFER)]

    async def two() -> bool:
        return len(await line.read("a", "neighbours")) == 2

    await eventually(two)
    for flow in flows:
        await flow.write(bytes(24))
        await flow.close()
    await line.reaches("a", 1)


async def test_many_who_say_nothing_keep_nobody_out(line: Net) -> None:
    flows = [await within(line.node.flow_alloc("a")) for _ in range(30)]
    flow, _ = await introduced(line, ocep.MANAGEMENT.at(STRANGER))
    for silent in flows:
        await gone(silent)  # after a second
    await flow.close()


STEPS = ("nothing", "hello", "request", "response", "garbage", "other id", "no", "management", "transfer", "both")


@pytest.mark.parametrize("step", STEPS)
async def test_a_neighbour_that_vanishes(line: Net, step: str) -> None:
    """After each step of each exchange."""
    if step in ("management", "transfer", "both"):
        flows = []
        if step != "transfer":
            flows.append((await introduced(line, ocep.MANAGEMENT.at(STRANGER)))[0])
        if step != "management":
            flows.append((await introduced(line, ocep.DATA_TRANSFER.at(STRANGER)))[0])
        for flow in flows:
            await flow.close()
        await line.reaches("a", 1)
        return
    before = (await line.read("a", "enrolment"))["failed_here"]
    if step == "nothing":
        flow = await within(line.node.flow_alloc("a"))
    else:
        flow, _ = await introduced(line, ocep.ENROLMENT)
    if step in ("request", "response", "other id", "no"):
        await flow.write(oep.EnrolRequest(bytes(8)).encode())
    if step in ("response", "other id", "no"):
        response = oep.EnrolResponse.decode(await within(flow.read()))
        assert response.layer is not None
        assert response.layer.name == "net"
    if step == "other id":
        await flow.write(oep.EnrolAck(b"elsewise").encode())
    elif step == "no":
        await flow.write(oep.EnrolAck(bytes(8), -1).encode())
    elif step == "garbage":
        await flow.write(b"garbage")
    await flow.close()
    if step != "nothing":
        await counted(line, "a", "failed_here", before + 1, "enrolment")
    await line.member("c", "net", "a")  # others can enrol


# ---------------------------------------------------------------- as a neighbour


async def test_packets_that_make_no_sense(line: Net) -> None:
    management, transfer, address = await neighbour(line)
    before = await line.read("a", "packets")
    rng = random.Random(1)
    packets = [
        *(bytes(n) for n in range(1, 15)),
        Pci(address, 2).encode() + b"nobody is there",
        Pci(address, 63).encode(),
        Pci(address, 64).encode() + b"no flow",
        Pci(address, 2**64 - 1).encode(),
        Pci(0x12345678, 0).encode() + b"no route",
        Pci(0x12345678, 0, ttl=0).encode(),
        Pci(0x12345678, 0, ttl=1).encode(),
        *(Pci(address, 0).encode() + rng.randbytes(rng.randrange(2048)) for _ in range(200)),
        *(Pci(address, 1).encode() + rng.randbytes(rng.randrange(300)) for _ in range(200)),
        Pci(address, 0).encode() + FaMessage(Code.REPLY, r_eid=2**63, s_eid=2**62).encode(),
        Pci(address, 0).encode() + FaMessage(Code.UPDATE, r_eid=2**63, ece=9).encode(),
    ]
    for packet in packets:
        await transfer.write(packet)
    await counted(line, "a", "ttl", before["ttl"] + 2)
    now = await line.read("a", "packets")
    assert now["short"] - before["short"] == 14
    assert now["no_eid"] - before["no_eid"] == 4
    assert now["no_route"] - before["no_route"] >= 1
    await transfer.close()
    await management.close()


async def test_packets_in_a_loop_come_to_an_end(line: Net) -> None:
    """We advertise a member behind us, and send all that is for it back."""
    management, transfer, _ = await neighbour(line)
    far = 0x0DEADBEE
    for source, destination in ((STRANGER, far), (far, STRANGER)):
        await management.write(LinkStateUpdate(destination, source, 0).encode())
    await line.reaches("a", 3)
    before = (await line.read("a", "packets"))["ttl"]
    await transfer.write(Pci(far, 99, ttl=60).encode() + b"round")
    hops = 0
    while True:
        try:
            packet = await asyncio.wait_for(transfer.read(), 1.0)
        except TimeoutError:
            break
        if packet[15:] == b"round":
            hops += 1
            await transfer.write(packet)
    assert hops == 59
    assert (await line.read("a", "packets"))["ttl"] == before + 1
    await transfer.close()
    await management.close()


async def test_a_flood_of_link_state_updates(line: Net) -> None:
    """20,000 as fast as they go, from strangers, about ourselves and about others: the flow beside it lives on."""
    management, transfer, address = await neighbour(line)
    rng = random.Random(2)
    other = (await line.read("b", ""))["number"]
    names = [address, other, STRANGER, *(rng.getrandbits(32) for _ in range(200))]
    accepting = asyncio.ensure_future(line.node.flow_accept())
    async with await within(line.node.flow_alloc("echo")) as client, await within(accepting) as server:
        for i in range(20_000):
            update = LinkStateUpdate(rng.choice(names), rng.choice(names), rng.getrandbits(32))
            await management.write(update.encode())
            if i % 200 == 0:
                await client.write(b"%d" % i)
                assert await within(server.read()) == b"%d" % i
        for size in (0, 1, 23, 25, 1400):
            await management.write(bytes(size)) if size else management._end.keepalive()
        await client.write(b"still here")
        assert await within(server.read()) == b"still here"
    await management.close()
    await transfer.close()


async def test_a_directory_that_says_more_than_there_is_room_for(line: Net) -> None:
    """What is too much is dropped; nobody is out of reach for it."""
    ipcp = next(i for i in await line.node.irm.list_ipcps() if i.name == "a")
    before = await line.node.irm.ask_ipcp(ipcp, "directory", "shout", "0")
    assert len(before["members"]) == 1
    await line.node.irm.ask_ipcp(ipcp, "directory", "shout", "20000")
    assert await line.node.irm.ask_ipcp(ipcp, "directory", "shout", "0") == before


async def test_a_flood_of_flow_requests(line: Net) -> None:
    """For names that nobody has, and for one that somebody has and does not accept for."""
    management, transfer, address = await neighbour(line)
    await line.irm.reg_name("unattended", "a")
    for i in range(3000):
        message = FaMessage(Code.REQUEST, STRANGER, s_eid=2**40 + i, qos=RAW, body=i.to_bytes(32) + b"OAP")
        await transfer.write(Pci(address, 0).encode() + message.encode())
    seen: dict[str, Any] = await line.read("a", "allocator")

    async def all_here() -> bool:
        nonlocal seen
        seen = await line.read("a", "allocator")
        packets = await line.read("a", "packets")
        lost = packets["ring_full"] + packets["no_block"]  # they come faster than Python reads
        return bool(seen["requests_received"] + seen["unknown_name"] + lost >= 3000)

    await eventually(all_here)
    assert seen["waiting"] <= 1024
    await transfer.close()
    await management.close()


async def test_a_member_that_sends_requests_for_others(line: Net) -> None:
    """Replies go to the address in the request, wherever it came from: there is no route, and nothing happens."""
    management, transfer, address = await neighbour(line)
    message = FaMessage(Code.REQUEST, 0x11111111, s_eid=2**40, qos=RAW, body=HASH + b"OAP")
    await transfer.write(Pci(address, 0).encode() + message.encode())
    await transfer.write(
        Pci(address, 0).encode() + FaMessage(Code.REQUEST, address, s_eid=99, qos=RAW, body=HASH).encode()
    )
    await asyncio.sleep(0.1)
    await transfer.close()
    await management.close()


@pytest.mark.parametrize("step", ["at once", "after hello", "after hello and answer", "after the request"])
@pytest.mark.parametrize("what", ["enroll", "Management", "Data Transfer"])
async def test_whoever_vanishes_while_we_join(net: Net, what: str, step: str) -> None:
    """The one we enrol or connect with ends its flow: an error at once, and the next attempt is as good as any."""
    await net.member("good", "net")
    await net.node.bind("evil")
    await net.irm.reg_name("evil", "lo")
    identities = {i.component: i for i in (ocep.MANAGEMENT.at(STRANGER), ocep.DATA_TRANSFER.at(STRANGER))}

    async def serve() -> None:
        async with await net.node.flow_accept() as flow:
            if step != "at once":
                await flow.read()
            if step in ("after hello and answer", "after the request"):
                await flow.write(identities.get(what, ocep.ENROLMENT).encode())
            if step == "after the request" and what == "enroll":
                await flow.read()

    serving = asyncio.ensure_future(serve())
    ipcp = await net.irm.create_ipcp("new", "unicast")
    if what == "enroll":
        with pytest.raises(OuroError):
            await within(net.irm.enroll_ipcp(ipcp, "evil"))
        await within(serving)
        await within(net.irm.enroll_ipcp(ipcp, "good"))
        return
    await within(net.irm.enroll_ipcp(ipcp, "good"))
    if step in ("at once", "after hello"):
        with pytest.raises(OuroError, match=f"Failed to connect {what} with evil"):
            await within(net.irm.connect_ipcp(ipcp, "evil", what))
    else:  # it said who it is: there was a connection, for an instant
        with suppress(OuroError):
            await within(net.irm.connect_ipcp(ipcp, "evil", what))
    await within(serving)
    await net.irm.disconnect_ipcp(ipcp, "evil", what)
    await within(net.irm.connect_ipcp(ipcp, "good"))
    await net.reaches("new", 1)


@pytest.mark.parametrize("layer", ["other type", "no parameters", "no routing", "unknown routing", "unknown directory",
                                   "unknown congestion", "no time", "updates too late", "long addresses", "no hops",
                                   "unknown hash", "no name", "refused", "garbage"])  # fmt: skip
async def test_whoever_enrols_us_into_nonsense(net: Net, layer: str) -> None:
    """We answer an enrolment: the IPCP says what is wrong, acknowledges nothing but a failure, and can try again."""
    await net.member("good", "net")
    settings = bytes(8)
    unicast = oep.Unicast(directory=200, directory_settings=settings)

    def made(**how: Any) -> oep.Layer:
        from attrs import evolve

        top = {k: how.pop(k) for k in ("name", "hash", "type") if k in how}
        return evolve(oep.Layer("net", 1, oep.UNICAST, evolve(unicast, **how)), **top)

    layers = {
        "other type": made(type=3), "no parameters": oep.Layer("net", 1, oep.UNICAST),
        "no routing": made(link_state=None), "unknown routing": made(routing=7),
        "unknown directory": made(directory=99), "unknown congestion": made(congestion=9),
        "no time": made(link_state=oep.LinkState(0, 0, 0, 0)),
        "updates too late": made(link_state=oep.LinkState(0, 4, 60, 15)), "long addresses": made(address_size=8),
        "no hops": made(max_ttl=0), "unknown hash": made(hash=77), "no name": made(name=""),
    }  # fmt: skip
    await net.node.bind("evil")
    await net.irm.reg_name("evil", "lo")
    acknowledged: list[int] = []

    async def serve() -> None:
        async with await net.node.flow_accept() as flow:
            await flow.read()
            await flow.write(ocep.ENROLMENT.encode())
            request = oep.EnrolRequest.decode(await flow.read())
            if layer == "garbage":
                await flow.write(b"\xff" * 100)
            elif layer == "refused":
                await flow.write(oep.EnrolResponse(request.id, 0, 0, -1).encode())
            else:
                await flow.write(oep.EnrolResponse(request.id, 0, 0, 0, layers[layer]).encode())
            try:
                acknowledged.append(oep.EnrolAck.decode(await flow.read()).result)
            except OuroError:
                pass

    serving = asyncio.ensure_future(serve())
    ipcp = await net.irm.create_ipcp("new", "unicast")
    with pytest.raises(OuroError) as error:
        await within(net.irm.enroll_ipcp(ipcp, "evil"))
    assert str(error.value)
    await within(serving)
    assert all(result < 0 for result in acknowledged)
    await within(net.irm.enroll_ipcp(ipcp, "good"))

"""A neighbour on the same Ethernet who sends whatever he likes: counted, dropped, and nobody else notices."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from ouro_eth.wire import BROADCAST, NameQuery, NameQueryReply, reverse

from ouro_core import Node
from ouro_core.model.errors import FlowTimeout
from ouro_core.model.qos import RAW
from ouro_core.shim import Extension, FlowReply, FlowRequest
from ouro_core.testing.netns import Namespace
from ouro_core.wire.extension import Fragment, Probe

from .ethernet_layer import HASH, NAME, Layer, eventually, layer

STRANGER = bytes.fromhex("02000000eeee")


@pytest_asyncio.fixture(params=["eth-dix", "eth-llc"])
async def lay(request: pytest.FixtureRequest, segment: Namespace) -> AsyncIterator[Layer]:
    async with layer(request.param) as made:
        yield made


async def counted(lay: Layer, node: Node, path: str, expected: int) -> None:
    """A counter reaches a value, and stays there."""

    async def reached() -> bool:
        return await lay.count(node, path) >= expected

    await eventually(reached)
    assert await lay.count(node, path) == expected


def data_frame(lay: Layer, to: bytes, source: bytes, remote: int, own: int, payload: bytes, length: int = -1) -> bytes:
    """To endpoint `remote`, as if from `own`; `length` lies."""
    size = len(payload) if length < 0 else length
    if lay.type == "eth-dix":
        return struct.pack("!6s6sHHH", to, source, 0xA000, remote, size) + payload
    return struct.pack("!6s6sHBBB", to, source, size + 3, reverse(remote), reverse(own), 3) + payload


# ---------------------------------------------------------------- frames


async def test_lengths_that_lie(lay: Layer) -> None:
    mac = lay.mac("v1")
    good = lay.framing.management_frame(STRANGER, mac, lay.framing.encode(NameQuery(HASH)))
    at = 16 if lay.type == "eth-dix" else 12
    for size in (len(good) + 1, 1400):  # more than came
        frame = bytearray(good)
        frame[at : at + 2] = size.to_bytes(2, "big")
        lay.send(bytes(frame))
    await counted(lay, lay.server, "frames/bad_length", 2)
    lay.send(good[:16])
    await counted(lay, lay.server, "frames/short", 1)
    lay.tell(bytes(lay.framing.fixed - 1), mac, STRANGER)
    lay.tell(b"", mac, STRANGER)
    await counted(lay, lay.server, "frames/short", 3)
    if lay.type == "eth-llc":
        for size in (0, 1, 2):
            lay.send(good[:12] + size.to_bytes(2, "big") + good[14:])
        await counted(lay, lay.server, "frames/bad_length", 5)
    await lay.works()


async def test_malformed_messages_and_codes_of_tomorrow(lay: Layer) -> None:
    mac = lay.mac("v1")
    query = lay.framing.encode(NameQuery(HASH))
    for message in (query[:-1], query[: lay.framing.fixed], lay.framing.encode(FlowRequest(0, HASH, RAW, b""))):
        lay.tell(message, mac, STRANGER)
    await counted(lay, lay.server, "management/malformed", 3)
    code = 37 if lay.type == "eth-dix" else 2
    for number in (4, 77, 255):
        lay.tell(query[:code] + bytes((number,)) + query[code + 1 :], mac, STRANGER)
    await counted(lay, lay.server, "management/unknown_code", 3)
    for body in (b"", b"OURO", bytes(500), Fragment(1, 0, 1000, 1 << 31, b"x").encode()):
        lay.tell(Extension(body), mac, STRANGER)
    await counted(lay, lay.server, "carrier/malformed", 4)
    await lay.works()


async def test_frames_for_others_are_not_looked_at(lay: Layer, segment: Namespace) -> None:
    """The segment gives them to everybody, and devices in promiscuous mode take them."""
    segment.ip("link", "set", "v1", "promisc", "on")
    for to in (STRANGER, bytes(6), bytes.fromhex("01005e000001")):
        lay.tell(NameQuery(HASH), to, STRANGER)
    lay.tell(NameQuery(HASH), BROADCAST, STRANGER)
    await counted(lay, lay.server, "management/queries_received", 1)
    assert await lay.count(lay.server, "frames/management") == 1


async def test_data_for_endpoints_that_nobody_has(lay: Layer) -> None:
    mac = lay.mac("v1")
    endpoints = (1, 63, 64, 4095, 65535) if lay.type == "eth-dix" else (2, 33, 63, 64, 127)
    for endpoint in endpoints:
        lay.send(data_frame(lay, mac, STRANGER, endpoint, 2, b"anybody?"))
    await counted(lay, lay.server, "frames/unknown_key", len(endpoints))
    await lay.works()


async def test_data_from_who_is_not_the_peer(lay: Layer) -> None:
    client, server = await lay.flow()
    async with client, server:
        [view] = (await lay.rib(lay.server, "flows")).values()
        own, remote = view["endpoint"], view["peer_endpoint"]
        mac = lay.mac("v1")
        lay.send(data_frame(lay, mac, STRANGER, own, remote, b"believe me"))
        await counted(lay, lay.server, "frames/bad_source", 1)
        if lay.type == "eth-llc":
            lay.send(data_frame(lay, mac, lay.mac("v0"), own, remote ^ 1, b"believe me"))
            await counted(lay, lay.server, "frames/bad_source", 2)
        lay.send(data_frame(lay, mac, lay.mac("v0"), own, remote, b"x" * 20, 30))
        await client.write(b"true")
        assert await asyncio.wait_for(server.read(), 10) == b"true"


async def test_runts_and_jumbo_frames(lay: Layer, segment: Namespace) -> None:
    for device in ("hub", "v1", "v1.p", "v2", "v2.p"):
        segment.ip("link", "set", device, "mtu", "9000")
    client, server = await lay.flow()
    async with client, server:
        [view] = (await lay.rib(lay.server, "flows")).values()
        mac, peer = lay.mac("v1"), lay.mac("v0")
        own, remote = view["endpoint"], view["peer_endpoint"]
        for size in (0, 1, 1496, 1500, 1501, 8000):
            if lay.type == "eth-llc" and size > 1532:
                continue  # above 05FF the field is an ethertype
            lay.send(data_frame(lay, mac, peer, own, remote, b"j" * size))
        await client.write(b"end")
        got = []
        while not got or got[-1] != b"end":
            got.append(await asyncio.wait_for(server.read(), 10))
        assert all(set(packet) == {ord("j")} for packet in got[:-1])
        for size in range(14, 18):
            lay.send(mac + peer + bytes(size - 12))
    await lay.works()


async def test_frames_of_vlans_are_not_ours(lay: Layer) -> None:
    """Not of any, whatever there is in the tag but its number 0, which is no VLAN's."""
    query = lay.framing.management_frame(STRANGER, lay.mac("v1"), lay.framing.encode(NameQuery(HASH)))
    lay.send(query)
    await counted(lay, lay.server, "management/queries_received", 1)
    for tag in (1, 7, 4095, 0xE007):
        lay.send(query[:12] + struct.pack("!HH", 0x8100, tag) + query[12:])
        lay.send(BROADCAST + query[6:12] + struct.pack("!HH", 0x8100, tag) + query[12:])
    lay.send(query)
    await counted(lay, lay.server, "management/queries_received", 2)


async def test_any_bytes(lay: Layer) -> None:
    random = Random(lay.type)
    mac = lay.mac("v1")
    templates = [
        lay.framing.management_frame(STRANGER, mac, lay.framing.encode(message))
        for message in (
            NameQuery(HASH), NameQueryReply(HASH), FlowReply(3, 4, 0, b"OAP"), FlowReply(3, 4, -8),
            Extension(Probe(1, 3).encode()),  # type: ignore[arg-type]
        )
    ]  # fmt: skip
    for i in range(3000):
        frame = bytearray(random.choice(templates))
        for _ in range(random.randint(1, 6)):
            frame[random.randrange(12, len(frame))] = random.getrandbits(8)
        lay.send(bytes(frame[: random.randint(14, len(frame))] if i % 3 else frame))
        if not i % 100:
            await asyncio.sleep(0)
    await lay.works()
    assert await lay.count(lay.server, "frames/bad_length")


# ---------------------------------------------------------------- spoofed and superfluous replies


async def test_spoofed_replies(lay: Layer) -> None:
    """A request waits; others answer it, and the one that was asked answers what was not asked."""
    await lay.works()
    lay.heard()
    allocating = asyncio.ensure_future(lay.client.flow_alloc(NAME, timeout=10.0))
    await eventually(lambda: pending(lay))
    [request] = [m for m in map(lay.message, lay.heard()) if isinstance(m, FlowRequest)]
    mac, server = lay.mac("v0"), lay.mac("v1")
    others = [endpoint for endpoint in range(50, 60) if endpoint != request.eid]
    for endpoint in (request.eid, *others):
        lay.tell(FlowReply(endpoint, 99, 0, b"OAP"), mac, STRANGER)
        lay.tell(FlowReply(endpoint, 0, -1008), mac, STRANGER)
        if endpoint != request.eid:
            lay.tell(FlowReply(endpoint, 99, 0, b"OAP"), mac, server)
    await counted(lay, lay.client, "management/wrong_source", 2)
    await counted(lay, lay.client, "management/unexpected", 3 * len(others))
    assert not allocating.done()
    accepted = await asyncio.wait_for(lay.server.flow_accept(), 10)
    client = await allocating
    async with client, accepted:
        await client.write(b"hello")
        assert await asyncio.wait_for(accepted.read(), 10) == b"hello"


async def pending(lay: Layer) -> int:
    return await lay.count(lay.client, "management/pending")


async def test_replies_that_come_late_or_twice(lay: Layer) -> None:
    client, server = await lay.flow()
    async with client, server:
        [view] = (await lay.rib(lay.client, "flows")).values()
        for responder in (view["peer_endpoint"], 33, 34):
            lay.tell(FlowReply(view["endpoint"], responder, 0, b"OAP"), lay.mac("v0"), lay.mac("v1"))
            lay.tell(FlowReply(view["endpoint"], responder, -1008), lay.mac("v0"), lay.mac("v1"))
        await counted(lay, lay.client, "management/unexpected", 6)
        await client.write(b"still there")
        assert await asyncio.wait_for(server.read(), 10) == b"still there"


async def test_a_neighbour_who_pretends_to_have_every_name(lay: Layer) -> None:
    """What nobody asked for is not believed; a lie that was believed is forgotten when it does not lead anywhere."""
    for i in range(200):
        lay.tell(NameQueryReply(bytes((i,)) * 32), lay.mac("v0"), STRANGER)
    await counted(lay, lay.client, "management/unasked", 200)
    assert await lay.rib(lay.client, "directory") == {}
    await lay.server.irm.unreg_name(NAME, "e")
    asking = asyncio.ensure_future(lay.client.flow_alloc(NAME, timeout=1.0))
    await eventually(lambda: queried(lay))
    lay.tell(NameQueryReply(HASH), lay.mac("v0"), STRANGER)
    with pytest.raises(FlowTimeout):
        await asking
    assert await lay.rib(lay.client, "directory") == {}
    assert await lay.count(lay.client, "management/evicted") == 1
    await lay.server.irm.reg_name(NAME, "e")
    await lay.works()


async def queried(lay: Layer) -> int:
    return await lay.count(lay.client, "management/queries_sent")


# ---------------------------------------------------------------- floods


async def test_a_flow_request_that_is_repeated_is_one(lay: Layer) -> None:
    request = FlowRequest(3 if lay.type == "eth-llc" else 77, HASH, RAW, b"not OAP at all")
    for _ in range(50):
        lay.tell(request, lay.mac("v1"), STRANGER)
    await counted(lay, lay.server, "management/duplicates", 49)
    assert await lay.count(lay.server, "management/requests_received") == 1
    await lay.works()


async def test_requests_without_end_are_bounded_and_others_are_served(lay: Layer) -> None:
    for i in range(1000):
        request = FlowRequest(2 + i % 60, HASH, RAW, struct.pack("!I", i) * 9)
        lay.tell(request, lay.mac("v1"), bytes((2, 0, 0, 1, 0, i % 5)))
        if not i % 50:
            await asyncio.sleep(0.001)
    await lay.works()
    assert await lay.count(lay.server, "management/waiting") <= 5 * 64


@pytest.mark.parametrize("kind", ["query", "request", "reply", "extension", "nonsense"])
async def test_ten_thousand_management_frames_a_second(lay: Layer, kind: str) -> None:
    """For two seconds, while a flow carries packets both ways and others come and go."""
    mac = lay.mac("v1")
    client, server = await lay.flow()
    sent = 0

    def frame() -> bytes:
        nonlocal sent
        sent += 1
        number = struct.pack("!I", sent)
        message: Any = {
            "query": NameQuery(number * 8),
            "request": FlowRequest(2 + sent % 60, HASH, RAW, number * 9),
            "reply": FlowReply(2 + sent % 60, 5, 0, number),
            "extension": Extension(Probe(sent, 3).encode()),  # type: ignore[arg-type]
            "nonsense": b"\xff" * 60,
        }[kind]
        data = message if isinstance(message, bytes) else lay.framing.encode(message)
        return lay.framing.management_frame(bytes((2, 9)) + number, mac, data)

    async def flood(until: float) -> None:
        began = time.monotonic()
        while (now := time.monotonic()) < until:
            for _ in range(min(200, int((now - began) * 10_000) - sent)):
                lay.send(frame())
            await asyncio.sleep(0.002)

    async with client, server:
        until = time.monotonic() + 2.0
        flooding = asyncio.ensure_future(flood(until))
        pings = flows = 0
        while time.monotonic() < until:
            await client.write(b"ping %d" % pings)
            assert await asyncio.wait_for(server.read(), 10) == b"ping %d" % pings
            await server.write(b"pong")
            assert await asyncio.wait_for(client.read(), 10) == b"pong"
            pings += 1
            if pings % 20 == 0 and kind != "request":
                await lay.works()
                flows += 1
        await flooding
    print(f"{sent} frames, {pings} round trips and {flows} flows meanwhile")
    assert pings > 2
    await eventually(lambda: settled(lay))
    await lay.works()


async def settled(lay: Layer) -> bool:
    return await lay.count(lay.server, "management/waiting") == 0

"""Datagrams with somebody else's address in them, which only root can send: raw sockets on the loopback interface."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from random import Random

import pytest
import pytest_asyncio

from ouro_core import Node
from ouro_core.model.capability import Capability
from ouro_core.model.errors import FlowTimeout
from ouro_core.model.qos import RAW
from ouro_core.shim import Extension, FlowReply, FlowRequest
from ouro_core.testing.ipcp import eventually, within
from ouro_core.wire.extension import Probe

from .test_attacks import CODEC, HASH, Field

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can forge source addresses")
SERVER, CLIENT = "127.0.0.2", "127.0.0.3"


@pytest_asyncio.fixture
async def field() -> AsyncIterator[Field]:
    async with Node() as server, Node() as client:
        yield await Field(server, client).start()


@pytest.fixture
def raw() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        yield sock


def forge(raw: socket.socket, source: tuple[str, int], to: tuple[str, int], payload: bytes) -> None:
    """Send what claims to be from `source`. The kernel fills in lengths and check sums of IP; UDP has none."""
    udp = struct.pack("!HHHH", source[1], to[1], 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(to[0])
    raw.sendto(struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses + udp, to)


async def endpoint(node: Node, ipcp: str) -> bytes:
    """That of its only flow, as packets begin with it."""
    [flow] = (await node.irm.rib_read(f"ipcps/{ipcp}/flows")).values()
    return int(flow["endpoint"]).to_bytes(4, "big")


async def test_packets_for_a_flow_from_forged_sources(field: Field, raw: socket.socket) -> None:
    """Neither a stranger's address, nor the peer's with another port, nor our own: each is dropped and counted, at
    both ends. The flow goes on.
    """
    client, server = await field.flow()
    async with client, server:
        for node, ipcp, at, peer in ((field.server, "s", SERVER, CLIENT), (field.client, "c", CLIENT, SERVER)):
            key = await endpoint(node, ipcp)
            sources = [("127.0.0.66", field.port), (peer, field.port + 1), (peer, 53), (at, field.port)]
            for source in sources:
                forge(raw, source, (at, field.port), key + b"believe me")

            async def counted(node: Node = node, path: str = f"ipcps/{ipcp}/frames", count: int = len(sources)) -> bool:
                return bool((await node.irm.rib_read(path))["bad_source"] == count)

            await eventually(counted)
        await client.write(b"genuine")
        assert await within(server.read()) == b"genuine"
        await server.write(b"answer")
        assert await within(client.read()) == b"answer"


async def test_a_packet_that_is_forged_to_the_last_bit(field: Field, raw: socket.socket) -> None:
    """Who sees a plain flow's packets can add to them, as documented; the flow is not harmed, nor led elsewhere."""
    client, server = await field.flow()
    async with client, server:
        forge(raw, (CLIENT, field.port), (SERVER, field.port), await endpoint(field.server, "s") + b"forged")
        assert await within(server.read()) == b"forged"
        await server.write(b"answer")
        assert await within(client.read()) == b"answer"
        await client.write(b"genuine")
        assert await within(server.read()) == b"genuine"


async def test_forged_replies_guess_one_endpoint_of_2_31(field: Field, raw: socket.socket) -> None:
    """From the very address that was asked; what they guess is wrong, and counted."""
    rng = Random(5)
    asking = asyncio.ensure_future(field.client.flow_alloc("nowhere", timeout=1.5))
    for _ in range(500):
        for response in (0, -1008):
            reply = FlowReply(rng.randrange(64, 2**31), 5, response, b"take me" if not response else b"")
            forge(raw, ("127.0.0.99", field.port), (CLIENT, field.port), CODEC.encode(reply))
        await asyncio.sleep(0)
    with pytest.raises(FlowTimeout):
        await asking
    found = await field.client.irm.rib_read("ipcps/c/management")
    assert found["unexpected"] + (await field.client.irm.rib_read("ipcps/c/frames"))["management_dropped"] == 1000


async def test_requests_from_thousands_of_forged_hosts(field: Field, raw: socket.socket) -> None:
    """Each is a host's first, for a name that is served: they are bounded in all, and a flow does not notice."""
    rng = Random(6)
    async with field.nobody_notices():
        for number in range(3000):
            host = f"127.{rng.randrange(1, 255)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
            source = host, rng.randrange(1, 65536)
            with contextlib.suppress(BlockingIOError):
                forge(raw, source, (SERVER, field.port), CODEC.encode(FlowRequest(64 + number, HASH, RAW, bytes(36))))
            if not number % 20:
                await asyncio.sleep(0)
                assert (await field.counters())["management.waiting"] <= 1024

        async def settled() -> bool:
            return (await field.counters())["management.waiting"] == 0

        await eventually(settled)


async def test_requests_and_probes_from_where_nobody_can_be(field: Field, raw: socket.socket) -> None:
    """Port 0, everybody, and the member itself: what is answered goes nowhere, or to ourselves, and not round and
    round.
    """
    rng = Random(7)
    sources = [("127.0.0.66", 0), ("127.255.255.255", 99), ("255.255.255.255", field.port), (SERVER, field.port)]
    messages = [FlowRequest(64, HASH, RAW, rng.randbytes(36)), Extension(Probe(1, Capability.FRAGMENTS).encode())]
    async with field.nobody_notices():
        before = await field.counters()
        for source in sources:
            for message in messages:
                for _ in range(3):
                    forge(raw, source, (SERVER, field.port), CODEC.encode(message))
        await asyncio.sleep(1.5)
        after = await field.counters()
    came = {key: after[f"frames.{key}"] - before[f"frames.{key}"] for key in ("management", "tx_error")}
    assert 2 * 3 * 2 <= came["management"] <= 100, came
    assert after["management.waiting"] == 0

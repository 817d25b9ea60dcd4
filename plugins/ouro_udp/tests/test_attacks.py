"""Strangers send whatever they like to a member: it is counted, dropped, and nobody else notices."""

import asyncio
import random
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from ouro_udp.wire import UdpCodec

from ouro_core import Node
from ouro_core.model.errors import FlowTimeout, OuroError, UnknownName
from ouro_core.model.names import HashAlgorithm, hash_name
from ouro_core.model.qos import RAW
from ouro_core.shim import FlowReply, FlowRequest
from ouro_core.testing.ipcp import eventually, within

from .captures import CAPTURES, datagrams
from .conftest import free_port
from .noise import KINDS

CODEC = UdpCodec()
NAME = "attacked"
HASH = hash_name(NAME, HashAlgorithm.MD5)
NOISE = 50_000
"""Datagrams: a second's worth."""


class Field:
    """A server that is attacked, and a client of it."""

    def __init__(self, server: Node, client: Node) -> None:
        self.server, self.client = server, client
        self.port = free_port()

    async def start(self) -> "Field":
        ipcp = await self.server.irm.create_ipcp("s", "udp4")
        await self.server.irm.bootstrap_ipcp(ipcp, "net", {"ip": "127.0.0.2", "port": self.port})
        other = await self.client.irm.create_ipcp("c", "udp4")
        peers = f"{NAME}=127.0.0.2,nowhere=127.0.0.99"
        await self.client.irm.bootstrap_ipcp(other, "net", {"ip": "127.0.0.3", "port": self.port, "peers": peers})
        await self.server.bind(NAME)
        await self.server.irm.reg_name(NAME, ipcp)
        return self

    async def flow(self) -> tuple[Any, Any]:
        accepting = asyncio.ensure_future(self.server.flow_accept())
        try:
            client = await within(self.client.flow_alloc(NAME))
        except BaseException:
            accepting.cancel()
            raise
        return client, await within(accepting)

    async def counters(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for path in ("frames", "management", "carrier"):
            found |= {f"{path}.{k}": v for k, v in (await self.server.irm.rib_read(f"ipcps/s/{path}")).items()}
        return found

    @asynccontextmanager
    async def nobody_notices(self) -> AsyncIterator[None]:
        """A flow that was there keeps all its packets, and another can be had afterwards."""
        client, server = await self.flow()
        async with client, server:
            stop = False

            async def talk() -> int:
                number = 0
                while not stop or number < 20:
                    await client.write(b"%d" % number)
                    assert await within(server.read()) == b"%d" % number
                    await server.write(b"%d" % number)
                    assert await within(client.read()) == b"%d" % number
                    number += 1
                    await asyncio.sleep(0.005)
                return number

            talking = asyncio.ensure_future(talk())
            try:
                yield
            finally:
                stop = True
                await talking
        for end in await self.flow():
            await end.close()

    @contextmanager
    def stranger(self, ip: str = "127.0.0.66") -> Iterator[socket.socket]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((ip, 0))
            sock.connect(("127.0.0.2", self.port))
            sock.setblocking(False)
            yield sock


@pytest_asyncio.fixture
async def field() -> AsyncIterator[Field]:
    async with Node() as server, Node() as client:
        yield await Field(server, client).start()


@pytest.mark.parametrize("kind", KINDS)
async def test_noise(field: Field, kind: str) -> None:
    count = NOISE if kind != "long" else 2_000
    async with field.nobody_notices():
        before = await field.counters()
        program = await asyncio.create_subprocess_exec(
            sys.executable, str(Path(__file__).with_name("noise.py")), kind, str(field.port), str(count),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await program.communicate()
        assert int(out) >= count

        async def counted() -> bool:
            after = await field.counters()
            grown = {key: after[key] - before[key] for key in after if after[key] != before[key]}
            arrived = sum(grown.get(f"frames.{why}", 0) for why in ("unknown_key", "short", "management"))
            return arrived + sum(grown.get(f"frames.{w}", 0) for w in ("management_dropped", "socket_dropped")) >= count

        await eventually(counted)


async def test_recorded_datagrams_of_others(field: Field) -> None:
    """Everything the prototype ever said in our captures, twice and in another order."""
    said = [d.payload for path in CAPTURES for d in datagrams(path)]
    random.Random(2).shuffle(said)
    async with field.nobody_notices():
        with field.stranger() as stranger:
            for number, payload in enumerate(said + said[::-1]):
                stranger.send(payload)
                if number % 50 == 0:
                    await asyncio.sleep(0.01)
    found = await field.counters()
    assert found["management.unexpected"] > 0, "replies to nothing of ours"
    assert found["frames.unknown_key"] > 0


async def test_a_replayed_request_opens_no_second_flow(field: Field) -> None:
    """The very datagram again gets the very reply again; from another host it is refused."""
    request = CODEC.encode(FlowRequest(77, HASH, RAW, bytes(36)))
    with field.stranger() as stranger, field.stranger("127.0.0.67") as other:
        loop = asyncio.get_running_loop()
        accepting = asyncio.ensure_future(field.server.flow_accept())
        replies = []
        for sock in (stranger, stranger, other):
            sock.send(request)
            replies.append(await within(loop.sock_recv(sock, 3000)))
        assert replies[0] == replies[1]
        codes = [CODEC.decode(reply) for reply in replies]
        assert all(isinstance(reply, FlowReply) and reply.requester == 77 for reply in codes)
        assert codes[2].response < 0
        assert (await field.counters())["management.duplicates"] == 1
        accepting.cancel()


async def test_replies_that_nobody_asked_for_and_from_who_was_not_asked(field: Field) -> None:
    """While a request waits, a stranger who knows its endpoint answers it."""
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.99", field.port))
    silent.setblocking(False)
    loop = asyncio.get_running_loop()
    with silent, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        asking = asyncio.ensure_future(field.client.flow_alloc("nowhere", timeout=1.5))
        while not isinstance(request := CODEC.decode(await within(loop.sock_recv(silent, 3000))), FlowRequest):
            pass
        stranger.bind(("127.0.0.66", 0))
        for reply in (FlowReply(request.eid, 5, 0, b"take me"), FlowReply(request.eid, 0, -1008)):
            stranger.sendto(CODEC.encode(reply), ("127.0.0.3", field.port))
        silent.sendto(CODEC.encode(FlowReply(request.eid, 0, 0, b"no endpoint")), ("127.0.0.3", field.port))
        with pytest.raises(FlowTimeout):
            await asking
        found = await field.client.irm.rib_read("ipcps/c/management")
        assert (found["wrong_source"], found["malformed"]) == (2, 1)


async def test_a_peer_that_is_not_there(field: Field) -> None:
    """ICMP says that nobody listens there. That reaches us not at all, and harms no other flow."""
    async with field.nobody_notices():
        for _ in range(3):
            with pytest.raises(OuroError):
                await field.client.flow_alloc("nowhere", timeout=0.4)
        frames = await field.client.irm.rib_read("ipcps/c/frames")
        assert frames["tx_error"] == 0


async def test_a_peer_that_dies_harms_no_other_flow(field: Field) -> None:
    """Packets to a port where nobody is any more, beside a flow that goes on."""
    async with Node() as third:
        ipcp = await third.irm.create_ipcp("t", "udp4")
        await third.irm.bootstrap_ipcp(ipcp, "net", {"ip": "127.0.0.99", "port": field.port})
        await third.bind("nowhere")
        await third.irm.reg_name("nowhere", ipcp)
        accepting = asyncio.ensure_future(third.flow_accept())
        doomed = await within(field.client.flow_alloc("nowhere"))
        await (await within(accepting)).close()
    async with doomed, field.nobody_notices():
        for _ in range(100):
            await doomed.write(b"into the void")
            await asyncio.sleep(0.001)


async def test_a_name_that_nobody_knows_is_said_at_once(field: Field) -> None:
    ipcp = await field.client.irm.create_ipcp("d", "udp4")
    await field.client.irm.bootstrap_ipcp(ipcp, "other", {"ip": "127.0.0.4", "port": field.port, "peers": "127.0.0.2"})
    start = asyncio.get_running_loop().time()
    with pytest.raises(UnknownName):
        await within(field.client.flow_alloc("no such name"))
    assert asyncio.get_running_loop().time() - start < 10


async def test_long_datagrams_arrive_whole_or_not_at_all(field: Field) -> None:
    client, server = await field.flow()
    async with client, server:
        for size in (8975, 8976):
            await client.write(bytes(size))
            assert len(await within(server.read())) == size
        await client.write(bytes(8977))
        await client.write(b"behind it")
        assert await within(server.read()) == b"behind it"
        frames = await field.client.irm.rib_read("ipcps/c/frames")
        assert frames["too_long"] == 1

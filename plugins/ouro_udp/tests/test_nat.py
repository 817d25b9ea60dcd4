"""A flow behind a NAT that changes its mind, and somebody who tries to take a flow over."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from ouro_udp import ipcp as module

from ouro_core import Node
from ouro_core.model.errors import FlowPeer
from ouro_core.model.qos import QosSpec
from ouro_core.testing.ipcp import eventually, within

from .conftest import free_port

SHORT = QosSpec(timeout=1500)


class Nat:
    """Datagrams between the client, to whom it is the server, and the server, to whom it is the client."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.inside = self._socket("127.0.0.9")
        self.outside: list[socket.socket] = []
        self.client: Any = None
        self.loop.add_reader(self.inside, self._out)
        self.rebind()

    @property
    def address(self) -> str:
        return f"127.0.0.9:{self.inside.getsockname()[1]}"

    @staticmethod
    def _socket(ip: str) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((ip, 0))
        sock.setblocking(False)
        return sock

    def rebind(self) -> None:
        """Another port outside; what comes to the old one is for nobody."""
        if self.outside:
            self.loop.remove_reader(self.outside[-1])
        self.outside.append(self._socket("127.0.0.10"))
        self.loop.add_reader(self.outside[-1], self._in)

    def _out(self) -> None:
        data, self.client = self.inside.recvfrom(65535)
        self.outside[-1].sendto(data, self.server)

    def _in(self) -> None:
        data, source = self.outside[-1].recvfrom(65535)
        if source == self.server and self.client is not None:
            self.inside.sendto(data, self.client)

    def close(self) -> None:
        self.loop.remove_reader(self.inside)
        self.loop.remove_reader(self.outside[-1])
        for sock in (self.inside, *self.outside):
            sock.close()


class Behind:
    """A server, a client, and the NAT between them."""

    def __init__(self, server: Node, client: Node, check_source: bool) -> None:
        self.server, self.client, self.check = server, client, check_source

    async def start(self) -> "Behind":
        port = free_port()
        self.nat = Nat(("127.0.0.2", port))
        server = await self.server.irm.create_ipcp("s", "udp4")
        common = {"port": port, "check_source": self.check}
        await self.server.irm.bootstrap_ipcp(server, "net", {"ip": "127.0.0.2", **common})
        client = await self.client.irm.create_ipcp("c", "udp4")
        peers = f"name={self.nat.address}"
        await self.client.irm.bootstrap_ipcp(client, "net", {"ip": "127.0.0.3", "peers": peers, **common})
        await self.server.bind("name")
        await self.server.irm.reg_name("name", server)
        return self

    async def flow(self) -> Any:
        accepting = asyncio.ensure_future(self.server.flow_accept())
        client = await within(self.client.flow_alloc("name", SHORT))
        return client, await within(accepting)

    async def bad_source(self) -> int:
        frames = await self.server.irm.rib_read("ipcps/s/frames")
        count: int = frames["bad_source"]
        return count


@pytest_asyncio.fixture
async def behind(request: pytest.FixtureRequest) -> AsyncIterator[Behind]:
    async with Node() as server, Node() as client:
        behind = await Behind(server, client, getattr(request, "param", True)).start()
        yield behind
        behind.nat.close()


async def test_through_a_nat_both_ways(behind: Behind) -> None:
    client, server = await behind.flow()
    async with client, server:
        for n in range(20):
            await client.write(b"there %d" % n)
            assert await within(server.read()) == b"there %d" % n
            await server.write(b"back %d" % n)
            assert await within(client.read()) == b"back %d" % n


async def test_after_a_rebinding_both_ends_notice(
    behind: Behind, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.05)
    client, server = await behind.flow()
    async with client, server:
        await client.write(b"before")
        assert await within(server.read()) == b"before"
        reading = asyncio.ensure_future(server.read()), asyncio.ensure_future(client.read())
        behind.nat.rebind()
        await client.write(b"from elsewhere")
        await eventually(behind.bad_source)
        for end in reading:
            with pytest.raises(FlowPeer):
                await within(end)
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("did not come from where their peers are" in words for words in warned)
    again, accepted = await behind.flow()
    async with again, accepted:
        await again.write(b"anew")
        assert await within(accepted.read()) == b"anew"


async def test_nobody_takes_a_flow_over(behind: Behind) -> None:
    """A stranger knows the endpoint, and forges packets and management from an address of its own."""
    client, server = await behind.flow()
    async with client, server:
        flows = await behind.server.irm.rib_read("ipcps/s/flows")
        [endpoint] = [flow["endpoint"] for flow in flows.values()]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.66", 0))
            stranger.settimeout(0.3)
            for payload in (b"", b"forged", b"x" * 5000):
                stranger.sendto(endpoint.to_bytes(4, "big") + payload, behind.nat.server)

            async def counted() -> bool:
                return await behind.bad_source() == 3

            await eventually(counted)
            await client.write(b"genuine")
            assert await within(server.read()) == b"genuine"
            await server.write(b"answer")
            assert await within(client.read()) == b"answer"
            with pytest.raises(TimeoutError):
                stranger.recv(100)


@pytest.mark.parametrize("behind", [False], indirect=True)
async def test_sources_that_are_not_checked(behind: Behind) -> None:
    """As the prototype: what the requester says arrives after a rebinding; what we say goes to where it was."""
    client, server = await behind.flow()
    async with client, server:
        behind.nat.rebind()
        await client.write(b"from elsewhere")
        assert await within(server.read()) == b"from elsewhere"
        assert await behind.bad_source() == 0

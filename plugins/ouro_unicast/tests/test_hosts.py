"""Several hosts in one process, over UDP on the loopback interface, with the directory of the prototype."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from ouro_core import Node
from ouro_core.api.aio import AsyncFlow
from ouro_core.model.qos import DATA
from ouro_core.testing.ipcp import eventually, within

pytest.importorskip("ouro_udp")
pytest.importorskip("ouro_dht")

_PORTS = itertools.count(20_000 + os.getpid() * 7 % 20_000)


class Line:
    """Hosts in a line. Each link is a UDP layer of its own: cutting it is ending one of its IPCPs."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.ports: dict[tuple[int, int], int] = {}

    def address(self, host: int) -> str:
        return f"127.0.77.{host + 1}"

    async def link(self, a: int, b: int) -> None:
        port = self.ports.setdefault((a, b), next(_PORTS))
        for here, there in ((a, b), (b, a)):
            options = {"ip": self.address(here), "port": port, "peers": f"m{there}={self.address(there)}"}
            await self.nodes[here].irm.autoboot(f"u{a}{b}", "udp4", f"link{a}{b}", options, bind=False)
            if self._member(here):
                await self.nodes[here].irm.reg_name(f"m{here}", f"u{a}{b}")

    def _member(self, host: int) -> bool:
        return host in self.members

    members: set[int]

    async def layer(self, **options: str) -> None:
        self.members = set()
        for host, node in enumerate(self.nodes):
            name = f"m{host}"
            ipcp = await node.irm.create_ipcp(name, "unicast")
            await node.irm.bind_ipcp(ipcp, name)
            self.members.add(host)
            if host:
                await self.link(host - 1, host)
                await node.irm.reg_name(name, f"u{host - 1}{host}")
                await within(node.irm.enroll_ipcp(ipcp, f"m{host - 1}"))
                await within(node.irm.connect_ipcp(ipcp, f"m{host - 1}"))
            else:
                await within(node.irm.bootstrap_ipcp(ipcp, "net", options))
        for host in range(len(self.nodes)):
            await self.reaches(host, len(self.nodes) - 1)

    async def reaches(self, host: int, number: int) -> None:
        async def enough() -> bool:
            table = await self.nodes[host].irm.rib_read(f"ipcps/m{host}/member/table")
            return len(table.get("all", {})) == number

        await eventually(enough)

    async def serve(self, host: int, name: str) -> None:
        await self.nodes[host].bind(name)
        await self.nodes[host].irm.reg_name(name, f"m{host}")

    async def flow(self, client: int, server: int, name: str, **how: object) -> tuple[AsyncFlow, AsyncFlow]:
        accepting = asyncio.ensure_future(self.nodes[server].flow_accept())
        for attempt in range(20):
            try:
                flow = await within(self.nodes[client].flow_alloc(name, **how))  # type: ignore[arg-type]
                return flow, await within(accepting)
            except Exception:
                if attempt == 19:
                    raise
                await asyncio.sleep(0.1)
        raise AssertionError


async def exchange(client: AsyncFlow, server: AsyncFlow, number: int = 50) -> None:
    for i in range(number):
        await client.write(b"ping %d" % i)
        assert await within(server.read()) == b"ping %d" % i
        await server.write(b"pong %d" % i)
        assert await within(client.read()) == b"pong %d" % i


@pytest_asyncio.fixture(params=[2, 3])
async def line(request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    async with AsyncExitStack() as stack:
        yield Line([await stack.enter_async_context(Node()) for _ in range(request.param)])


@pytest.mark.parametrize("routing", ["link_state", "lfa", "ecmp"])
async def test_names_are_reached_from_every_host(line: Line, routing: str) -> None:
    await line.layer(routing=routing)
    last = len(line.nodes) - 1
    for client, server in ((0, last), (last, 0)):
        await line.serve(server, f"echo{server}")
        flows = await line.flow(client, server, f"echo{server}")
        async with flows[0], flows[1]:
            await exchange(*flows)


async def test_a_reliable_flow(line: Line) -> None:
    await line.layer()
    last = len(line.nodes) - 1
    await line.serve(last, "echo")
    client, server = await line.flow(0, last, "echo", qos=DATA)
    async with client, server:
        await exchange(client, server)


def test_the_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ouro_core.cli", "demo", "--network", "--json"],
        capture_output=True, text=True, timeout=110, env={**os.environ, "TMPDIR": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["ok"]
    assert figures["round_trip_again"]["returned"] > 0
    assert not list(tmp_path.iterdir())


def test_the_demo_in_words() -> None:
    command = [sys.executable, "-m", "ouro_core.cli", "demo", "--network"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=110, check=True).stdout
    assert said.count("<----->") == 5
    assert said.count("<- x ->") == 1

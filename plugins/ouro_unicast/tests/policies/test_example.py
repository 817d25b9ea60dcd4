"""The policies of the README: installed as it says, against the kits, and in a layer with flows."""

import asyncio
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from ouro_unicast.contracts import CongestionSender, RoutingPolicy
from ouro_unicast.routing.graph import Graph, Table
from ouro_unicast.routing.link_state import LinkStateRouting
from ouro_unicast.testing.congestion import CongestionContract
from ouro_unicast.testing.routing import RoutingContract
from unicast_net import Net

from ouro_core.model.errors import OuroError
from ouro_core.plugins import PluginHost
from ouro_core.testing.ipcp import within

README = Path(__file__).parents[2] / "README.md"
NAME = "ouro_example_policies"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def module() -> ModuleType:
    made = ModuleType(NAME)
    exec(compile(blocks("python")[0], str(README), "exec"), vars(made))
    return made


EXAMPLE = module()


class TestPathVector(RoutingContract):
    policy = EXAMPLE.PathVector
    reacts = 2.0
    settles = 10.0


class TestAimd(CongestionContract):
    policy = EXAMPLE.Aimd


class HighestFirst(LinkStateRouting):
    """Another algorithm on the database: of all neighbours towards a member the highest."""

    name = "highest_first"

    def table(self, graph: Graph) -> Table:
        own, hops = graph.search(self.address)
        table = dict(hops)
        for neighbour in graph.neighbours(self.address):
            for destination, distance in graph.search(neighbour)[0].items():
                if destination in table and distance + 1 == own[destination]:
                    table[destination] = max(table[destination], neighbour)
        return {destination: (hop,) for destination, hop in table.items()}


class TestHighestFirst(RoutingContract):
    policy = HighestFirst
    reacts = 0.1
    settles = 80.0


def test_the_second_block_is_a_kit() -> None:
    namespace = dict(vars(EXAMPLE))
    exec(blocks("python")[1], namespace)
    assert issubclass(namespace["TestPathVector"], RoutingContract)
    assert namespace["TestPathVector"].policy is EXAMPLE.PathVector


def test_the_routing_policy_is_short() -> None:
    source = blocks("python")[0]
    body = source[source.index("class PathVector") : source.index("class Aimd")]
    assert len([line for line in body.splitlines() if line.strip()]) <= 50


# ---------------------------------------------------------------- in a layer


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Install the README's plugin."""
    site = tmp_path / "example"
    info = site / f"{NAME}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
    (entry,) = re.findall(r'^(\w+) = "(\w+)"$', blocks("toml")[0], re.MULTILINE)
    (info / "entry_points.txt").write_text(f"[ouro]\n{entry[0]} = {entry[1]}\n")
    (site / f"{NAME}.py").write_text(blocks("python")[0])
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield
    sys.modules.pop(NAME, None)


def test_it_is_found_and_registered(example: object) -> None:
    host = PluginHost(strict=True)
    assert issubclass(host.get("routing_policies", "path_vector"), RoutingPolicy)
    assert host.get("congestion_policies", "aimd").name == "aimd"


async def test_flows_over_a_line_of_members(example: object, net: Net) -> None:
    await net.line("a", "b", "c", routing="path_vector", congestion="aimd")
    await net.serve("echo", "c")
    await net.knows("a", 1)
    accepting = asyncio.ensure_future(net.node.flow_accept())
    async with await within(net.node.flow_alloc("echo")) as client, await within(accepting) as server:
        for i in range(50):
            await client.write(b"there %d" % i)
            assert await within(server.read()) == b"there %d" % i
            await server.write(b"back %d" % i)
            assert await within(client.read()) == b"back %d" % i
    policies = (await net.read("b", ""))["policies"]
    assert (policies["routing"], policies["congestion"]) == ("path_vector", "aimd")


async def test_reports_of_congestion_come_to_the_policy(
    example: object, net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More is sent than the way can carry; the sender in code hears of it."""
    members = await net.line("a", "b", "c", congestion="aimd")
    assert len(members) == 3
    await net.serve("echo", "c")
    await net.knows("a", 1)
    heard: list[int] = []

    class Deaf(CongestionSender):
        def packet(self, size: int, now: int) -> int:
            return 0

        def feedback(self, ece: int, now: int) -> None:
            heard.append(ece)

    monkeypatch.setattr(sys.modules[NAME], "AimdSender", lambda now: Deaf())
    accepting = asyncio.ensure_future(net.node.flow_accept())
    async with await within(net.node.flow_alloc("echo")) as client, await within(accepting) as server:
        async with asyncio.timeout(60.0):
            while not any(heard):
                await client.write_many([bytes(100)] * 500)
                await asyncio.sleep(0)
                try:
                    await asyncio.wait_for(server.read_many(500), 0.05)
                except TimeoutError:
                    pass
    assert max(heard) > 0


async def test_what_was_written_before_closing_arrives(example: object, net: Net) -> None:
    await net.line("a", "b", congestion="aimd")
    await net.serve("echo", "b")
    await net.knows("a", 1)
    accepting = asyncio.ensure_future(net.node.flow_accept())
    client = await within(net.node.flow_alloc("echo"))
    async with await within(accepting) as server:
        for i in range(100):
            await client.write(b"%d" % i)
        await client.close()
        assert [await within(server.read()) for _ in range(100)] == [b"%d" % i for i in range(100)]


async def test_a_policy_that_is_not_installed(net: Net) -> None:
    with pytest.raises(OuroError, match="path_vector"):
        await net.member("a", "net", routing="path_vector")

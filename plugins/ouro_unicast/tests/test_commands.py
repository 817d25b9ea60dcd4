"""The picture of a layer, and the commands on a real daemon."""

import json
import random
import sys

import networkx
import pytest
from ouro_unicast.picture import edges, picture

from ouro_core.testing.host import Host, eventually


def links(graph: networkx.Graph) -> dict[str, list[str]]:
    return {f"{n:03}": sorted(f"{m:03}" for m in graph[n]) for n in graph}


def test_a_line_a_fork_and_a_ring() -> None:
    assert picture("a", {}) == ["a  (here)"]
    assert picture("b", {"a": ["b"], "b": ["a", "c"], "c": ["b"]}) == ["b  (here)", "├─ a", "└─ c"]
    assert picture("a", {"a": ["b", "c"], "b": ["a", "c", "d"], "c": ["a", "b"], "d": ["b"], "e": ["a"]}) == [
        "a  (here)",
        "├─ b",
        "│  └─ d",
        "└─ c",
        "",
        "other links:",
        "  b -- c",
        "",
        "advertised by one end only:",
        "  e -> a",
    ]


@pytest.mark.parametrize("seed", range(20))
def test_every_member_in_reach_is_in_the_picture_once(seed: int) -> None:
    rng = random.Random(seed)
    graph = networkx.gnm_random_graph(rng.randrange(2, 60), rng.randrange(1, 120), seed=seed)
    here = rng.choice(list(graph))
    lines = picture(f"{here:03}", links(graph))
    tree = lines[: lines.index("")] if "" in lines else lines
    shown = sorted(int(line.split("─ ")[-1].split()[0]) for line in tree)
    assert shown == sorted(networkx.node_connected_component(graph, here))
    assert len(edges(links(graph))[0]) == graph.number_of_edges()


def test_a_deep_line_is_no_problem() -> None:
    assert len(picture("0000", {f"{n:04}": [f"{n - 1:04}", f"{n + 1:04}"] for n in range(2000)})) > 1999


def test_the_commands(flood: None) -> None:
    with Host() as host:
        host.ouro("ipcp", "bootstrap", "type", "local", "name", "lo", "layer", "lo")
        host.ouro(
            "ipcp", "bootstrap", "type", "unicast", "name", "a", "layer", "net", "directory", "flood", "ttl", "30",
            "routing", "lfa", "congestion", "none", "autobind",
        )  # fmt: skip
        host.ouro("name", "reg", "a", "layer", "lo")
        host.ouro("ipcp", "enroll", "name", "b", "layer", "net", "dst", "a", "autobind")
        host.ouro("ipcp", "connect", "name", "b", "dst", "a")
        eventually(lambda: "2 members, 1 link" in host.ouro("layer", "graph", "net"))
        tree = json.loads(host.ouro("ipcp", "show", "b", "--json"))["member"]
        assert tree["max_ttl"] == 30
        assert tree["policies"] == {
            "routing": "lfa", "pff": "alternate", "directory": "flood", "addr_auth": "flat", "congestion": "none",
        }  # fmt: skip
        text = host.ouro("ipcp", "show", "name", "b")
        assert tree["address"] in text
        graph = json.loads(host.ouro("layer", "graph", "net", "--json"))
        assert graph["members"] == sorted(graph["members"])
        assert tree["address"] in graph["members"]
        assert json.loads(host.ouro("rib", "cat", "ipcps/b/connected", "--json")) == {
            "a": ["Data Transfer", "Management"]
        }
        host.ouro("ipcp", "disconnect", "name", "b", "dst", "a")
        again = host.run([sys.executable, "-P", "-m", "ouro_core.cli", "ipcp", "disconnect", "name", "b", "dst", "a"])
        assert again.returncode == 1
        assert 'b did not connect with "a", but with: nobody' in again.stderr
        eventually(lambda: "0 links" in host.ouro("layer", "graph", "net"))
        failed = host.run([sys.executable, "-P", "-m", "ouro_core.cli", "layer", "graph", "other"])
        assert failed.returncode != 0
        assert 'layer "other"' in failed.stderr


def test_the_picture_of_a_broadcast_layer() -> None:
    with Host() as host:
        host.ouro("ipcp", "bootstrap", "type", "local", "name", "lo", "layer", "lo")
        host.ouro("ipcp", "bootstrap", "type", "broadcast", "name", "a", "layer", "news", "autobind")
        host.ouro("name", "reg", "a", "layer", "lo")
        for name, dst in (("b", "a"), ("c", "a")):
            host.ouro("ipcp", "enroll", "name", name, "type", "broadcast", "layer", "news", "dst", dst, "autobind")
            host.ouro("ipcp", "connect", "name", name, "dst", dst)
        ids = {name: host.rib(f"ipcps/{name}/member/tree")["id"] for name in "abc"}
        first, second = sorted((ids["b"], ids["c"]))

        def seen() -> list[str]:
            return host.ouro("layer", "graph", "news").splitlines()

        whole = ["Layer news, seen by a", "", f"{ids['a']}  (here)", f"├─ {first}", f"└─ {second}"]
        eventually(lambda: seen() == whole)
        host.ouro("ipcp", "destroy", "name", "c")
        eventually(lambda: seen() == [*whole[:3], f"└─ {ids['b']}"])
        host.ouro("ipcp", "enroll", "name", "d", "type", "broadcast", "layer", "news", "dst", "a", "autobind")
        host.ouro("name", "reg", "b", "layer", "lo")
        host.ouro("ipcp", "connect", "name", "d", "dst", "b")
        eventually(lambda: seen() == [*whole[:3], f"└─ {ids['b']}  and 1 member behind it"])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["directory", "dusty"], "dusty"),
        (["routing", "magic"], "magic"),
        (["congestion", "lfa"], "lfa"),
        (["addr_auth", "tree"], "tree"),
        (["addr", "8"], "8 bytes"),
        (["ttl", "0"], "ttl"),
        (["ttl", "256"], "ttl"),
        (["ls_t_update", "60"], "ls_t_timeo"),
        (["ls_t_recalc", "0"], "ls_t_recalc"),
    ],
)
def test_layers_that_cannot_be(flood: None, words: list[str], why: str) -> None:
    from ouro_core import Node

    async def main() -> str:
        from ouro_core.model.errors import OuroError

        async with Node() as node:
            ipcp = await node.irm.create_ipcp("a", "unicast")
            name = {"addr": "address_size", "ttl": "max_ttl"}.get(words[0], words[0])
            with pytest.raises(OuroError) as error:
                await node.irm.bootstrap_ipcp(ipcp, "net", {"directory": "flood", name: words[1]})
            await node.irm.bootstrap_ipcp(ipcp, "net", {"directory": "flood"})  # nothing is left of the attempt
            return str(error.value)

    import asyncio

    assert why in asyncio.run(main())

"""`ShimIpcp` with media that have faults: they are named where they are, and leave nothing behind."""

import logging
import re
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from ouro_core import Node
from ouro_core.contracts.programs import PumpProgram, Route
from ouro_core.model.errors import IpcpError, OuroError, PacketsError
from ouro_core.plugins import PluginHost
from ouro_core.shim import Management, Medium
from ouro_core.testing.ipcp import Layer, within

from .loop import HEADER, LoopIpcp, LoopMedium


class FaultyMedium(LoopMedium):
    """Its routes are no routes: `fault` says how."""

    fault: ClassVar[str] = ""

    def route(self, peer: int, remote: int, own: int) -> Route:
        if self.fault == "unix address":
            return Route(HEADER.pack(remote, self.port), b"\x01\0/run/peer\0")
        raise LookupError(f"no peer {peer}")


class FaultyIpcp(LoopIpcp):
    name = "faulty"
    fault: ClassVar[str] = ""
    opened: ClassVar[list[LoopMedium]] = []

    def make_management(self, medium: Medium[int]) -> Management[int]:
        if self.fault == "management":
            raise IpcpError("no management today")
        return super().make_management(medium)

    async def open(self, layer: Any, config: Any) -> Medium[int]:
        medium = await super().open(layer, config)
        if self.fault == "program":
            medium.program = PumpProgram(header=1000, key=medium.program.key, max_payload=1)
        self.opened.append(self.there)
        return medium


@pytest.fixture
async def nodes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Node, Node]]:
    """Two hosts that have both types."""
    hosts = [PluginHost(select=()) for _ in range(2)]
    for host in hosts:
        host.registry("ipcp_types")
        for cls in (LoopIpcp, FaultyIpcp):
            host._fill("ipcp_types")[cls.name] = cls
    monkeypatch.setattr(LoopIpcp, "names", {})
    monkeypatch.setattr(FaultyIpcp, "opened", [])
    async with Node(packets="heap", plugins=hosts[0]) as a, Node(packets="heap", plugins=hosts[1]) as b:
        yield a, b


async def join(node: Node, type: str) -> Any:
    ipcp = await node.irm.create_ipcp(type, type)
    await within(node.irm.bootstrap_ipcp(ipcp, "layer"))
    return ipcp


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ("unix address", PacketsError, "is no complete sockaddr_in"),
        ("bug", IpcpError, r"LookupError\('no peer"),
    ],
)
@pytest.mark.parametrize("side", ["server", "client"])
async def test_a_route_that_is_none_is_an_error_of_this_host(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    side: str, fault: str, error: type[OuroError], says: str,
) -> None:  # fmt: skip
    """Both ends hear of it at once, and the log of the host whose type has the fault says what it is."""
    caplog.set_level(logging.ERROR)
    server, client = nodes
    monkeypatch.setattr(FaultyIpcp, "medium_class", FaultyMedium)
    monkeypatch.setattr(FaultyMedium, "fault", fault)
    there = await join(server, "faulty" if side == "server" else "loop")
    here = await join(client, "faulty" if side == "client" else "loop")
    layer = Layer(client, server, here, there)
    await layer.serve("name")
    with pytest.raises(error):
        await layer.flow("name")
    ours = [r for r in caplog.records if "cannot be bound to the pump" in r.getMessage()]
    assert len(ours) == 1
    assert (fault == "bug") is bool(ours[0].exc_info)
    assert re.search(says, ours[0].getMessage())


@pytest.mark.parametrize(("fault", "says"), [("program", "header"), ("management", "no management today")])
async def test_a_member_that_cannot_begin_leaves_nothing_open(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch, fault: str, says: str
) -> None:
    """And may be tried again."""
    node, _ = nodes
    monkeypatch.setattr(FaultyIpcp, "fault", fault)
    ipcp = await node.irm.create_ipcp("faulty", "faulty")
    with pytest.raises(OuroError, match=says):
        await within(node.irm.bootstrap_ipcp(ipcp, "layer"))
    assert [medium._socket.fileno() for medium in FaultyIpcp.opened] == [-1]
    monkeypatch.setattr(FaultyIpcp, "fault", "")
    await within(node.irm.bootstrap_ipcp(ipcp, "layer"))
    await within(node.irm.destroy_ipcp(ipcp))
    assert [medium._socket.fileno() for medium in FaultyIpcp.opened] == [-1, -1]

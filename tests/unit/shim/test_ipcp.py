"""`ShimIpcp` with media that have faults: they are named where they are, and leave nothing behind."""

import logging
import re
import socket
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from ouro_core import Node
from ouro_core.contracts.programs import PumpProgram, Route
from ouro_core.model.errors import IpcpError, OuroError, PacketsError
from ouro_core.plugins import PluginHost
from ouro_core.shim import Management, Medium
from ouro_core.testing.ipcp import Layer, eventually, within

from .loop import HEADER, LoopIpcp, LoopMedium
from .member import PlainCodec


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


class CrashingMedium(LoopMedium):
    """Has a codec that is not total."""

    def __init__(self) -> None:
        super().__init__()
        self.codec = CrashingCodec()


class CrashingCodec(PlainCodec):
    def decode(self, data: bytes) -> Any:
        return super().decode(data) if data[:1] == b"[" else data[1000]


async def test_a_message_that_a_codec_cannot_bear_costs_itself_alone(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, and counted."""
    caplog.set_level(logging.ERROR)
    server, client = nodes
    monkeypatch.setattr(FaultyIpcp, "medium_class", CrashingMedium)
    layer = Layer(client, server, await join(client, "loop"), await join(server, "faulty"))
    await layer.serve("name")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for _ in range(20):
            stranger.sendto(HEADER.pack(0, 1) + b"noise", ("127.0.0.1", FaultyIpcp.opened[0].port))

    async def counted() -> bool:
        seen = await server.irm.rib_read(f"ipcps/{layer.server_ipcp.name}/management")
        return bool(seen["malformed"] == 20)

    await eventually(counted)
    for flow in await layer.flow("name"):
        await flow.close()
    (logged,) = [r for r in caplog.records if "cannot be read" in r.getMessage()]
    assert "IndexError" in logged.getMessage()
    assert b"noise".hex() in logged.getMessage()


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

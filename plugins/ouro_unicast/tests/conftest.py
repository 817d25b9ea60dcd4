"""What tests of layers share. What stands beside this file can be imported, however the tests are started."""

import importlib
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ouro_core import Node
from ouro_core.model.layer import IpcpInfo
from ouro_core.testing.ipcp import eventually, within

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

FLOOD = {"directory": "flood"}
"""Options of layers here: the directory is part of the tests, so that they need no other plugin."""


@pytest.fixture
def flood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the directory `flood`, for this process and those it starts."""
    site = tmp_path / "site"
    info = site / "ouro_flood-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ouro-flood\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ouro]\nflood = flood\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", f"{site}:{HERE}")
    importlib.invalidate_caches()


class Net:
    """Unicast layers on one node, over a local one called `lo`. Members can be reached by their names in it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.irm = node.irm

    async def member(self, name: str, layer: str, via: str | None = None, over: str = "lo", **options: Any) -> IpcpInfo:
        """A member that founds the layer, or enrols with `via`, which is in reach through the layer of `over`."""
        ipcp = await self.irm.create_ipcp(name, "unicast")
        if via is None:
            await within(self.irm.bootstrap_ipcp(ipcp, layer, {**FLOOD, **options}))
        else:
            await within(self.irm.enroll_ipcp(ipcp, via))
        await self.irm.bind_ipcp(ipcp, name)
        if over:
            await self.irm.reg_name(name, over)
        return ipcp

    async def line(self, *names: str, layer: str = "net", over: str = "lo", **options: Any) -> list[IpcpInfo]:
        """Members each of which is connected with the one before it, and routes between all."""
        members: list[IpcpInfo] = []
        for before, name in zip((None, *names), names, strict=False):
            members.append(await self.member(name, layer, before, over, **options))
            if before is not None:
                await within(self.irm.connect_ipcp(name, before))
        for name in names:
            await self.reaches(name, len(names) - 1)
        return members

    async def read(self, ipcp: str, path: str) -> Any:
        """What a member shows in the RIB."""
        return await self.irm.rib_read(f"ipcps/{ipcp}/member/{path}")

    async def reaches(self, ipcp: str, number: int) -> None:
        """Returns when a member has routes to so many others."""

        async def enough() -> bool:
            table = await self.read(ipcp, "table")
            return len(table.get("all", {})) == number

        await eventually(enough)

    async def serve(self, name: str, ipcp: str) -> None:
        """Register a name of this node's application at a member, and wait until all others know."""
        await self.node.bind(name)
        await self.irm.reg_name(name, ipcp)

    async def knows(self, ipcp: str, number: int) -> None:
        """Returns when a member's directory has so many names of others."""

        async def enough() -> bool:
            found: Mapping[str, Any] = await self.read(ipcp, "directory/names")
            return len([a for a in found.values() if a]) == number

        await eventually(enough)


@pytest_asyncio.fixture(params=["heap", "ssm"])
async def net(flood: None, request: pytest.FixtureRequest) -> AsyncIterator[Net]:
    if request.param == "ssm":
        pytest.importorskip("ouro_ssm")
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(Node(packets=request.param, direct=False))
        await node.irm.autoboot("lo", "local", "lo")
        yield Net(node)

"""Unicast layers on one node, for tests."""

from collections.abc import Mapping
from typing import Any

from ouro_core import Node
from ouro_core.model.layer import IpcpInfo
from ouro_core.testing.ipcp import eventually, within

__all__ = ["FLOOD", "Net"]

FLOOD = {"directory": "flood"}
"""Options of layers here: the directory is part of the tests, so that they need no other plugin."""


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

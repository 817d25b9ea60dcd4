"""The type `metered` against the contract of all types, in a whole host: what an application may rely on."""

from collections.abc import AsyncIterator

import pytest_asyncio

from ouro_core import Node
from ouro_core.testing.ipcp import IpcpTypeContract


class TestMetered(IpcpTypeContract):
    type = "metered"
    tells_peer = True

    @pytest_asyncio.fixture
    async def hosts(self) -> AsyncIterator[tuple[Node, Node]]:
        """A layer of one host has both its members there. Without `direct=False` flows would go past the layer."""
        async with Node(direct=False) as node:
            yield node, node

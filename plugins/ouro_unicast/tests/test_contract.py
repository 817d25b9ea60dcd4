"""The contract of IPCP types, on a member that is alone."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest_asyncio
from unicast_net import FLOOD

from ouro_core import Node
from ouro_core.testing.ipcp import IpcpTypeContract


class TestUnicast(IpcpTypeContract):
    type = "unicast"

    @pytest_asyncio.fixture
    async def hosts(self, flood: None) -> AsyncIterator[tuple[Node, Node]]:
        async with Node(direct=False) as node:
            yield node, node

    def options(self, host: int) -> Mapping[str, Any]:
        return FLOOD

"""The contract of IPCP types, kept by type local over every packet system that is here."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from ouro_core import Node
from ouro_core.plugins import PluginHost
from ouro_core.testing.ipcp import IpcpTypeContract

SYSTEMS = [name for name, system in PluginHost.from_environment().pool_allocators.items() if system.usable() is None]


@pytest.fixture(params=SYSTEMS)
def packets(request: Any) -> str:
    return str(request.param)


class TestLocal(IpcpTypeContract):
    type = "local"
    tells_peer = True
    carries = False

    @pytest_asyncio.fixture
    async def hosts(self, packets: str) -> AsyncIterator[tuple[Node, Node]]:
        async with Node(packets=packets, direct=False) as node:
            yield node, node

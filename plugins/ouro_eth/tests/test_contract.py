"""The contract of IPCP types, kept by both types over a pair of devices, and alone on a loopback device."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from ouro_core import Node
from ouro_core.plugins import PluginHost
from ouro_core.testing.ipcp import IpcpTypeContract
from ouro_core.testing.netns import Namespace

SYSTEMS = [name for name, system in PluginHost.from_environment().pool_allocators.items() if system.usable() is None]


@pytest.fixture(params=SYSTEMS)
def packets(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Wire(IpcpTypeContract):
    """Two hosts in one process, with a device each."""

    kept = 32

    def options(self, host: int) -> Mapping[str, Any]:
        return {"dev": ("v0", "v1")[host]}

    @pytest_asyncio.fixture
    async def hosts(self, private: Namespace) -> AsyncIterator[tuple[Node, Node]]:
        async with Node(direct=False) as a, Node(direct=False) as b:
            yield a, b


class Loopback(IpcpTypeContract):
    """One host, whose frames come back to it."""

    kept = 32

    def options(self, host: int) -> Mapping[str, Any]:
        return {"dev": "lo"}

    @pytest_asyncio.fixture
    async def hosts(self, private: Namespace) -> AsyncIterator[tuple[Node, Node]]:
        async with Node(direct=False) as node:
            yield node, node


class TestDix(Wire):
    type = "eth-dix"
    mtu = 1496

    @pytest_asyncio.fixture
    async def hosts(self, private: Namespace, packets: str) -> AsyncIterator[tuple[Node, Node]]:
        async with Node(packets=packets, direct=False) as a, Node(packets=packets, direct=False) as b:
            yield a, b


class TestLlc(Wire):
    type = "eth-llc"
    mtu = 1497


class TestDixLoopback(Loopback):
    type = "eth-dix"
    mtu = 8996


class TestLlcLoopback(Loopback):
    type = "eth-llc"
    mtu = 1497
    at_once = 31  # both ends have SAPs of the same 62

"""The contract kit of IPCP types: two hosts on the loopback interface, without root."""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ouro_core import Node
from ouro_core.plugins.suites import own_capabilities
from ouro_core.testing.ipcp import NAME, IpcpTypeContract, Layer, within

from .conftest import Bind, free_port


class _Udp(IpcpTypeContract):
    kept = 32

    @pytest_asyncio.fixture
    async def hosts(self) -> AsyncIterator[tuple[Node, Node]]:
        async with Node() as server, Node() as client:
            yield server, client


class TestUdp4WithNameServer(_Udp):
    """Names by dynamic updates."""

    type = "udp4"

    @pytest.fixture(autouse=True)
    def _server(self, bind: Bind) -> Iterator[None]:
        self.bind, self.port = bind, free_port()
        yield
        assert not bind.records("53d4917d4ffb0e2cd69bdf9bb7ae1b8c", "A")

    def options(self, host: int) -> Mapping[str, Any]:
        return {"ip": f"127.0.0.{2 + host}", "port": self.port, "dns": "127.0.0.1", "dns_port": self.bind.port}


class _Static(_Udp):
    async def test_a_name_that_was_unregistered_is_not_found(self, layer: Layer) -> None:
        """A file knows it all the same, and whoever has the name is reached, as at nodes of the prototype."""
        await layer.serve()
        await layer.server.irm.unreg_name(NAME, layer.server_ipcp)
        for flow in await layer.flow():
            await within(flow.close())


class TestUdp4WithHostsFile(_Static):
    type = "udp4"

    @pytest.fixture(autouse=True)
    def _hosts(self, tmp_path: Path) -> None:
        self.hosts_file, self.port = tmp_path / "hosts", free_port()
        self.hosts_file.write_text(f"127.0.0.2 {NAME}\n")

    def options(self, host: int) -> Mapping[str, Any]:
        return {"ip": f"127.0.0.{2 + host}", "port": self.port, "hosts": self.hosts_file}


class TestUdp6(_Static):
    """There is one address of IPv6 on a loopback interface, so the ports differ, and the peer says which."""

    type = "udp6"

    @pytest.fixture(autouse=True)
    def _ports(self) -> None:
        self.ports = free_port(), free_port()

    def options(self, host: int) -> Mapping[str, Any]:
        return {"ip": "::1", "port": self.ports[host], "peers": f"{NAME}=[::1]:{self.ports[0]}"}


class TestUdp6WithOnePeer(TestUdp6):
    """The peer without a name is asked for all."""

    def options(self, host: int) -> Mapping[str, Any]:
        return {"ip": "::1", "port": self.ports[host], "peers": f"[::1]:{self.ports[1 - host]}"}

    async def test_a_type_that_probes_finds_out_that_the_other_host_is_of_ouro(self, layer: Layer) -> None:
        for name in (NAME, "nobody.has.this"):
            assert await within(layer.client.irm.probe_name(name)) == own_capabilities(layer.client.plugins)

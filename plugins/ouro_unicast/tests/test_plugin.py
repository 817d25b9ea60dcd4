"""The distribution as the host of plugins sees it."""

import pytest

from ouro_core import Node
from ouro_core.model.errors import OuroError
from ouro_core.plugins.host import PluginHost

KINDS = {"routing_policies", "pff_policies", "address_authorities", "congestion_policies"}


def test_it_loads_and_brings_kinds_of_its_own() -> None:
    host = PluginHost(strict=True)
    host.load()
    states = {(p.group, p.name): p.state for p in host.plugins()}
    assert states["ouro", "unicast"] == states["ouro.hookspecs", "unicast"] == "loaded"
    assert set(host.kinds()) >= KINDS


async def test_a_directory_that_is_not_installed_is_named_with_its_distribution() -> None:
    async with Node(plugins=PluginHost(block=["dht"])) as node:
        ipcp = await node.irm.create_ipcp("a", "unicast")
        with pytest.raises(OuroError, match="ouro-dht"):
            await node.irm.bootstrap_ipcp(ipcp, "net")

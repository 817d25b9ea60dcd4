"""The distribution as the host of plugins sees it."""

from ouro_core.plugins.host import PluginHost

KINDS = {"routing_policies", "pff_policies", "address_authorities", "congestion_policies"}


def test_it_loads_and_brings_kinds_of_its_own() -> None:
    host = PluginHost(strict=True)
    host.load()
    states = {(p.group, p.name): p.state for p in host.plugins()}
    assert states["ouro", "unicast"] == states["ouro.hookspecs", "unicast"] == "loaded"
    assert set(host.kinds()) >= KINDS

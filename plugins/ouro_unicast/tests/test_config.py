"""A layer's configuration: from options, over the wire, to policies; and as the prototype sent it."""

from typing import Any

import pytest
from attrs import evolve, frozen
from ouro_unicast.config import UnicastConfig, described, layer_info, policies
from ouro_unicast.contracts import RoutingPolicy
from ouro_unicast.enrolment import EnrolmentClient, EnrolmentServer
from ouro_unicast.wire import oep
from unicast_captures import packets

from ouro_core.model.config import choice, integer, option, parse_config, to_text
from ouro_core.model.errors import ConfigError, OuroError, WireError
from ouro_core.model.layer import LayerInfo
from ouro_core.model.names import HashAlgorithm
from ouro_core.plugins import PluginHost

NET = LayerInfo("net")


@pytest.fixture(scope="module")
def plugins() -> PluginHost:
    pytest.importorskip("ouro_dht")
    return PluginHost()


def test_defaults_are_the_prototypes(plugins: PluginHost) -> None:
    """Unicast.md 17.2, where only the peer is another."""
    layer = described(NET, UnicastConfig(), plugins)
    assert layer == oep.Layer("net", 1, oep.UNICAST, oep.Unicast(
        4, 8, 60, 0, oep.LinkState(0, 4, 15, 60), 0, bytes.fromhex("080310081880a3052084072884073000"), 0, 1
    ))  # fmt: skip


def test_a_recorded_enrolment(plugins: PluginHost) -> None:
    """What the prototype sent makes a layer; who enrols with us gets the same, but for the peer."""
    said = [p.payload for p in packets("seg-h1-h2.pcap")[2:5]]
    request, response = oep.EnrolRequest.decode(said[0]), oep.EnrolResponse.decode(said[1])
    client = EnrolmentClient(request.id, oep.UNICAST, 0.0, response.seconds + response.nanoseconds * 1e-9)
    assert client.datagrams_to_send(0.0) == [said[0]]
    client.receive(said[1], 0.001)
    client.acknowledge()
    assert client.datagrams_to_send(0.0) == [said[2]]
    assert client.layer is not None
    assert client.offset == pytest.approx(0.001)
    chosen = policies(client.layer, plugins)
    assert (chosen.routing.name, chosen.pff.name, chosen.directory.name) == ("link_state", "simple", "dht")
    assert (chosen.authority.name, chosen.congestion.name) == ("flat", "mb-ecn")
    assert chosen.peer == 859278658
    assert layer_info(client.layer) == LayerInfo("uni", HashAlgorithm.SHA3_256)
    unicast = client.layer.unicast
    assert unicast is not None
    again = chosen.directory.encode_config(chosen.directory_config, chosen.peer)
    assert again == unicast.directory_settings
    server = EnrolmentServer(client.layer, 0.0, response.seconds + response.nanoseconds * 1e-9)
    server.receive(said[0], 0.0)
    (ours,) = server.datagrams_to_send(0.0)
    assert oep.EnrolResponse.decode(ours).layer == response.layer
    server.receive(said[2], 0.0)
    assert server.result == 0


@pytest.mark.parametrize(
    "options",
    [
        {"routing": "link-state"},
        {"routing": "lfa", "congestion": "none", "max_ttl": "255"},
        {"routing": "ecmp", "ls_t_recalc": "1", "ls_t_update": "2", "ls_t_timeo": "5"},
        {"directory": "DHT", "dht_alpha": "5", "dht_k": "20"},
        {"dht_prototype": "off"},
    ],
)
def test_options_arrive_at_policies(plugins: PluginHost, options: dict[str, str]) -> None:
    config = parse_config(UnicastConfig, options)
    layer = described(NET, config, plugins)
    encoded = oep.EnrolResponse(bytes(8), 0, 0, 0, layer).encode()
    travelled = oep.EnrolResponse.decode(encoded).layer
    assert travelled == layer
    chosen = policies(travelled, plugins)
    assert chosen.routing.name == config.routing
    assert chosen.congestion.name == config.congestion
    assert chosen.routing_config.ls_t_timeo == config.ls_t_timeo
    assert chosen.directory_config.dht_k == config.dht_k
    assert chosen.directory_config.dht_prototype == config.dht_prototype
    assert parse_config(UnicastConfig, to_text(config)) == config


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"max_ttl": 0}, "0 hops"),
        ({"max_ttl": 256}, "256 hops"),
        ({"link_state": None}, "not which"),
        ({"routing": 3}, "routing policy 3"),
        ({"link_state": oep.LinkState(3)}, "policy 3"),
        ({"link_state": oep.LinkState(0, 4, 60, 60)}, "ls_t_timeo"),
        ({"link_state": oep.LinkState(0, 0, 15, 60)}, "ls_t_recalc"),
        ({"directory": 9}, "directory policy 9"),
        ({"address_authority": 1}, "addr_auth policy 1"),
        ({"congestion": 2}, "congestion policy 2"),
        ({"congestion": 255}, "congestion policy 255"),
        ({"congestion": 255, "named": (("congestion", "magic"),)}, "magic"),
    ],
)
def test_layers_that_cannot_be(plugins: PluginHost, change: dict[str, Any], why: str) -> None:
    layer = described(NET, UnicastConfig(), plugins)
    assert layer.unicast is not None
    with pytest.raises(OuroError, match=why):
        policies(evolve(layer, unicast=evolve(layer.unicast, **change)), plugins)


@pytest.mark.parametrize("settings", [None, b"", b"\xff", b"\x08\x03"])
def test_a_directory_without_its_settings(plugins: PluginHost, settings: bytes | None) -> None:
    layer = described(NET, UnicastConfig(), plugins)
    assert layer.unicast is not None
    with pytest.raises((WireError, ConfigError)):
        policies(evolve(layer, unicast=evolve(layer.unicast, directory_settings=settings)), plugins)


@pytest.mark.parametrize("hash", [4, 5, 6, 255])
def test_hashes_that_nobody_uses(plugins: PluginHost, hash: int) -> None:
    with pytest.raises(ConfigError, match="SHA3"):
        layer_info(oep.Layer("net", hash, oep.UNICAST))


@frozen
class MetricConfig:
    ls_t_update: int = option(15, parse=integer(1, 100), unit="s", help="as of link state")
    metric: str = option("hops", parse=choice("hops", "delay"), help="what is short")


class Metric(RoutingPolicy):
    """Another distribution's, with parameters."""

    name = "metric"
    Config = MetricConfig

    def management_up(self, connection: int, address: int, now: float) -> None: ...
    def management_down(self, connection: int, now: float) -> None: ...
    def neighbour_up(self, port: int, address: int, now: float) -> None: ...
    def neighbour_down(self, port: int, now: float) -> None: ...
    def receive(self, connection: int, data: bytes, now: float) -> None: ...


class WithMetric:
    """What is registered where `Metric` is installed."""

    def __init__(self, plugins: PluginHost) -> None:
        self._plugins = plugins

    def get(self, registry: str, name: str) -> Any:
        return Metric if (registry, name) == ("routing_policies", "metric") else self._plugins.get(registry, name)

    def registry(self, registry: str) -> Any:
        return self._plugins.registry(registry)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, MetricConfig()),
        ({"routing_options": "metric=delay"}, MetricConfig(metric="delay")),
        ({"ls_t_update": "7"}, MetricConfig(ls_t_update=7)),
        ({"ls_t_update": "7", "routing_options": "ls_t_update=9,metric=delay"}, MetricConfig(9, "delay")),
    ],
)
def test_parameters_of_another_distributions_routing_travel(
    plugins: PluginHost, given: dict[str, str], expected: MetricConfig
) -> None:
    installed = WithMetric(plugins)
    layer = described(NET, parse_config(UnicastConfig, {"routing": "metric", **given}), installed)
    travelled = oep.EnrolResponse.decode(oep.EnrolResponse(bytes(8), 0, 0, 0, layer).encode()).layer
    assert travelled is not None
    assert policies(travelled, installed).routing_config == expected


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"routing": "metric", "routing_options": "metric=miles"}, "miles"),
        ({"routing": "metric", "routing_options": "colour=red"}, "colour.*ls_t_update, metric"),
        ({"routing": "lfa", "routing_options": "metric=hops"}, "lfa has no routing_options"),
        ({"routing": "metric", "routing_options": "metric"}, "key=value"),
    ],
)
def test_parameters_that_there_are_not(plugins: PluginHost, given: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        described(NET, parse_config(UnicastConfig, given), WithMetric(plugins))


@pytest.mark.parametrize("named", [(("routing.colour", "red"),), (("routing.metric", "miles"),)])
def test_parameters_that_a_peer_makes_up(plugins: PluginHost, named: tuple[tuple[str, str], ...]) -> None:
    installed = WithMetric(plugins)
    layer = described(NET, parse_config(UnicastConfig, {"routing": "metric"}), installed)
    assert layer.unicast is not None
    with pytest.raises(ConfigError):
        policies(evolve(layer, unicast=evolve(layer.unicast, named=(("routing", "metric"), *named))), installed)

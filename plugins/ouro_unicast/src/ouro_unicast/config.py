"""A layer's configuration: as an administrator gives it, as it travels at enrolment, and the policies it stands for.

Theory of operation. A layer is described by an `oep.Layer`, whoever made it: `described` makes one from the options of
`bootstrap`, enrolment brings one from another member. `policies` turns it into classes and their configurations, and is
the one place that says what is wrong with a layer. What the prototype has are numbers; a policy that it does not have
travels by its name, beside the number 255, which the prototype refuses. The parameters of such a routing policy travel
too, as texts, each named `routing.<parameter>`.
"""

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from ouro_core.contracts.directory import DirectoryPolicy
from ouro_core.contracts.ipcp import Registrations
from ouro_core.model.config import choice, integer, option, options, parse_config, to_text
from ouro_core.model.errors import ConfigError
from ouro_core.model.layer import LayerInfo
from ouro_core.model.names import HashAlgorithm, check_name

from .contracts import AddressAuthority, CongestionPolicy, PffPolicy, RoutingPolicy
from .wire import oep

__all__ = ["Policies", "UnicastConfig", "described", "layer_info", "policies"]

_U32: Final = 2**32 - 1
_BY_NAME: Final = 255
_PARAMETER: Final = "routing."
_ROUTING: Final = ("link_state", "lfa", "ecmp")
_AUTHORITIES: Final = ("flat",)
_CONGESTION: Final = ("none", "mb-ecn")
"""Names of the prototype's policies, in the order of their numbers (unicast.md 2.1)."""


def _word(value: str) -> str:
    if len(value.split()) != 1 or not value.isprintable():
        raise ValueError("needs one word")
    return value.lower()


def _pairs(value: str) -> str:
    pairs = [word.partition("=") for word in value.split(",") if word]
    if not all(key.isidentifier() and equals for key, equals, _ in pairs):
        raise ValueError("needs key=value, more of them after commas")
    return ",".join(f"{key}={text}" for key, _, text in pairs)


def _routing_word(value: str) -> str:
    return _word(value).replace("-", "_")  # the prototype's files say link-state, its command line link_state


@frozen
class UnicastConfig:
    """Parameters of a unicast layer (unicast.md 13.1). Every member has the same: they travel at enrolment."""

    address_size: int = option(
        4, parse=integer(1, 255), unit="bytes", keyword="addr", key="addr_size", help="size of addresses"
    )
    eid_size: int = option(
        8, parse=integer(1, 255), unit="bytes", keyword="eid", key="eid_size", help="size of endpoint identifiers"
    )
    max_ttl: int = option(60, parse=integer(1, 255), unit="hops", keyword="ttl", key="max_ttl", help="most hops")
    addr_auth: str = option("flat", parse=_word, key="addr-auth", help="address authority: flat")
    directory: str = option("dht", parse=_word, show=lambda w: "DHT" if w == "dht" else w, help="directory: DHT")
    dht_alpha: int = option(3, parse=integer(1, 10), unit="requests", help="requests at a time")
    dht_k: int = option(8, parse=integer(1, 20), unit="members", help="members that know a name")
    dht_t_expire: int = option(86400, parse=integer(10, 86400), unit="s", help="after which an entry is forgotten")
    dht_t_refresh: int = option(900, parse=integer(3, 3600), unit="s", help="between looks at the neighbourhood")
    dht_t_replicate: int = option(900, parse=integer(3, 3600), unit="s", help="between copies of entries to others")
    dht_prototype: str = option("auto", parse=choice("auto", "on", "off"), help="help nodes of the prototype")
    routing: str = option("link_state", parse=_routing_word, help="routing: link_state, lfa, ecmp")
    routing_options: str = option("", parse=_pairs, help="parameters of another distribution's routing: key=value,...")
    ls_t_timeo: int = option(60, parse=integer(1, _U32), unit="s", help="after which a link is taken for gone")
    ls_t_update: int = option(15, parse=integer(1, _U32), unit="s", help="between announcements of a link")
    ls_t_recalc: int = option(4, parse=integer(1, _U32), unit="s", help="between computations of routes")
    congestion: str = option("mb-ecn", parse=_word, help="congestion avoidance: none, mb-ecn")


@frozen
class Policies:
    """What a unicast layer works with: classes, and instances of their `Config`."""

    routing: type[RoutingPolicy]
    routing_config: Any
    pff: type[PffPolicy]
    directory: type[DirectoryPolicy]
    directory_config: Any
    peer: int
    """The address of the first member that the directory can ask; 0: none."""
    authority: type[AddressAuthority]
    congestion: type[CongestionPolicy]


# ---------------------------------------------------------------- from options


def described(layer: LayerInfo, config: UnicastConfig, plugins: Registrations) -> oep.Layer:
    """The layer that these options make. Errors of `plugins`: a policy that is not here."""
    named: list[tuple[str, str]] = []
    routing, link_state = 0, None
    values = {o.keyword: getattr(config, o.name) for o in options(UnicastConfig)}
    if config.routing in _ROUTING:
        if config.routing_options:
            raise ConfigError(f"routing {config.routing} has no routing_options: its parameters are ls_t_...")
        link_state = oep.LinkState(
            _ROUTING.index(config.routing), config.ls_t_recalc, config.ls_t_update, config.ls_t_timeo
        )
    else:
        routing = _number(config.routing, (), "routing", named)
        cls = plugins.get("routing_policies", config.routing).Config
        own = dict(pair.split("=", 1) for pair in config.routing_options.split(",") if pair)
        chosen = parse_config(cls, {**to_text(_configured(cls, values)), **own})
        named += [(f"{_PARAMETER}{key}", text) for key, text in to_text(chosen).items()]
    directory: type[DirectoryPolicy] = plugins.get("directory_policies", config.directory)
    settings = directory.encode_config(_configured(directory.Config, values), 0)
    unicast = oep.Unicast(
        config.address_size, config.eid_size, config.max_ttl,
        routing, link_state, directory.code, settings,
        _number(config.addr_auth, _AUTHORITIES, "addr_auth", named),
        _number(config.congestion, _CONGESTION, "congestion", named),
        tuple(named),
    )  # fmt: skip
    return oep.Layer(layer.name, layer.hash, oep.UNICAST, unicast)


def _number(name: str, known: tuple[str, ...], kind: str, named: list[tuple[str, str]]) -> int:
    if name in known:
        return known.index(name)
    named.append((kind, name))
    return _BY_NAME


# ---------------------------------------------------------------- to policies


def layer_info(layer: oep.Layer) -> LayerInfo:
    """Name and hash of a described layer. ConfigError: they cannot be."""
    check_name(layer.name, "the name of the layer")
    try:
        algorithm = HashAlgorithm(layer.hash)
    except ValueError:
        algorithm = HashAlgorithm.CRC32
    if not algorithm.selectable:
        raise ConfigError(f"layer {layer.name} hashes names with algorithm {layer.hash}; known are 0 to 3 (SHA3)")
    return LayerInfo(layer.name, algorithm)


def policies(layer: oep.Layer, plugins: Registrations) -> Policies:
    """The policies of a unicast layer. ConfigError: the description contradicts itself, or the prototype; other errors:
    a policy that is not here, with the distribution that brings it.
    """
    u = layer.unicast
    if u is None:
        raise ConfigError(f"layer {layer.name} is described without the parameters of a unicast layer")
    if not 1 <= u.max_ttl <= 255:
        raise ConfigError(f"layer {layer.name} lets packets have {u.max_ttl} hops; 1 to 255 is right")
    routing = plugins.get("routing_policies", _routing_name(u))
    directory = _directory(u, plugins)
    directory_config, peer = directory.decode_config(u.directory_settings or b"")
    return Policies(
        routing,
        _routing_config(routing, u),
        plugins.get("pff_policies", routing.pff),
        directory,
        directory_config,
        peer,
        plugins.get("address_authorities", _name("addr_auth", u.address_authority, _AUTHORITIES, u)),
        plugins.get("congestion_policies", _name("congestion", u.congestion, _CONGESTION, u)),
    )


def _routing_name(u: oep.Unicast) -> str:
    if u.routing != 0:
        return _name("routing", u.routing, (), u)
    if u.link_state is None:
        raise ConfigError("the layer says that it uses link state routing, and not which")
    return _name("link state routing", u.link_state.policy, _ROUTING, u)


def _name(kind: str, number: int, known: tuple[str, ...], u: oep.Unicast) -> str:
    if number < len(known):
        return known[number]
    if number == _BY_NAME:
        for k, name in u.named:
            if k == kind:
                return name
    words = ", ".join(f"{i} {word}" for i, word in enumerate(known))
    raise ConfigError(f"the layer uses {kind} policy {number}, which nobody here knows; known: {words or 'none'}")


def _routing_config(policy: type[RoutingPolicy], u: oep.Unicast) -> Any:
    if u.routing == 0:
        return _configured(policy.Config, _link_state_values(u))
    texts = {kind.removeprefix(_PARAMETER): text for kind, text in u.named if kind.startswith(_PARAMETER)}
    return parse_config(policy.Config, texts)


def _link_state_values(u: oep.Unicast) -> Mapping[str, int]:
    ls = u.link_state
    if ls is None:
        return {}
    return {"ls_t_recalc": ls.t_recalc, "ls_t_update": ls.t_update, "ls_t_timeo": ls.t_timeo}


def _directory(u: oep.Unicast, plugins: Registrations) -> type[DirectoryPolicy]:
    known: Mapping[str, type[DirectoryPolicy]] = plugins.registry("directory_policies")
    for policy in known.values():
        if policy.code == u.directory:
            return policy
    if u.directory == 0:
        missing: type[DirectoryPolicy] = plugins.get("directory_policies", "dht")  # says what to install
        return missing
    words = ", ".join(f"{policy.code} {name}" for name, policy in known.items())
    raise ConfigError(
        f"the layer uses directory policy {u.directory}, which nobody here knows; known: {words or 'none'}"
    )


def _configured(cls: type, values: Mapping[str, Any]) -> Any:
    """An instance of a policy's configuration from those values that it has a keyword for."""
    return parse_config(cls, {o.name: str(values[o.keyword]) for o in options(cls) if o.keyword in values})

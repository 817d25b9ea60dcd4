"""Configuration of the types udp4 and udp6. All members of a layer must use the same port (spec: shims.md 5)."""

from functools import partial
from typing import Any, Final, TypeAlias

from attrs import frozen

from ouro_core.model.config import boolean, integer, option, text

from .addresses import IPV4, IPV6, Address
from .static import Peers

__all__ = ["Udp4Config", "Udp6Config", "UdpConfig"]

PORT: Final = 3435
DNS_PORT: Final = 53
"""Where name servers are."""
_PORT: Final = integer(1, 65535)

_PORT_HELP: Final = "UDP port of all members of the layer"
_DNS_HELP: Final = "name server that registers and resolves names; none: the resolver of this machine resolves them"
_HOSTS_HELP: Final = "file as hosts(5): an address and the names that are there; read again when it changes"
_PEERS_HELP: Final = "NAME=ADDRESS,... of members; one ADDRESS without a name is asked for all others"
_CHECK_HELP: Final = "drop packets of a flow that do not come from where its peer is"


def _joined(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@frozen
class Udp4Config:
    """A member of a layer over IPv4."""

    ip: Address = option(parse=IPV4.parse, help="own IPv4 address: one that this machine has")
    port: int = option(PORT, parse=_PORT, help=_PORT_HELP)
    dns: Address | None = option(None, parse=IPV4.parse, help=_DNS_HELP)
    dns_port: int = option(DNS_PORT, parse=_PORT, help="port of the name server")
    hosts: str = option("", parse=text(4095), help=_HOSTS_HELP)
    peers: Peers = option(Peers(), parse=partial(Peers.parse, IPV4), show=_joined, help=_PEERS_HELP)
    check_source: bool = option(True, parse=boolean, help=_CHECK_HELP)


@frozen
class Udp6Config:
    """A member of a layer over IPv6."""

    ip: Address = option(
        parse=IPV6.parse, help="own IPv6 address: one that this machine has; link-local with %interface"
    )
    port: int = option(PORT, parse=_PORT, help=_PORT_HELP)
    dns: Address | None = option(None, parse=IPV6.parse, help=_DNS_HELP)
    dns_port: int = option(DNS_PORT, parse=_PORT, help="port of the name server")
    hosts: str = option("", parse=text(4095), help=_HOSTS_HELP)
    peers: Peers = option(Peers(), parse=partial(Peers.parse, IPV6), show=_joined, help=_PEERS_HELP)
    check_source: bool = option(True, parse=boolean, help=_CHECK_HELP)


UdpConfig: TypeAlias = Udp4Config | Udp6Config

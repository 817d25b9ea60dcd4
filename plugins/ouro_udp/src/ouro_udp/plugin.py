"""Registers the types of IPCP over UDP."""

from ouro_core.contracts.ipcp import Ipcp
from ouro_core.hookspecs import hookimpl

OURO_API = (1, 0)


@hookimpl
def ouro_register_ipcp_types() -> list[type[Ipcp]]:
    from .ipcp import Udp4Ipcp, Udp6Ipcp

    return [Udp4Ipcp, Udp6Ipcp]

"""Registers the IPCP types, and the policies that come with them."""

from ouro_core.contracts.ipcp import Ipcp
from ouro_core.hookspecs import hookimpl

from . import addresses, congestion, pff, routing
from .contracts import AddressAuthority, CongestionPolicy, PffPolicy, RoutingPolicy

OURO_API = (1, 0)


@hookimpl
def ouro_register_ipcp_types() -> list[type[Ipcp]]:
    from .broadcast import BroadcastIpcp
    from .ipcp import UnicastIpcp

    return [UnicastIpcp, BroadcastIpcp]


@hookimpl
def ouro_register_routing_policies() -> list[type[RoutingPolicy]]:
    return list(routing.POLICIES)


@hookimpl
def ouro_register_pff_policies() -> list[type[PffPolicy]]:
    return list(pff.POLICIES)


@hookimpl
def ouro_register_address_authorities() -> list[type[AddressAuthority]]:
    return list(addresses.POLICIES)


@hookimpl
def ouro_register_congestion_policies() -> list[type[CongestionPolicy]]:
    return list(congestion.POLICIES)

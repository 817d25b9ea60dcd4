"""The hooks of this plugin, by which others bring policies of unicast layers. A docstring is the contract.

An implementation looks like that of any hook of Ouro, and returns classes; each has a `name` of one word, by which the
configuration of a layer selects it (`routing`, `addr_auth`, `congestion`).
"""

from ouro_core.hookspecs import hookspec

from .contracts import AddressAuthority, CongestionPolicy, PffPolicy, RoutingPolicy

OURO_API = (1, 0)
OURO_KINDS = {
    "routing_policies": type[RoutingPolicy],
    "pff_policies": type[PffPolicy],
    "address_authorities": type[AddressAuthority],
    "congestion_policies": type[CongestionPolicy],
}


@hookspec
def ouro_register_routing_policies() -> list[type[RoutingPolicy]]:
    """Routing: subclasses of `contracts.RoutingPolicy`. Asked for when a unicast IPCP is bootstrapped or enrolled."""
    raise AssertionError("a specification is not called")


@hookspec
def ouro_register_pff_policies() -> list[type[PffPolicy]]:
    """Forwarding functions: subclasses of `contracts.PffPolicy`. A routing policy says which one it needs."""
    raise AssertionError("a specification is not called")


@hookspec
def ouro_register_address_authorities() -> list[type[AddressAuthority]]:
    """Address authorities: subclasses of `contracts.AddressAuthority`."""
    raise AssertionError("a specification is not called")


@hookspec
def ouro_register_congestion_policies() -> list[type[CongestionPolicy]]:
    """Congestion avoidance: subclasses of `contracts.CongestionPolicy`."""
    raise AssertionError("a specification is not called")

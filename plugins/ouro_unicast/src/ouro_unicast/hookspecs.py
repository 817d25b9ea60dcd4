"""Hooks of unicast layers: what a layer's policies are chosen from. Each is called once, when an IPCP first needs that
kind, and returns a list of classes; configuration selects them by their `name`.
"""

from collections.abc import Sequence
from typing import Any, Final

from ouro_core.hookspecs import hookspec

OURO_KINDS: Final = {
    "routing_policies": object,
    "pff_policies": object,
    "address_authorities": object,
    "congestion_policies": object,
}


@hookspec
def ouro_register_routing_policies() -> Sequence[Any]:
    """Routing: who is reached through which neighbours."""
    raise AssertionError("a specification is not called")


@hookspec
def ouro_register_pff_policies() -> Sequence[Any]:
    """Packet forwarding functions: producers of next-hop groups from what routing found."""
    raise AssertionError("a specification is not called")


@hookspec
def ouro_register_address_authorities() -> Sequence[Any]:
    """Address authorities: which address a new member has."""
    raise AssertionError("a specification is not called")


@hookspec
def ouro_register_congestion_policies() -> Sequence[Any]:
    """Congestion avoidance: how packets are marked, and what a sender does about it."""
    raise AssertionError("a specification is not called")

"""Routing policies: link state (spec: unicast.md 8)."""

from ..contracts import RoutingPolicy
from .link_state import EcmpRouting, LfaRouting, LinkStateRouting

__all__ = ["POLICIES"]

POLICIES: tuple[type[RoutingPolicy], ...] = (LinkStateRouting, LfaRouting, EcmpRouting)

"""Routing policies: link state (spec: unicast.md 8)."""

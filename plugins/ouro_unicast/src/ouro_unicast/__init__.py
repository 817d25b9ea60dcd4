"""Unicast and broadcast layers: IPCPs that stack on each other (spec: unicast.md)."""

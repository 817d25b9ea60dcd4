"""Layers on Ethernet: the IPCP types `eth-dix` and `eth-llc`, frame-compatible with the C prototype (shims.md 4)."""

"""Layers over UDP: IPCP types `udp4` and `udp6`."""

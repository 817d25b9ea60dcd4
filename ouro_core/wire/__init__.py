"""Codecs without state: bytes to attrs values and back. A decoder raises `WireError` and nothing else."""

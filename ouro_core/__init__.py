"""Ouro: the Ouroboros recursive packet network for Python. This package is the kernel and its public API."""

__version__ = "0.1.0"

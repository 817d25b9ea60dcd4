"""Registers the classical cryptography."""

from ouro_core.contracts.crypto import Digest
from ouro_core.hookspecs import hookimpl

from .digests import DIGESTS

OURO_API = (1, 0)


@hookimpl
def ouro_register_digests() -> list[Digest]:
    return list(DIGESTS)

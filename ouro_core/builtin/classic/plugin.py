"""Registers the classical cryptography."""

from ouro_core.contracts.crypto import Authenticator, CipherSuite, Digest, Kdf, KexSuite
from ouro_core.hookspecs import hookimpl

from .authenticators import AUTHENTICATORS
from .ciphers import CIPHERS
from .curves import CURVES
from .digests import DIGESTS
from .ffdhe import FFDHE
from .hkdf import KDFS

OURO_API = (1, 0)


@hookimpl
def ouro_register_kex_suites() -> list[KexSuite]:
    return [*FFDHE, *CURVES]


@hookimpl
def ouro_register_cipher_suites() -> list[CipherSuite]:
    return list(CIPHERS)


@hookimpl
def ouro_register_kdfs() -> list[Kdf]:
    return list(KDFS)


@hookimpl
def ouro_register_digests() -> list[Digest]:
    return list(DIGESTS)


@hookimpl
def ouro_register_authenticators() -> list[Authenticator]:
    return list(AUTHENTICATORS)

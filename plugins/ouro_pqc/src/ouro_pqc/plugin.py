"""Registers the post-quantum suites."""

from ouro_core.contracts.crypto import Authenticator, KexSuite
from ouro_core.hookspecs import hookimpl

from .authenticators import AUTHENTICATORS
from .hybrid import HYBRIDS
from .kem import KEMS

OURO_API = (1, 0)


@hookimpl
def ouro_register_kex_suites() -> list[KexSuite]:
    return [*KEMS, *HYBRIDS]


@hookimpl
def ouro_register_authenticators() -> list[Authenticator]:
    return list(AUTHENTICATORS)

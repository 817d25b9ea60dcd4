"""The contract kits on every suite of the core, by kind; key exchanges are in test_groups."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from ouro_core.builtin.classic.authenticators import AUTHENTICATORS
from ouro_core.builtin.classic.ciphers import CIPHERS
from ouro_core.builtin.classic.digests import DIGESTS
from ouro_core.builtin.classic.hkdf import KDFS
from ouro_core.contracts.crypto import Authenticator
from ouro_core.testing.crypto import (
    AuthenticatorContract,
    CipherContract,
    DigestContract,
    KdfContract,
)


class TestDigests(DigestContract):
    suites = DIGESTS


class TestKdfs(KdfContract):
    suites = KDFS


class TestCiphers(CipherContract):
    suites = CIPHERS


class TestAuthenticators(AuthenticatorContract):
    suites = AUTHENTICATORS
    digests = DIGESTS

    def new_key(self, suite: Authenticator) -> Any:
        if suite.name == "RSA":
            return rsa.generate_private_key(65537, 2048)
        return ec.generate_private_key(ec.SECP256R1()) if suite.name == "EC" else ed25519.Ed25519PrivateKey.generate()


class TestEd448(TestAuthenticators):
    suites = [suite for suite in AUTHENTICATORS if suite.name == "EdDSA"]
    _keys = {}

    def new_key(self, suite: Authenticator) -> Any:
        return ed448.Ed448PrivateKey.generate()

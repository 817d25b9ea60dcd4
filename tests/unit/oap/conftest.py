"""The suites of the core, with one for key encapsulation, which the core has not; and the prototype's messages."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.serialization import Encoding

from ouro_core.builtin.classic.curves import CURVES
from ouro_core.builtin.classic.digests import DIGESTS
from ouro_core.contracts.crypto import Encapsulation, KemSuite, KexKind, KeyPair
from ouro_core.model.errors import CryptError
from ouro_core.oap import OapSuites
from ouro_core.plugins import PluginHost

DATA = Path(__file__).parents[2] / "data" / "oap"


X25519 = next(suite for suite in CURVES if suite.name == "X25519")
PREFIX = 12
"""Of a public X25519 key in DER."""


class Hybrid(KemSuite):
    """X25519MLKEM768; its key file is seed and X25519 key, which is enough here."""

    name, nid, rank, kind = "X25519MLKEM768", 2053, 12, KexKind.HYBRID

    def accepts(self, public: bytes) -> bool:
        return len(public) == 1216

    def generate(self) -> KeyPair:
        seed = mlkem.MLKEM768PrivateKey.generate().private_bytes_raw()
        return self.load_private(seed + x25519.X25519PrivateKey.generate().private_bytes_raw())

    def encapsulate(self, public: bytes) -> Encapsulation:
        if len(public) != 1216:
            raise CryptError(f"a key of {len(public)} bytes")
        secret, ciphertext = mlkem.MLKEM768PublicKey.from_public_bytes(public[:1184]).encapsulate()
        pair = X25519.generate()
        secret += X25519.agree(pair.private, pair.public[:PREFIX] + public[1184:])
        return Encapsulation(ciphertext + pair.public[PREFIX:], secret)

    def decapsulate(self, private: bytes, ciphertext: bytes) -> bytes:
        if len(ciphertext) != 1120:
            raise CryptError(f"a ciphertext of {len(ciphertext)} bytes")
        secret = mlkem.MLKEM768PrivateKey.from_seed_bytes(private[:64]).decapsulate(ciphertext[:1088])
        return secret + X25519.agree(private[64:], X25519.generate().public[:PREFIX] + ciphertext[1088:])

    def load_private(self, file: bytes) -> KeyPair:
        if len(file) != 96:
            raise CryptError(f"a key file of {len(file)} bytes")
        kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(file[:64]).public_key().public_bytes_raw()
        curve = x25519.X25519PrivateKey.from_private_bytes(file[64:]).public_key().public_bytes_raw()
        return KeyPair(file, kem + curve)

    def load_public(self, file: bytes) -> bytes:
        if len(file) != 1216:
            raise CryptError(f"a key file of {len(file)} bytes")
        return file


@pytest.fixture(scope="session")
def plain() -> OapSuites:
    "What a node without cryptography has."
    return OapSuites.of(digests=DIGESTS)


@pytest.fixture(scope="session")
def suites() -> OapSuites:
    "What the core brings, by the hooks, and a key encapsulation."
    host = PluginHost(select=())
    return OapSuites.of(
        host.digests.values(),
        host.kdfs.values(),
        host.cipher_suites.values(),
        [*host.kex_suites.values(), Hybrid()],
        host.authenticators.values(),
    )


@pytest.fixture(scope="session")
def authority() -> bytes:
    "The certificate of the captures' certificate authority, DER."
    pem = (DATA / "ca-ec.crt.pem").read_bytes()
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


@pytest.fixture(scope="session")
def exchanges() -> list[dict[str, Any]]:
    exchanges: list[dict[str, Any]] = json.loads((DATA / "exchanges.json").read_text())["exchanges"]
    return exchanges


@pytest.fixture(scope="session")
def captured_from(exchanges: list[dict[str, Any]]) -> Any:
    "By name: the first such exchange."
    return lambda name: next(s for s in exchanges if s["name"] == name)


@pytest.fixture(scope="session")
def hybrid(suites: OapSuites) -> KemSuite:
    kex = suites.kexes.named("X25519MLKEM768")
    assert isinstance(kex, KemSuite)
    return kex

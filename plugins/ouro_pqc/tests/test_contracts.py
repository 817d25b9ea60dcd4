"""The contract kits on every suite of the plugin: as it is, and with each library alone."""

import json

import pytest
from ouro_pqc.authenticators import AUTHENTICATORS, PqAuthenticator
from ouro_pqc.hybrid import HYBRIDS, HybridSuite
from ouro_pqc.kem import KEMS, MlKemSuite
from ouro_pqc.parameters import ML_DSA, ML_KEM, SLH_DSA
from ouro_pqc.providers import LIBRARIES, Library

from ouro_core.builtin.classic.digests import DIGESTS
from ouro_core.contracts.crypto import KemSuite
from ouro_core.model.errors import CryptError
from ouro_core.testing.crypto import AuthenticatorContract, KemContract

from .conftest import DATA
from .test_known_answers import pem

CASES = {case["kex"]: case for case in json.loads((DATA / "kem.json").read_text())["cases"]}
BY_NAME = {library.name: library for library in LIBRARIES}


def kems(library: Library) -> list[KemSuite]:
    return [
        *(MlKemSuite(parameters, (library,)) for parameters in ML_KEM),
        HybridSuite(2053, 12, "X25519", 32, ML_KEM[1], (library,)),
        HybridSuite(2054, 13, "X448", 56, ML_KEM[2], (library,)),
    ]


class TestKems(KemContract):
    suites = [*KEMS, *HYBRIDS]

    def files(self, suite: KemSuite) -> tuple[bytes, bytes]:
        case = CASES[suite.name]
        public = bytes.fromhex(case["pk"])
        if suite.raw:
            return bytes.fromhex(case["priv_raw"]), public
        return pem(bytes.fromhex(case["priv_pkcs_der"])), pem(public, "PUBLIC KEY")


class TestKemsByCryptography(TestKems):
    suites = [suite for suite in kems(BY_NAME["cryptography"]) if suite.name != "ML-KEM-512"]

    def test_key_files(self, suite: KemSuite) -> None:
        if suite.raw:
            pytest.skip("reads no expanded keys")
        super().test_key_files(suite)

    def test_fresh_key_files(self, suite: KemSuite) -> None:
        if suite.raw:
            with pytest.raises(CryptError, match="in expanded form"):
                suite.new_files()
        else:
            super().test_fresh_key_files(suite)


class TestKemsByPqcrypto(TestKems):
    suites = kems(BY_NAME["pqcrypto"])


class TestAuthenticators(AuthenticatorContract):
    suites = AUTHENTICATORS
    digests = DIGESTS
    kinds = {"ML-DSA": "ml-dsa-44", "SLH-DSA": "slh-dsa-sha2-128f"}
    """Quick ones: the kit makes dozens of signatures."""
    _keys = {}


class TestAuthenticatorsByPqcrypto(TestAuthenticators):
    suites = [
        PqAuthenticator("ML-DSA", 1457, 4, ML_DSA, (BY_NAME["pqcrypto"],)),
        PqAuthenticator("SLH-DSA", 1460, 5, SLH_DSA, (BY_NAME["pqcrypto"],)),
    ]
    _keys = {}


if kems(BY_NAME["liboqs"])[0].unavailable is None:

    class TestKemsByLiboqs(TestKems):
        suites = kems(BY_NAME["liboqs"])

    class TestAuthenticatorsByLiboqs(TestAuthenticators):
        suites = [
            PqAuthenticator("ML-DSA", 1457, 4, ML_DSA[:1], (BY_NAME["liboqs"],)),
            PqAuthenticator("SLH-DSA", 1460, 5, SLH_DSA[1:2], (BY_NAME["liboqs"],)),
        ]
        _keys = {}

"""The kit of key encapsulation, on the suite that the tests of the exchange use."""

from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from ouro_core.contracts.crypto import KemSuite
from ouro_core.testing.crypto import KemContract

from .conftest import Hybrid


class TestHybrid(KemContract):
    suites = [Hybrid()]

    def files(self, suite: KemSuite) -> tuple[bytes, bytes]:
        kem, curve = mlkem.MLKEM768PrivateKey.generate(), x25519.X25519PrivateKey.generate()
        private = kem.private_bytes_raw() + curve.private_bytes_raw()
        return private, kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()

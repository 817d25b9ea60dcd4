"""Diffie-Hellman over curves: ECDH on the three NIST curves, X25519 and X448 (oap.md 4.1), by `cryptography`.

A public key on the wire is a constant prefix, which names the algorithm and all lengths, and the point. Private keys
are the scalar: big endian for the NIST curves, as RFC 7748 has it for the others.
"""

from typing import Any

from ouro_core.contracts.crypto import DheSuite, KeyPair
from ouro_core.model.errors import CryptError

from .provider import CryptographySuite

__all__ = ["CURVES", "EcdhSuite", "XdhSuite"]


_QUICK = {"prime256v1", "X25519"}
"""0.1 ms and less; the other curves take 0.3 to 0.6."""


class _CurveSuite(CryptographySuite, DheSuite):
    def __init__(self, name: str, nid: int, rank: int, prefix: str, point_size: int) -> None:
        self.name = name
        self.nid = nid
        self.rank = rank
        self.quick = name in _QUICK
        self._prefix = bytes.fromhex(prefix)
        self._size = len(self._prefix) + point_size

    def accepts(self, public: bytes) -> bool:
        return public.startswith(self._prefix)

    def _point(self, peer: bytes) -> bytes:
        if not self.accepts(peer) or len(peer) != self._size:
            raise CryptError(
                f"no valid {self.name} key: its {len(peer)} bytes are not the {self._size} of a DER public key"
            )
        return peer[len(self._prefix) :]

    def _refused(self, error: ValueError) -> CryptError:
        why = str(error) or "not on the curve"
        return CryptError(f"no valid {self.name} key, the point is of no use: {why}; the peer has to make a new one")

    def _try(self) -> object:
        return self.generate()


class EcdhSuite(_CurveSuite):
    """ECDH on a NIST curve, points uncompressed. `curve`: its class there."""

    def __init__(self, name: str, nid: int, rank: int, prefix: str, scalar_size: int, curve: str) -> None:
        super().__init__(name, nid, rank, prefix, 1 + 2 * scalar_size)
        self._scalar_size = scalar_size
        self._class = curve

    def generate(self) -> KeyPair:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        key = ec.generate_private_key(getattr(ec, self._class)())
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return KeyPair(key.private_numbers().private_value.to_bytes(self._scalar_size), self._prefix + point)

    def agree(self, private: bytes, peer: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric import ec

        point = self._point(peer)
        curve = getattr(ec, self._class)()
        key = ec.derive_private_key(int.from_bytes(private), curve)
        try:
            return key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(curve, point))
        except ValueError as error:
            raise self._refused(error) from error


class XdhSuite(_CurveSuite):
    """X25519 or X448. Points of low order, whose secret is all zero, are refused by the provider."""

    def generate(self) -> KeyPair:
        private, _ = self._classes()
        key = private.generate()
        return KeyPair(key.private_bytes_raw(), self._prefix + key.public_key().public_bytes_raw())

    def agree(self, private: bytes, peer: bytes) -> bytes:
        point = self._point(peer)
        private_class, public_class = self._classes()
        key = private_class.from_private_bytes(private)
        try:
            secret: bytes = key.exchange(public_class.from_public_bytes(point))
        except ValueError as error:
            raise self._refused(error) from error
        return secret

    def _classes(self) -> tuple[Any, Any]:
        from cryptography.hazmat.primitives.asymmetric import x448, x25519

        if self.name == "X25519":
            return x25519.X25519PrivateKey, x25519.X25519PublicKey
        return x448.X448PrivateKey, x448.X448PublicKey


CURVES: tuple[DheSuite, ...] = (
    EcdhSuite("prime256v1", 415, 2, "3059301306072a8648ce3d020106082a8648ce3d030107034200", 32, "SECP256R1"),
    XdhSuite("X25519", 1034, 3, "302a300506032b656e032100", 32),
    EcdhSuite("secp384r1", 715, 5, "3076301006072a8648ce3d020106052b81040022036200", 48, "SECP384R1"),
    XdhSuite("X448", 1035, 7, "3042300506032b656f033900", 56),
    EcdhSuite("secp521r1", 716, 8, "30819b301006072a8648ce3d020106052b8104002303818600", 66, "SECP521R1"),
)

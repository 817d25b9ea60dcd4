"""Certificates with EC, RSA and EdDSA keys (oap.md 7.4), by `cryptography`. Private keys are PKCS#8 in DER.

The primes of RSA keys are not tested when a key is loaded: that takes 80 ms, at every handshake, for a file of our own.
A key that is damaged makes signatures that the peer refuses.
"""

from abc import abstractmethod
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ouro_core.contracts.crypto import Authenticator, Buffer, Credentials, Digest, NewKey
from ouro_core.model.errors import AuthenticationFailed
from ouro_core.wire.certificates import algorithm_of, common_name, guarded, parse, verify_chain
from ouro_core.wire.der import NULL, SEQUENCE, oid, value

from .provider import CryptographySuite

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

__all__ = ["AUTHENTICATORS", "EcAuthenticator", "EdAuthenticator", "RsaAuthenticator"]


class _Family(CryptographySuite, Authenticator):
    """What the families share. `algorithms`: the numbers of their keys; `keys`: private and public classes."""

    algorithms: frozenset[str]

    def accepts(self, certificate: bytes) -> bool:
        return algorithm_of(certificate) in self.algorithms

    def load(self, certificate_pem: bytes, key_pem: bytes) -> Credentials | None:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        try:
            with guarded("certificate file"):
                certificate = x509.load_pem_x509_certificate(certificate_pem).public_bytes(Encoding.DER)
        except AuthenticationFailed:
            return None
        if not self.accepts(certificate):
            return None
        with guarded(
            f"the key of the {self.name} certificate cannot be read; it has to be unencrypted PEM: openssl pkey"
        ):
            key = _private_key(key_pem)
            if not isinstance(key, self._classes()[0]):
                raise AuthenticationFailed(f"the certificate has an {self.name} key, the key file has another kind")
            return Credentials(certificate, key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))

    def sign(self, credentials: Credentials, message: Buffer, digest: Digest | None) -> bytes:
        from cryptography.hazmat.primitives.serialization import load_der_private_key

        with guarded(f"cannot sign with the {self.name} key"):
            key = load_der_private_key(credentials.key, None, unsafe_skip_rsa_key_validation=True)
            if not isinstance(key, self._classes()[0]):
                raise AuthenticationFailed(f"the key is of another kind than the {self.name} certificate")
            signature: bytes = self._use(key.sign, (), message, digest)
            return signature

    def verify(self, certificate: bytes, message: Buffer, signature: bytes, digest: Digest | None) -> None:
        from cryptography.exceptions import InvalidSignature

        parsed = parse(certificate)
        with guarded(f"cannot verify with the {self.name} key of the certificate"):
            key = parsed.public_key()
            if not isinstance(key, self._classes()[1]):
                raise AuthenticationFailed(f"the certificate has no {self.name} key")
            try:
                self._use(key.verify, (signature,), message, digest)
            except InvalidSignature:
                raise AuthenticationFailed(
                    f"the {self.name} signature does not fit: another key than the certificate's, or changed on its way"
                ) from None

    def verify_chain(self, certificate: bytes, store: tuple[bytes, ...], now_ns: int) -> None:
        verify_chain(certificate, store, now_ns)

    def name_of(self, certificate: bytes) -> str:
        return common_name(certificate)

    def new_key(self, kind: str) -> NewKey:
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

        with guarded(f"cannot make a key {kind}"):
            key = self._generate(kind)
            return NewKey(
                key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
                key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            )

    @abstractmethod
    def _generate(self, kind: str) -> Any:
        """A key of `cryptography`."""

    @abstractmethod
    def _classes(self) -> tuple[Any, Any]:
        """The classes of private and public keys, for isinstance."""

    @abstractmethod
    def _use(
        self, operation: Callable[..., Any], first: tuple[bytes, ...], message: Buffer, digest: Digest | None
    ) -> Any:
        """Call `sign` or `verify` of a key with `first`, message and algorithm."""

    def _try(self) -> object:
        return self._classes()


_CURVES = {"p256": "SECP256R1", "p384": "SECP384R1", "p521": "SECP521R1"}


class EcAuthenticator(_Family):
    """ECDSA with any digest of 32, 48 or 64 bytes: a signature does not say which it was."""

    name, nid, rank = "EC", 408, 2
    algorithms = frozenset({"1.2.840.10045.2.1"})
    key_kinds = tuple(_CURVES)

    def signature_algorithm(self, credentials: Credentials) -> bytes:
        return value(SEQUENCE, oid("1.2.840.10045.4.3.2"))

    def _generate(self, kind: str) -> Any:
        from cryptography.hazmat.primitives.asymmetric import ec

        return ec.generate_private_key(getattr(ec, _CURVES[kind])())

    def _classes(self) -> tuple[Any, Any]:
        from cryptography.hazmat.primitives.asymmetric import ec

        return ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey

    def _use(
        self, operation: Callable[..., Any], first: tuple[bytes, ...], message: Buffer, digest: Digest | None
    ) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

        name = {32: "SHA256", 48: "SHA384", 64: "SHA512"}[digest.size if digest else 32]
        return operation(*first, _hashed(message, digest), ECDSA(_prehashed(name)))


class RsaAuthenticator(_Family):
    """RSA, PKCS#1 v1.5: the signature names its digest, which has to be one of SHA-2 or SHA-3."""

    name, nid, rank = "RSA", 6, 1
    algorithms = frozenset({"1.2.840.113549.1.1.1"})
    key_kinds = ("rsa2048", "rsa3072", "rsa4096")

    def signature_algorithm(self, credentials: Credentials) -> bytes:
        return value(SEQUENCE, oid("1.2.840.113549.1.1.11") + value(NULL, b""))

    def _generate(self, kind: str) -> Any:
        from cryptography.hazmat.primitives.asymmetric import rsa

        return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))

    def _classes(self) -> tuple[Any, Any]:
        from cryptography.hazmat.primitives.asymmetric import rsa

        return rsa.RSAPrivateKey, rsa.RSAPublicKey

    def _use(
        self, operation: Callable[..., Any], first: tuple[bytes, ...], message: Buffer, digest: Digest | None
    ) -> Any:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        name = digest.name if digest else "sha256"
        if not name.startswith(("sha256", "sha384", "sha512", "sha3-")):
            raise AuthenticationFailed(f"RSA does not sign with {name}; set digest= in enc.conf to a sha2 or sha3 one")
        algorithm = _prehashed(name.upper().replace("-", "_"))
        return operation(*first, _hashed(message, digest), PKCS1v15(), algorithm)


class EdAuthenticator(_Family):
    """Ed25519 and Ed448, which hash for themselves: a digest may not be given."""

    name, nid, rank = "EdDSA", 1087, 3
    algorithms = frozenset({"1.3.101.112", "1.3.101.113"})
    key_kinds = ("ed25519", "ed448")

    def signature_algorithm(self, credentials: Credentials) -> bytes:
        return value(SEQUENCE, oid(algorithm_of(credentials.certificate)))

    def _generate(self, kind: str) -> Any:
        private, _ = self._classes()
        return private[self.key_kinds.index(kind)].generate()

    def _classes(self) -> tuple[Any, Any]:
        from cryptography.hazmat.primitives.asymmetric import ed448, ed25519

        return (
            (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey),
            (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey),
        )

    def _use(
        self, operation: Callable[..., Any], first: tuple[bytes, ...], message: Buffer, digest: Digest | None
    ) -> Any:
        if digest is not None:
            raise AuthenticationFailed(
                f"Ed25519 takes no digest, and {digest.name} is announced: a name with an Ed25519 or Ed448 certificate "
                "cannot have an enc.conf; remove it, or use an EC certificate"
            )
        return operation(*first, bytes(message))


def _private_key(pem: bytes) -> Any:
    """The first private key of a PEM file; parameters of a curve may stand before it."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:  # its way to say that a password is wanted; its words are about a parameter of the call
        raise AuthenticationFailed(
            "the key is encrypted, and nobody is here to type a password; decrypt it: openssl pkey"
        ) from None


def _hashed(message: Buffer, digest: Digest | None) -> bytes:
    return digest.digest(message) if digest else sha256(message).digest()


def _prehashed(name: str) -> "Prehashed":
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    return Prehashed(getattr(hashes, name)())


AUTHENTICATORS: tuple[Authenticator, ...] = (RsaAuthenticator(), EcAuthenticator(), EdAuthenticator())

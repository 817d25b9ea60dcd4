"""Suites for the exchange: real algorithms of `cryptography`, each written from the contract alone."""

import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key
from cryptography.hazmat.primitives.serialization import load_der_public_key as load_der
from cryptography.x509.oid import NameOID

from ouro_core.builtin.classic.digests import DIGESTS
from ouro_core.contracts.crypto import (
    Authenticator,
    Buffer,
    CipherKey,
    CipherSuite,
    Credentials,
    DheSuite,
    Digest,
    Encapsulation,
    Kdf,
    KemSuite,
    KexKind,
    KeyPair,
)
from ouro_core.model.errors import AuthenticationFailed, CryptError
from ouro_core.oap import OapSuites

DATA = Path(__file__).parents[2] / "data" / "oap"


class Hkdf(Kdf):
    def __init__(self, digest: Digest) -> None:
        self.name, self.nid, self.rank, self._digest = digest.name, digest.nid, digest.rank, digest
        self._hash = {"blake2s256": "blake2s", "blake2b512": "blake2b"}.get(digest.name, digest.name.replace("-", "_"))

    def derive(self, secret: Buffer, salt: Buffer, info: bytes, size: int = 32) -> bytes:
        prk = hmac.digest(bytes(salt), bytes(secret), self._hash)
        block, out, counter = b"", b"", 1
        while len(out) < size:
            block = hmac.digest(prk, block + info + bytes([counter]), self._hash)
            out, counter = out + block, counter + 1
        return out[:size]


class X25519(DheSuite):
    name, nid, rank = "X25519", 1034, 3
    _prefix = bytes.fromhex("302a300506032b656e032100")

    def accepts(self, public: bytes) -> bool:
        return public.startswith(self._prefix)

    def generate(self) -> KeyPair:
        key = x25519.X25519PrivateKey.generate()
        return KeyPair(key.private_bytes_raw(), self._prefix + key.public_key().public_bytes_raw())

    def agree(self, private: bytes, peer: bytes) -> bytes:
        try:
            public = x25519.X25519PublicKey.from_public_bytes(peer[len(self._prefix) :])
            return x25519.X25519PrivateKey.from_private_bytes(private).exchange(public)
        except ValueError as error:
            raise CryptError(f"no valid X25519 key: {error}") from error


class P256(DheSuite):
    name, nid, rank = "prime256v1", 415, 2
    _prefix = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")

    def accepts(self, public: bytes) -> bool:
        return public.startswith(self._prefix)

    def generate(self) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return KeyPair(key.private_numbers().private_value.to_bytes(32, "big"), public)

    def agree(self, private: bytes, peer: bytes) -> bytes:
        try:
            public = load_der(peer)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CryptError(f"no valid prime256v1 key: {error}") from error
        assert isinstance(public, ec.EllipticCurvePublicKey)
        return ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1()).exchange(ec.ECDH(), public)


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
        pair = X25519().generate()
        secret += X25519().agree(pair.private, X25519._prefix + public[1184:])
        return Encapsulation(ciphertext + pair.public[12:], secret)

    def decapsulate(self, private: bytes, ciphertext: bytes) -> bytes:
        if len(ciphertext) != 1120:
            raise CryptError(f"a ciphertext of {len(ciphertext)} bytes")
        secret = mlkem.MLKEM768PrivateKey.from_seed_bytes(private[:64]).decapsulate(ciphertext[:1088])
        return secret + X25519().agree(private[64:], X25519._prefix + ciphertext[1088:])

    def load_private(self, file: bytes) -> KeyPair:
        kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(file[:64]).public_key().public_bytes_raw()
        curve = x25519.X25519PrivateKey.from_private_bytes(file[64:]).public_key().public_bytes_raw()
        return KeyPair(file, kem + curve)

    def load_public(self, file: bytes) -> bytes:
        if len(file) != 1216:
            raise CryptError(f"a key file of {len(file)} bytes")
        return file


class GcmKey(CipherKey):
    def __init__(self, key: bytes) -> None:
        self._key = AESGCM(key)

    def seal(self, iv: bytes, plain: Buffer) -> bytes:
        return iv + self._key.encrypt(iv, plain, None)

    def open(self, packet: Buffer) -> bytes:
        try:
            return self._key.decrypt(packet[:12], packet[12:], None)
        except (InvalidTag, ValueError) as error:
            raise CryptError("packet refused") from error


class Gcm(CipherSuite):
    iv_size, tag_size = 12, 16

    def __init__(self, name: str, nid: int, rank: int, key_size: int) -> None:
        self.name, self.nid, self.rank, self.key_size = name, nid, rank, key_size

    def key(self, key: bytes) -> CipherKey:
        if len(key) != 32:
            raise CryptError(f"a key of {len(key)} bytes")
        return GcmKey(key[: self.key_size])


class Curves(Authenticator):
    """EC and Ed25519 certificates, issued by a self-signed one of the store."""

    name, nid, rank = "classic", 408, 1

    def accepts(self, certificate: bytes) -> bool:
        try:
            return isinstance(self._public(certificate), ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey)
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
            return False

    def load(self, certificate_pem: bytes, key_pem: bytes) -> Credentials | None:
        return None

    def sign(self, credentials: Credentials, message: Buffer, digest: Digest | None) -> bytes:
        key = load_der_private_key(credentials.key, None)
        if isinstance(key, ed25519.Ed25519PrivateKey):
            if digest is not None:
                raise AuthenticationFailed("Ed25519 takes no digest: remove enc.conf")
            return key.sign(bytes(message))
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key.sign(bytes(message), ec.ECDSA(self._hash(digest)))

    def verify(self, certificate: bytes, message: Buffer, signature: bytes, digest: Digest | None) -> None:
        key = self._public(certificate)
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, bytes(message))
            else:
                key.verify(signature, bytes(message), ec.ECDSA(self._hash(digest)))
        except InvalidSignature as error:
            raise AuthenticationFailed("the signature does not fit") from error

    def verify_chain(self, certificate: bytes, store: tuple[bytes, ...], now_ns: int) -> None:
        leaf = x509.load_der_x509_certificate(certificate)
        for authority in map(x509.load_der_x509_certificate, store):
            try:
                leaf.verify_directly_issued_by(authority)
            except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
                continue
            return
        raise AuthenticationFailed("no authority of ours issued the certificate")

    def name_of(self, certificate: bytes) -> str:
        subject = x509.load_der_x509_certificate(certificate).subject
        return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    @staticmethod
    def _public(certificate: bytes) -> Any:
        return x509.load_der_x509_certificate(certificate).public_key()

    @staticmethod
    def _hash(digest: Digest | None) -> hashes.HashAlgorithm:
        name = digest.name if digest else "sha256"
        return {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}[name]


@pytest.fixture(scope="session")
def plain() -> OapSuites:
    "What a node without cryptography has."
    return OapSuites.of(digests=DIGESTS)


@pytest.fixture(scope="session")
def suites() -> OapSuites:
    return OapSuites.of(
        digests=DIGESTS,
        kdfs=[Hkdf(digest) for digest in DIGESTS],
        ciphers=[Gcm("aes-128-gcm", 895, 4, 16), Gcm("aes-256-gcm", 901, 6, 32)],
        kexes=[X25519(), P256(), Hybrid()],
        authenticators=[Curves()],
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

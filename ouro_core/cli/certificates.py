"""Certificates of an authority of one's own: keys, self-signed and issued certificates, and how they get to disk."""

import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from ..model.errors import ConfigError, Exists, InvalidArgument, NotFound, NotPermitted

__all__ = ["ALGORITHMS", "Pair", "issue", "load_pair", "make_authority", "write_pair"]

PrivateKey: TypeAlias = Any

ALGORITHMS: Final[dict[str, Callable[[], PrivateKey]]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa4096": lambda: rsa.generate_private_key(65537, 4096),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
}
"""What keys can be made, the usual one first."""
_SKEW: Final = timedelta(minutes=5)
"""How much earlier than now certificates begin to be valid, for hosts whose clocks are behind."""
_LONGEST: Final = 64
"""Characters of a common name (X.520)."""


@frozen
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey


def make_authority(name: str, algorithm: str, days: int) -> Pair:
    """A self-signed authority."""
    key = ALGORITHMS[algorithm]()
    subject = _subject(name)
    builder = _builder(subject, subject, key, days).add_extension(x509.BasicConstraints(True, None), critical=True)
    return Pair(_signed(builder.add_extension(_usage(authority=True), critical=True), key), key)


def issue(authority: Pair, name: str, algorithm: str, days: int) -> Pair:
    """A certificate for a name, signed by the authority. InvalidArgument: no certificate can have such a name."""
    if "," in name or "/" in name:
        raise InvalidArgument(f'"{name}": of a name with "," or "/" peers read only what stands before that')
    key = ALGORITHMS[algorithm]()
    issuer = authority.certificate
    builder = (
        _builder(_subject(name), issuer.subject, key, days)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)  # type: ignore[arg-type]
    )
    return Pair(_signed(builder, authority.key), key)


def _subject(name: str) -> x509.Name:
    if not 0 < len(name) <= _LONGEST:
        raise InvalidArgument(f'"{name}" has {len(name)} characters; a certificate has room for 1 to {_LONGEST}')
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _signed(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    hashing = None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    return builder.sign(key, hashing)


# ---------------------------------------------------------------- files


def load_pair(certificate: Path, key: Path) -> Pair:
    """Those of an authority. NotFound, NotPermitted, ConfigError."""
    try:
        return Pair(
            x509.load_pem_x509_certificate(certificate.read_bytes()), load_pem_private_key(key.read_bytes(), None)
        )
    except FileNotFoundError as e:
        raise NotFound(f"{e.filename} does not exist: there is no authority; make one: ouro pki init") from None
    except OSError as e:
        raise NotPermitted(f"cannot read {e.filename}: {e.strerror}") from None
    except (ValueError, TypeError) as e:
        raise ConfigError(f"{certificate}, {key}: {e}") from None


def write_pair(pair: Pair, certificate: Path, key: Path, force: bool) -> None:
    """Put both where they belong, the key with mode 0600. What is there is replaced with `force` only: Exists."""
    for path in (certificate, key):
        if not force and path.exists():
            raise Exists(f"{path} exists; with --force it is replaced")
    pem = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(key, pem, 0o600, 0o700 if key.parent.name == "pki" else 0o755)
    _write(certificate, pair.certificate.public_bytes(Encoding.PEM), 0o644, 0o755)


def _write(path: Path, content: bytes, mode: int, directory_mode: int) -> None:
    """In one step: whoever reads the file meanwhile sees the old one or the new one. NotPermitted."""
    try:
        path.parent.mkdir(mode=directory_mode, parents=True, exist_ok=True)
        # A name with a dot in front: it may be in `cacert`, where everything else is taken for a certificate.
        fd, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), mode)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as e:
        raise NotPermitted(f"cannot write {path}: {e.strerror}") from None

"""Certificates of an authority of one's own: keys, self-signed and issued certificates, and how they get to disk.

Keys and signatures are the authenticators', so that plugins' families can be issued, too. `cryptography` builds the
certificate around a key of its own; key, algorithm and signature are then replaced in the DER.
"""

import os
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path
from typing import Final

from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ..builtin.classic.authenticators import AUTHENTICATORS
from ..contracts.crypto import Authenticator, Credentials, NewKey
from ..model.errors import AuthenticationFailed, ConfigError, Exists, InvalidArgument, NotFound, NotPermitted
from ..plugins.kinds import BROUGHT_BY
from ..wire.der import BIT_STRING, SEQUENCE, elements, pem, take, value

__all__ = ["DEFAULT_KIND", "Pair", "issue", "key_kinds", "load_pair", "make_authority", "write_files", "write_pair"]

DEFAULT_KIND: Final = "p256"
_SKEW: Final = timedelta(minutes=5)
"""How much earlier than now certificates begin to be valid, for hosts whose clocks are behind."""
_LONGEST: Final = 64
"""Characters of a common name (X.520)."""
_ALGORITHM, _KEY = 2, 6
"""Places in what is signed of a certificate, which begins with the version."""


@frozen
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key_pem: bytes = field(repr=False)
    """Unencrypted PKCS#8, PEM."""


def key_kinds(makers: Iterable[Authenticator] = AUTHENTICATORS) -> list[str]:
    """What keys can be made here, the usual ones first."""
    kinds = [kind for maker in makers if maker.unavailable is None for kind in maker.key_kinds]
    return sorted(kinds, key=lambda kind: kind != DEFAULT_KIND)


def make_authority(name: str, kind: str, days: int, makers: Iterable[Authenticator] = AUTHENTICATORS) -> Pair:
    """A self-signed authority. InvalidArgument: no such name, or kind of key."""
    maker = _maker(kind, makers)
    subject, key = _subject(name), maker.new_key(kind)
    builder = (
        _builder(subject, subject, key, days)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(_usage(authority=True), critical=True)
    )
    unsigned = _template(builder, key)
    own = Pair(unsigned, pem("PRIVATE KEY", key.private))
    return evolve(own, certificate=_signed(unsigned, *_credentials(own, [maker])))


def issue(authority: Pair, name: str, kind: str, days: int, makers: Iterable[Authenticator] = AUTHENTICATORS) -> Pair:
    """A certificate for a name, signed by the authority. InvalidArgument: no certificate can have such a name, or
    nothing here makes such a key. ConfigError: the authority's key cannot be used here.
    """
    if "," in name or "/" in name:
        raise InvalidArgument(f'"{name}": of a name with "," or "/" peers read only what stands before that')
    makers = list(makers)
    key = _maker(kind, makers).new_key(kind)
    issuer = authority.certificate
    builder = (
        _builder(_subject(name), issuer.subject, key, days)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier(_key_id(_parts(issuer)[_KEY]), None, None), critical=False)
    )
    return Pair(_signed(_template(builder, key), *_credentials(authority, makers)), pem("PRIVATE KEY", key.private))


def _maker(kind: str, makers: Iterable[Authenticator]) -> Authenticator:
    makers = list(makers)
    for maker in makers:
        if kind in maker.key_kinds:
            if maker.unavailable is not None:
                raise InvalidArgument(f'keys "{kind}" cannot be made here: {maker.unavailable}')
            return maker
    for family, distribution in BROUGHT_BY["authenticators"].items():
        if kind.startswith(family.lower()) and family not in [maker.name for maker in makers]:
            raise InvalidArgument(
                f'keys "{kind}" come with the distribution {distribution}, which is not installed, or not loaded'
            )
    raise InvalidArgument(f'"{kind}" is no kind of key here; known: {", ".join(key_kinds(makers))}')


def _credentials(pair: Pair, authenticators: Iterable[Authenticator]) -> tuple[Authenticator, Credentials]:
    """What signs with this key. ConfigError."""
    certificate = pair.certificate.public_bytes(Encoding.PEM)
    try:
        for authenticator in authenticators:
            if (
                authenticator.unavailable is None
                and (loaded := authenticator.load(certificate, pair.key_pem)) is not None
            ):
                return authenticator, loaded
    except AuthenticationFailed as e:
        raise ConfigError(f"the authority's key: {e}") from None
    raise ConfigError(
        f"nothing here signs with the key of {pair.certificate.subject.rfc4514_string()}, of the kind "
        f"{pair.certificate.public_key_algorithm_oid.dotted_string}; install the plugin that it was made with"
    )


def _subject(name: str) -> x509.Name:
    if not 0 < len(name) <= _LONGEST:
        raise InvalidArgument(f'"{name}" has {len(name)} characters; a certificate has room for 1 to {_LONGEST}')
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: NewKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier(_key_id(key.public)), critical=False)
    )


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


# ---------------------------------------------------------------- DER


def _template(builder: x509.CertificateBuilder, key: NewKey) -> x509.Certificate:
    """The certificate with this key, and a signature that is none."""
    stand_in = Ed25519PrivateKey.generate()
    built = builder.public_key(stand_in.public_key()).sign(stand_in, None)
    parts = _parts(built)
    parts[_KEY] = key.public
    return _assembled(parts, built.signature)


def _signed(template: x509.Certificate, signer: Authenticator, credentials: Credentials) -> x509.Certificate:
    parts = _parts(template)
    parts[_ALGORITHM] = signer.signature_algorithm(credentials)
    return _assembled(parts, signer.sign(credentials, value(SEQUENCE, b"".join(parts)), None))


def _assembled(parts: list[bytes], signature: bytes) -> x509.Certificate:
    content = value(SEQUENCE, b"".join(parts)) + parts[_ALGORITHM] + value(BIT_STRING, b"\0" + signature)
    return x509.load_der_x509_certificate(value(SEQUENCE, content))


def _parts(certificate: x509.Certificate) -> list[bytes]:
    """The values of what is signed."""
    return list(elements(take(SEQUENCE, certificate.tbs_certificate_bytes)[0]))


def _key_id(public: bytes) -> bytes:
    """Of a SubjectPublicKeyInfo: SHA-1 of the bits of the key (RFC 5280, 4.2.1.2)."""
    bits = list(elements(take(SEQUENCE, public)[0]))[1]
    return sha1(take(BIT_STRING, bits)[0][1:], usedforsecurity=False).digest()


# ---------------------------------------------------------------- files


def load_pair(certificate: Path, key: Path) -> Pair:
    """Those of an authority. NotFound, NotPermitted, ConfigError."""
    try:
        return Pair(x509.load_pem_x509_certificate(certificate.read_bytes()), key.read_bytes())
    except FileNotFoundError as e:
        raise NotFound(f"{e.filename} does not exist: there is no authority; make one: ouro pki init") from None
    except OSError as e:
        raise NotPermitted(f"cannot read {e.filename}: {e.strerror}") from None
    except ValueError as e:
        raise ConfigError(f"{certificate}: {e}") from None


def write_pair(pair: Pair, certificate: Path, key: Path, force: bool) -> None:
    """Put both where they belong, the key with mode 0600. What is there is replaced with `force` only: Exists."""
    write_files((key, pair.key_pem), (certificate, pair.certificate.public_bytes(Encoding.PEM)), force)


def write_files(secret: tuple[Path, bytes], public: tuple[Path, bytes], force: bool) -> None:
    """The same for any two files."""
    for path, _ in (public, secret):
        if not force and path.exists():
            raise Exists(f"{path} exists; with --force it is replaced")
    _write(*secret, 0o600, 0o700 if secret[0].parent.name == "pki" else 0o755)
    _write(*public, 0o644, 0o755)


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

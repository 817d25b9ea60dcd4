"""X.509 certificates of peers: parsing what may be anything, names, and the walk up a chain (oap.md 7.2, 7.5).

Theory of operation. Only the leaf crosses the wire; authorities and intermediates are in the verifier's store, and a
chain is good when it ends in a self-signed certificate of that store. The store is trusted to hold what it should, but
a name may be in it more than once (a renewed authority, a cross-signed one), so all issuers that fit are tried, those
with the fewest intermediates below them first. Fewer are never worse, so each certificate is visited once, and the work
is bounded by the store, whatever its certificates say of each other.

`cryptography` verifies the single signatures. Its own chain verification (`x509.verification`) has the policy of the
web: it wants alternative names and purposes, which these certificates need not have.

Extensions: path length, CA flag and key usage are obeyed; purposes, policies and revocation lists are not looked at,
as in the prototype. Name constraints are not understood: a certificate with them, or with a critical extension that is
not in the list below, is refused.
"""

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import RLock
from typing import TYPE_CHECKING, TypeAlias

from ouro_core.model.errors import AuthenticationFailed, OuroError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["SignedBy", "algorithm_of", "common_name", "guarded", "parse", "signed_by", "verify_chain"]

SignedBy: TypeAlias = "Callable[[Certificate, Certificate], object]"
"""Check that the first certificate is signed by the key of the second; any exception when not."""

_NAME_LIMIT = 255
_BASIC, _KEY_USAGE, _NAME_CONSTRAINTS = "2.5.29.19", "2.5.29.15", "2.5.29.30"
_HARMLESS = {
    _BASIC,
    _KEY_USAGE,
    "2.5.29.17",  # alternative name of the subject
    "2.5.29.31",  # where to get revocation lists
    "2.5.29.32",  # policies
    "2.5.29.33",  # policy mappings
    "2.5.29.36",  # policy constraints
    "2.5.29.37",  # purposes
    "2.5.29.54",  # inhibits any policy
    "2.16.840.1.113730.1.1",  # type, of Netscape
}
_quiet = RLock()


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Whatever is raised inside becomes AuthenticationFailed, and no warning gets out: the bytes are somebody else's.

    `cryptography` raises ValueError, TypeError, UnsupportedAlgorithm, InvalidVersion, DuplicateExtension and more,
    and warns of serial numbers and parameters that others accept. The filters of warnings belong to the process, so
    one thread at a time changes them.
    """
    try:
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OuroError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}".rstrip(": ")
        raise AuthenticationFailed(f"{what}: {why}") from error


def parse(certificate: bytes) -> "Certificate":
    """A certificate in DER. AuthenticationFailed."""
    from cryptography import x509

    with guarded(f"no certificate in these {len(certificate)} bytes"):
        return x509.load_der_x509_certificate(certificate)


def algorithm_of(certificate: bytes) -> str:
    """The dotted number of the key's algorithm; "" for what is no certificate."""
    try:
        parsed = parse(certificate)
        with guarded("key of the certificate"):
            return parsed.public_key_algorithm_oid.dotted_string
    except AuthenticationFailed:
        return ""


def common_name(certificate: bytes) -> str:
    """The first common name in subject order, cut at the first "," or "/"; "" when there is none or it is longer than
    255 bytes. AuthenticationFailed: no certificate.
    """
    from cryptography.x509.oid import NameOID

    parsed = parse(certificate)
    try:
        with guarded("subject of the certificate"):
            values = [a.value for a in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
            name = values[0] if values and isinstance(values[0], str) else ""
            name = name.replace("/", ",").partition(",")[0]
            return name if len(name.encode()) <= _NAME_LIMIT else ""
    except AuthenticationFailed:
        return ""


def signed_by(certificate: "Certificate", issuer: "Certificate") -> None:
    """By the means of `cryptography`: EC, RSA, EdDSA and ML-DSA."""
    certificate.verify_directly_issued_by(issuer)


def verify_chain(certificate: bytes, store: tuple[bytes, ...], now_ns: int, signed_by: SignedBy = signed_by) -> None:
    """See `Authenticator.verify_chain`. `signed_by` checks the single link, for families that `cryptography` lacks."""
    leaf = parse(certificate)
    known = [parse(stored) for stored in store]
    now = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
    with guarded("a certificate of the chain cannot be checked"):
        _Walk(known, now, signed_by).verify(leaf)


class _Walk:
    def __init__(self, store: "list[Certificate]", now: datetime, signed_by: SignedBy) -> None:
        self._store = store
        self._now = now
        self._signed_by = signed_by
        self._refused: list[str] = []

    def verify(self, leaf: "Certificate") -> None:
        if (why := self._unfit(leaf)) is not None:
            raise AuthenticationFailed(f"certificate {_label(leaf)} {why}")
        ways = deque([(leaf, 0)])
        reached: set[int] = set()
        while ways:
            certificate, below = ways.popleft()
            if _self_issued(certificate) and self._ends(certificate):
                return
            for number in self._issuers(certificate, below):
                if number not in reached:
                    reached.add(number)
                    issuer = self._store[number]
                    if _self_issued(issuer):
                        ways.appendleft((issuer, below))
                    else:
                        ways.append((issuer, below + 1))
        raise AuthenticationFailed(f"certificate {_label(leaf)} is not trusted: {'; '.join(self._refused)}")

    def _issuers(self, certificate: "Certificate", below: int) -> Iterator[int]:
        """Places in the store of the fit issuers of a certificate with `below` intermediates under them."""
        candidates = [n for n, issuer in enumerate(self._store) if _may_have_issued(issuer, certificate)]
        for number in candidates:
            issuer = self._store[number]
            why = self._unfit(issuer) or _no_authority(issuer, below) or self._bad_link(certificate, issuer)
            if why is None:
                yield number
            else:
                self._refused.append(f"its issuer {_label(issuer)} {why}")
        if not candidates:
            self._refused.append(
                f"the issuer of {_label(certificate)}, {certificate.issuer.rfc4514_string()!r:.200}, is not in the "
                "store; put its certificate in security/cacert or security/untrusted"
            )

    def _ends(self, certificate: "Certificate") -> bool:
        return certificate in self._store and self._bad_link(certificate, certificate) is None

    def _bad_link(self, certificate: "Certificate", issuer: "Certificate") -> str | None:
        try:
            self._signed_by(certificate, issuer)
        except Exception as error:
            return f"did not sign {_label(certificate)} ({type(error).__name__})"
        return None

    def _unfit(self, certificate: "Certificate") -> str | None:
        """Why a certificate will not do, whatever its place in the chain."""
        if self._now < certificate.not_valid_before_utc:
            return f"is not valid before {certificate.not_valid_before_utc:%F %T} UTC; is the clock right?"
        if self._now > certificate.not_valid_after_utc:
            return f"expired {certificate.not_valid_after_utc:%F %T} UTC; have a new one issued"
        for extension in certificate.extensions:
            number = extension.oid.dotted_string
            if number == _NAME_CONSTRAINTS or (extension.critical and number not in _HARMLESS):
                return f"has the extension {number}, which is not understood here"
        return None


def _no_authority(issuer: "Certificate", below: int) -> str | None:
    """Why a certificate cannot be an issuer with so many intermediates below it."""
    from cryptography import x509

    try:
        basic = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return "is no authority: it has no basicConstraints CA:TRUE"
    if not basic.ca:
        return "is no authority: its basicConstraints say CA:FALSE"
    if basic.path_length is not None and below > basic.path_length:
        return f"allows {basic.path_length} intermediates below it, and there are {below}"
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None
    return None if usage.key_cert_sign else "may not sign certificates: its keyUsage lacks keyCertSign"


def _may_have_issued(issuer: "Certificate", certificate: "Certificate") -> bool:
    """By subject name and, where both sides name a key, by that (RFC 5280, 4.2.1.1)."""
    from cryptography import x509

    if issuer.subject != certificate.issuer:
        return False
    try:
        wanted = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return True
    if wanted.authority_cert_serial_number not in (None, issuer.serial_number):
        return False
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return True
    return wanted.key_identifier in (None, own.digest)


def _self_issued(certificate: "Certificate") -> bool:
    return certificate.subject == certificate.issuer


def _label(certificate: "Certificate") -> str:
    """For messages: the subject, which may be anything, and the serial number."""
    try:
        subject = certificate.subject.rfc4514_string()
    except Exception:
        subject = "?"
    return f"{subject!r:.120} (serial {certificate.serial_number:x})"

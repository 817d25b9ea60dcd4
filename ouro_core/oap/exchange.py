"""What client and server do alike: sign, authenticate the peer, derive the key (oap.md 5 and 7)."""

from hashlib import sha256

from attrs import evolve

from ouro_core.contracts.crypto import Authenticator, Digest, Kdf, KexKind
from ouro_core.model.errors import AuthenticationFailed, CryptError
from ouro_core.wire.oap import OapHeader

from .security import Security
from .suites import OapSuites

__all__ = ["authenticate", "derive", "kdf_of", "sealed"]

_INFO = {KexKind.DHE: b"o7s-ossl-dhe", KexKind.KEM: b"o7s-ossl-encap", KexKind.HYBRID: b"o7s-ossl-encap"}


def kdf_of(suites: OapSuites, nid: int) -> Kdf:
    """The kdf of this number; SHA-256's when it is 0. CryptError."""
    return suites.kdfs.numbered(nid) if nid else suites.kdfs.named("sha256")


def derive(kdf: Kdf, kind: KexKind, secret: bytes, *publics: bytes) -> bytes:
    """The flow's key (oap.md 5). `publics`, in wire form: both keys of a Diffie-Hellman exchange in any order, or the
    one of a KEM's recipient.
    """
    salt = sha256(b"".join(sorted(publics))).digest()
    return kdf.derive(secret, salt, _INFO[kind])


def sealed(suites: OapSuites, security: Security, header: OapHeader) -> bytes:
    """The message, signed when there are credentials. AuthenticationFailed: cannot sign. TooLong: see `encode`."""
    credentials = security.credentials
    if credentials is None:
        return header.encode()
    signer = _authenticator(suites, credentials.certificate)
    unsigned = evolve(header, certificate=credentials.certificate).encode()
    return unsigned + signer.sign(credentials, unsigned, _digest(suites, header.md_nid))


def authenticate(suites: OapSuites, security: Security, header: OapHeader, message: bytes, now: int) -> str:
    """The name the peer proves with certificate and signature; "" when it shows none. AuthenticationFailed."""
    if not header.certificate:
        if security.require_peer:
            raise AuthenticationFailed("the peer shows no certificate, and one is required here")
        return ""
    if not header.signature:
        raise AuthenticationFailed("the peer shows a certificate but did not sign")
    verifier = _authenticator(suites, header.certificate)
    verifier.verify_chain(header.certificate, security.store, now)
    signed = message[: len(message) - len(header.signature)]
    verifier.verify(header.certificate, signed, header.signature, _digest(suites, header.md_nid))
    name = verifier.name_of(header.certificate)
    if not name.isprintable():  # no flow has such a name, and logs and terminals are not for an authority's clients
        raise AuthenticationFailed(f"the name in the peer's certificate, {name!r}, has unprintable characters")
    return name


def _authenticator(suites: OapSuites, certificate: bytes) -> Authenticator:
    for authenticator in suites.authenticators.available():
        if authenticator.accepts(certificate):
            return authenticator
    for barred in suites.authenticators.barred():
        if barred.accepts(certificate):
            raise AuthenticationFailed(f"the certificate has a post-quantum key ({barred.name}), and pqc = off")
    known = ", ".join(known.name for known in suites.authenticators.available()) or "none"
    raise AuthenticationFailed(
        f"no authenticator takes the certificate of {len(certificate)} bytes; available: {known}"
        f"{suites.authenticators.missing}"
    )


def _digest(suites: OapSuites, md_nid: int) -> Digest | None:
    try:
        return suites.digests.numbered(md_nid) if md_nid else None
    except CryptError as error:
        raise AuthenticationFailed(str(error)) from error

"""Certificates with ML-DSA and SLH-DSA keys, and chains that lead through such issuers (oap.md 7.2, 7.4).

`cryptography` reads any certificate, but not the keys of SLH-DSA, nor those of a build without ML-DSA; so keys and
signatures are taken out of the DER here, and verified by whichever library can:

    SEQUENCE { SEQUENCE { [0] version, serial, algorithm, issuer, validity, subject, key, ... }, algorithm, BIT STRING }

A private key is PKCS#8 in DER, in the form that it was found in.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ouro_core.contracts.crypto import Authenticator, Buffer, Credentials, Digest, NewKey
from ouro_core.model.errors import AuthenticationFailed, InvalidArgument, WireError
from ouro_core.wire.certificates import (
    algorithm_of,
    common_name,
    guarded,
    parse,
    signed_by,
    verify_chain,
)
from ouro_core.wire.der import SEQUENCE, elements, oid, take, value

from .files import pem_block, public_der, public_key
from .parameters import ML_DSA, SLH_DSA, SignatureParameters
from .providers import LIBRARIES, Library
from .signatures import SignatureAlgorithm

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["AUTHENTICATORS", "PqAuthenticator"]

_VERSION = 0xA0


class PqAuthenticator(Authenticator):
    """A family of keys. `linked`: all algorithms that issuers up a chain may have besides those of the core."""

    post_quantum = True

    def __init__(
        self,
        name: str,
        nid: int,
        rank: int,
        family: Iterable[SignatureParameters],
        libraries: tuple[Library, ...] = LIBRARIES,
    ) -> None:
        self.name = name
        self.nid = nid
        self.rank = rank
        known = {each.oid: SignatureAlgorithm(each, libraries) for each in (*ML_DSA, *SLH_DSA)}
        self._algorithms = {each.oid: known[each.oid] for each in family}
        self._linked = known
        self.key_kinds = tuple(each.parameters.name.lower() for each in self._algorithms.values())

    # ------------------------------------------------------------ listings

    @property
    def unavailable(self) -> str | None:  # type: ignore[override]  # found out when it is needed
        reasons = [algorithm.choice.unavailable for algorithm in self._algorithms.values()]
        return None if None in reasons else reasons[0]

    @property
    def provider(self) -> str:  # type: ignore[override]
        return next(iter(self._algorithms.values())).choice.provider

    @property
    def note(self) -> str:  # type: ignore[override]
        return next(iter(self._algorithms.values())).choice.note

    # ------------------------------------------------------------ the contract

    def accepts(self, certificate: bytes) -> bool:
        return algorithm_of(certificate) in self._algorithms

    def load(self, certificate_pem: bytes, key_pem: bytes) -> Credentials | None:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        try:
            with guarded("certificate file"):
                certificate = x509.load_pem_x509_certificate(certificate_pem).public_bytes(Encoding.DER)
        except AuthenticationFailed:
            return None
        number = algorithm_of(certificate)
        if number not in self._algorithms:
            return None
        algorithm = self._algorithms[number]
        try:
            key = pem_block(key_pem, "PRIVATE KEY")
        except WireError as error:
            raise AuthenticationFailed(
                f"the key of the {algorithm.parameters.name} certificate cannot be read: {error}"
            ) from None
        algorithm.check(key)
        return Credentials(certificate, key)

    def sign(self, credentials: Credentials, message: Buffer, digest: Digest | None) -> bytes:
        return self._of(credentials.certificate).sign(credentials.key, bytes(message))

    def verify(self, certificate: bytes, message: Buffer, signature: bytes, digest: Digest | None) -> None:
        algorithm = self._of(certificate)
        algorithm.verify(_public_of(certificate), bytes(message), signature)

    def verify_chain(self, certificate: bytes, store: tuple[bytes, ...], now_ns: int) -> None:
        verify_chain(certificate, store, now_ns, signed_by=self._signed_by)

    def name_of(self, certificate: bytes) -> str:
        return common_name(certificate)

    # ------------------------------------------------------------ new certificates

    def new_key(self, kind: str) -> NewKey:
        for algorithm in self._algorithms.values():
            if algorithm.parameters.name.lower() == kind:
                private, public = algorithm.generate()
                return NewKey(private, public_der(algorithm.parameters.oid, public))
        raise InvalidArgument(f'"{kind}" is no kind of {self.name} keys: {", ".join(self.key_kinds)}')

    def signature_algorithm(self, credentials: Credentials) -> bytes:
        return value(SEQUENCE, oid(self._of(credentials.certificate).parameters.oid))

    # ------------------------------------------------------------ inside

    def _of(self, certificate: bytes) -> SignatureAlgorithm:
        parse(certificate)
        algorithm = self._algorithms.get(algorithm_of(certificate))
        if algorithm is None:
            raise AuthenticationFailed(f"the certificate has no {self.name} key")
        return algorithm

    def _signed_by(self, certificate: "Certificate", issuer: "Certificate") -> None:
        algorithm = self._linked.get(issuer.public_key_algorithm_oid.dotted_string)
        if algorithm is None:
            signed_by(certificate, issuer)
            return
        from cryptography.hazmat.primitives.serialization import Encoding

        outer, inner = _fields(certificate.public_bytes(Encoding.DER))
        if not outer[1] == inner[1] == value(SEQUENCE, oid(algorithm.parameters.oid)):
            raise AuthenticationFailed("the certificate says that it is signed by another algorithm than its issuer's")
        public = _public_of(issuer.public_bytes(Encoding.DER))
        algorithm.verify(public, certificate.tbs_certificate_bytes, certificate.signature)


def _fields(certificate: bytes) -> tuple[list[bytes], list[bytes]]:
    """The values of a certificate, and those of what is signed of it, from the serial number on. WireError."""
    outer = list(elements(take(SEQUENCE, certificate)[0]))
    inner = list(elements(take(SEQUENCE, outer[0])[0]))
    return outer, inner[1:] if inner[0][0] == _VERSION else inner


def _public_of(certificate: bytes) -> bytes:
    """The raw public key. AuthenticationFailed."""
    try:
        return public_key(_fields(certificate)[1][5])[1]
    except (WireError, IndexError) as error:
        raise AuthenticationFailed(f"the key of the certificate cannot be read: {error}") from None


AUTHENTICATORS: tuple[PqAuthenticator, ...] = (
    PqAuthenticator("ML-DSA", 1457, 4, ML_DSA),
    PqAuthenticator("SLH-DSA", 1460, 5, SLH_DSA),
)

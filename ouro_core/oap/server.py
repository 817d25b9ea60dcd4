"""The server's side of an allocation: one request in, one response out (oap.md 8.4).

`process` is `admit`, quick and with state, and then `answer`, which may take long (signatures, key exchange) and
depends on its arguments alone: a node may run the first in its loop and the second in a worker process.
"""

from typing import TypeVar

from attrs import evolve, frozen

from ouro_core.contracts.crypto import DheSuite, KemSuite, KexSuite, Suite
from ouro_core.model.errors import AuthenticationFailed, CryptError, WireError
from ouro_core.wire.oap import OapHeader

from .exchange import authenticate, derive, kdf_of, sealed
from .policy import HYBRID
from .replay import ReplayGuard
from .security import PLAIN, OapResult, PqPolicy, Security
from .suites import OapSuites, SuiteTable

__all__ = ["OapRequest", "OapServer", "answer", "kex_of"]

S = TypeVar("S", bound=Suite)


@frozen
class OapRequest:
    """A request that was admitted. A value: it may cross to another process of this node."""

    header: OapHeader
    message: bytes


class OapServer:
    """Answers requests for all names of a node. One `ReplayGuard` a node."""

    def __init__(self, suites: OapSuites, guard: ReplayGuard) -> None:
        self._suites = suites
        self._guard = guard

    def process(self, request: bytes, data: bytes, now: int, security: Security = PLAIN) -> tuple[bytes, OapResult]:
        """The response, and the outcome for the accepting application. `data` is what the latter sends along; now: ns
        since 1970 UTC; `security` is that of the requested name.

        AuthenticationFailed: malformed, replayed, out of time, or the client's certificate or signature is wrong;
        or we cannot sign. CryptError: the key exchange or cipher asked for, or the lack of one, does not do. Either
        goes back to the client as the code of the flow response, without a message. TooLong: data over 65535 bytes.
        """
        return answer(self._suites, self.admit(request, now), data, now, security)

    def admit(self, request: bytes, now: int) -> OapRequest:
        """Decode a request and let it pass once. AuthenticationFailed."""
        try:
            header = OapHeader.decode(request, ciphers=self._suites.known_ciphers, digests=self._suites.known_digests)
        except WireError as error:
            raise AuthenticationFailed(f"request refused: {error}") from error
        self._guard.admit(header.id, header.timestamp, now)
        return OapRequest(header, request)


def answer(
    suites: OapSuites, request: OapRequest, data: bytes, now: int, security: Security = PLAIN
) -> tuple[bytes, OapResult]:
    """Response and outcome for an admitted request; see `OapServer.process`."""
    suites, asked = suites.under(security), request.header
    peer = authenticate(suites, security, asked, request.message, now)
    header = OapHeader(asked.id, now, data=data)
    if security.encryption is not None:
        header = evolve(header, md_nid=suites.digests.named(security.encryption.digest).nid)
    kex, key = "", None
    if asked.kex:
        header, kex, key = _exchange(suites, security, asked, header)
    elif security.encryption is not None:
        raise CryptError("the client asks for a plain flow, and encryption is required here")
    try:
        req_hash = suites.request_hash(asked.md_nid).digest(request.message)
    except CryptError as error:
        raise AuthenticationFailed(str(error)) from error
    response = sealed(suites, security, evolve(header, req_hash=req_hash))
    return response, OapResult(asked.id, asked.data, peer, kex, header.cipher_nid, key)


def kex_of(suites: OapSuites, asked: OapHeader) -> KexSuite:
    """The algorithm of the client's public key. CryptError: none of this node."""
    for kex in suites.kexes.available():
        if kex.raw == asked.raw and kex.accepts(asked.kex):
            return kex
    for kex in suites.kexes.barred():
        if kex.raw == asked.raw and kex.accepts(asked.kex):
            raise CryptError(f"the client's key exchange {kex.name} is post-quantum, and pqc = off")
    known = ", ".join(known.name for known in suites.kexes.available()) or "none"
    raise CryptError(
        f"no key exchange here takes the client's key of {len(asked.kex)} bytes; available: {known}"
        f"{suites.kexes.missing}"
    )


def _exchange(
    suites: OapSuites, security: Security, asked: OapHeader, header: OapHeader
) -> tuple[OapHeader, str, bytes]:
    """The response's header with cipher, kdf and key exchange, the latter's name, and the flow's key (oap.md 8.3)."""
    own = security.encryption
    cipher = _stronger(suites.ciphers, asked.cipher_nid, own.cipher if own else None)
    if cipher is None:
        raise CryptError("the client asks for a key exchange without a cipher, and none is configured here")
    kdf = _stronger(suites.kdfs, asked.kdf_nid, own.kdf if own else None)
    header = evolve(header, cipher_nid=cipher.nid, kdf_nid=kdf.nid if kdf else 0)
    if asked.client_encaps:
        if header.kdf_nid != asked.kdf_nid:
            raise CryptError(
                f"the client derived its key with kdf {asked.kdf_nid}, weaker than the one configured here"
            )
        kex, key = _decapsulated(suites, security, asked)
        return header, kex.name, key
    kex = kex_of(suites, asked)
    if security.pqc is PqPolicy.REQUIRE and not kex.post_quantum:
        raise CryptError(
            f"pqc = require, and the client's key exchange {kex.name} is classical: it has no {HYBRID}, does not use "
            "it (pqc = prefer or require, or kex, in its enc.conf), or somebody in the path takes its probe away"
        )
    if own is not None and kex.rank < suites.kexes.named(own.kex).rank:
        raise CryptError(f"the client's key exchange {kex.name} is weaker than the {own.kex} configured here")
    if isinstance(kex, DheSuite):
        pair = kex.generate()
        part, publics, secret = pair.public, [asked.kex, pair.public], kex.agree(pair.private, asked.kex)
    else:
        assert isinstance(kex, KemSuite)
        capsule = kex.encapsulate(asked.kex)
        part, publics, secret = capsule.ciphertext, [asked.kex], capsule.secret
    key = derive(kdf_of(suites, header.kdf_nid), kex.kind, secret, *publics)
    return evolve(header, kex=part, raw=kex.raw), kex.name, key


def _stronger(table: SuiteTable[S], asked: int, own: str | None) -> S | None:
    """The higher ranked of the client's and ours; the client's when they are equal; None when there is neither."""
    theirs = table.numbered(asked) if asked else None
    ours = table.named(own) if own else None
    if theirs is None or ours is None:
        return theirs or ours
    return ours if ours.rank > theirs.rank else theirs


def _decapsulated(suites: OapSuites, security: Security, asked: OapHeader) -> tuple[KexSuite, bytes]:
    """Client encapsulation: a ciphertext does not tell its algorithm, so the configured one decides (oap.md 4.5)."""
    if security.encryption is None or security.static_key is None:
        raise CryptError("the client encapsulates, and no key of this server is configured: enc.conf and kex.key.*")
    kex = suites.kexes.named(security.encryption.kex)
    if not isinstance(kex, KemSuite) or kex.raw != asked.raw:
        raise CryptError(f"the client encapsulates, and not with the {kex.name} configured here")
    pair = kex.load_private(security.static_key)
    secret = kex.decapsulate(pair.private, asked.kex)
    return kex, derive(kdf_of(suites, asked.kdf_nid), kex.kind, secret, pair.public)

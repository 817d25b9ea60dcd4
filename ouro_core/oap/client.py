"""The client's side of an allocation: prepare a request, complete with the response (oap.md 8.4)."""

import os
from collections.abc import Callable

from attrs import evolve, field, frozen

from ouro_core.contracts.crypto import DheSuite, KemSuite, Suite
from ouro_core.model.errors import AuthenticationFailed, CryptError, WireError
from ouro_core.wire.oap import ID_SIZE, OapHeader

from .exchange import authenticate, derive, sealed
from .security import PLAIN, Encryption, KemMode, OapResult, PqPolicy, Security
from .suites import OapSuites

__all__ = ["OapClient", "OapContext"]


@frozen
class OapContext:
    """An allocation between request and response. A value: it may cross to another process of this node."""

    dst: str
    header: OapHeader
    request: bytes
    security: Security
    private: bytes = field(default=b"", repr=False)
    """Of our ephemeral pair; its public key is the kex field of the header."""
    key: bytes | None = field(default=None, repr=False)
    """Known already when we encapsulated."""


class OapClient:
    """Makes requests and takes responses; any number of allocations at once. `random(n)` gives n random bytes."""

    def __init__(self, suites: OapSuites, random: Callable[[int], bytes] = os.urandom) -> None:
        self._suites = suites
        self._random = random

    def prepare(self, dst: str, data: bytes, now: int, security: Security = PLAIN) -> OapContext:
        """A request to the name dst; `context.request` goes into the layer's flow request. now: ns since 1970 UTC.

        CryptError: the configured suites do not work here. AuthenticationFailed: cannot sign. TooLong: data over 65535
        bytes (a layer carries much less).
        """
        header, private, key = OapHeader(self._random(ID_SIZE), now, data=data), b"", None
        if security.encryption is not None:
            header, private, key = self._offer(header, security, security.encryption)
        return OapContext(dst, header, sealed(self._suites.under(security), security, header), security, private, key)

    def complete(self, context: OapContext, response: bytes, now: int) -> OapResult:
        """The outcome of the allocation. CryptError for every failure, as the prototype reports it; the message and the
        cause say which.
        """
        try:
            return self._complete(context, response, now)
        except (AuthenticationFailed, CryptError, WireError) as error:
            raise CryptError(f"response of {context.dst}: {error}") from error

    def _complete(self, context: OapContext, response: bytes, now: int) -> OapResult:
        suites, sent = self._suites.under(context.security), context.header
        digest = suites.request_hash(sent.md_nid)
        header = OapHeader.decode(
            response, hash_size=digest.size, ciphers=suites.known_ciphers, digests=suites.known_digests
        )
        if header.id != sent.id:
            raise CryptError(f"id {header.id.hex()} is not that of the request, {sent.id.hex()}")
        peer = authenticate(suites, context.security, header, response, now)
        if header.req_hash != digest.digest(context.request):
            raise CryptError("it answers another request, or the request was changed on its way: wrong request hash")
        if header.certificate and peer != context.dst:
            raise CryptError(f'the certificate is for "{peer}", not for "{context.dst}"')
        encryption = context.security.encryption
        if encryption is None:
            return OapResult(header.id, header.data, peer)
        key = self._key(context, encryption, header)
        return OapResult(header.id, header.data, peer, encryption.kex, header.cipher_nid, key)

    def _offer(
        self, header: OapHeader, security: Security, encryption: Encryption
    ) -> tuple[OapHeader, bytes, bytes | None]:
        """The header with what we ask for, our private key, and the flow's key when we know it already."""
        suites = self._suites.under(security)
        kex, kdf = suites.kexes.named(encryption.kex), suites.kdfs.named(encryption.kdf)
        if security.pqc is PqPolicy.REQUIRE and not kex.post_quantum:
            raise CryptError(f"pqc = require, and {kex.name} is classical")
        header = evolve(
            header,
            cipher_nid=suites.ciphers.named(encryption.cipher).nid,
            kdf_nid=kdf.nid,
            md_nid=suites.digests.named(encryption.digest).nid,
            raw=kex.raw,
        )
        if not isinstance(kex, KemSuite) or encryption.kem_mode is KemMode.SERVER:
            pair = kex.generate()
            return evolve(header, kex=pair.public), pair.private, None
        if security.static_key is None:
            raise CryptError(f"kem_mode=client with {kex.name} needs the server's public key, kex.srv.pub.*")
        public = kex.load_public(security.static_key)
        sent = kex.encapsulate(public)
        header = evolve(header, kex=sent.ciphertext, client_encaps=True)
        return header, b"", derive(kdf, kex.kind, sent.secret, public)

    def _key(self, context: OapContext, encryption: Encryption, header: OapHeader) -> bytes:
        """The flow's key, after checking that what the server chose is at least what we asked for (oap.md 8.3)."""
        suites, ours = self._suites.under(context.security), context.header
        if not header.cipher_nid:
            raise CryptError("the server did not choose a cipher")
        self._not_weaker(suites.ciphers.numbered(header.cipher_nid), suites.ciphers.named(encryption.cipher))
        if context.key is not None:
            return context.key
        kdf = suites.kdfs.named(encryption.kdf)
        if header.kdf_nid:
            chosen = suites.kdfs.numbered(header.kdf_nid)
            self._not_weaker(chosen, kdf)
            kdf = chosen
        if not header.kex:
            raise CryptError("the server did not send its part of the key exchange")
        kex = suites.kexes.named(encryption.kex)
        if isinstance(kex, DheSuite):
            secret = kex.agree(context.private, header.kex)
            return derive(kdf, kex.kind, secret, ours.kex, header.kex)
        assert isinstance(kex, KemSuite)
        return derive(kdf, kex.kind, kex.decapsulate(context.private, header.kex), ours.kex)

    @staticmethod
    def _not_weaker(chosen: Suite, configured: Suite) -> None:
        if chosen.rank < configured.rank:
            raise CryptError(f"the server chose {chosen.name}, weaker than the {configured.name} configured here")

"""Cryptography: the suites that plugins bring, and nothing else. OAP and the packet stages above a flow only use these.

A *suite* is one algorithm under one configuration name. Plugins return instances from the hooks
`ouro_register_kex_suites`, `ouro_register_cipher_suites`, `ouro_register_kdfs`, `ouro_register_digests` and
`ouro_register_authenticators`. Rules for all of them:

* A suite has no state and no secrets. What goes in and out are bytes, ints and the values below, so that any call can
  be made in a worker process; only `CipherKey` stays in the process that made it.
* Making an instance costs nothing and never fails. An algorithm whose provider is missing is registered all the same,
  with `unavailable` set: its NID is then known on the wire, choosing it gives the reason. Methods of an unavailable
  suite are never called.
* Every argument that came over the wire may be anything. Methods raise `CryptError` (key exchange, ciphers) or
  `AuthenticationFailed` (authenticators) and no other exception; their work is bounded by the length of the argument.
* Randomness comes from the operating system, inside the provider.
* Buffers: arguments of type `Buffer` may be bytes, bytearray or memoryview and are not kept; results are new bytes.

Sizes are in bytes. Source: oap.md 3 (names, NIDs, ranks), 4 (key exchange), 5 (key derivation), 6 (packets),
7 (authentication); flows.md 6 (room for a sealed packet).
"""

from abc import ABC, abstractmethod
from enum import Enum
from typing import TypeAlias

from attrs import field, frozen

from ..model.errors import NotSupported

__all__ = [
    "KEY_SIZE",
    "Authenticator",
    "Buffer",
    "CipherKey",
    "CipherSuite",
    "Credentials",
    "DheSuite",
    "Digest",
    "Encapsulation",
    "Kdf",
    "KemSuite",
    "KexKind",
    "KexSuite",
    "KeyPair",
    "NewKey",
    "Suite",
]

Buffer: TypeAlias = bytes | bytearray | memoryview

KEY_SIZE = 32
"""The symmetric key of a flow, whatever the cipher (oap.md 3.1)."""


class Suite(ABC):
    """One algorithm. The attributes are constants of the instance."""

    name: str
    """As written in configuration, matched exactly: `aes-256-gcm`, `X25519`, `sha3-256`. Unique in its kind."""
    nid: int
    """OpenSSL's number, 1..65535, unique in its kind. On the wire for ciphers, digests and kdfs; for key exchanges and
    authenticators only a label in listings."""
    rank: int
    """Strength order within the kind, 1 the weakest (the tables of oap.md 3). Negotiation takes the higher one. Equal
    ranks count as equally strong. For authenticators only the order in listings."""
    unavailable: str | None = None
    """None: works here. Else why not and what to do about it, one line: "needs OpenSSL 3.5 or liboqs; install ..."."""
    post_quantum: bool = False
    """Whether it is meant to hold against quantum computers; what `pqc` in an enc.conf bars or requires. Of interest
    for key exchanges and authenticators."""
    provider: str = ""
    """What does the work, for listings: the library ("cryptography"), "own" for code of the plugin itself, "" when
    that says no more than the plugin's name."""
    note: str = ""
    """More for listings, one line: which other libraries could do the work, and why they do not."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} ({self.nid})>"


# ---------------------------------------------------------------- digests and key derivation


class Digest(Suite):
    """A hash function: request hash of OAP, digest of signatures, base of a kdf (oap.md 3.2)."""

    size: int
    """Length of a digest: 32, 48 or 64."""

    @abstractmethod
    def digest(self, data: Buffer) -> bytes:
        """The hash of data, `size` bytes. Never fails."""


class Kdf(Suite):
    """HKDF (RFC 5869, extract then expand) over the digest of the same name and NID (oap.md 5)."""

    @abstractmethod
    def derive(self, secret: Buffer, salt: Buffer, info: bytes, size: int = KEY_SIZE) -> bytes:
        """`size` bytes (at most 255 digests) from the input keying material `secret`, of any length. Never fails."""


# ---------------------------------------------------------------- key exchange


class KexKind(Enum):
    """How two keys become one secret. Decides salt and info of the key and the flags of the kex field (oap.md 2, 4,
    5).
    """

    DHE = "dhe"
    """Diffie-Hellman: both send a public key. F = 0, R = 0."""
    KEM = "kem"
    """Key encapsulation, public key in DER, ciphertext raw. F = 0; R = 1 when the client encapsulates."""
    HYBRID = "hybrid"
    """A KEM joined with Diffie-Hellman, everything raw. F = 1; R as for KEM."""


@frozen
class KeyPair:
    """A pair for one key exchange. `private` is in the suite's own form, opaque to everybody else; it may cross to a
    worker process and back. `public` is the wire form.
    """

    private: bytes = field(repr=False)
    public: bytes


@frozen
class Encapsulation:
    """What encapsulating to a public key gives: the ciphertext for the wire, and the shared secret."""

    ciphertext: bytes
    secret: bytes = field(repr=False)


class KexSuite(Suite):
    """What DHE and KEM suites have in common. Implement `DheSuite` or `KemSuite`.

    Wire form of a public key: DER SubjectPublicKeyInfo, for hybrids the raw concatenation (ML-KEM part first).
    """

    kind: KexKind
    quick: bool = False
    """A pair is made, or a secret agreed on, within 0.2 ms, whatever the peer sends: an IRM does that in its loop, as
    asking a worker process would take longer."""

    @property
    def raw(self) -> bool:
        """The F flag of the kex field, for public keys and ciphertexts alike."""
        return self.kind is KexKind.HYBRID

    @abstractmethod
    def accepts(self, public: bytes) -> bool:
        """Is this wire form a public key of this algorithm? The algorithm is not on the wire: a server asks all suites
        whose `raw` equals the F flag. Looks at the algorithm identifier (curve, group) or, raw, at the length; need
        not validate the key. Total: False for anything else, never an exception. At most one suite says True.
        """

    @abstractmethod
    def generate(self) -> KeyPair:
        """A fresh pair, used once. CryptError when the provider fails."""


class DheSuite(KexSuite):
    """Diffie-Hellman over a curve or a finite field (oap.md 4.1, 4.2)."""

    kind: KexKind = KexKind.DHE

    @abstractmethod
    def agree(self, private: bytes, peer: bytes) -> bytes:
        """The raw shared secret of our `KeyPair.private` and the peer's public key (wire form). Finite field: big
        endian without leading zero bytes. CryptError: peer is no valid key of this algorithm (not parsed, other
        algorithm, point not on the curve, out of range, all-zero result).
        """


class KemSuite(KexSuite):
    """Key encapsulation, alone (`KexKind.KEM`) or joined with Diffie-Hellman (`KexKind.HYBRID`) (oap.md 4.3 to 4.5).

    The salt of the key derivation is made from the recipient's public key in wire form, which the caller has.
    """

    kind: KexKind = KexKind.KEM
    post_quantum = True

    @abstractmethod
    def encapsulate(self, public: bytes) -> Encapsulation:
        """To the peer's public key (wire form). CryptError: no valid key of this algorithm."""

    @abstractmethod
    def decapsulate(self, private: bytes, ciphertext: bytes) -> bytes:
        """The shared secret. CryptError: the ciphertext has the wrong length. A corrupted one of the right length gives
        another secret and no error (implicit rejection).
        """

    @abstractmethod
    def load_private(self, file: bytes) -> KeyPair:
        """The server's static pair from the content of `kex.key.pem` (KEM: unencrypted PKCS#8, seed or expanded form)
        or `kex.key.raw` (hybrid: expanded ML-KEM key, then the curve's key). CryptError: what is wrong with the file.
        """

    @abstractmethod
    def load_public(self, file: bytes) -> bytes:
        """The wire form of the server's static key from the content of `kex.srv.pub.pem` or `kex.srv.pub.raw`.
        CryptError: what is wrong with the file.
        """

    def new_files(self) -> tuple[bytes, bytes]:
        """Both of these files for a fresh static pair, the private one first. NotSupported: this suite reads them only.
        CryptError when the provider fails.
        """
        raise NotSupported(f"{self.name} makes no files of static keys")


# ---------------------------------------------------------------- packets


class CipherKey(ABC):
    """A cipher under one key: seals and opens single packets. Thread-safe; not picklable.

    Choosing IVs, the key phase and rotation (oap.md 6.3, 6.4) belong to the stage above, the same for all ciphers.
    """

    @abstractmethod
    def seal(self, iv: bytes, plain: Buffer) -> bytes:
        """The packet IV, ciphertext, tag: `len(plain) + suite.overhead` bytes. `iv` has `iv_size` bytes and is used
        as it is, never twice under one key; `plain` may be empty. No associated data. CTR: iv is the first counter
        block, incremented as a 128-bit big-endian number.
        """

    @abstractmethod
    def open(self, packet: Buffer) -> bytes:
        """The plaintext of IV, ciphertext, tag. CryptError: shorter than `overhead`, or the tag does not fit. A CTR
        cipher has no tag: a wrong key or a changed packet gives garbage.
        """


class CipherSuite(Suite):
    """A cipher for packets (oap.md 3.1)."""

    key_size: int
    """Leading bytes of the flow's 32-byte key that are used: 16, 24 or 32."""
    iv_size: int
    """Head room a sealed packet needs, the IV: 12 (AEAD) or 16 (CTR)."""
    tag_size: int
    """Tail room a sealed packet needs, the tag: 16 (AEAD) or 0 (CTR). 0 also says: not authenticated, so that trying
    keys in turn finds nothing out."""

    @property
    def overhead(self) -> int:
        """What sealing adds to a packet."""
        return self.iv_size + self.tag_size

    @abstractmethod
    def key(self, key: bytes) -> CipherKey:
        """The cipher under the flow's key, exactly KEY_SIZE bytes; CryptError otherwise."""


# ---------------------------------------------------------------- authentication


@frozen
class Credentials:
    """What a side proves its name with: the leaf certificate as sent (DER), and its private key in the form of the
    authenticator that loaded both.
    """

    certificate: bytes
    key: bytes = field(repr=False)


@frozen
class NewKey:
    """A key that was made for a certificate."""

    private: bytes = field(repr=False)
    """Unencrypted PKCS#8, DER."""
    public: bytes
    """SubjectPublicKeyInfo, DER."""


class Authenticator(Suite):
    """X.509 certificates of one family of keys (EC, RSA, EdDSA, ML-DSA, SLH-DSA): `name` and `nid` label the family.

    Certificates are DER unless a parameter says PEM.

    The authenticator of a certificate is the one that `accepts` it. The keys up the chain may be of other families:
    verifying a chain is not limited to this one's.

    One that also makes keys for new certificates sets `key_kinds`, and implements the last two methods.
    """

    key_kinds: tuple[str, ...] = ()
    """The keys it makes, as `ouro pki --algorithm` calls them: "p256", "ml-dsa-65"."""

    @abstractmethod
    def accepts(self, certificate: bytes) -> bool:
        """Is this a certificate whose key is of this family? Total: False for anything else, never an exception or a
        warning (`cryptography` raises ValueError, TypeError, UnsupportedAlgorithm and x509.InvalidVersion for damaged
        ones, and warns of others). At most one authenticator says True.
        """

    @abstractmethod
    def load(self, certificate_pem: bytes, key_pem: bytes) -> Credentials | None:
        """The credentials in the content of crt.pem (the first PEM certificate) and key.pem (unencrypted PKCS#8, SEC1
        or PKCS#1). None: not this family. AuthenticationFailed: this family, but unreadable, or encrypted. Whether
        key and certificate belong together is not checked here; the peer finds out (oap.md 7.1).
        """

    @abstractmethod
    def sign(self, credentials: Credentials, message: Buffer, digest: Digest | None) -> bytes:
        """The signature, in the form of oap.md 7.4. `digest` None (md_nid 0) means the family's own: SHA-256 for EC
        (DER) and RSA (PKCS#1 v1.5), pure for EdDSA. ML-DSA and SLH-DSA ignore it. AuthenticationFailed when the
        family cannot sign with this digest (EdDSA with any, RSA with blake2).
        """

    @abstractmethod
    def verify(self, certificate: bytes, message: Buffer, signature: bytes, digest: Digest | None) -> None:
        """Check a signature by the key of this certificate; the digest as in `sign`. AuthenticationFailed."""

    @abstractmethod
    def verify_chain(self, certificate: bytes, store: tuple[bytes, ...], now_ns: int) -> None:
        """Check the leaf against the store, which holds authorities and intermediates alike (oap.md 7.2): issuers by
        subject name and, when present, authority key id; the end a self-signed certificate of the store; signatures,
        validity at `now_ns` (UTC, ns since 1970), CA flag, keyCertSign, path length, unknown critical extensions. No
        purpose, no host name, no revocation. AuthenticationFailed says which certificate fails and why.
        """

    @abstractmethod
    def name_of(self, certificate: bytes) -> str:
        """The peer's name: the first common name in subject order, cut at the first "," or "/" (oap.md 7.5). "" when
        there is none or it is longer than 255 bytes.
        """

    def new_key(self, kind: str) -> NewKey:
        """A fresh key, of a kind in `key_kinds`. AuthenticationFailed when the provider fails."""
        raise NotSupported(f"{self.name} makes no keys")

    def signature_algorithm(self, credentials: Credentials) -> bytes:
        """The AlgorithmIdentifier (DER) of what `sign` makes with these credentials and no digest."""
        raise NotSupported(f"{self.name} makes no certificates")

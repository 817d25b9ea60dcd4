"""The header of the Ouroboros Allocation Protocol (oap.md 2). Integers are big endian.

    | offset | size    | field      | meaning                                                                    |
    |--------|---------|------------|----------------------------------------------------------------------------|
    | 0      | 16      | id         | random, chosen by the client; the response repeats it                      |
    | 16     | 8       | timestamp  | ns since 1970 UTC, each side's own time of encoding                        |
    | 24     | 2       | cipher_nid | 0 = none                                                                   |
    | 26     | 2       | kdf_nid    | digest of the key derivation, 0 = none                                     |
    | 28     | 2       | md_nid     | digest of the sender's signature, 0 = its default                          |
    | 30     | 2       | crt_len    |                                                                            |
    | 32     | 2       | kex_len    | bit 15 F: raw form (hybrids); bit 14 R: the client encapsulates; 14 bits   |
    | 34     | 2       | data_len   |                                                                            |
    | 36     | crt_len | crt        | one X.509 certificate, DER                                                 |
    | ...    | kex_len | kex        | public key or ciphertext                                                   |
    | ...    | data_len| data       | of the application                                                         |
    | ...    | (md)    | req_hash   | response only: hash of the whole request, no length field                  |
    | ...    | rest    | signature  | over all bytes before it; only with a certificate                          |

Request and response are told apart by who receives them. How long `req_hash` is follows from the request: the size of
its md_nid's digest, of SHA-384 when that is 0.
"""

from collections.abc import Collection, Mapping
from struct import Struct

from attrs import field, frozen

from ouro_core.model.errors import TooLong, WireError

__all__ = ["CIPHER_NIDS", "DIGEST_NIDS", "HEADER_SIZE", "ID_SIZE", "OapHeader"]

CIPHER_NIDS: Mapping[str, int] = {
    "aes-128-ctr": 904,
    "aes-192-ctr": 905,
    "aes-256-ctr": 906,
    "aes-128-gcm": 895,
    "aes-192-gcm": 898,
    "aes-256-gcm": 901,
    "chacha20-poly1305": 1018,
}
"""The protocol's ciphers, weakest first (oap.md 3.1)."""

DIGEST_NIDS: Mapping[str, int] = {
    "blake2s256": 1057,
    "sha256": 672,
    "sha3-256": 1097,
    "sha384": 673,
    "sha3-384": 1098,
    "blake2b512": 1056,
    "sha512": 674,
    "sha3-512": 1099,
}
"""The protocol's digests, weakest first, one table for kdf_nid and md_nid (oap.md 3.2)."""

ID_SIZE = 16
_FIXED = Struct(">16sQHHHHHH")
HEADER_SIZE = _FIXED.size
_RAW, _CLIENT, _KEX_MAX = 0x8000, 0x4000, 0x3FFF
_KNOWN_CIPHERS = frozenset(CIPHER_NIDS.values())
_KNOWN_DIGESTS = frozenset(DIGEST_NIDS.values())


@frozen
class OapHeader:
    """One OAP message. Encoding what was decoded gives the same bytes."""

    id: bytes = field()
    timestamp: int
    cipher_nid: int = 0
    kdf_nid: int = 0
    md_nid: int = 0
    certificate: bytes = b""
    kex: bytes = b""
    raw: bool = False
    """F: the kex field is raw, a hybrid's."""
    client_encaps: bool = False
    """R: the kex field is a ciphertext of the client."""
    data: bytes = b""
    req_hash: bytes = b""
    signature: bytes = b""

    @id.validator
    def _check_id(self, attribute: object, value: bytes) -> None:
        if len(value) != ID_SIZE:
            raise ValueError(f"an OAP id has {ID_SIZE} bytes, not {len(value)}")

    def __str__(self) -> str:
        parts = [f"OAP {self.id[:8].hex()} @ {self.timestamp} ns"]
        for label, nid in (("cipher", self.cipher_nid), ("kdf", self.kdf_nid), ("md", self.md_nid)):
            if nid:
                parts.append(f"{label} {nid}")
        for label, blob in (
            ("crt", self.certificate), ("kex", self.kex), ("data", self.data), ("hash", self.req_hash),
            ("signature", self.signature),
        ):  # fmt: skip
            if blob:
                flags = ("F" * self.raw + "R" * self.client_encaps) if label == "kex" else ""
                parts.append(f"{label} [{len(blob)}{' ' + flags if flags else ''}]")
        return ", ".join(parts)

    def encode(self) -> bytes:
        """The message. TooLong: a field has no room in its length (certificate and data 65535, kex 16383 bytes)."""
        for label, blob, limit in (
            ("certificate", self.certificate, 0xFFFF),
            ("key exchange data", self.kex, _KEX_MAX),
            ("data", self.data, 0xFFFF),
        ):
            if len(blob) > limit:
                raise TooLong(f"OAP {label} of {len(blob)} bytes: at most {limit} fit in the header")
        kex_len = len(self.kex) | _RAW * self.raw | _CLIENT * self.client_encaps
        fixed = _FIXED.pack(
            self.id, self.timestamp, self.cipher_nid, self.kdf_nid, self.md_nid,
            len(self.certificate), kex_len, len(self.data),
        )  # fmt: skip
        return b"".join((fixed, self.certificate, self.kex, self.data, self.req_hash, self.signature))

    @classmethod
    def decode(
        cls,
        message: bytes,
        *,
        hash_size: int = 0,
        ciphers: Collection[int] = _KNOWN_CIPHERS,
        digests: Collection[int] = _KNOWN_DIGESTS,
    ) -> "OapHeader":
        """The header in these bytes, all of them. `hash_size` is 0 for a request; for a response the size of the
        request's digest. A NID in neither table is refused, used or not. WireError.
        """
        if len(message) < HEADER_SIZE:
            raise WireError(f"OAP message of {len(message)} bytes: a header has at least {HEADER_SIZE}")
        ident, stamp, cipher, kdf, md, crt_len, kex_len, data_len = _FIXED.unpack_from(message)
        for label, nid, known in (("cipher", cipher, ciphers), ("kdf", kdf, digests), ("digest", md, digests)):
            if nid and nid not in known:
                raise WireError(f"OAP message with unknown {label} NID {nid}")
        crt_end = HEADER_SIZE + crt_len
        kex_end = crt_end + (kex_len & _KEX_MAX)
        data_end = kex_end + data_len
        hash_end = data_end + hash_size
        if len(message) < hash_end:
            raise WireError(f"OAP message of {len(message)} bytes: its fields need {hash_end}")
        if not crt_len and len(message) > hash_end:
            raise WireError(f"OAP message without certificate has {len(message) - hash_end} trailing bytes")
        return cls(
            ident, stamp, cipher, kdf, md,
            certificate=message[HEADER_SIZE:crt_end],
            kex=message[crt_end:kex_end],
            raw=bool(kex_len & _RAW),
            client_encaps=bool(kex_len & _CLIENT),
            data=message[kex_end:data_end],
            req_hash=message[data_end:hash_end],
            signature=message[hash_end:],
        )  # fmt: skip

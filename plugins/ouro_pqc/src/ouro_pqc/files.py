"""Keys in files and on the wire: PEM, PKCS#8 and SubjectPublicKeyInfo.

A private key of ML-KEM or ML-DSA may be in PKCS#8 as its seed, expanded, or both, which is what OpenSSL writes:

    SEQUENCE { INTEGER 0, SEQUENCE { OID }, OCTET STRING { [0] seed
                                                         | OCTET STRING expanded
                                                         | SEQUENCE { OCTET STRING seed, OCTET STRING expanded } } }

SLH-DSA has one form, which is in the outer OCTET STRING itself; so may those of the others be.
"""

import binascii
import re
from collections.abc import Collection

from attrs import field, frozen

from ouro_core.model.errors import WireError
from ouro_core.wire.der import BIT_STRING, OCTET_STRING, SEQUENCE, oid, take, value

__all__ = ["PrivateKey", "pem_block", "private_der", "private_key", "public_der", "public_key"]

_SEED = 0x80
_VERSIONS = (b"\2\1\0", b"\2\1\1")
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----([^-]*)-----END \1-----")


@frozen
class PrivateKey:
    """What is in a PKCS#8 file: the seed, the expanded key, or both; empty is what is not there."""

    algorithm: str
    """Its name."""
    seed: bytes = field(default=b"", repr=False)
    expanded: bytes = field(default=b"", repr=False)


def pem_block(content: bytes, label: str) -> bytes:
    """The DER in the first block of this label. WireError: there is none, or it is encrypted, or no base64."""
    blocks = [(found[1].decode(), found[2]) for found in _PEM.finditer(content)]
    text = next((text for name, text in blocks if name == label), None)
    if text is None and any(name.startswith("ENCRYPTED") or b"ENCRYPTED" in text for name, text in blocks):
        raise WireError("it is encrypted, and nobody is here to type a password; decrypt it: openssl pkey")
    if text is None:
        others = ", ".join(name for name, _ in blocks)
        raise WireError(f"no PEM block {label} in these {len(content)} bytes{f', but {others}' if others else ''}")
    try:
        return binascii.a2b_base64(b"".join(text.split()), strict_mode=True)
    except binascii.Error as error:
        raise WireError(f"the PEM block {label} is damaged: {error}") from None


def private_key(der: bytes, algorithms: Collection[tuple[str, str, int, int]]) -> PrivateKey:
    """The key in PKCS#8. `algorithms`: name, number, length of seed (0: has none) and of the expanded key, for each
    that will do. WireError: what is wrong.
    """
    content, after = take(SEQUENCE, der)
    version, (identifier, rest) = content[:3], take(SEQUENCE, content[3:])
    key, _ = take(OCTET_STRING, rest)  # attributes and a public key may follow
    if version not in _VERSIONS or after:
        raise WireError("it is no PKCS#8 private key")
    for name, number, seed, expanded in algorithms:
        if identifier == oid(number):
            return PrivateKey(name, *_forms(key, name, seed, expanded))
    raise WireError(f"it is a key of another algorithm than {', '.join(name for name, *_ in algorithms)}")


def _forms(key: bytes, name: str, seed: int, expanded: int) -> tuple[bytes, bytes]:
    """Seed and expanded key, of the right lengths. The bare forms are told by their length."""
    if len(key) == expanded:
        return b"", key
    if seed and len(key) == seed:
        return key, b""
    found = b"", b""
    if seed and key[:1] == bytes((_SEED,)):
        content, rest = take(_SEED, key)
        found = content, b""
    elif seed and key[:1] == bytes((OCTET_STRING,)):
        content, rest = take(OCTET_STRING, key)
        found = b"", content
    elif seed and key[:1] == bytes((SEQUENCE,)):
        content, rest = take(SEQUENCE, key)
        first, more = take(OCTET_STRING, content)
        second, more = take(OCTET_STRING, more)
        found, rest = (first, second), rest + more
    else:
        raise WireError(f"its {len(key)} bytes are no {name} key")
    if rest or len(found[0]) not in (0, seed) or len(found[1]) not in (0, expanded) or not any(found):
        sizes = f"a seed of {len(found[0])} bytes and an expanded key of {len(found[1])}"
        raise WireError(f"it has {sizes}; {name} has {seed} and {expanded}")
    return found


def private_der(number: str, seed: bytes, expanded: bytes, bare: bool = False) -> bytes:
    """PKCS#8 of the seed, where there is one, else of the expanded key; `bare`: which is not wrapped (SLH-DSA)."""
    key = value(_SEED, seed) if seed else expanded if bare else value(OCTET_STRING, expanded)
    return value(SEQUENCE, _VERSIONS[0] + value(SEQUENCE, oid(number)) + value(OCTET_STRING, key))


def public_der(number: str, public: bytes) -> bytes:
    """SubjectPublicKeyInfo of a raw key."""
    return value(SEQUENCE, value(SEQUENCE, oid(number)) + value(BIT_STRING, b"\0" + public))


def public_key(der: bytes) -> tuple[bytes, bytes]:
    """Content of the AlgorithmIdentifier and raw key of a SubjectPublicKeyInfo. WireError."""
    content, after = take(SEQUENCE, der)
    identifier, rest = take(SEQUENCE, content)
    bits, more = take(BIT_STRING, rest)
    if after or more or bits[:1] != b"\0":
        raise WireError("it is no SubjectPublicKeyInfo of whole bytes")
    return identifier, bits[1:]

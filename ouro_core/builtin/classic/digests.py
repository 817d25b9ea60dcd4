"""The eight digests of oap.md 3.2, by hashlib."""

import hashlib
from collections.abc import Callable
from typing import Any

from ouro_core.contracts.crypto import Buffer, Digest
from ouro_core.wire.oap import DIGEST_NIDS

__all__ = ["DIGESTS", "HashlibDigest"]


class HashlibDigest(Digest):
    """A digest of hashlib under its protocol name."""

    provider = "hashlib"

    def __init__(self, name: str, rank: int, constructor: Callable[..., Any]) -> None:
        self.name = name
        self.nid = DIGEST_NIDS[name]
        self.rank = rank
        self.size = int(constructor().digest_size)
        self.constructor = constructor

    def digest(self, data: Buffer) -> bytes:
        digest: bytes = self.constructor(data).digest()
        return digest


DIGESTS: tuple[HashlibDigest, ...] = (
    HashlibDigest("blake2s256", 1, hashlib.blake2s),
    HashlibDigest("sha256", 2, hashlib.sha256),
    HashlibDigest("sha3-256", 3, hashlib.sha3_256),
    HashlibDigest("sha384", 4, hashlib.sha384),
    HashlibDigest("sha3-384", 5, hashlib.sha3_384),
    HashlibDigest("blake2b512", 6, hashlib.blake2b),
    HashlibDigest("sha512", 7, hashlib.sha512),
    HashlibDigest("sha3-512", 8, hashlib.sha3_512),
)

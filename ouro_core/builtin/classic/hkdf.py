"""HKDF (RFC 5869) over the eight digests (oap.md 5), by hmac and hashlib."""

import hmac

from ouro_core.contracts.crypto import KEY_SIZE, Buffer, Kdf

from .digests import DIGESTS, HashlibDigest

__all__ = ["KDFS", "Hkdf"]


class Hkdf(Kdf):
    """Extract with the salt, then expand with the info."""

    provider = "hashlib"

    def __init__(self, digest: HashlibDigest) -> None:
        self.name = digest.name
        self.nid = digest.nid
        self.rank = digest.rank
        self._constructor = digest.constructor

    def derive(self, secret: Buffer, salt: Buffer, info: bytes, size: int = KEY_SIZE) -> bytes:
        extracted = hmac.digest(bytes(salt), secret, self._constructor)
        block = out = b""
        counter = 0
        while len(out) < size:
            counter += 1
            block = hmac.digest(extracted, block + info + bytes((counter,)), self._constructor)
            out += block
        return out[:size]


KDFS: tuple[Kdf, ...] = tuple(Hkdf(digest) for digest in DIGESTS)

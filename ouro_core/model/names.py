"""Names, and the hashes layers know them by (spec: shims.md 0.3, irmd.md 1)."""

import hashlib
from enum import IntEnum
from typing import Final
from zlib import crc32

from attrs import field, frozen

from .errors import InvalidArgument

__all__ = ["FILES", "MAX_NAME", "MAX_PATH", "HashAlgorithm", "LoadBalance", "NameInfo", "check_name", "hash_name"]

MAX_NAME: Final = 255
"""Longest name of anything, in bytes of UTF-8."""
MAX_PATH: Final = 511
"""Longest path of a security file, in bytes."""


class HashAlgorithm(IntEnum):
    """How a layer hashes names. The value stands in messages; CRC32 and MD5 cannot be chosen by users."""

    SHA3_224 = 0
    SHA3_256 = 1
    SHA3_384 = 2
    SHA3_512 = 3
    CRC32 = 4
    MD5 = 5

    @property
    def size(self) -> int:
        """Bytes of the digest."""
        return _SIZES[self]

    @property
    def selectable(self) -> bool:
        """Whether configuration may name it."""
        return self <= HashAlgorithm.SHA3_512


_SIZES: Final = {
    HashAlgorithm.SHA3_224: 28,
    HashAlgorithm.SHA3_256: 32,
    HashAlgorithm.SHA3_384: 48,
    HashAlgorithm.SHA3_512: 64,
    HashAlgorithm.CRC32: 4,
    HashAlgorithm.MD5: 16,
}


def hash_name(name: str, algorithm: HashAlgorithm) -> bytes:
    """The hash of the bytes of `name`: no terminator, no prefix, no salt. CRC32 comes big-endian."""
    data = name.encode()
    if algorithm is HashAlgorithm.CRC32:
        return crc32(data).to_bytes(4, "big")
    if algorithm is HashAlgorithm.MD5:
        return hashlib.md5(data, usedforsecurity=False).digest()
    return hashlib.new(algorithm.name.lower(), data).digest()


def check_name(name: str, what: str = "name") -> str:
    """`name` itself when it can be one: 1 to 255 printable bytes. InvalidArgument, beginning with `what`, otherwise."""
    size = len(name.encode("utf-8", "surrogatepass"))
    if not 0 < size <= MAX_NAME:
        raise InvalidArgument(f"{what} has {size} bytes; it needs 1 to {MAX_NAME}")
    if not name.isprintable():
        raise InvalidArgument(f"{what} {name!r} has unprintable characters")
    return name


class LoadBalance(IntEnum):
    """Which of several accepting processes gets the next flow of a name (spec: irmd.md 5.1)."""

    ROUND_ROBIN = 0
    """The one that waits longest."""
    SPILLOVER = 1
    """The one that began to wait last."""

    @property
    def word(self) -> str:
        """As the command line spells it."""
        return "round-robin" if self is LoadBalance.ROUND_ROBIN else "spillover"


FILES: Final = ("server_enc", "server_crt", "server_key", "client_enc", "client_crt", "client_key")
"""Fields of `NameInfo` that are paths of security files."""


@frozen
class NameInfo:
    """A name of the registry: how flows are spread, and where its security files are (empty: the default places)."""

    name: str
    balance: LoadBalance = LoadBalance.SPILLOVER
    server_enc: str = ""
    server_crt: str = ""
    server_key: str = ""
    client_enc: str = ""
    client_crt: str = ""
    client_key: str = ""
    open: bool = False  # anybody may bind own processes to it
    owner: int = field(default=0, metadata={"help": "user who created it", "unit": "uid"})

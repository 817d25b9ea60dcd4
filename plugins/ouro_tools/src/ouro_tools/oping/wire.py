"""The packets of oping (spec: tools.md 1.1).

| offset | size | field                              | order         |
|--------|------|------------------------------------|---------------|
| 0      | 4    | type: 0 request, 1 reply           | big-endian    |
| 4      | 4    | id                                 | big-endian    |
| 8      | 8    | sender's monotonic clock, seconds  | little-endian |
| 16     | 8    | the same, nanoseconds              | little-endian |
| 24     |      | zeros, up to the size of the packet |              |

A server sends a request back as it came, with the type of a reply.
"""

import struct
from typing import Final

from ouro_core.model.errors import WireError

__all__ = ["HEADER", "MAX_SIZE", "MIN_SIZE", "REPLY", "REQUEST", "decode", "encode", "reply"]

HEADER: Final = 24
MIN_SIZE: Final = 64
MAX_SIZE: Final = 1500
REQUEST: Final = 0
REPLY: Final = 1

_NAME: Final = struct.Struct(">II")
_CLOCK: Final = struct.Struct("<qq")
_REPLY: Final = REPLY.to_bytes(4, "big")
_SECOND: Final = 1_000_000_000


def encode(packet: bytearray, number: int, now: int) -> None:
    """Make a packet request `number`, sent at `now` (ns); the rest of it stays."""
    _NAME.pack_into(packet, 0, REQUEST, number)
    _CLOCK.pack_into(packet, 8, *divmod(now, _SECOND))


def decode(packet: bytes | bytearray | memoryview) -> tuple[int, int, int]:
    """(type, id, clock of the sender in ns). WireError: it is shorter than a header."""
    try:
        kind, number = _NAME.unpack_from(packet)
        seconds, nanoseconds = _CLOCK.unpack_from(packet, 8)
    except struct.error:
        raise WireError(f"an oping packet has at least {HEADER} bytes, this one {len(packet)}") from None
    return kind, number, seconds * _SECOND + nanoseconds


def reply(request: bytes) -> bytes | None:
    """What to answer; None: it is no request."""
    if len(request) < HEADER or request[:4] != b"\0\0\0\0":
        return None
    return _REPLY + request[4:]

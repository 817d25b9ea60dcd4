"""Management messages of our own, which nodes of the C prototype ignore (docs/reference/extension.md). Big endian.

A carrier's management message whose `code` is `EXTENSION_CODE`, all its other fields zero, is followed by

    | offset | size | field    | meaning                                                                         |
    |--------|------|----------|---------------------------------------------------------------------------------|
    | 0      | 4    | magic    | "OURO"                                                                          |
    | 4      | 1    | version  | 1                                                                               |
    | 5      | 1    | kind     | 1 PROBE, 2 ANSWER, 3 FRAGMENT, 4 STATUS                                         |
    | 6      | 2    | reserved | zero; not looked at                                                             |

PROBE and ANSWER; what is behind them is not looked at:

    | 8      | 4    | token        | random, chosen by who asks; the answer repeats it                           |
    | 12     | 4    | capabilities | the sender's: `Capability`                                                  |

FRAGMENT: part `index` of `count` of one management message of the carrier:

    | 8      | 4    | id           | of the message, random                                                      |
    | 12     | 2    | index        | 0 .. count - 1                                                              |
    | 14     | 2    | count        | 1 .. 1024                                                                   |
    | 16     | 4    | total        | bytes of the whole message                                                  |
    | 20     | n    | data         | bytes index * size ... of the message, size = total / count rounded up      |

so where a fragment belongs and how long it is follows from index, count and total: fragments cannot overlap, and
anything else is malformed.

STATUS: what became of a message at its receiver:

    | 8      | 4    | id           |                                                                             |
    | 12     | 1    | state        | 1 complete, 2 fragments are missing, 3 refused                              |
    | 13     | 1    | reserved     | zero; not looked at                                                         |
    | 14     | 2    | count        | of the message; 0 unless fragments are missing                              |
    | 16     | n    | received     | count bits, rounded up to bytes; bit 0x80 of the first byte is fragment 0   |
"""

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct
from typing import ClassVar, Final, TypeAlias

from attrs import field, frozen

from ..model.capability import Capability
from ..model.errors import TooLong, WireError

__all__ = [
    "EXTENSION_CODE",
    "FRAGMENT_HEADER",
    "MAX_FRAGMENTS",
    "Answer",
    "Extension",
    "Fragment",
    "Kind",
    "Probe",
    "State",
    "Status",
    "decode_extension",
    "fragments_of",
]

EXTENSION_CODE: Final = 0x4F
"""The `code` of a management message with an extension body, in every carrier."""
MAX_FRAGMENTS: Final = 1024
MAGIC: Final = b"OURO"
VERSION: Final = 1
_HEAD: Final = Struct(">4sBBH")
_TOKEN: Final = Struct(">II")
_FRAGMENT: Final = Struct(">IHHI")
_STATUS: Final = Struct(">IBBH")
FRAGMENT_HEADER: Final = _HEAD.size + _FRAGMENT.size
"""Bytes in front of a fragment's data."""


class Kind(IntEnum):
    """Of an extension body."""

    PROBE = 1
    ANSWER = 2
    FRAGMENT = 3
    STATUS = 4


class State(IntEnum):
    """Of a fragmented message at its receiver."""

    COMPLETE = 1
    MISSING = 2
    REFUSED = 3


@frozen
class Probe:
    """The question whether the peer is one of us."""

    kind: ClassVar = Kind.PROBE
    token: int
    capabilities: Capability

    def __str__(self) -> str:
        return f"{self.kind.name} {self.token:08x}, capabilities {self.capabilities}"

    def encode(self) -> bytes:
        """The 16 bytes."""
        return _head(self.kind) + _TOKEN.pack(self.token, self.capabilities)


@frozen
class Answer(Probe):
    """Yes, and what this node can do."""

    kind: ClassVar = Kind.ANSWER


@frozen
class Fragment:
    """A part of a management message. Made by `fragments_of`, or decoded: then its fields fit each other."""

    id: int
    index: int
    count: int
    total: int
    data: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"FRAGMENT {self.id:08x}, {self.index + 1} of {self.count}, {len(self.data)} of {self.total} bytes"

    def encode(self) -> bytes:
        """20 bytes and the data."""
        return _head(Kind.FRAGMENT) + _FRAGMENT.pack(self.id, self.index, self.count, self.total) + self.data


@frozen
class Status:
    """What became of a message. `received` are the indices that need not be sent again."""

    id: int
    state: State
    count: int = 0
    received: frozenset[int] = frozenset()

    def __str__(self) -> str:
        what = f"{len(self.received)} of {self.count} came" if self.state is State.MISSING else ""
        return f"STATUS {self.id:08x}, {self.state.name.lower()}{', ' if what else ''}{what}"

    def encode(self) -> bytes:
        """16 bytes, and one for each 8 fragments."""
        bits = bytearray(-(-self.count // 8))
        for index in self.received:
            bits[index >> 3] |= 0x80 >> (index & 7)
        return _head(Kind.STATUS) + _STATUS.pack(self.id, self.state, 0, self.count) + bits


Extension: TypeAlias = Probe | Answer | Fragment | Status


def decode_extension(body: bytes) -> Extension:
    """The value in an extension body. WireError, also for another version, which then is not for us."""
    if len(body) < _HEAD.size:
        raise WireError(f"extension body of {len(body)} bytes: the header alone has {_HEAD.size}")
    magic, version, kind, _ = _HEAD.unpack_from(body)
    if magic != MAGIC:
        raise WireError(f'extension body begins with {magic.hex()}, not with "OURO"')
    if version != VERSION:
        raise WireError(f"extension body of version {version}; only {VERSION} is known")
    if kind in (Kind.PROBE, Kind.ANSWER):
        token, capabilities = _fixed(body, _TOKEN)
        return (Probe if kind == Kind.PROBE else Answer)(token, Capability(capabilities))
    if kind == Kind.FRAGMENT:
        return _fragment(body)
    if kind == Kind.STATUS:
        return _status(body)
    raise WireError(f"extension body of unknown kind {kind}")


def fragments_of(message: bytes, id: int, room: int) -> list[Fragment]:
    """The message in as few fragments as fit in bodies of at most `room` bytes, all but the last of one size.

    TooLong: that would be more than `MAX_FRAGMENTS`. ValueError: an empty message.
    """
    if not message:
        raise ValueError("an empty message needs no fragments")
    total, space = len(message), room - FRAGMENT_HEADER
    count = -(-total // space) if space > 0 else 0
    if not 0 < count <= MAX_FRAGMENTS:
        raise TooLong(
            f"a message of {total} bytes does not fit in {MAX_FRAGMENTS} fragments of {max(space, 0)} bytes: "
            f"the layer takes {room} at a time"
        )
    size = -(-total // count)
    return [Fragment(id, i, count, total, message[i * size : (i + 1) * size]) for i in range(count)]


def _head(kind: Kind) -> bytes:
    return _HEAD.pack(MAGIC, VERSION, kind, 0)


def _fixed(body: bytes, fields: Struct) -> tuple[int, ...]:
    if len(body) < _HEAD.size + fields.size:
        raise WireError(f"extension body of kind {body[5]} has {len(body)} bytes, not {_HEAD.size + fields.size}")
    return fields.unpack_from(body, _HEAD.size)


def _fragment(body: bytes) -> Fragment:
    id, index, count, total = _fixed(body, _FRAGMENT)
    if not index < count <= MAX_FRAGMENTS:
        raise WireError(f"fragment {index} of {count}: there are 1 to {MAX_FRAGMENTS}, counted from 0")
    size = -(-total // count)
    length = min(size, total - index * size)
    data = body[FRAGMENT_HEADER:]
    if (count - 1) * size >= total or len(data) != length:
        raise WireError(f"fragment {index} of {count} of {total} bytes has {len(data)}: that does not add up")
    return Fragment(id, index, count, total, data)


def _status(body: bytes) -> Status:
    id, state, _, count = _fixed(body, _STATUS)
    bits = body[_HEAD.size + _STATUS.size :]
    if not State.COMPLETE <= state <= State.REFUSED:
        raise WireError(f"status of unknown state {state}")
    if count > MAX_FRAGMENTS or (state == State.MISSING) != bool(count) or len(bits) != -(-count // 8):
        raise WireError(f"status {state} of {count} fragments with {len(bits)} bytes for them")
    return Status(id, State(state), count, frozenset(_set_bits(bits, count)))


def _set_bits(bits: bytes, count: int) -> Iterable[int]:
    return (index for index in range(count) if bits[index >> 3] & 0x80 >> (index & 7))

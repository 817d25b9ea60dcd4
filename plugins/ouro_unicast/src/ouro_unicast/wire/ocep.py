"""OCEP: who speaks on a connection, the first packet of each side on every N-1 flow between members (unicast.md 3.1).

    protobuf, proto2, in this order:

    | field | type   | what                                                    |
    |-------|--------|---------------------------------------------------------|
    | 1     | string | name of the component, at most 128 bytes                |
    | 2     | string | its protocol; empty for that of broadcast layers        |
    | 3     | int32  | version                                                 |
    | 5     | int32  | syntax: 0 protobuf, 1 ASN.1, 2 fixed                    |
    | 8     | uint64 | the sender's address in the layer; 0 for none           |

The prototype reads 128 bytes at most, so no message is longer.
"""

from typing import Final

from attrs import evolve, frozen
from google.protobuf.message import DecodeError, EncodeError

from ouro_core.model.errors import TooLong, WireError

from .pb import members_pb2 as pb
from .proto import parsed, text

__all__ = ["BROADCAST_TRANSFER", "DATA_TRANSFER", "ENROLMENT", "LONGEST", "MANAGEMENT", "UNKNOWN", "Identity"]

LONGEST: Final = 128
"""Bytes of the longest message."""


@frozen
class Identity:
    """One side of a connection."""

    component: str
    protocol: str
    version: int
    syntax: int
    address: int = 0

    def __str__(self) -> str:
        return f"{self.component or '(none)'} ({self.protocol or 'no protocol'} {self.version}, syntax {self.syntax})"

    def at(self, address: int) -> "Identity":
        """The same component of the member with this address."""
        return evolve(self, address=address)

    def encode(self) -> bytes:
        """The message. TooLong: more than 128 bytes."""
        try:
            data: bytes = pb.Identity(
                component=self.component, protocol=self.protocol, version=self.version, syntax=self.syntax,
                address=self.address,
            ).SerializeToString()  # fmt: skip
        except (EncodeError, ValueError, TypeError) as e:
            raise WireError(f"{self} cannot be encoded: {e}") from None
        if len(data) > LONGEST:
            raise TooLong(f"a connection message of {len(data)} bytes for {self}; {LONGEST} is the limit")
        return data

    @classmethod
    def decode(cls, data: bytes) -> "Identity":
        """Total: a value or WireError."""
        if len(data) > LONGEST:
            raise WireError(f"a connection message of {len(data)} bytes; {LONGEST} is the limit")
        try:
            m = parsed(pb.Identity, data)
            return cls(text(m.component), text(m.protocol), m.version, m.syntax, m.address)
        except (DecodeError, ValueError) as e:
            raise WireError(f"no connection message: {e}") from None


ENROLMENT: Final = Identity("Enrollment", "OEP", 1, 0)
DATA_TRANSFER: Final = Identity("Data Transfer", "dtp", 1, 2)
MANAGEMENT: Final = Identity("Management", "LSP", 1, 0)
BROADCAST_TRANSFER: Final = Identity("Data Transfer", "", 0, 0)
UNKNOWN: Final = Identity("", "", 0, 0)
"""The answer for a component that there is not."""

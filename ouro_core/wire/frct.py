"""The header of FRCT, in front of every non-empty packet of a flow that asks for order (flows.md 7.1). Big endian.

    | offset | size | field  | meaning                                                            |
    |--------|------|--------|--------------------------------------------------------------------|
    | 0      | 1    | flags  | below                                                              |
    | 1      | 3    | window | low 24 bits of the first sequence number not admitted; with FC     |
    | 4      | 4    | seqno  | of this packet; with DATA. They count packets, modulo 2**32        |
    | 8      | 4    | ackno  | the sequence number expected next; with ACK                        |
    | 12     | n    |        | payload; with DATA                                                 |

Fields without a meaning are zero, and must not be looked at.
"""

from enum import IntFlag
from struct import Struct
from typing import Final

from attrs import frozen

from ouro_core.model.errors import WireError

__all__ = ["FIXED", "PCI_SIZE", "Flags", "FrctPci", "distance"]

FIXED: Final = Struct(">III")
"""Flags and window, seqno, ackno: for those who have no time for a value."""
PCI_SIZE: Final = FIXED.size
_WINDOW: Final = 0xFFFFFF


class Flags(IntFlag):
    """DATA: a payload follows. DRF: a run begins, nothing before is unacknowledged. RDVS: asks for an FC at once.
    FFGM, MFGM: fragments, reserved, never set. 0x80 has no meaning.
    """

    DATA = 0x01
    DRF = 0x02
    ACK = 0x04
    FC = 0x08
    RDVS = 0x10
    FFGM = 0x20
    MFGM = 0x40


@frozen
class FrctPci:
    """One header. Encoding what was decoded gives the same bytes."""

    flags: Flags
    window: int = 0
    seqno: int = 0
    ackno: int = 0

    def __str__(self) -> str:
        parts = ["FRCT", "|".join(flag.name or "" for flag in Flags if flag & self.flags) or "-"]
        for flag, label, value in (
            (Flags.DATA, "seq", self.seqno),
            (Flags.ACK, "ack", self.ackno),
            (Flags.FC, "window", self.window),
        ):
            if flag & self.flags:
                parts.append(f"{label} {value}")
        return " ".join(parts)

    def encode(self) -> bytes:
        """The 12 bytes; of each field what has room, for sequence numbers wrap."""
        return FIXED.pack(
            (self.flags & 0xFF) << 24 | self.window & _WINDOW, self.seqno & 0xFFFFFFFF, self.ackno & 0xFFFFFFFF
        )

    @classmethod
    def decode(cls, packet: bytes | bytearray | memoryview) -> "FrctPci":
        """The header of this packet; what is behind it is not looked at. WireError: shorter than a header."""
        if len(packet) < PCI_SIZE:
            raise WireError(f"FRCT packet of {len(packet)} bytes: the header alone has {PCI_SIZE}")
        first, seqno, ackno = FIXED.unpack_from(packet)
        return cls(Flags(first >> 24), first & _WINDOW, seqno, ackno)


def distance(a: int, b: int) -> int:
    """From sequence number `a` on to `b`, -2**31 to 2**31 - 1: negative when `b` is before `a`."""
    return (b - a + 0x80000000 & 0xFFFFFFFF) - 0x80000000

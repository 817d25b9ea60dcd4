"""Link-state updates (LSUs), one in a packet of a management flow (unicast.md 8.1). Big endian.

    | offset | size | field       | meaning                                             |
    |--------|------|-------------|-----------------------------------------------------|
    | 0      | 8    | destination | address of the neighbour                            |
    | 8      | 8    | source      | address of the member that advertises the link      |
    | 16     | 8    | seqno       | grows with each update of this link                 |
    | 24     | 1    | withdrawn   | 1: the link is no more. Absent otherwise            |

An LSU tells of one direction of a link. The prototype has no withdrawals: what is not 24 bytes long it drops, so the
links of a member whose neighbours are all prototypes end by ageing, as theirs do.
"""

from struct import Struct
from typing import Final

from attrs import frozen

from ouro_core.model.errors import WireError

__all__ = ["LSU_SIZE", "LinkStateUpdate"]

_FIELDS: Final = Struct(">QQQ")
LSU_SIZE: Final = _FIELDS.size
_WITHDRAWN: Final = b"\x01"


@frozen
class LinkStateUpdate:
    """One update. Encoding what was decoded gives the same bytes. Addresses and seqno: 0 to 2**64 - 1."""

    source: int
    destination: int
    seqno: int
    withdrawn: bool = False

    def __str__(self) -> str:
        end = " withdrawn" if self.withdrawn else ""
        return f"LSU [{self.source} -- {self.destination} seq: {self.seqno:09}{end}]"

    def encode(self) -> bytes:
        """24 bytes, or 25 when withdrawn."""
        return _FIELDS.pack(self.destination, self.source, self.seqno) + (_WITHDRAWN if self.withdrawn else b"")

    @classmethod
    def decode(cls, data: bytes | bytearray | memoryview) -> "LinkStateUpdate":
        """WireError: another length, or a last byte without meaning."""
        if len(data) == LSU_SIZE:
            withdrawn = False
        elif len(data) == LSU_SIZE + 1 and data[LSU_SIZE:] == _WITHDRAWN:
            withdrawn = True
        else:
            raise WireError(f"LSU of {len(data)} bytes: it has {LSU_SIZE}, or {LSU_SIZE + 1} that end in 01")
        destination, source, seqno = _FIELDS.unpack_from(data)
        return cls(source, destination, seqno, withdrawn)

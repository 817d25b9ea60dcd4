"""The bytes of a grant: what the broker tells a client about an end, or about itself.

64 bytes, little-endian: magic, u16 layout version, u8 kind, u8 side; u32 client, flow, pool uid, own set, own bit,
other set, other bit; ten u8 places in the descriptors (segment, pool, own set, two bells to ring for it, two to hear,
the other set, two bells to ring for it; 255: none); u32 owner of all segments, u32 tag of the flow, u32 number that the
end shows; zeros. Both sides are this distribution, so the layout is its own affair.
"""

import struct
from typing import Final

from attrs import frozen

from ouro_core.model.errors import PacketsError

__all__ = ["ADMIT", "FLOW", "GrantData"]

ADMIT: Final = 1
"""Of a client: its id, its own pool and event set. Six descriptors: places 1 to 6 of `_PLACES`."""
FLOW: Final = 2
"""Of one end of a flow."""

_MAGIC: Final = b"OSSM"
_LAYOUT: Final = 3
_STRUCT: Final = struct.Struct("<4sHBB7I10sIII6x")
_PLACES: Final = {ADMIT: bytes((255, 0, 1, 2, 3, 4, 5, 255, 255, 255)), FLOW: bytes(range(10))}


@frozen(kw_only=True)
class GrantData:
    """A grant, taken apart. `places[n]` is the index of a descriptor, in the order above."""

    kind: int
    client: int
    pool_uid: int
    owner: int
    own_set: int
    side: int = 0
    flow: int = 0
    tag: int = 0
    shown: int = 0
    own_bit: int = 0
    other_set: int = 0
    other_bit: int = 0
    places: bytes = b""

    def encode(self) -> bytes:
        return _STRUCT.pack(
            _MAGIC, _LAYOUT, self.kind, self.side, self.client, self.flow, self.pool_uid, self.own_set, self.own_bit,
            self.other_set, self.other_bit, _PLACES[self.kind], self.owner, self.tag, self.shown,
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes, kind: int, descriptors: int) -> "GrantData":
        """PacketsError unless it is a grant of this kind whose places are all among so many descriptors."""
        if len(data) != _STRUCT.size:
            raise PacketsError(f"a grant of {len(data)} bytes, expected {_STRUCT.size}")
        magic, layout, is_kind, side, client, flow, pool_uid, *numbers, places, owner, tag, shown = _STRUCT.unpack(data)
        if magic != _MAGIC or layout != _LAYOUT:
            raise PacketsError(f"grant {magic!r} version {layout}: run the same version of ouro-ssm everywhere")
        if is_kind != kind or side > 1 or any(data[-6:]):
            raise PacketsError(f"grant of kind {is_kind}, side {side}; expected kind {kind}")
        if any(place >= descriptors for place, known in zip(places, _PLACES[kind], strict=True) if known != 255):
            raise PacketsError(f"grant names descriptors {list(places)}, but came with {descriptors}")
        own_set, own_bit, other_set, other_bit = numbers
        if not 0 < client < 1 << 31 or own_bit >= 4096 or other_bit >= 4096:
            raise PacketsError(f"grant for client {client}, bits {own_bit} and {other_bit}: out of range")
        if tag & 0x80000001 or (tag == 0) != (kind == ADMIT):
            raise PacketsError(f"grant for flow {flow} with tag {tag:#x}")
        return cls(
            kind=kind, client=client, pool_uid=pool_uid, owner=owner, own_set=own_set, side=side, flow=flow, tag=tag,
            shown=shown, own_bit=own_bit, other_set=other_set, other_bit=other_bit, places=places,
        )  # fmt: skip

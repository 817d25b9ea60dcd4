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

__all__ = ["ADMIT", "CLIENT", "FLOW", "SHORT", "WHOLE", "GrantData"]

ADMIT: Final = 1
"""Of a client: its id, its own pool and event set."""
FLOW: Final = 2
"""Of one end of a flow."""

_MAGIC: Final = b"OSSM"
_LAYOUT: Final = 3
_STRUCT: Final = struct.Struct("<4sHBB7I10sIII6x")
_NONE: Final = 255
CLIENT: Final = bytes((_NONE, 0, 1, 2, 3, 4, 5, _NONE, _NONE, _NONE))
"""Places in the grant of a client."""
WHOLE: Final = bytes(range(10))
"""Places in the grant of an end in a domain that is not its client's own."""
SHORT: Final = bytes((0, *(_NONE,) * 6, 1, 2, 3))
"""Places in the grant of an end in its client's own domain: it has had pool and own set since it was admitted."""
_DESCRIPTORS: Final = {ADMIT: {CLIENT: 6}, FLOW: {WHOLE: 10, SHORT: 4}}
"""How many must have come."""


@frozen(kw_only=True)
class GrantData:
    """A grant, taken apart. `places[n]` is the index of a descriptor, in the order above."""

    kind: int
    client: int
    pool_uid: int
    owner: int
    own_set: int
    places: bytes
    side: int = 0
    flow: int = 0
    tag: int = 0
    shown: int = 0
    own_bit: int = 0
    other_set: int = 0
    other_bit: int = 0

    @property
    def short(self) -> bool:
        """Whether it comes without pool and own set, which the client has."""
        return self.places == SHORT

    def encode(self) -> bytes:
        return _STRUCT.pack(
            _MAGIC, _LAYOUT, self.kind, self.side, self.client, self.flow, self.pool_uid, self.own_set, self.own_bit,
            self.other_set, self.other_bit, self.places, self.owner, self.tag, self.shown,
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
        if descriptors < _DESCRIPTORS[kind].get(places, descriptors + 1):
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

"""What members of layers said to each other in recorded runs of the prototype, over eth-dix."""

import struct
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parent / "data"
_GLOBAL, _RECORD = struct.Struct("<IHHiIII"), struct.Struct("<IIII")
_DIX = struct.Struct("!6s6sHHH")
_ETHERTYPE = 0xA000


class Packet(NamedTuple):
    """A packet on a flow of the Ethernet layer. `eid`: the flow's, at its receiver."""

    source: bytes
    destination: bytes
    eid: int
    payload: bytes


def packets(name: str) -> list[Packet]:
    """Packets of all flows in a capture; management of the Ethernet layer itself, and keep-alives, are left out."""
    raw = (DATA / name).read_bytes()
    found, at = [], _GLOBAL.size
    while at < len(raw):
        size = _RECORD.unpack_from(raw, at)[2]
        frame, at = raw[at + _RECORD.size : at + _RECORD.size + size], at + _RECORD.size + size
        destination, source, ethertype, eid, length = _DIX.unpack_from(frame)
        if ethertype == _ETHERTYPE and eid and length:
            found.append(Packet(source, destination, eid, frame[_DIX.size : _DIX.size + length]))
    return found

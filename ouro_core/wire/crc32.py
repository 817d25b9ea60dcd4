"""The CRC32 trailer of flows that ask for no bit errors (flows.md 4).

    | offset | size | field                                            |
    |--------|------|--------------------------------------------------|
    | 0      | n    | the packet: header, payload, after encryption    |
    | n      | 4    | CRC-32 of those n bytes, big endian              |

CRC-32 is IEEE 802.3's: reflected polynomial 0xEDB88320, initial value and final XOR 0xFFFFFFFF.
"""

from zlib import crc32

from ouro_core.model.errors import WireError

__all__ = ["CRC_SIZE", "append", "strip", "trailer"]

CRC_SIZE = 4


def trailer(packet: bytes | bytearray | memoryview) -> bytes:
    """The four bytes that belong behind the packet."""
    return crc32(packet).to_bytes(CRC_SIZE, "big")


def append(packet: bytes) -> bytes:
    """The packet with its trailer, four bytes longer."""
    return packet + crc32(packet).to_bytes(CRC_SIZE, "big")


def strip(packet: bytes | bytearray | memoryview) -> memoryview:
    """The packet without its trailer, not copied. WireError: too short for one, or the trailer does not fit."""
    view = memoryview(packet)
    size = len(view) - CRC_SIZE
    if size < 0:
        raise WireError(f"packet of {len(view)} bytes has no room for the {CRC_SIZE} bytes of a CRC32")
    found, expected = int.from_bytes(view[size:], "big"), crc32(view[:size])
    if found != expected:
        raise WireError(f"CRC32 {found:08x} of the packet should be {expected:08x}: it was damaged on the way")
    return view[:size]

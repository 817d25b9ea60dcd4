"""The prototype's datagrams, out of recorded frames (classic pcap, Ethernet)."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_DATA = Path(__file__).parents[3] / "tests" / "data" / "captures"
CAPTURES = sorted(path for family in ("udp4", "udp6") for path in (_DATA / family).glob("*.pcap"))


class Datagram(NamedTuple):
    """Addresses as bytes, 4 or 16."""

    source: bytes
    to: bytes
    source_port: int
    to_port: int
    payload: bytes


def datagrams(path: Path) -> Iterator[Datagram]:
    """Those of UDP, in order."""
    data = path.read_bytes()
    at = 24
    while at < len(data):
        (kept,) = struct.unpack_from("<I", data, at + 8)
        frame = data[at + 16 : at + 16 + kept]
        at += 16 + kept
        if frame[12:14] == b"\x08\0" and frame[23] == 17:
            source, to, udp = frame[26:30], frame[30:34], frame[34:]
        elif frame[12:14] == b"\x86\xdd" and frame[20] == 17:
            source, to, udp = frame[22:38], frame[38:54], frame[54:]
        else:
            continue
        source_port, to_port, size = struct.unpack_from("!HHH", udp)
        yield Datagram(source, to, source_port, to_port, udp[8:size])

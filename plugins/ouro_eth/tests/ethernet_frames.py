"""Recorded frames of the prototype: two hosts in layers of `eth-dix`, `eth-llc`, and `eth-dix` with jumbo frames."""

import struct
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from ouro_eth.wire import Dix, Framing, Llc

CAPTURES = Path(__file__).parents[3] / "tests" / "data" / "captures"
FOLDERS = ("eth-dix", "eth-llc", "eth-dix-jumbo")
FILES = [path for folder in FOLDERS for path in sorted((CAPTURES / folder).glob("*.pcap"))]
CLIENT, SERVER = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
HASH_SIZE = 32


def framing_of(path: Path) -> Framing:
    return Llc(HASH_SIZE) if path.parent.name == "eth-llc" else Dix(HASH_SIZE, 0xA000)


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@frozen
class Recorded:
    """A management frame. `time` in seconds from the first frame; `message` without padding."""

    time: float
    to: bytes
    source: bytes
    frame: bytes
    message: bytes


def management(path: Path) -> Iterator[Recorded]:
    """The management frames of a capture, read without any code of ours."""
    data = path.read_bytes()
    magic, link = data[:4], struct.unpack_from("<I", data, 20)[0]
    assert (magic.hex(), link) == ("d4c3b2a1", 1)
    llc = path.parent.name == "eth-llc"
    at, began = 24, None
    while at < len(data):
        seconds, micros, kept, size = struct.unpack_from("<IIII", data, at)
        assert kept == size
        frame = data[at + 16 : at + 16 + kept]
        at += 16 + kept
        time = seconds + micros / 1e6
        began = time if began is None else began
        if llc and frame[14:17] == b"\x80\x80\x03":
            whole = frame[: 14 + int.from_bytes(frame[12:14], "big")]
            yield Recorded(time - began, frame[:6], frame[6:12], whole, whole[17:])
        elif not llc and frame[12:16] == b"\xa0\x00\0\0":
            whole = frame[: 18 + int.from_bytes(frame[16:18], "big")]
            yield Recorded(time - began, frame[:6], frame[6:12], whole, whole[18:])

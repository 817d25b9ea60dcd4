"""The CRC32 trailer: the known answers of flows.md 4, and damage."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.model.errors import WireError
from ouro_core.wire import crc32

KAT = Path(__file__).parents[2] / "data" / "kat" / "hash.json"


@pytest.mark.parametrize(
    ("packet", "trailer"),
    [
        (b"0", "f4dbdf21"),
        (b"123456789", "cbf43926"),
        (b"987654321", "015f0201"),
        (b"987654321123456789", "806b60e3"),
        (b"\0", "d202ef8d"),
        (b"", "00000000"),
    ],
)
def test_known_answers(packet: bytes, trailer: str) -> None:
    sealed = crc32.append(packet)
    assert sealed == packet + bytes.fromhex(trailer)
    assert crc32.strip(sealed) == packet


def test_names_of_the_prototype() -> None:
    for case in json.loads(KAT.read_text())["cases"]:
        name = case["name"].encode()
        assert crc32.append(name) == name + case["crc32_builtin_u32"].to_bytes(4, "big")


@given(st.binary(max_size=200))
def test_strip_is_total(packet: bytes) -> None:
    try:
        stripped = crc32.strip(packet)
    except WireError:
        return
    assert crc32.append(stripped) == packet


@given(st.binary(max_size=200), st.integers(min_value=0), st.integers(1, 255))
def test_one_damaged_byte_is_found(packet: bytes, place: int, change: int) -> None:
    sealed = bytearray(crc32.append(packet))
    sealed[place % len(sealed)] ^= change
    with pytest.raises(WireError, match="damaged"):
        crc32.strip(sealed)


def test_views_need_no_copy() -> None:
    sealed = bytearray(crc32.append(b"abc"))
    assert crc32.strip(memoryview(sealed)).obj is sealed

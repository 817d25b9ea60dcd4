"""Reading and writing the fields of a header, as programs describe them."""

from __future__ import annotations

from collections.abc import Sequence

from ouro_core.contracts.programs import Field, Match
from ouro_core.model.errors import PacketsError

__all__ = ["all_match", "any_match", "check", "get", "put"]

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def check(field: Field, header: int) -> None:
    """PacketsError for a field that cannot be."""
    if field.width not in (1, 2, 4, 8) or field.order not in ("big", "little"):
        raise PacketsError(f"{field} is no integer of 1, 2, 4 or 8 bytes, big or little")
    if field.bit_reversed and field.width != 1:
        raise PacketsError(f"{field}: only a field of one byte can be bit-reversed")
    if not 0 <= field.offset <= header - field.width:
        raise PacketsError(f"{field} lies outside the header of {header} bytes")


def get(field: Field, data: bytes | bytearray) -> int:
    """What the field means; negative if the header holds less than the bias."""
    raw = data[field.offset : field.offset + field.width]
    if field.bit_reversed:
        raw = raw.translate(_REVERSED)
    return int.from_bytes(raw, "little" if field.order == "little" else "big") - field.bias


def put(field: Field, buffer: bytearray, meaning: int) -> None:
    raw = (meaning + field.bias).to_bytes(field.width, "little" if field.order == "little" else "big")
    buffer[field.offset : field.offset + field.width] = raw.translate(_REVERSED) if field.bit_reversed else raw


def all_match(matches: Sequence[Match], data: bytes) -> bool:
    return all(data.startswith(m.value, m.offset) for m in matches)


def any_match(matches: Sequence[Match], data: bytes) -> bool:
    return any(data.startswith(m.value, m.offset) for m in matches)

"""Flat addresses (unicast.md 10)."""

import re

import pytest
from ouro_unicast.addresses import FlatAddresses, address_text

from ouro_core.model.errors import ConfigError, OutOfMemory


def test_the_number_is_drawn_little_endian() -> None:
    assert FlatAddresses(4).draw(lambda n: bytes(range(1, n + 1))) == 0x04030201


def test_0_and_what_is_taken_are_drawn_again() -> None:
    draws = iter([bytes(4), b"\1\0\0\0", b"\2\0\0\0"])
    assert FlatAddresses(4).draw(lambda n: next(draws), taken={1}) == 2


def test_a_source_that_is_stuck() -> None:
    with pytest.raises(OutOfMemory, match="random source"):
        FlatAddresses(4).draw(bytes)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_other_sizes(size: int) -> None:
    with pytest.raises(ConfigError, match=f"{size} bytes"):
        FlatAddresses(size)


def test_text() -> None:
    assert address_text(0x04030201) == "01.02.03.04"
    assert address_text(0) == "00.00.00.00"
    assert address_text(2**32) == "4294967296"
    assert re.fullmatch(r"(ff\.){3}ff", address_text(2**32 - 1))

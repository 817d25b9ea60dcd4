"""The FRCT header: literals from the captures, any bytes, sequence numbers at the wrap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.model.errors import WireError
from ouro_core.wire.frct import PCI_SIZE, Flags, FrctPci, distance

NUMBERS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("wire", "pci", "text"),
    [
        ("03000000cce0737200000000", FrctPci(Flags.DATA | Flags.DRF, 0, 3437261682, 0), "FRCT DATA|DRF seq 3437261682"),
        (
            "0fe07473d1023f76cce07373",
            FrctPci(Flags.DATA | Flags.DRF | Flags.ACK | Flags.FC, 14709875, 3506585462, 3437261683),
            "FRCT DATA|DRF|ACK|FC seq 3506585462 ack 3437261683 window 14709875",
        ),
        (
            "0c02407700000000d1023f77",
            FrctPci(Flags.ACK | Flags.FC, 147575, 0, 3506585463),
            "FRCT ACK|FC ack 3506585463 window 147575",
        ),
        ("0400000000000000d1023f7a", FrctPci(Flags.ACK, 0, 0, 3506585466), "FRCT ACK ack 3506585466"),
        (
            "0be36289290a509d00000000",
            FrctPci(Flags.DATA | Flags.DRF | Flags.FC, 14901897, 688541853, 0),
            "FRCT DATA|DRF|FC seq 688541853 window 14901897",
        ),
        ("100000000000000000000000", FrctPci(Flags.RDVS), "FRCT RDVS"),
        ("000000000000000000000000", FrctPci(Flags(0)), "FRCT -"),
    ],
)
def test_captured(wire: str, pci: FrctPci, text: str) -> None:
    assert FrctPci.decode(bytes.fromhex(wire)) == pci
    assert pci.encode().hex() == wire
    assert str(pci) == text


@given(st.binary(max_size=40))
def test_decode_is_total(packet: bytes) -> None:
    try:
        pci = FrctPci.decode(packet)
    except WireError:
        assert len(packet) < PCI_SIZE
        return
    assert pci.encode() == packet[:PCI_SIZE]
    assert str(pci).startswith("FRCT ")


@given(NUMBERS, st.integers(-(2**31), 2**31 - 1))
def test_distance_wraps(start: int, step: int) -> None:
    assert distance(start, (start + step) % 2**32) == step


def test_fields_wrap() -> None:
    assert FrctPci(Flags.DATA, 2**24, 2**32, 2**32 + 1).encode() == FrctPci(Flags.DATA, 0, 0, 1).encode()

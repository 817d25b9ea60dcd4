"""LSUs: the known answer, those of a recorded layer, and any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ouro_unicast.routing.wire import LSU_SIZE, LinkStateUpdate
from unicast_captures import packets

from ouro_core.model.errors import WireError

NUMBERS = st.integers(0, 2**64 - 1)
UPDATES = st.builds(LinkStateUpdate, NUMBERS, NUMBERS, NUMBERS, st.booleans())


def test_known_answer() -> None:
    """unicast.md 17.5"""
    update = LinkStateUpdate(source=0x04030201, destination=0x08070605, seqno=7)
    assert update.encode().hex() == "000000000807060500000000040302010000000000000007"
    assert LinkStateUpdate.decode(update.encode()) == update


def test_a_withdrawal_is_of_a_length_that_the_prototype_drops() -> None:
    update = LinkStateUpdate(0x04030201, 0x08070605, 7, withdrawn=True)
    assert update.encode().hex() == "00000000080706050000000004030201000000000000000701"


def test_recorded_updates() -> None:
    """In the recorded layer a management flow carries LSUs alone, and no other flow packets of their size."""
    recorded = [p.payload for name in ("seg-h1-h2.pcap", "seg-h2-h3.pcap") for p in packets(name)]
    recorded = [payload for payload in recorded if len(payload) == LSU_SIZE]
    updates = [LinkStateUpdate.decode(payload) for payload in recorded]
    assert [update.encode() for update in updates] == recorded
    assert len(updates) == 38
    left, middle, right = 0x33378D42, 0xEE1BDC35, 0x484DF2F8
    assert {(u.source, u.destination) for u in updates} == {
        (left, middle), (middle, left), (middle, right), (right, middle)
    }  # fmt: skip
    assert {u.seqno for u in updates} == set(range(5))


@given(UPDATES)
def test_what_was_encoded_is_decoded(update: LinkStateUpdate) -> None:
    assert LinkStateUpdate.decode(update.encode()) == update


@given(st.binary(max_size=2 * LSU_SIZE))
def test_any_bytes_give_a_value_or_a_wire_error(data: bytes) -> None:
    try:
        update = LinkStateUpdate.decode(data)
    except WireError:
        assert len(data) != LSU_SIZE
    else:
        assert update.encode() == data


@given(UPDATES, st.integers(0, LSU_SIZE), st.integers(0, 255))
def test_cut_and_changed(update: LinkStateUpdate, at: int, octet: int) -> None:
    data = bytearray(update.encode())
    with pytest.raises(WireError):
        LinkStateUpdate.decode(data[: min(at, LSU_SIZE - 1)])
    data[min(at, len(data) - 1)] = octet
    try:
        assert LinkStateUpdate.decode(data).encode() == data
    except WireError:
        assert len(data) != LSU_SIZE


def test_in_words() -> None:
    assert str(LinkStateUpdate(1, 2, 3)) == "LSU [1 -- 2 seq: 000000003]"
    assert str(LinkStateUpdate(1, 2, 3, True)) == "LSU [1 -- 2 seq: 000000003 withdrawn]"

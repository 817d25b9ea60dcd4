"""Datagrams: literals of the specification, recorded ones, any bytes."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ouro_udp.wire import HASH, HEADER, Message, UdpCodec

from ouro_core.model.errors import WireError
from ouro_core.model.qos import RAW, QosSpec
from ouro_core.shim.messages import Extension, FlowReply, FlowRequest, UnknownCode

from .captures import CAPTURES, datagrams

CODEC = UdpCodec()
OPING = bytes.fromhex("7862c6fec5ecaef4aa2e3934725e23b3")
REQUEST = bytes.fromhex(
    "00000000 00000040 00000000 00000000 0000000000000000 ffffffff 00000001 00000001 ffffffff 0001d4c0 01 00 00"
    "7862c6fec5ecaef4aa2e3934725e23b3 4f4150"
)
ACCEPTED = bytes.fromhex(
    "00000000 00000040 00000041 00000000 0000000000000000 00000000 00000000 00000000 00000000 00000000 02 00 00 4f4150"
)
REFUSED = bytes.fromhex(
    "00000000 00000040 00000041 fffffc10 0000000000000000 00000000 00000000 00000000 00000000 00000000 02 00 00"
)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (FlowRequest(64, OPING, RAW, b"OAP"), REQUEST),
        (FlowReply(64, 65, 0, b"OAP"), ACCEPTED),
        (FlowReply(64, 65, -1008), REFUSED),
        (Extension(b"any"), bytes(44) + b"\x4f\0\0any"),
    ],
    ids=str,
)
def test_literals(value: Message, data: bytes) -> None:
    assert CODEC.encode(value) == data
    assert CODEC.decode(data) == value


def test_every_field_of_the_qos_has_its_place() -> None:
    qos = QosSpec(1, 2, 3, 4, 5, 6, 7, 8)
    data = CODEC.encode(FlowRequest(9, OPING, qos, b""))
    assert data[16:47].hex() == "00000000000000020000000100000004000000050000000700000008010306"
    assert CODEC.decode(data) == FlowRequest(9, OPING, qos, b"")


def test_unused_fields_are_not_looked_at() -> None:
    noisy = bytearray(ACCEPTED)
    noisy[16:44] = b"\xa5" * 28
    noisy[45:47] = b"\xa5\xa5"
    assert CODEC.decode(bytes(noisy)) == FlowReply(64, 65, 0, b"OAP")
    noisy = bytearray(REQUEST)
    noisy[8:16] = b"\xa5" * 8
    assert CODEC.decode(bytes(noisy)) == FlowRequest(64, OPING, RAW, b"OAP")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "0 bytes"),
        (REQUEST[: HEADER - 1], "46 bytes"),
        (REQUEST[: HEADER + HASH - 1], "15 bytes"),
        (b"\0\0\0\1" + REQUEST[4:], "EID 1"),
        (bytes(8) + REQUEST[8:], "from EID 0"),
    ],
)
def test_what_is_no_message(data: bytes, fault: str) -> None:
    with pytest.raises(WireError, match=fault):
        CODEC.decode(data)


@pytest.mark.parametrize("code", [0, 3, 255])
def test_codes_that_there_are_not(code: int) -> None:
    with pytest.raises(UnknownCode, match=f"code {code};"):
        CODEC.decode(REQUEST[:44] + bytes([code]) + REQUEST[45:])


@given(st.binary(max_size=200) | st.binary(min_size=HEADER - 4, max_size=100).map(lambda rest: bytes(4) + rest))
def test_any_bytes(data: bytes) -> None:
    try:
        value = CODEC.decode(data)
    except WireError:
        return
    again = CODEC.encode(value)
    assert CODEC.decode(again) == value
    assert len(again) == len(data)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recorded_messages_are_encoded_again_as_they_were(path: Path) -> None:
    counted: Counter[type] = Counter()
    for datagram in datagrams(path):
        if datagram.payload[:4] == bytes(4):
            value = CODEC.decode(datagram.payload)
            assert CODEC.encode(value) == datagram.payload
            counted[type(value)] += 1
    assert counted[FlowRequest] >= counted[FlowReply] > 0
    assert not counted[Extension]

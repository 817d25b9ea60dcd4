"""The packets of oping."""

from hypothesis import given
from hypothesis import strategies as st
from ouro_tools.oping.wire import HEADER, REPLY, REQUEST, decode, encode, reply

from ouro_core.model.errors import WireError


def test_layout() -> None:
    packet = bytearray(64)
    encode(packet, 7, 3_000_000_005)
    assert packet[:24].hex() == "000000000000000703000000000000000500000000000000"
    assert packet[24:] == bytes(40)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**62), st.integers(64, 1500))
def test_there_and_back(number: int, now: int, size: int) -> None:
    packet = bytearray(size)
    encode(packet, number, now)
    assert decode(packet) == (REQUEST, number, now)
    answer = reply(bytes(packet))
    assert answer is not None
    assert decode(answer) == (REPLY, number, now)
    assert answer[4:] == packet[4:]
    assert reply(answer) is None


@given(st.binary(max_size=64))
def test_any_bytes_are_a_packet_or_an_error(data: bytes) -> None:
    try:
        decode(data)
        assert len(data) >= HEADER
    except WireError:
        assert len(data) < HEADER
    answer = reply(data)
    assert answer is None or len(answer) == len(data)

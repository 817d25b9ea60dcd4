"""Extension bodies: layout, and what does not add up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouro_core.model.capability import Capability
from ouro_core.model.errors import TooLong, WireError
from ouro_core.wire.extension import (
    FRAGMENT_HEADER,
    MAX_FRAGMENTS,
    Answer,
    Extension,
    Fragment,
    Probe,
    State,
    Status,
    decode_extension,
    fragments_of,
)

LITERALS: list[tuple[str, Extension]] = [
    ("4f55524f010100000badcafe00000003", Probe(0x0BADCAFE, Capability.FRAGMENTS | Capability.PQ)),
    ("4f55524f010200000badcafe00000001", Answer(0x0BADCAFE, Capability.FRAGMENTS)),
    ("4f55524f01030000000000070002000300000008" + "6768", Fragment(7, 2, 3, 8, b"gh")),
    ("4f55524f01040000000000070100" + "0000", Status(7, State.COMPLETE)),
    ("4f55524f01040000000000070300" + "0000", Status(7, State.REFUSED)),
    ("4f55524f01040000000000070200" + "000a" + "a040", Status(7, State.MISSING, 10, frozenset({0, 2, 9}))),
]


@pytest.mark.parametrize(("hex", "value"), LITERALS)
def test_layout(hex: str, value: Extension) -> None:
    assert value.encode().hex() == hex
    assert decode_extension(bytes.fromhex(hex)) == value


@pytest.mark.parametrize(
    "hex",
    [
        "",
        "4f55524f010100",  # cut in the header
        "4f55525001010000" + "0badcafe00000003",  # magic
        "4f55524f02010000" + "0badcafe00000003",  # version
        "4f55524f01000000" + "0badcafe00000003",  # kinds
        "4f55524f01050000" + "0badcafe00000003",
        "4f55524f01010000" + "0badcafe000000",  # cut
        "4f55524f01030000" + "0000000700020003000000",
        "4f55524f01030000" + "00000007" + "0000" + "0000" + "00000000",  # no fragments at all
        "4f55524f01030000" + "00000007" + "0003" + "0003" + "00000008" + "6768",  # index beyond count
        "4f55524f01030000" + "00000007" + "0002" + "0003" + "00000008" + "67",  # too little data
        "4f55524f01030000" + "00000007" + "0002" + "0003" + "00000008" + "676869",  # beyond the end
        "4f55524f01030000" + "00000007" + "0001" + "0003" + "00000008" + "6768",  # only the last may be short
        "4f55524f01030000" + "00000007" + "0003" + "0004" + "00000009",  # a last one of nothing
        "4f55524f01030000" + "00000007" + "0000" + "0001" + "00000000",  # a message of nothing
        "4f55524f01030000" + "00000007" + "0000" + "0401" + "00000401" + "67",  # 1025 fragments
        "4f55524f01030000" + "00000007" + "0000" + "ffff" + "ffffffff" + "67",
        "4f55524f01040000" + "00000007" + "0000" + "0000",  # states
        "4f55524f01040000" + "00000007" + "0400" + "0000",
        "4f55524f01040000" + "00000007" + "0100" + "000a" + "a040",  # complete, and yet a bitmap
        "4f55524f01040000" + "00000007" + "0200" + "0000",  # missing of none
        "4f55524f01040000" + "00000007" + "0200" + "000a" + "a0",  # bitmap too short
        "4f55524f01040000" + "00000007" + "0200" + "000a" + "a04000",  # and too long
        "4f55524f01040000" + "00000007" + "0200" + "0401" + "00" * 129,
    ],
)
def test_what_does_not_add_up_is_malformed(hex: str) -> None:
    with pytest.raises(WireError):
        decode_extension(bytes.fromhex(hex))


def test_later_versions_of_a_probe_may_be_longer_and_say_more() -> None:
    probe = decode_extension(bytes.fromhex("4f55524f0101beef0badcafe800000ff") + b"more")
    assert isinstance(probe, Probe)
    assert Capability.PQ in probe.capabilities
    assert str(probe.capabilities) == "fragments, pq, 0x800000fc"
    assert Answer(1, probe.capabilities).encode()[-4:].hex() == "800000ff"


@settings(deadline=None)
@given(st.binary(max_size=64) | st.binary(max_size=64).map(lambda tail: b"OURO\x01" + tail))
def test_any_bytes_decode_or_are_malformed(body: bytes) -> None:
    try:
        value = decode_extension(body)
    except WireError:
        return
    assert decode_extension(value.encode()) == value
    assert str(value)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=5000), st.integers(FRAGMENT_HEADER - 5, 1500), st.integers(0, 2**32 - 1))
def test_fragments_fit_add_up_and_are_as_few_as_can_be(message: bytes, room: int, id: int) -> None:
    space = room - FRAGMENT_HEADER
    if space <= 0 or len(message) > space * MAX_FRAGMENTS:
        with pytest.raises(TooLong):
            fragments_of(message, id, room)
        return
    bodies = [fragment.encode() for fragment in fragments_of(message, id, room)]
    assert max(map(len, bodies)) <= room
    assert len(bodies) == -(-len(message) // space)
    decoded = [decode_extension(body) for body in bodies]
    assert b"".join(f.data for f in decoded if isinstance(f, Fragment)) == message
    assert [f.index for f in decoded if isinstance(f, Fragment)] == list(range(len(bodies)))


def test_an_empty_message_has_no_fragments() -> None:
    with pytest.raises(ValueError, match="empty"):
        fragments_of(b"", 1, 100)

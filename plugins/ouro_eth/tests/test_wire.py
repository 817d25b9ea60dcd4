"""Frames and messages: the literals of the specification, recorded frames, and any bytes."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ouro_eth.wire import BROADCAST, Dix, Framing, Llc, NameQuery, NameQueryReply, reverse, show_mac

from ouro_core.model.errors import WireError
from ouro_core.model.names import HashAlgorithm, hash_name
from ouro_core.model.qos import RAW, QosSpec
from ouro_core.shim import Extension, FlowReply, FlowRequest, UnknownCode
from ouro_core.wire.extension import Probe

from .ethernet_frames import CLIENT, FILES, HASH_SIZE, SERVER, framing_of, management, name_of

DIX, LLC = Dix(HASH_SIZE, 0xA000), Llc(HASH_SIZE)
HASH = "42dee3b0415b4f690fd91cbd99876f1e9bd8d9745ef7fa32b142773af0349d54"
OPING = bytes.fromhex(HASH)
ZEROS = "00000000 0000000000000000 00000000 00000000 00000000 00000000"
QOS = "00000001 0000000000000000 00000001 ffffffff ffffffff 0001d4c0"
OAP = b"OAP"
A, B = "020000000001", "020000000002"

# framing, source, destination, message, the frame in hex
LITERALS: list[tuple[Framing, bytes, bytes, Any, str]] = [
    (DIX, CLIENT, BROADCAST, NameQuery(OPING),
     f"ffffffffffff {A} a000 0000 0047  0000 0000 {ZEROS} 00000000 00 02 00 {HASH}"),
    (DIX, SERVER, CLIENT, NameQueryReply(OPING), f"{A} {B} a000 0000 0047  0000 0000 {ZEROS} 00000000 00 03 00 {HASH}"),
    (DIX, CLIENT, SERVER, FlowRequest(64, OPING, RAW, OAP),
     f"{B} {A} a000 0000 004a  0040 0000 {QOS} 00000000 00 00 00 {HASH} 4f4150"),
    (DIX, SERVER, CLIENT, FlowReply(64, 65, 0, OAP),
     f"{A} {B} a000 0000 002a  0041 0040 {ZEROS} 00000000 00 01 00 4f4150"),
    (DIX, SERVER, CLIENT, FlowReply(64, 65, -1008), f"{A} {B} a000 0000 0027  0041 0040 {ZEROS} fffffc10 00 01 00"),
    (LLC, CLIENT, BROADCAST, NameQuery(OPING),
     f"ffffffffffff {A} 0048 80 80 03  00 00 02 00 {ZEROS} 00000000 00 {HASH}"),
    (LLC, CLIENT, SERVER, FlowRequest(2, OPING, RAW, OAP),
     f"{B} {A} 004b 80 80 03  02 00 00 00 {QOS} 00000000 00 {HASH} 4f4150"),
    (LLC, SERVER, CLIENT, FlowReply(2, 3, 0, OAP), f"{A} {B} 002b 80 80 03  03 02 01 00 {ZEROS} 00000000 00 4f4150"),
    (LLC, SERVER, CLIENT, FlowReply(2, 3, -1009), f"{A} {B} 0028 80 80 03  03 02 01 00 {ZEROS} fffffc0f 00"),
    (DIX, CLIENT, SERVER, Extension(b"OURO"), f"{B} {A} a000 0000 002b  0000 0000 {ZEROS} 00000000 00 4f 00 4f55524f"),
    (LLC, CLIENT, SERVER, Extension(b"OURO"), f"{B} {A} 002c 80 80 03  00 00 4f 00 {ZEROS} 00000000 00 4f55524f"),
]  # fmt: skip


@pytest.mark.parametrize(("framing", "source", "to", "message", "literal"), LITERALS, ids=lambda v: type(v).__name__)
def test_literals(framing: Framing, source: bytes, to: bytes, message: Any, literal: str) -> None:
    frame = framing.management_frame(source, to, framing.encode(message))
    assert frame.hex() == literal.replace(" ", "")
    assert framing.open(frame) == (source, framing.encode(message))
    assert framing.decode(framing.open(frame)[1]) == message


def test_headers_of_data() -> None:
    dix = DIX.route(CLIENT, SERVER, 65, 64)
    assert dix.header.hex() == f"{B}{A}a00000410000"
    assert dix.source == SERVER
    llc = LLC.route(CLIENT, SERVER, 3, 2)
    assert llc.header.hex() == f"{B}{A}0000c04003"
    assert llc.source == SERVER + b"\xc0"


def test_bits_in_reverse() -> None:
    pairs = {1: 0x80, 2: 0x40, 3: 0xC0, 4: 0x20, 5: 0xA0, 63: 0xFC}
    assert {sap: reverse(sap) for sap in pairs} == pairs
    assert [reverse(reverse(octet)) for octet in range(256)] == list(range(256))


def test_the_hash_of_the_specification() -> None:
    assert hash_name("oping", HashAlgorithm.SHA3_256) == OPING
    assert show_mac(CLIENT) == "02:00:00:00:00:01"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_recorded_messages_are_the_same_again(path: Path) -> None:
    framing = framing_of(path)
    kinds = set()
    for recorded in management(path):
        assert framing.open(recorded.frame) == (recorded.source, recorded.message)
        message = framing.decode(recorded.message)
        assert str(message)
        kinds.add(type(message))
        assert framing.encode(message) == recorded.message
        assert framing.management_frame(recorded.source, recorded.to, recorded.message) == recorded.frame
    assert {NameQuery, FlowRequest} <= kinds


@pytest.mark.parametrize("framing", [DIX, LLC], ids=["dix", "llc"])
def test_what_is_not_set_is_not_looked_at(framing: Framing) -> None:
    """Nodes of 0.22 leave there what was in memory."""
    code_at = 37 if framing is DIX else 2
    endpoints = 4 if framing is DIX else 2
    for message in (NameQuery(OPING), NameQueryReply(OPING), FlowReply(64 if framing is DIX else 2, 3, -12, b"")):
        clean = framing.encode(message)
        kept = {code_at, *((32, 33, 34, 35) if isinstance(message, FlowReply) else ())}
        kept |= set(range(endpoints)) if isinstance(message, FlowReply) else set()
        dirty = bytes(b if i in kept or i >= framing.fixed else 0xEE for i, b in enumerate(clean))
        assert dirty != clean
        assert framing.decode(dirty) == message
    request = FlowRequest(64 if framing is DIX else 2, OPING, RAW, OAP)
    dirty = bytearray(framing.encode(request))
    dirty[32:36] = b"\xee" * 4
    dirty[2 if framing is DIX else 1] = 0xEE
    assert framing.decode(bytes(dirty)) == request


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "of 0 bytes"),
        (DIX.encode(NameQuery(OPING))[:38], "of 38 bytes"),
        (DIX.encode(NameQuery(OPING))[:-1], "31 bytes where a hash of 32"),
        (DIX.encode(FlowRequest(64, OPING, RAW, b""))[:-1], "31 bytes where a hash of 32"),
        (DIX.encode(FlowRequest(0, OPING, RAW, OAP)), "endpoint 0"),
        (DIX.encode(FlowReply(64, 0, 0, OAP)), "endpoint 0"),
    ],
)
def test_malformed_messages_of_dix(message: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        DIX.decode(message)


def test_malformed_messages_of_llc() -> None:
    for sap in (0, 1, 128, 255):
        with pytest.raises(WireError, match=f"endpoint {sap}"):
            LLC.decode(LLC.encode(FlowRequest(sap, OPING, RAW, OAP)))
        with pytest.raises(WireError, match=f"endpoint {sap}"):
            LLC.decode(LLC.encode(FlowReply(2, sap, 0, OAP)))
        assert LLC.decode(LLC.encode(FlowReply(2, sap, -1))) == FlowReply(2, sap, -1)
    with pytest.raises(WireError, match="of 36 bytes"):
        LLC.decode(bytes(36))


@pytest.mark.parametrize("framing", [DIX, LLC], ids=["dix", "llc"])
def test_codes_of_later_versions(framing: Framing) -> None:
    for code in (4, 5, 78, 80, 255):
        message = bytearray(framing.encode(NameQuery(OPING)))
        message[37 if framing is DIX else 2] = code
        with pytest.raises(UnknownCode, match=f"code {code}"):
            framing.decode(bytes(message))


qos = st.builds(
    QosSpec,
    delay=st.integers(0, 2**32 - 1),
    bandwidth=st.integers(0, 2**64 - 1),
    availability=st.integers(0, 255),
    loss=st.integers(0, 2**32 - 1),
    ber=st.integers(0, 2**32 - 1),
    in_order=st.integers(0, 255),
    max_gap=st.integers(0, 2**32 - 1),
    timeout=st.integers(0, 2**32 - 1),
)
hashes = st.binary(min_size=HASH_SIZE, max_size=HASH_SIZE)


def messages(endpoints: st.SearchStrategy[int]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(FlowRequest, endpoints, hashes, qos, st.binary(max_size=80)),
        st.builds(FlowReply, endpoints, endpoints, st.integers(-(2**31), 2**31 - 1), st.binary(max_size=80)),
        st.builds(NameQuery, hashes),
        st.builds(NameQueryReply, hashes),
        st.builds(Extension, st.binary(max_size=80)),
    )


@given(messages(st.integers(1, 65535)))
def test_every_message_of_dix_is_itself_again(message: Any) -> None:
    assert DIX.decode(DIX.encode(message)) == message


@given(messages(st.integers(2, 127)))
def test_every_message_of_llc_is_itself_again(message: Any) -> None:
    assert LLC.decode(LLC.encode(message)) == message


@settings(max_examples=500)
@given(st.sampled_from([DIX, LLC]), st.binary(max_size=120))
def test_any_bytes_are_a_message_or_a_wire_error(framing: Framing, data: bytes) -> None:
    try:
        message = framing.decode(data)
    except WireError:
        return
    assert framing.decode(framing.encode(message)) == message


def test_an_extension_has_room_for_all_of_the_frame() -> None:
    body = Probe(0xBADCAFE, 3).encode()  # type: ignore[arg-type]
    for framing, code_at in ((DIX, 37), (LLC, 2)):
        message = framing.encode(Extension(body))
        assert message[code_at] == 0x4F
        assert message[: framing.fixed].strip(b"\0") == b"\x4f"
        assert message[framing.fixed :] == body

"""Codecs against the vectors of unicast.md 17 and the prototype's captures, and against anything else."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ouro_unicast.wire import ocep, oep, pci
from ouro_unicast.wire.fa import Code, FaMessage
from unicast_captures import packets

from ouro_core.model.errors import TooLong, WireError
from ouro_core.model.qos import RAW

A = 0x04030201
ID = bytes(range(1, 9))
T = (1770000000, 123456789)
EID = 0x1122334400000041
NET = oep.Layer(
    "net", 1, oep.UNICAST, oep.Unicast(directory_settings=bytes.fromhex("080310081880a3052084072884073081848c20"))
)

IDENTITIES = {
    "0a0a456e726f6c6c6d656e7412034f4550180128004000": ocep.ENROLMENT,
    "0a0d44617461205472616e736665721203647470180128024081848c20": ocep.DATA_TRANSFER.at(A),
    "0a0a4d616e6167656d656e7412034c5350180128004081848c20": ocep.MANAGEMENT.at(A),
    "0a0d44617461205472616e736665721200180028004000": ocep.BROADCAST_TRANSFER,
    "0a001200180028004000": ocep.UNKNOWN,
}
ENROLMENT = {
    "0a080102030405060708": oep.EnrolRequest(ID),
    "0a08010203040506070810809d80cc0618959aef3a20002a400a070a036e6574100110011a330a1408041008183c220c0800120808001004"
    "180f203c121708001213080310081880a3052084072884073081848c2018002001": oep.EnrolResponse(ID, *T, 0, NET),
    "0a08010203040506070810809d80cc0618959aef3a20002a0b0a070a036e657410011002": oep.EnrolResponse(
        ID, *T, 0, oep.Layer("net", 1, oep.BROADCAST)
    ),
    "0a08010203040506070810809d80cc0618959aef3a20ffffffffffffffffff01": oep.EnrolResponse(ID, *T, -1),
    "0a0801020304050607081000": oep.EnrolAck(ID),
    "0a0801020304050607 0810ffffffffffffffffff01": oep.EnrolAck(ID, -1),
}
HEADERS = {
    "01020304 00 3c 00 0000000000000000": pci.Pci(A, 0),
    "01020304 00 3c 03 4100000044332211": pci.Pci(A, EID, ecn=3),
}
MESSAGES = {
    "0000000004030201 0000000000000000 1122334400000041 0000000000000000"
    "00000000 ffffffff 00000001 00000001 ffffffff 0001d4c0 0000 00 00 00": FaMessage(
        Code.REQUEST, A, s_eid=EID, qos=RAW
    ),
    "0000000000000000 1122334400000041 aabbccdd00000042 0000000000000000"
    "00000000 00000000 00000000 00000000 00000000 00000000 0000 01 00 00": FaMessage(
        Code.REPLY, r_eid=EID, s_eid=0xAABBCCDD00000042
    ),
    "0000000000000000 1122334400000041 aabbccdd00000042 0000000000000000"
    "fffffc11 00000000 00000000 00000000 00000000 00000000 0000 01 00 00": FaMessage(
        Code.REPLY, r_eid=EID, s_eid=0xAABBCCDD00000042, response=-1007
    ),
    "0000000000000000 1122334400000041 0000000000000000 0000000000000000"
    "00000000 00000000 00000000 00000000 00000000 00000000 0140 02 00 00": FaMessage(Code.UPDATE, r_eid=EID, ece=320),
}
VECTORS: dict[str, Any] = {**IDENTITIES, **ENROLMENT, **HEADERS, **MESSAGES}
DECODERS: tuple[Callable[[bytes], Any], ...] = (
    ocep.Identity.decode, oep.EnrolRequest.decode, oep.EnrolResponse.decode, oep.EnrolAck.decode, pci.Pci.decode,
    FaMessage.decode,
)  # fmt: skip


@pytest.mark.parametrize(("text", "value"), VECTORS.items())
def test_vectors(text: str, value: Any) -> None:
    data = bytes.fromhex(text)
    assert value.encode() == data
    assert type(value).decode(data) == value
    assert str(value)


def test_known_answers_of_enrolment_with_other_values() -> None:
    layer = oep.Layer("lay1", 3, oep.UNICAST, oep.Unicast(
        8, 8, 255, 0, oep.LinkState(2, 2, 5, 20), 0, bytes.fromhex("080310041880a305208407288407" "30c4e6888901"), 0, 0
    ))  # fmt: skip
    data = bytes.fromhex(
        "0a0810111213141516171080e2cfaa0618959aef3a20002a430a080a046c617931100310011a350a150808100818ff01220c08001208"
        "0802100218052014121808001214080310041880a30520840728840730c4e688890118002000"
    )
    response = oep.EnrolResponse(bytes(range(0x10, 0x18)), 1700000000, 123456789, 0, layer)
    assert response.encode() == data
    assert oep.EnrolResponse.decode(data) == response


def test_policies_without_a_number_travel_by_name() -> None:
    layer = oep.Layer("net", 1, oep.UNICAST, oep.Unicast(routing=255, link_state=None, named=(("routing", "magic"),)))
    response = oep.EnrolResponse(ID, *T, 0, layer)
    assert oep.EnrolResponse.decode(response.encode()) == response


@pytest.mark.parametrize("name", ["seg-h1-h2.pcap", "seg-h2-h3.pcap", "broadcast-h1-h2.pcap"])
def test_captures(name: str) -> None:
    """Every packet between members is understood, and made again byte for byte."""
    seen: dict[str, int] = {}
    for packet in packets(name):
        kind, again = _read(packet.payload, broadcast=name.startswith("broadcast"))
        assert again == packet.payload, kind
        seen[kind] = seen.get(kind, 0) + 1
    if name.startswith("broadcast"):
        assert seen == {"Identity": 4, "EnrolRequest": 1, "EnrolResponse": 1, "EnrolAck": 1, "data": 1}
    else:
        assert seen["Identity"] == 6
        assert seen["EnrolRequest"] == seen["EnrolResponse"] == seen["EnrolAck"] == 1
        assert seen["FA REQUEST"] == seen["FA REPLY"] > 0
        assert seen["LSU"] > 0
        assert seen["DT"] > seen["FA REQUEST"]


def _read(payload: bytes, broadcast: bool) -> tuple[str, bytes]:
    for cls in (oep.EnrolResponse, oep.EnrolAck, oep.EnrolRequest, ocep.Identity):
        try:
            value = cls.decode(payload)
        except WireError:
            continue
        if value.encode() == payload:
            return cls.__name__, value.encode()
    if broadcast:
        return "data", payload
    if len(payload) == 24:
        return "LSU", payload  # the codec is with routing
    header = pci.Pci.decode(payload)
    rest = payload[pci.PCI_SIZE :]
    if header.eid == pci.FLOW_ALLOCATOR_EID:
        message = FaMessage.decode(rest)
        return f"FA {message.code.name}", header.encode() + message.encode()
    return "DT", header.encode() + rest


# ---------------------------------------------------------------- anything else


@given(st.binary(max_size=2100))
def test_decoders_are_total(data: bytes) -> None:
    for decode in DECODERS:
        try:
            value = decode(data)
        except WireError:
            continue
        assert str(value)


@given(st.sampled_from([bytes.fromhex(text) for text in VECTORS]), st.data())
def test_messages_cut_and_changed(message: bytes, data: st.DataObject) -> None:
    cut = message[: data.draw(st.integers(0, len(message)))]
    changed = bytearray(cut)
    for _ in range(data.draw(st.integers(0, 4))):
        if changed:
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    for decode in DECODERS:
        try:
            decode(bytes(changed))
        except WireError:
            pass


@given(
    st.builds(
        FaMessage,
        st.sampled_from(Code),
        *(st.integers(0, 2**64 - 1) for _ in range(3)),
        response=st.integers(-(2**31), 2**31 - 1),
        ece=st.integers(0, 65535),
        body=st.binary(max_size=1987),
    )
)
def test_flow_allocator_messages_come_back(message: FaMessage) -> None:
    assert FaMessage.decode(message.encode()) == message


@pytest.mark.parametrize("size", [0, 60, 2049, 65536])
def test_sizes_of_flow_allocator_messages(size: int) -> None:
    with pytest.raises(WireError, match=f"len: {size}"):
        FaMessage.decode(bytes(size))


def test_what_is_too_long_is_not_sent() -> None:
    with pytest.raises(TooLong):
        FaMessage(Code.REQUEST, body=bytes(1988)).encode()
    with pytest.raises(TooLong):
        ocep.Identity("c" * 128, "p", 1, 0).encode()
    with pytest.raises(TooLong):
        oep.EnrolResponse(ID, *T, 0, oep.Layer("n" * 1100, 1, oep.BROADCAST)).encode()


@pytest.mark.parametrize(
    ("decode", "data", "why"),
    [
        (oep.EnrolResponse.decode, oep.EnrolResponse(ID, *T, 0).encode(), "without a configuration"),
        (oep.EnrolResponse.decode, oep.EnrolResponse(ID, *T, 0, oep.Layer("n", 1, 1)).encode(), "without its param"),
        (oep.EnrolAck.decode, b"\x0a\x08" + ID, "no enrolment acknowledgement"),
        (oep.EnrolRequest.decode, bytes(1025), "1024 is the limit"),
        (ocep.Identity.decode, bytes(129), "128 is the limit"),
        (ocep.Identity.decode, bytes.fromhex("0a02fffe1200180028004000"), "no connection message"),
        (pci.Pci.decode, bytes(14), "header alone has 15"),
        (FaMessage.decode, bytes(58) + b"\x03" + bytes(2), "unknown code 3"),
    ],
)
def test_messages_that_are_none(decode: Callable[[bytes], Any], data: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode(data)


def test_the_forwarder_is_told_the_same_header() -> None:
    program = pci.program(A, 60, None, 4)
    header = pci.Pci(A, EID, ttl=9, cube=2, ecn=7).encode()
    assert program.header == len(header)
    assert (header[program.cube], header[program.ttl], header[program.ecn]) == (2, 9, 7)
    for field, value in ((program.destination, A), (program.eid, EID)):
        assert int.from_bytes(header[field.offset : field.offset + field.width], "little") == value
        assert field.order == "little"

"""The OAP header against messages of the C prototype and against anything else."""

import json
from collections.abc import Callable
from hashlib import sha256, sha384
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.model.errors import TooLong, WireError
from ouro_core.wire.oap import CIPHER_NIDS, DIGEST_NIDS, HEADER_SIZE, OapHeader

EXCHANGES = json.loads((Path(__file__).parents[2] / "data" / "oap" / "exchanges.json").read_text())["exchanges"]
HASH_SIZES = {"sha256": 32, "sha384": 48}

ID = bytes(range(16))
STAMP = 0x18F0123456789ABC
CLIENT_KEY = bytes.fromhex("302a300506032b656e03210007a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c")
SERVER_KEY = bytes.fromhex("302a300506032b656e0321005869aff450549732cbaaed5e5df9b30a6da31cb0e5742bad5ad4a1a768f1a67b")
REQUEST = bytes.fromhex("000102030405060708090a0b0c0d0e0f18f0123456789abc038502a002a00000002c0002") + CLIENT_KEY + b"hi"
RESPONSE = (
    bytes.fromhex("000102030405060708090a0b0c0d0e0f18f012345687dcfc038502a002a00000002c0000")
    + SERVER_KEY
    + bytes.fromhex("7e3d820403f8d2723a0693e4eb0afaa6c7a6cfa5853747258c06fc6946fb1ee7")
)
EMPTY = bytes.fromhex("000102030405060708090a0b0c0d0e0f18f0123456789abc000000000000000000000000")


def test_literals() -> None:
    request = OapHeader(ID, STAMP, 901, 672, 672, kex=CLIENT_KEY, data=b"hi")
    assert request.encode() == REQUEST
    assert OapHeader.decode(REQUEST) == request
    response = OapHeader(ID, STAMP + 1_000_000, 901, 672, 672, kex=SERVER_KEY, req_hash=sha256(REQUEST).digest())
    assert response.encode() == RESPONSE
    assert OapHeader.decode(RESPONSE, hash_size=32) == response
    assert OapHeader(ID, STAMP).encode() == EMPTY
    assert sha384(EMPTY).hexdigest().startswith("2ab323a985dde924bbdfc2f22c4c1497f773f3f0b07feec5")


@pytest.mark.parametrize(
    ("header", "kex_field"),
    [
        (OapHeader(ID, STAMP, kex=bytes(1088), client_encaps=True), "4440"),
        (OapHeader(ID, STAMP, kex=bytes(1216), raw=True), "84c0"),
        (OapHeader(ID, STAMP, kex=bytes(1120), raw=True, client_encaps=True), "c460"),
        (OapHeader(ID, STAMP, kex=bytes(1624), raw=True, client_encaps=True), "c658"),
    ],
)
def test_flags_of_the_key_exchange(header: OapHeader, kex_field: str) -> None:
    encoded = header.encode()
    assert encoded[32:34].hex() == kex_field
    assert OapHeader.decode(encoded) == header


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda s: f"{s['medium']}-{s['name']}")
def test_messages_of_the_prototype(exchange: dict[str, Any]) -> None:
    check(exchange["request"], 0)
    if "response" in exchange:
        check(exchange["response"], HASH_SIZES[exchange["req_hash_alg"]])


def check(expected: dict[str, Any], hash_size: int) -> None:
    wire = bytes.fromhex(expected["wire"])
    header = OapHeader.decode(wire, hash_size=hash_size)
    assert header.encode() == wire
    assert header.id.hex() == expected["id"]
    assert header.timestamp == expected["timestamp_ns"]
    assert (header.cipher_nid, header.kdf_nid, header.md_nid) == (
        expected["cipher_nid"],
        expected["kdf_nid"],
        expected["md_nid"],
    )
    assert (header.raw, header.client_encaps) == (expected["kex_raw_format"], expected["kex_client_encaps"])
    assert (len(header.certificate), len(header.kex)) == (expected["crt_len"], expected["kex_len"])
    assert header.data.hex() == expected["data"]
    assert header.req_hash.hex() == expected.get("req_hash", "")
    assert len(header.signature) == expected["signature_len"]


@pytest.mark.parametrize("length", range(len(REQUEST)))
def test_truncated_at_each_byte(length: int) -> None:
    with pytest.raises(WireError, match="OAP message of"):
        OapHeader.decode(REQUEST[:length])
    with pytest.raises(WireError, match="OAP message of"):
        OapHeader.decode(RESPONSE[:length], hash_size=32)


def with_u16(message: bytes, offset: int, value: int) -> bytes:
    return message[:offset] + value.to_bytes(2, "big") + message[offset + 2 :]


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (with_u16(REQUEST, 30, 60000), "its fields need 60082"),
        (with_u16(REQUEST, 30, 1), "its fields need 83"),
        (with_u16(EMPTY, 30, 1), "its fields need 37"),
        (with_u16(REQUEST, 34, 3), "its fields need 83"),
        (with_u16(REQUEST, 34, 1), "1 trailing byte"),
        (EMPTY + b"\0", "1 trailing byte"),
        (with_u16(REQUEST, 24, 9999), "unknown cipher NID 9999"),
        (with_u16(EMPTY, 26, 1096), "unknown kdf NID 1096"),
        (with_u16(EMPTY, 28, 901), "unknown digest NID 901"),
    ],
)
def test_refused(message: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        OapHeader.decode(message)


def test_a_plugins_numbers_are_known_when_it_says_so() -> None:
    message = with_u16(REQUEST, 24, 9999)
    assert OapHeader.decode(message, ciphers={9999}).cipher_nid == 9999


@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (lambda blob: OapHeader(ID, STAMP, certificate=blob), 65535),
        (lambda blob: OapHeader(ID, STAMP, kex=blob), 16383),
        (lambda blob: OapHeader(ID, STAMP, data=blob), 65535),
    ],
    ids=["certificate", "kex", "data"],
)
def test_too_long_a_field(make: Callable[[bytes], OapHeader], limit: int) -> None:
    fits = make(bytes(limit))
    assert OapHeader.decode(fits.encode()) == fits
    with pytest.raises(TooLong, match=f"{limit + 1} bytes"):
        make(bytes(limit + 1)).encode()


def test_an_id_has_sixteen_bytes() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        OapHeader(b"short", STAMP)


def test_text() -> None:
    header = OapHeader(ID, 5, 901, certificate=b"c" * 900, kex=b"k" * 1120, raw=True, client_encaps=True, data=b"hi")
    assert str(header) == "OAP 0001020304050607 @ 5 ns, cipher 901, crt [900], kex [1120 FR], data [2]"


nids = st.sampled_from([0, *CIPHER_NIDS.values()])
digest_nids = st.sampled_from([0, *DIGEST_NIDS.values()])
headers = st.builds(
    OapHeader,
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**64 - 1),
    nids,
    digest_nids,
    digest_nids,
    certificate=st.binary(min_size=1, max_size=60),
    kex=st.binary(max_size=60),
    raw=st.booleans(),
    client_encaps=st.booleans(),
    data=st.binary(max_size=60),
    req_hash=st.binary(min_size=48, max_size=48),
    signature=st.binary(max_size=60),
)


@given(headers)
def test_round_trip(header: OapHeader) -> None:
    assert OapHeader.decode(header.encode(), hash_size=48) == header
    assert str(header)


@given(st.binary(max_size=200), st.sampled_from([0, 32, 48, 64]))
def test_decode_is_total(message: bytes, hash_size: int) -> None:
    decode_anything(message, hash_size)


@given(
    st.binary(min_size=30, max_size=30), st.lists(st.integers(0, 300), min_size=3, max_size=3), st.binary(max_size=300)
)
def test_decode_is_total_near_valid(start: bytes, lengths: list[int], rest: bytes) -> None:
    fixed = start[:24] + bytes(6) + b"".join(length.to_bytes(2, "big") for length in lengths)
    assert len(fixed) == HEADER_SIZE
    decode_anything(fixed + rest, 0)


def decode_anything(message: bytes, hash_size: int) -> None:
    try:
        header = OapHeader.decode(message, hash_size=hash_size)
    except WireError:
        return
    assert header.encode() == message
    assert str(header)

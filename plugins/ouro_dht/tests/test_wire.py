"""Messages: the prototype's bytes, the rules of protobuf, and whatever else may come."""

from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ouro_dht.debug import describe
from ouro_dht.pb import dht_pb2 as pb
from ouro_dht.wire import (
    MAX_MESSAGE,
    Contact,
    Malformed,
    Message,
    Request,
    Response,
    Store,
    Value,
    address_of,
    decode,
    encode,
    value_of,
)

US = Contact(bytes(range(0x28, 0x48)), 0xC4E2D9ED)
THEM = Contact(b"\xa6" * 32, 0xFBC10D9F)

# What the prototype's encoder makes of these (spec: dht.md 2.5).
GOLDEN = {
    "FIND_NODE_REQ": (
        Request(US, b"\x09" * 32, 0x3B6E55A0E2B14282),
        "080112280a2028292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464710edb38ba70c222c088285c5958eb495b73b"
        "12200909090909090909090909090909090909090909090909090909090909090909",
    ),
    "FIND_NODE_RSP": (
        Response(THEM, b"\x09" * 32, 0x3B6E55A0E2B14282, (US,)),
        "080212280a20a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6109f9b84de0f2a56088285c5958eb495b73b"
        "122009090909090909090909090909090909090909090909090909090909090909091a280a2028292a2b2c2d2e2f3031323334353637383"
        "93a3b3c3d3e3f404142434445464710edb38ba70c",
    ),
    "FIND_VALUE_REQ": (
        Request(US, b"\x07" * 32, 0xEB53B28D82C0DF63, True),
        "080312280a2028292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464710edb38ba70c222d08e3be8396d8d1eca9eb"
        "0112200707070707070707070707070707070707070707070707070707070707070707",
    ),
    "FIND_VALUE_RSP": (
        Response(THEM, b"\x07" * 32, 0xEB53B28D82C0DF63, (US,), ()),
        "080412280a20a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6a6109f9b84de0f2a5708e3be8396d8d1eca9eb"
        "01122007070707070707070707070707070707070707070707070707070707070707071a280a2028292a2b2c2d2e2f30313233343536373"
        "8393a3b3c3d3e3f404142434445464710edb38ba70c3200",
    ),
    "STORE": (
        Store(US, bytes(range(32)), value_of(0xC4E2D9ED), 1795418175),
        "080012280a2028292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464710edb38ba70c1a320a20000102030405060"
        "708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f120800000000c4e2d9ed18bfd08fd806",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_packets(name: str) -> None:
    message, text = GOLDEN[name]
    assert encode(message).hex() == text
    assert decode(bytes.fromhex(text), 32) == message


def test_the_capture_both_ways(capture: Any) -> None:
    for entry in capture["messages"]:
        wire = bytes.fromhex(entry["wire"])
        message = decode(wire, 32)
        assert encode(message) == wire
        assert not message.ouro


def test_the_capture_as_the_prototype_logs_it(capture: Any) -> None:
    """Every message that arrived, in the words of the node that got it. Its threads mixed the lines of some."""
    blocks = {block for log in capture["logs"].values() for block in log}
    lines = {line for block in blocks for line in block.splitlines()}
    whole = 0
    for entry in capture["messages"]:
        message = decode(bytes.fromhex(entry["wire"]), 32)
        ours = describe(message, "<--", message.source)
        assert set(ours.splitlines()) <= lines
        whole += ours in blocks
    assert whole >= len(capture["messages"]) - 3


def test_what_is_sent_as_the_prototype_logs_it(capture: Any) -> None:
    sent = [b for log in capture["logs"].values() for b in log if " --> " in b.splitlines()[0]]
    contacts = {m.source.address: m.source for m in (decode(bytes.fromhex(e["wire"]), 32) for e in capture["messages"])}
    ours = set()
    for entry in capture["messages"]:
        message = decode(bytes.fromhex(entry["wire"]), 32)
        for peer in (contacts[entry["destination"]], Contact(message.source.id, entry["destination"])):
            ours.add(describe(message, "-->", peer))
    assert sent
    assert all(block in ours for block in sent)


def test_times_and_addresses_in_the_log() -> None:
    store = Store(US, bytes(range(32)), value_of(0xC4E2D9ED), 1754242184)
    assert describe(store, "-->", THEM).splitlines() == [
        "DHT_STORE --> [a6a6a6a6a6a6a6a6|9f.0d.c1.fb].",
        "  key: 0001020304050607 [32 bytes]",
        "  val: 00000000c4e2d9ed [8 bytes]",
        "  exp: 2025-08-03 17:29:44 (UTC).",
    ]


@pytest.mark.parametrize(("size", "sizes"), [(28, (83, 88)), (32, (91, 96)), (48, (123, 128)), (64, (155, 160))])
def test_sizes(size: int, sizes: tuple[int, int]) -> None:
    """Spec: dht.md 2.4."""
    source = Contact(bytes(size), 0xFFFFFFFF)
    request = Request(source, bytes(size), (1 << 64) - 1)
    store = Store(source, bytes(size), bytes(8), 1795418175)
    assert (len(encode(request)), len(encode(store))) == sizes


@pytest.mark.parametrize(("size", "with_contacts", "with_value"), [(28, 388, 400), (32, 428, 440), (64, 748, 760)])
def test_sizes_of_responses(size: int, with_contacts: int, with_value: int) -> None:
    contacts = (Contact(bytes(size), 0xFFFFFFFF),) * 8
    source, cookie = contacts[0], (1 << 64) - 1
    assert len(encode(Response(source, bytes(size), cookie, contacts))) == with_contacts
    assert len(encode(Response(source, bytes(size), cookie, contacts, (Value(bytes(8)),)))) == with_value


def test_zeros_are_there() -> None:
    wire = encode(Store(US, bytes(32), bytes(8), 0))
    assert wire.startswith(b"\x08\x00")
    assert wire.endswith(b"\x18\x00")
    assert b"\x08\x00\x12\x20" in encode(Request(US, bytes(32), 0))


def test_our_hints_are_unknown_fields_to_others() -> None:
    """What is left when fields from 100 on are taken away are the prototype's bytes."""
    for message, text in GOLDEN.values():
        ours = encode(attrs.evolve(message, ouro=True))
        assert ours == bytes.fromhex(text) + b"\xa0\x06\x01"
        assert decode(ours, 32).ouro


# ---------------------------------------------------------------- any message

ids = st.binary(min_size=32, max_size=32)
u32, u64 = st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1)
contacts = st.builds(Contact, ids, st.integers(1, (1 << 64) - 1))
values = st.builds(Value, st.binary(max_size=64), u32, u32)
messages = st.one_of(
    st.builds(Store, contacts, ids, st.binary(min_size=1, max_size=64), u32, u32, st.booleans(), st.booleans()),
    st.builds(Request, contacts, ids, u64, st.booleans(), st.booleans()),
    st.builds(
        Response, contacts, ids, u64, st.lists(contacts, max_size=20).map(tuple),
        st.one_of(st.none(), st.lists(values, max_size=8).map(tuple)), st.booleans(),
    ),
)  # fmt: skip


def by_generated_code(message: Message) -> bytes:
    """The same message, encoded the slow way."""
    out = pb.Message(code=message.code, src=pb.Contact(id=message.source.id, addr=message.source.address))
    if isinstance(message, Store):
        out.store.CopyFrom(pb.Store(key=message.key, val=message.value, exp=message.expiry))
        if message.published:
            out.store.published = message.published
        if message.withdraw:
            out.store.withdraw = True
    elif isinstance(message, Request):
        out.find.CopyFrom(pb.Find(cookie=message.cookie, key=message.key))
    else:
        found = [pb.Contact(id=c.id, addr=c.address) for c in message.contacts]
        out.node.CopyFrom(pb.Node(cookie=message.cookie, key=message.key, contacts=found))
        if message.values is not None:
            out.val.SetInParent()
            out.val.values.extend(v.data for v in message.values)
            if any(v.published for v in message.values):
                out.val.published.extend(v.published for v in message.values)
            if any(v.expiry for v in message.values):
                out.val.expiry.extend(v.expiry for v in message.values)
    if message.ouro:
        out.ouro = 1
    return out.SerializeToString()


@settings(max_examples=300, deadline=None)
@given(messages)
def test_every_message_comes_back(message: Message) -> None:
    wire = encode(message)
    assert wire == by_generated_code(message)
    assert decode(wire, 32) == message
    assert describe(message, "<--", message.source)


@settings(max_examples=300, deadline=None)
@given(messages, st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4), st.integers(0, 4000))
def test_damaged_messages(message: Message, changes: list[tuple[int, int]], cut: int) -> None:
    wire = bytearray(encode(message))
    for place, value in changes:
        wire[place % len(wire)] = value
    for data in (bytes(wire), bytes(wire[: cut % (len(wire) + 1)])):
        check_total(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    check_total(data)


def check_total(data: bytes) -> None:
    try:
        message = decode(data, 32)
    except Malformed:
        pass
    else:
        assert len(message.source.id) == len(message.key) == 32
        assert message.source.address
        describe(message, "<--", message.source)


# ---------------------------------------------------------------- messages that are none


def broken(reason: str, message: pb.Message | bytes, size: int = 32) -> None:
    data = message if isinstance(message, bytes) else message.SerializePartialToString()
    with pytest.raises(Malformed) as caught:
        decode(data, size)
    assert caught.value.reason == reason


SRC = pb.Contact(id=US.id, addr=US.address)


def test_what_is_refused() -> None:
    """Spec: dht.md 9."""
    find = pb.Find(cookie=1, key=bytes(32))
    node = pb.Node(cookie=1, key=bytes(32))
    store = pb.Store(key=bytes(32), val=bytes(8), exp=1)
    broken("incomplete", b"")
    broken("incomplete", b"\x08\x01")
    broken("undecodable", b"\xff\xff\xff")
    broken("undecodable", encode(GOLDEN["STORE"][0])[:-1])
    broken("too_long", bytes(MAX_MESSAGE + 1))
    broken("incomplete", pb.Message(src=SRC, find=find))
    broken("source_id", pb.Message(code=1, src=pb.Contact(id=bytes(31), addr=1), find=find))
    broken("source_id", pb.Message(code=1, src=pb.Contact(id=b"", addr=1), find=find))
    broken("source_address", pb.Message(code=1, src=pb.Contact(id=bytes(32), addr=0), find=find))
    broken("incomplete", pb.Message(code=1, src=SRC, node=node))
    broken("incomplete", pb.Message(code=2, src=SRC, find=find))
    broken("incomplete", pb.Message(code=4, src=SRC, node=node))
    broken("incomplete", pb.Message(code=0, src=SRC, find=find))
    broken("incomplete", pb.Message(code=0, src=SRC, store=pb.Store(key=bytes(32), val=b"")))
    broken("key", pb.Message(code=1, src=SRC, find=pb.Find(cookie=1, key=bytes(33))))
    broken("key", pb.Message(code=0, src=SRC, store=pb.Store(key=b"", val=bytes(8), exp=1)))
    broken("key", pb.Message(code=2, src=SRC, node=pb.Node(cookie=1, key=bytes(28))))
    broken("value", pb.Message(code=0, src=SRC, store=pb.Store(key=bytes(32), val=b"", exp=1)))
    broken("code", pb.Message(code=5, src=SRC, find=find))
    broken("code", pb.Message(code=(1 << 32) - 1, src=SRC, store=store))
    bad = pb.Contact(id=bytes(16), addr=1)
    broken("contact_id", pb.Message(code=2, src=SRC, node=pb.Node(cookie=1, key=bytes(32), contacts=[bad])))


def test_contacts_with_address_0_are_left_out() -> None:
    node = pb.Node(cookie=1, key=bytes(32), contacts=[pb.Contact(id=bytes(32), addr=a) for a in (0, 5, 0)])
    message = decode(pb.Message(code=2, src=SRC, node=node).SerializeToString(), 32)
    assert isinstance(message, Response)
    assert message.contacts == (Contact(bytes(32), 5),)


def test_the_rules_of_protobuf() -> None:
    """Any order, unknown fields at every level, doubled fields merged."""
    request, _ = GOLDEN["FIND_NODE_REQ"]
    wire = encode(request)
    code, rest = wire[:2], wire[2:]
    assert decode(rest + code, 32) == request
    assert decode(wire + b"\xba\x3e\x03abc", 32) == request
    assert decode(b"\x08\x03" + wire, 32) == request
    inner = b"\x12" + bytes([rest[1] + 2]) + rest[2 : 2 + rest[1]] + b"\x18\x05" + rest[2 + rest[1] :]
    assert decode(code + inner, 32) == request


def test_hints_that_do_not_fit_are_ignored() -> None:
    source = pb.Contact(id=US.id, addr=1)
    message = pb.Message(
        code=4, src=source, node=pb.Node(cookie=1, key=bytes(32)), val=pb.Values(values=[bytes(8)], published=[1, 2])
    )
    found = decode(message.SerializeToString(), 32)
    assert isinstance(found, Response)
    assert found.values == (Value(bytes(8)),)


def test_values() -> None:
    assert value_of(0xC4E2D9ED).hex() == "00000000c4e2d9ed"
    assert address_of(value_of(12345)) == 12345
    assert address_of(b"1234567") == address_of(b"") == address_of(b"123456789") == 0

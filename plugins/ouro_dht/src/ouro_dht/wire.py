"""Messages of the DHT (spec: dht.md 2): one message is one packet, a bare protobuf (proto2), best effort.

    dht_msg      code 1, src 2 {id 1, addr 2}, one of the following; ours: ouro 100
      0 STORE           store 3 {key 1, val 2, exp 3; ours: published 100, withdraw 101}
      1 FIND_NODE_REQ   find 4 {cookie 1, key 2}
      2 FIND_NODE_RSP   node 5 {cookie 1, key 2, contacts 3 {id 1, addr 2}*}
      3 FIND_VALUE_REQ  find 4
      4 FIND_VALUE_RSP  node 5, val 6 {values 1*; ours: published 100*, expiry 101*}, present even without values

    id, key        as long as the hash of the layer (28, 32, 48 or 64 bytes)
    addr, cookie   u64; an address is never 0
    val            an address: 8 bytes, big-endian
    exp, expiry, published   seconds since 1970, u32

Fields are written in order of their numbers, zeros included: the prototype cannot read what leaves them out. It ignores
ours. Decoding is left to the generated code, which is native and knows the rules (any order, unknown fields, merging of
doubled ones); encoding puts finished pieces together, as contacts are sent again and again, and takes a tenth of the
time that the generated code needs.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from attrs import frozen
from google.protobuf.message import DecodeError

from ouro_core.model.errors import WireError

from . import ids
from .pb import dht_pb2 as pb

__all__ = [
    "ADDRESS_SIZE", "MAX_MESSAGE", "MAX_SIZE", "MAX_VALUES", "NAMES", "Contact", "Malformed", "Message", "Request",
    "Response", "Store", "Value", "address_of", "decode", "encode", "value_of",
]  # fmt: skip

MAX_MESSAGE: Final = 16384
"""Longest message that is looked at, in bytes."""
MAX_SIZE: Final = 1300
"""Longest message that is sent, in bytes: it fits into an Ethernet frame through several layers."""
MAX_VALUES: Final = 8
"""Values in a response."""
ADDRESS_SIZE: Final = 8
"""Bytes of an address that is a value."""
NAMES: Final = ("DHT_STORE", "DHT_FIND_NODE_REQ", "DHT_FIND_NODE_RSP", "DHT_FIND_VALUE_REQ", "DHT_FIND_VALUE_RSP")
"""By code."""


class Malformed(WireError):
    """A message that is none. `reason` is the word it is counted by."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Contact(NamedTuple):
    """A member: id in the DHT, address in the layer."""

    id: bytes
    address: int


class Value(NamedTuple):
    """What a key has. `published` is when its owner said so, `expiry` when it ends, seconds since 1970; 0: unknown."""

    data: bytes
    published: int = 0
    expiry: int = 0


@frozen
class Store:
    """Keep a value for a key. `withdraw`: forget it. `published` 0: the sender does not say."""

    source: Contact
    key: bytes
    value: bytes
    expiry: int
    published: int = 0
    withdraw: bool = False
    ouro: bool = False

    @property
    def code(self) -> int:
        return 0


@frozen
class Request:
    """Which members are closest to a key, and, if `for_value`, which values has it?"""

    source: Contact
    key: bytes
    cookie: int
    for_value: bool = False
    ouro: bool = False

    @property
    def code(self) -> int:
        return 3 if self.for_value else 1


@frozen
class Response:
    """The answer. `values` None: the question was for members alone."""

    source: Contact
    key: bytes
    cookie: int
    contacts: tuple[Contact, ...]
    values: tuple[Value, ...] | None = None
    ouro: bool = False

    @property
    def code(self) -> int:
        return 2 if self.values is None else 4


Message: TypeAlias = Store | Request | Response
_OURO: Final = b"\xa0\x06\x01"


def value_of(address: int) -> bytes:
    """An address as a value."""
    return address.to_bytes(ADDRESS_SIZE, "big")


def address_of(value: bytes) -> int:
    """The reverse; 0 when it cannot be one."""
    return int.from_bytes(value, "big") if len(value) == ADDRESS_SIZE else 0


# ---------------------------------------------------------------- encoding


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(tag: bytes, data: bytes) -> bytes:
    return tag + _varint(len(data)) + data


def _contact(contact: Contact) -> bytes:
    return _field(b"\x0a", contact.id) + b"\x10" + _varint(contact.address)


@lru_cache(maxsize=1 << 16)
def _named(contact: Contact) -> bytes:
    """A contact as a response names it."""
    return _field(b"\x1a", _contact(contact))


@lru_cache(maxsize=1 << 10)
def _head(code: int, source: Contact) -> bytes:
    """What a message of a member begins with."""
    return b"\x08" + bytes((code,)) + _field(b"\x12", _contact(source))


def _numbers(tag: bytes, numbers: list[int]) -> bytes:
    return _field(tag, b"".join(map(_varint, numbers))) if any(numbers) else b""


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    if isinstance(message, Request):
        body = b"\x22" + _keyed(message.cookie, message.key)
    elif isinstance(message, Response):
        contacts = b"".join(map(_named, message.contacts))
        body = _field(b"\x2a", _pair(message.cookie, message.key) + contacts)
        if message.values is not None:
            body += _field(b"\x32", _values(message.values))
    else:
        body = _field(b"\x1a", _stored(message))
    return _head(message.code, message.source) + body + (_OURO if message.ouro else b"")


def _pair(cookie: int, key: bytes) -> bytes:
    return b"\x08" + _varint(cookie) + _field(b"\x12", key)


def _keyed(cookie: int, key: bytes) -> bytes:
    pair = _pair(cookie, key)
    return _varint(len(pair)) + pair


def _values(values: tuple[Value, ...]) -> bytes:
    return (
        b"".join([_field(b"\x0a", v.data) for v in values])
        + _numbers(b"\xa2\x06", [v.published for v in values])
        + _numbers(b"\xaa\x06", [v.expiry for v in values])
    )


def _stored(message: Store) -> bytes:
    return (
        _field(b"\x0a", message.key)
        + _field(b"\x12", message.value)
        + b"\x18"
        + _varint(message.expiry)
        + (b"\xa0\x06" + _varint(message.published) if message.published else b"")
        + (b"\xa8\x06\x01" if message.withdraw else b"")
    )


# ---------------------------------------------------------------- decoding


def decode(data: bytes, size: int, original: Callable[[bytes], bytes] = ids.original) -> Message:
    """A message, whose ids and keys must have `size` bytes. Malformed. A contact with address 0 is left out, as the
    prototype passes such on. `original` is applied to the ids of members.
    """
    if len(data) > MAX_MESSAGE:
        raise Malformed("too_long", f"{len(data)} bytes; at most {MAX_MESSAGE} are read")
    message = pb.Message()
    try:
        message.ParseFromString(data)
    except DecodeError as e:
        raise Malformed("undecodable", f"no protobuf: {e}") from None
    if not message.IsInitialized():
        raise Malformed("incomplete", "a required field is missing")
    if len(message.src.id) != size:
        raise Malformed("source_id", f"the source's id has {len(message.src.id)} bytes; here they have {size}")
    if not message.src.addr:
        raise Malformed("source_address", "the source's address is 0")
    source = Contact(original(message.src.id), message.src.addr)
    if message.code == 0:
        return _decode_store(message, source, size)
    if message.code in (1, 3):
        if not message.HasField("find"):
            raise Malformed("incomplete", f"{NAMES[message.code]} without what it asks for")
        _check_key(message.find.key, size)
        return Request(source, message.find.key, message.find.cookie, message.code == 3, bool(message.ouro))
    if message.code in (2, 4):
        return _decode_response(message, source, size, original)
    raise Malformed("code", f"unknown code {message.code}")


def _check_key(key: bytes, size: int) -> None:
    if len(key) != size:
        raise Malformed("key", f"a key of {len(key)} bytes; here they have {size}")


def _decode_store(message: pb.Message, source: Contact, size: int) -> Store:
    if not message.HasField("store"):
        raise Malformed("incomplete", "DHT_STORE without what to store")
    store = message.store
    _check_key(store.key, size)
    if not store.val:
        raise Malformed("value", "an empty value")
    return Store(source, store.key, store.val, store.exp, store.published, store.withdraw, bool(message.ouro))


def _decode_response(message: pb.Message, source: Contact, size: int, original: Callable[[bytes], bytes]) -> Response:
    wants_values = message.code == 4
    if not message.HasField("node") or (wants_values and not message.HasField("val")):
        raise Malformed("incomplete", f"{NAMES[message.code]} without its answer")
    node = message.node
    _check_key(node.key, size)
    contacts = []
    for c in node.contacts:
        if len(c.id) != size:
            raise Malformed("contact_id", f"a contact's id of {len(c.id)} bytes; here they have {size}")
        if c.addr:
            contacts.append(Contact(original(c.id), c.addr))
    values = _decode_values(message.val) if wants_values else None
    return Response(source, node.key, node.cookie, tuple(contacts), values, bool(message.ouro))


def _decode_values(message: pb.Values) -> tuple[Value, ...]:
    values = message.values
    unknown = [0] * len(values)
    published = message.published if len(message.published) == len(values) else unknown
    expiry = message.expiry if len(message.expiry) == len(values) else unknown
    return tuple(map(Value, values, published, expiry))

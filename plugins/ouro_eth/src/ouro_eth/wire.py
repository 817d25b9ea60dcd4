"""Frames and management messages of Ethernet layers (shims.md 4.1 to 4.3). Everything is big-endian.

An `eth-dix` frame; EID 0 is management:

    | offset | size | field       | meaning                                                       |
    |--------|------|-------------|---------------------------------------------------------------|
    | 0      | 6    | destination | MAC address, or ff:ff:ff:ff:ff:ff                             |
    | 6      | 6    | source      | MAC address                                                   |
    | 12     | 2    | ethertype   | of the layer                                                  |
    | 14     | 2    | eid         | of the destination                                            |
    | 16     | 2    | length      | of the payload; what is behind it is padding                  |

An `eth-llc` frame, 802.3 with 802.2; SAP 1, on both sides, is management:

    | 12     | 2    | length      | of the payload + 3                                            |
    | 14     | 1    | dsap        | of the destination, its bits in reverse                       |
    | 15     | 1    | ssap        | of the source, its bits in reverse                            |
    | 16     | 1    | control     | 03                                                            |

A management message begins with a fixed part, in the order given here by the name of the type:

    | eth-dix   | eth-llc   | field        | set in                                                       |
    |-----------|-----------|--------------|--------------------------------------------------------------|
    | 0, 2      | 0, 1      | seid, ssap   | FLOW_REQ: the requester's; FLOW_REPLY: the responder's       |
    | 2, 2      | 1, 1      | deid, dsap   | FLOW_REPLY: the requester's                                  |
    | 4, 4      | 4, 4      | loss         | FLOW_REQ, as all of the QoS                                  |
    | 8, 8      | 8, 8      | bandwidth    |                                                              |
    | 16, 4     | 16, 4     | ber          |                                                              |
    | 20, 4     | 20, 4     | max_gap      |                                                              |
    | 24, 4     | 24, 4     | delay        |                                                              |
    | 28, 4     | 28, 4     | timeout      |                                                              |
    | 32, 4     | 32, 4     | response     | FLOW_REPLY: 0, or a negated error; two's complement          |
    | 36, 1     | 36, 1     | in_order     |                                                              |
    | 37, 1     | 2, 1      | code         | all; see below                                               |
    | 38, 1     | 3, 1      | availability |                                                              |
    | 39        | 37        | its end      |                                                              |

    | code | message          | what follows                                                             |
    |------|------------------|--------------------------------------------------------------------------|
    | 0    | FLOW_REQ         | the hash, and the OAP message to the end                                 |
    | 1    | FLOW_REPLY       | the OAP message to the end                                               |
    | 2    | NAME_QUERY_REQ   | the hash                                                                 |
    | 3    | NAME_QUERY_REPLY | the hash                                                                 |
    | 79   | extension        | a message of our own, `ouro_core.wire.extension`                         |

SAPs in messages are plain. Fields that are not set are zero when sent, and not looked at when received: nodes of 0.22
send anything in them.
"""

from abc import ABC, abstractmethod
from functools import lru_cache
from struct import Struct
from typing import ClassVar, Final, TypeAlias

from attrs import frozen

from ouro_core.contracts.programs import Field, Match, PumpProgram, Route, Source
from ouro_core.model.errors import WireError
from ouro_core.model.qos import QosSpec
from ouro_core.shim import Extension, FlowReply, FlowRequest, UnknownCode
from ouro_core.wire.extension import EXTENSION_CODE

__all__ = ["BROADCAST", "Dix", "Framing", "Llc", "Message", "NameQuery", "NameQueryReply", "show_mac"]

BROADCAST: Final = b"\xff" * 6

_FLOW_REQ, _FLOW_REPLY, _NAME_QUERY_REQ, _NAME_QUERY_REPLY = range(4)
_QOS_NONE: Final = QosSpec(delay=0, loss=0, ber=0, max_gap=0, timeout=0)
"""Of messages without one: all zeros."""


@frozen
class NameQuery:
    """NAME_QUERY_REQ: who has the name with this hash?"""

    hash: bytes

    def __str__(self) -> str:
        return f"NAME_QUERY_REQ for {self.hash[:4].hex()}"


@frozen
class NameQueryReply:
    """NAME_QUERY_REPLY: the sender of the frame has it."""

    hash: bytes

    def __str__(self) -> str:
        return f"NAME_QUERY_REPLY for {self.hash[:4].hex()}"


Message: TypeAlias = FlowRequest | FlowReply | NameQuery | NameQueryReply | Extension


def show_mac(mac: bytes) -> str:
    """As people write it."""
    return mac.hex(":")


@lru_cache(maxsize=256)
def _qos(*fields: int) -> QosSpec:
    """There are few, and making one takes longer than all the rest of a message."""
    return QosSpec(*fields)


class Framing(ABC):
    """The frames of one type in one layer, and its codec. `hash_size`: bytes of the layer's hashes."""

    header: ClassVar[int]
    """Bytes of a frame before its payload."""
    fixed: ClassVar[int]
    """Bytes of the fixed part of a management message."""
    overhead: ClassVar[int]
    """Bytes of the header that count for the MTU."""
    largest_mtu: ClassVar[int]
    endpoints: ClassVar[tuple[int, int]]
    """The first and the last of ours."""
    _peers: ClassVar[range]
    """Endpoints that a peer may have."""

    def __init__(self, hash_size: int) -> None:
        self._hash_size = hash_size

    # ------------------------------------------------------------ frames

    @abstractmethod
    def program(self, mac: bytes, mtu: int) -> PumpProgram:
        """What the pump of a member with this address does. `mtu`: of the layer."""

    @abstractmethod
    def route(self, mac: bytes, peer: bytes, remote: int, own: int) -> Route:
        """From endpoint `own` at `mac` to endpoint `remote` at `peer`."""

    @abstractmethod
    def management_frame(self, mac: bytes, to: bytes, message: bytes) -> bytes:
        """The frame with a management message."""

    def open(self, frame: bytes) -> tuple[bytes, bytes]:
        """(source, message) of a management frame that has passed the program."""
        return frame[6:12], frame[self.header :]

    # ------------------------------------------------------------ messages

    def encode(self, message: Message) -> bytes:
        """The bytes of a management message."""
        if isinstance(message, FlowRequest):
            return self._pack(_FLOW_REQ, message.eid, qos=message.qos) + message.hash + message.data
        if isinstance(message, FlowReply):
            head = self._pack(_FLOW_REPLY, message.responder, message.requester, message.response)
            return head + message.data
        if isinstance(message, NameQuery):
            return self._pack(_NAME_QUERY_REQ) + message.hash
        if isinstance(message, NameQueryReply):
            return self._pack(_NAME_QUERY_REPLY) + message.hash
        return self._pack(EXTENSION_CODE) + message.body

    def decode(self, data: bytes) -> Message:
        """The message in a management payload. WireError; UnknownCode for a code that is not in the table."""
        if len(data) < self.fixed:
            raise WireError(f"management message of {len(data)} bytes; the fixed part has {self.fixed}")
        code, source, destination, response, qos = self._unpack(data)
        rest = data[self.fixed :]
        if code == _FLOW_REQ:
            if source not in self._peers:
                raise WireError(f"flow request from endpoint {source}, which can be nobody's")
            hash = self._hash(rest)
            return FlowRequest(source, hash, _qos(*qos), rest[self._hash_size :])
        if code == _FLOW_REPLY:
            if not response and source not in self._peers:
                raise WireError(f"flow accepted at endpoint {source}, which can be nobody's")
            return FlowReply(destination, source, response, rest)
        if code == _NAME_QUERY_REQ:
            return NameQuery(self._hash(rest))
        if code == _NAME_QUERY_REPLY:
            return NameQueryReply(self._hash(rest))
        if code == EXTENSION_CODE:
            return Extension(rest)
        raise UnknownCode(f"management message with code {code}")

    def _hash(self, rest: bytes) -> bytes:
        if len(rest) < self._hash_size:
            raise WireError(f"{len(rest)} bytes where a hash of {self._hash_size} should be")
        return rest[: self._hash_size]

    @abstractmethod
    def _pack(
        self, code: int, source: int = 0, destination: int = 0, response: int = 0, qos: QosSpec = _QOS_NONE
    ) -> bytes:
        """The fixed part."""

    @abstractmethod
    def _unpack(self, data: bytes) -> tuple[int, int, int, int, tuple[int, ...]]:
        """Code, source endpoint, destination endpoint, response and QoS of a fixed part."""


class Dix(Framing):
    """`eth-dix`: Ethernet II. Endpoints are EIDs."""

    header = 18
    fixed = 39
    overhead = 4
    largest_mtu = 65535
    endpoints = 64, 65534  # FFFF is what the prototype sends while it does not know an EID
    _peers = range(1, 65536)
    _head: Final = Struct("!6s6sHHH")
    _message: Final = Struct("!HHIQIIIIiBBB")

    def __init__(self, hash_size: int, ethertype: int) -> None:
        super().__init__(hash_size)
        self.ethertype = ethertype

    def program(self, mac: bytes, mtu: int) -> PumpProgram:
        return PumpProgram(
            header=self.header,
            key=Field(14, 2),
            length=Field(16, 2),
            max_payload=mtu - self.overhead,
            require=(Match(12, self.ethertype.to_bytes(2, "big")),),
            accept=(Match(0, mac), Match(0, BROADCAST)),
            management=(Match(14, bytes(2)),),
            management_min=self.fixed,
            source=Source(((6, 6),)),
        )

    def route(self, mac: bytes, peer: bytes, remote: int, own: int) -> Route:
        return Route(self._head.pack(peer, mac, self.ethertype, remote, 0), source=peer)

    def management_frame(self, mac: bytes, to: bytes, message: bytes) -> bytes:
        return self._head.pack(to, mac, self.ethertype, 0, len(message)) + message

    def _pack(
        self, code: int, source: int = 0, destination: int = 0, response: int = 0, qos: QosSpec = _QOS_NONE
    ) -> bytes:
        return self._message.pack(
            source, destination, qos.loss, qos.bandwidth, qos.ber, qos.max_gap, qos.delay, qos.timeout, response,
            qos.in_order, code, qos.availability,
        )  # fmt: skip

    def _unpack(self, data: bytes) -> tuple[int, int, int, int, tuple[int, ...]]:
        (
            source, destination, loss, bandwidth, ber, max_gap, delay, timeout, response, in_order, code, availability,
        ) = self._message.unpack_from(data)  # fmt: skip
        qos = delay, bandwidth, availability, loss, ber, in_order, max_gap, timeout
        return code, source, destination, response, qos


class Llc(Framing):
    """`eth-llc`: 802.3 with 802.2 UI frames. Endpoints are SAPs."""

    header = 17
    fixed = 37
    overhead = 3
    largest_mtu = 1500
    endpoints = 2, 63  # the prototype has a table of 64
    _peers = range(2, 128)  # above that, the reversed octet would be a group's or a response's
    _head: Final = Struct("!6s6sHBBB")
    _message: Final = Struct("!BBBBIQIIIIiB")
    _management: Final = 1
    _control: Final = 0x03

    def program(self, mac: bytes, mtu: int) -> PumpProgram:
        reversed_sap = reverse(self._management)
        return PumpProgram(
            header=self.header,
            key=Field(14, 1, bit_reversed=True),
            length=Field(12, 2, bias=3),
            max_payload=mtu - self.overhead,
            require=(Match(16, bytes((self._control,))),),
            accept=(Match(0, mac), Match(0, BROADCAST)),
            management=(Match(14, bytes((reversed_sap, reversed_sap))),),
            management_min=self.fixed,
            source=Source(((6, 6), (15, 1))),
        )

    def route(self, mac: bytes, peer: bytes, remote: int, own: int) -> Route:
        sap = reverse(remote)
        return Route(self._head.pack(peer, mac, 0, sap, reverse(own), self._control), source=peer + bytes((sap,)))

    def management_frame(self, mac: bytes, to: bytes, message: bytes) -> bytes:
        sap = reverse(self._management)
        return self._head.pack(to, mac, len(message) + 3, sap, sap, self._control) + message

    def _pack(
        self, code: int, source: int = 0, destination: int = 0, response: int = 0, qos: QosSpec = _QOS_NONE
    ) -> bytes:
        return self._message.pack(
            source, destination, code, qos.availability, qos.loss, qos.bandwidth, qos.ber, qos.max_gap, qos.delay,
            qos.timeout, response, qos.in_order,
        )  # fmt: skip

    def _unpack(self, data: bytes) -> tuple[int, int, int, int, tuple[int, ...]]:
        (
            source, destination, code, availability, loss, bandwidth, ber, max_gap, delay, timeout, response, in_order,
        ) = self._message.unpack_from(data)  # fmt: skip
        qos = delay, bandwidth, availability, loss, ber, in_order, max_gap, timeout
        return code, source, destination, response, qos


def reverse(octet: int) -> int:
    """Its bits in reverse order: how 802.2 sends a SAP."""
    return int(f"{octet:08b}"[::-1], 2)

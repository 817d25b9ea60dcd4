"""Datagrams of a UDP layer: data, flow requests, flow replies, and messages between Ouro nodes (spec: shims.md 5.1).

All fields are big-endian. Data:

    offset  size  field
    0       4     eid, of the receiver; never 0
    4       ...   packet; none: a keep-alive

Management, 47 bytes and what follows them:

    offset  size  field          FLOW_REQ          FLOW_REPLY
    0       4     eid            0                 0
    4       4     s_eid          the requester's   the requester's
    8       4     d_eid          0                 the responder's
    12      4     response       0                 0, or a negative error, signed
    16      8     bandwidth      QoS               0
    24      4     delay          QoS               0
    28      4     loss           QoS               0
    32      4     ber            QoS               0
    36      4     max_gap        QoS               0
    40      4     timeout        QoS               0
    44      1     code           1                 2
    45      1     availability   QoS               0
    46      1     in_order       QoS               0
    47      ...                  MD5 of the name   OAP message
                                 (16), then the
                                 OAP message

A message between Ouro nodes has code 79 and no other field; the prototype takes no notice of it. Unused fields are
sent as zero and not looked at when received.
"""

import struct
from typing import Final, TypeAlias

from ouro_core.model.errors import WireError
from ouro_core.model.qos import QosSpec
from ouro_core.shim.messages import Extension, FlowReply, FlowRequest, UnknownCode

__all__ = ["EID", "HASH", "HEADER", "Message", "UdpCodec"]

_FLOW_REQ: Final = 1
_FLOW_REPLY: Final = 2
_EXTENSION: Final = 0x4F

EID: Final = struct.Struct("!I")
"""What every datagram begins with."""
HASH: Final = 16
"""Bytes of an MD5 hash."""

_MESSAGE: Final = struct.Struct("!IIIiQIIIIIBBB")
HEADER: Final = _MESSAGE.size
"""Bytes of a management message before what it carries."""
_NO_QOS: Final = (0,) * 6

Message: TypeAlias = FlowRequest | FlowReply | Extension


class UdpCodec:
    """Management messages as values, and back."""

    def encode(self, message: Message) -> bytes:
        """The whole datagram."""
        if isinstance(message, FlowRequest):
            q = message.qos
            header = _MESSAGE.pack(
                0, message.eid, 0, 0, q.bandwidth, q.delay, q.loss, q.ber, q.max_gap, q.timeout, _FLOW_REQ,
                q.availability, q.in_order,
            )  # fmt: skip
            return header + message.hash + message.data
        if isinstance(message, FlowReply):
            m = message
            return _MESSAGE.pack(0, m.requester, m.responder, m.response, *_NO_QOS, _FLOW_REPLY, 0, 0) + m.data
        return _MESSAGE.pack(0, 0, 0, 0, *_NO_QOS, _EXTENSION, 0, 0) + message.body

    def decode(self, data: bytes) -> Message:
        """The message of a datagram. WireError: too short, not to EID 0; UnknownCode."""
        if len(data) < HEADER:
            raise WireError(f"a management message of {len(data)} bytes; it has {HEADER} at least")
        (
            eid, s_eid, d_eid, response, bandwidth, delay, loss, ber, max_gap, timeout, code, availability, in_order,
        ) = _MESSAGE.unpack_from(data)  # fmt: skip
        rest = data[HEADER:]
        if eid:
            raise WireError(f"a packet for EID {eid} is no management message")
        if code == _FLOW_REQ:
            if len(rest) < HASH:
                raise WireError(f"a flow request with {len(rest)} bytes for the hash of the name; it has {HASH}")
            if not s_eid:
                raise WireError("a flow request from EID 0, which is that of management")
            qos = QosSpec(delay, bandwidth, availability, loss, ber, in_order, max_gap, timeout)
            return FlowRequest(s_eid, rest[:HASH], qos, rest[HASH:])
        if code == _FLOW_REPLY:
            return FlowReply(s_eid, d_eid, response, rest)
        if code == _EXTENSION:
            return Extension(rest)
        raise UnknownCode(f"a management message of code {code}; known: {_FLOW_REQ}, {_FLOW_REPLY}, {_EXTENSION}")

"""Messages of the flow allocator: payload of packets for EID 0 (unicast.md 6.1). Big endian, 61 bytes, then a body.

    | offset | size | field        | used in                                                  |
    |--------|------|--------------|----------------------------------------------------------|
    | 0      | 8    | source       | REQUEST, EXTENSION: address of the sender                |
    | 8      | 8    | r_eid        | REPLY, UPDATE: EID of the receiver                       |
    | 16     | 8    | s_eid        | REQUEST, REPLY: EID of the sender                        |
    | 24     | 8    | bandwidth    | REQUEST                                                  |
    | 32     | 4    | response     | REPLY, signed: 0 or a negative error number              |
    | 36     | 4    | delay        | REQUEST                                                  |
    | 40     | 4    | loss         | REQUEST                                                  |
    | 44     | 4    | ber          | REQUEST                                                  |
    | 48     | 4    | max_gap      | REQUEST                                                  |
    | 52     | 4    | timeout      | REQUEST                                                  |
    | 56     | 2    | ece          | UPDATE: level of congestion                              |
    | 58     | 1    | code         | 0 REQUEST, 1 REPLY, 2 UPDATE, 0x4F EXTENSION (ours)      |
    | 59     | 1    | availability | REQUEST                                                  |
    | 60     | 1    | in_order     | REQUEST                                                  |
    | 61     | rest | body         | REQUEST: hash of the name, OAP; REPLY: OAP; EXTENSION    |

Fields without a meaning are zero. Messages have 61 to 2048 bytes.
"""

from enum import IntEnum
from struct import Struct
from struct import error as StructError
from typing import Final

from attrs import field, frozen

from ouro_core.model.errors import OuroError, TooLong, WireError
from ouro_core.model.qos import QosSpec

__all__ = ["FIXED_SIZE", "LONGEST", "Code", "FaMessage"]

_FIXED: Final = Struct(">QQQQiIIIIIHBBB")
FIXED_SIZE: Final = _FIXED.size
LONGEST: Final = 2048
"""Bytes of the longest message."""
_NO_QOS: Final = QosSpec(delay=0, loss=0, ber=0, max_gap=0, timeout=0)


class Code(IntEnum):
    """Kind of message."""

    REQUEST = 0
    REPLY = 1
    UPDATE = 2
    EXTENSION = 0x4F


@frozen
class FaMessage:
    """One message. Encoding what was decoded gives the same bytes."""

    code: Code
    source: int = 0
    r_eid: int = 0
    s_eid: int = 0
    response: int = 0
    qos: QosSpec = _NO_QOS
    ece: int = 0
    body: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        return (
            f"FA {self.code.name} source {self.source:#x} r_eid {self.r_eid:#x} s_eid {self.s_eid:#x} "
            f"response {self.response} ece {self.ece}, {len(self.body)} bytes"
        )

    def encode(self) -> bytes:
        """The message. TooLong: more than 2048 bytes. WireError: a field does not fit."""
        data = self.encode_any()
        if len(data) > LONGEST:
            raise TooLong(f"a flow allocation message of {len(data)} bytes; {LONGEST} is the limit")
        return data

    def encode_any(self) -> bytes:
        """As `encode`, for a message that goes in fragments: of any length."""
        q = self.qos
        try:
            fixed = _FIXED.pack(
                self.source, self.r_eid, self.s_eid, q.bandwidth, self.response, q.delay, q.loss, q.ber, q.max_gap,
                q.timeout, self.ece, self.code, q.availability, q.in_order,
            )  # fmt: skip
        except StructError as e:
            raise WireError(f"{self} cannot be encoded: {e}") from None
        return fixed + self.body

    @classmethod
    def decode(cls, data: bytes) -> "FaMessage":
        """Total: a value or WireError."""
        if len(data) > LONGEST:
            raise WireError(f"Invalid flow allocation message (len: {len(data)}).")
        return cls.decode_any(data)

    @classmethod
    def decode_any(cls, data: bytes) -> "FaMessage":
        """As `decode`, for a message that came in fragments: of any length."""
        if len(data) < FIXED_SIZE:
            raise WireError(f"Invalid flow allocation message (len: {len(data)}).")
        (
            source, r_eid, s_eid, bandwidth, response, delay, loss, ber, max_gap, timeout, ece, code, availability,
            in_order,
        ) = _FIXED.unpack_from(data)  # fmt: skip
        try:
            qos = QosSpec(delay, bandwidth, availability, loss, ber, in_order, max_gap, timeout)
            kind = Code(code)
        except (OuroError, ValueError):
            raise WireError(f"a flow allocation message with the unknown code {code}") from None
        return cls(kind, source, r_eid, s_eid, response, qos, ece, data[FIXED_SIZE:])

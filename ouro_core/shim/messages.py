"""Management messages that all such types have, as values; a type's `Codec` gives them their bytes."""

from typing import Any, Protocol

from attrs import field, frozen

from ..model.errors import WireError
from ..model.qos import QosSpec

__all__ = ["Codec", "Extension", "FlowReply", "FlowRequest", "UnknownCode"]


class UnknownCode(WireError):
    """EPROTO: a message whose code means nothing here: another version's. Decoders raise it."""


@frozen
class FlowRequest:
    """FLOW_REQ. `eid`: the requester's, never 0. `data`: its OAP message."""

    eid: int
    hash: bytes
    qos: QosSpec
    data: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"FLOW_REQ from EID {self.eid} for {self.hash[:4].hex()}, {len(self.data)} bytes of OAP"


@frozen
class FlowReply:
    """FLOW_REPLY. `requester`, `responder`: their EIDs, the latter 0 where there is no flow. `response`: 0, or the
    negated number of the error that the request was refused with; then there is no `data`.
    """

    requester: int
    responder: int
    response: int
    data: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        what = f"refused ({self.response})" if self.response else f"from EID {self.responder}"
        return f"FLOW_REPLY to EID {self.requester}, {what}, {len(self.data)} bytes of OAP"


@frozen
class Extension:
    """A message of our own (`ouro_core.wire.extension`) in a management message that the prototype ignores."""

    body: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"extension of {len(self.body)} bytes"


class Codec(Protocol):
    """The management messages of a type: those above, and what it has besides.

    `encode(decode(data)) == data` for what this version sends; fields without a meaning are zero when sent and not
    looked at when received.
    """

    def encode(self, message: Any) -> bytes:
        """The bytes that follow the header of a management frame."""
        ...

    def decode(self, data: bytes) -> Any:
        """The message. WireError for bytes that are none; UnknownCode for one of a later version."""
        ...

"""OEP: enrolment, three messages, one a packet (unicast.md 2.1).

    protobuf, proto2; fields in ascending order, required ones also when they are 0:

    | message  | fields                                                                                  |
    |----------|-----------------------------------------------------------------------------------------|
    | request  | id 1: 8 random bytes                                                                    |
    | response | id 1, seconds 2, nanoseconds 3: the server's clock, response 4, layer 5 if response >= 0 |
    | ack      | id 1, result 2                                                                          |

    | in layer  | fields                                                                                 |
    |-----------|----------------------------------------------------------------------------------------|
    | layer     | info 1 {name 1, hash 2}, type 2, unicast 3 if type is 1                                |
    | unicast   | transfer 1 {address size 1, EID size 2, max TTL 3, routing 4 {policy 1, link state 2    |
    |           | {policy 1, t_recalc 2, t_update 3, t_timeo 4}}}, directory 2 {policy 1, settings 2: a    |
    |           | message of the policy's own}, address authority 3, congestion avoidance 4,              |
    |           | ours: named 100 {kind 1, name 2}                                                        |

What is valid in itself is a value here; whether a layer can be like that is for `config` to say.
"""

from typing import Final

from attrs import field, frozen
from google.protobuf.message import DecodeError, EncodeError, Message

from ouro_core.model.errors import TooLong, WireError

from .pb import members_pb2 as pb
from .proto import parsed, text

__all__ = [
    "BROADCAST",
    "ID_SIZE",
    "LONGEST",
    "UNICAST",
    "EnrolAck",
    "EnrolRequest",
    "EnrolResponse",
    "Layer",
    "LinkState",
    "Unicast",
]

ID_SIZE: Final = 8
LONGEST: Final = 1024
"""Bytes that the prototype has room for."""
UNICAST: Final = 1
BROADCAST: Final = 2


@frozen
class LinkState:
    """Parameters of link state routing; times in seconds."""

    policy: int = 0
    t_recalc: int = 4
    t_update: int = 15
    t_timeo: int = 60


@frozen
class Unicast:
    """What all members of a unicast layer have in common. Numbers of policies as in the prototype."""

    address_size: int = 4
    eid_size: int = 8
    max_ttl: int = 60
    routing: int = 0
    link_state: LinkState | None = LinkState()
    directory: int = 0
    directory_settings: bytes | None = field(default=None, repr=False)
    address_authority: int = 0
    congestion: int = 1
    named: tuple[tuple[str, str], ...] = ()
    """(kind, name) of policies without a number, and (routing.parameter, value) of such a routing policy."""


@frozen
class Layer:
    """A layer's whole configuration."""

    name: str
    hash: int
    type: int
    unicast: Unicast | None = None


@frozen
class EnrolRequest:
    """May I join?"""

    id: bytes

    def encode(self) -> bytes:
        """The message."""
        return _encoded(pb.EnrolRequest(id=self.id))

    @classmethod
    def decode(cls, data: bytes) -> "EnrolRequest":
        """Total: a value or WireError."""
        try:
            return cls(parsed(pb.EnrolRequest, _short(data)).id)
        except (DecodeError, ValueError) as e:
            raise WireError(f"no enrolment request: {e}") from None


@frozen
class EnrolResponse:
    """The answer. `layer` is there if and only if `response` is not negative."""

    id: bytes
    seconds: int
    nanoseconds: int
    response: int = 0
    layer: Layer | None = None

    def encode(self) -> bytes:
        """The message. TooLong: more than 1024 bytes."""
        m = pb.EnrolResponse(
            id=self.id, seconds=self.seconds, nanoseconds=self.nanoseconds, response=self.response
        )  # fmt: skip
        if self.layer is not None:
            _put_layer(m.layer, self.layer)
        return _encoded(m)

    @classmethod
    def decode(cls, data: bytes) -> "EnrolResponse":
        """Total: a value or WireError."""
        try:
            m = parsed(pb.EnrolResponse, _short(data))
            layer = _layer(m.layer) if m.HasField("layer") else None
        except (DecodeError, ValueError) as e:
            raise WireError(f"no enrolment response: {e}") from None
        if m.response >= 0 and layer is None:
            raise WireError("an enrolment response without a configuration, though it does not refuse")
        return cls(m.id, m.seconds, m.nanoseconds, m.response, layer)


@frozen
class EnrolAck:
    """I am a member (result 0), or could not become one."""

    id: bytes
    result: int = 0

    def encode(self) -> bytes:
        """The message."""
        return _encoded(pb.EnrolAck(id=self.id, result=self.result))

    @classmethod
    def decode(cls, data: bytes) -> "EnrolAck":
        """Total: a value or WireError."""
        try:
            m = parsed(pb.EnrolAck, _short(data))
            return cls(m.id, m.result)
        except (DecodeError, ValueError) as e:
            raise WireError(f"no enrolment acknowledgement: {e}") from None


# ---------------------------------------------------------------- parts


def _short(data: bytes) -> bytes:
    if len(data) > LONGEST:
        raise WireError(f"an enrolment message of {len(data)} bytes; {LONGEST} is the limit")
    return data


def _encoded(message: Message) -> bytes:
    try:
        data: bytes = message.SerializeToString()
    except EncodeError as e:
        raise WireError(f"cannot be encoded: {e}") from None
    if len(data) > LONGEST:
        raise TooLong(f"an enrolment message of {len(data)} bytes; {LONGEST} is the limit")
    return data


def _put_layer(m: pb.Layer, layer: Layer) -> None:
    m.info.name, m.info.hash, m.type = layer.name, layer.hash, layer.type
    u = layer.unicast
    if u is None:
        return
    transfer, directory = m.unicast.transfer, m.unicast.directory
    transfer.address_size, transfer.eid_size, transfer.max_ttl = u.address_size, u.eid_size, u.max_ttl
    transfer.routing.policy, directory.policy = u.routing, u.directory
    if u.link_state is not None:
        ls, to = u.link_state, transfer.routing.link_state
        to.policy, to.t_recalc, to.t_update, to.t_timeo = ls.policy, ls.t_recalc, ls.t_update, ls.t_timeo
    if u.directory_settings is not None:
        directory.settings = u.directory_settings
    m.unicast.address_authority, m.unicast.congestion = u.address_authority, u.congestion
    for kind, name in u.named:
        m.unicast.named.add(kind=kind, name=name)


def _layer(m: pb.Layer) -> Layer:
    if m.type == UNICAST and not m.HasField("unicast"):
        raise WireError("the configuration of a unicast layer without its parameters")
    return Layer(text(m.info.name), m.info.hash, m.type, _unicast(m.unicast) if m.HasField("unicast") else None)


def _unicast(m: pb.Unicast) -> Unicast:
    routing, directory = m.transfer.routing, m.directory
    ls = routing.link_state
    return Unicast(
        m.transfer.address_size, m.transfer.eid_size, m.transfer.max_ttl,
        routing.policy,
        LinkState(ls.policy, ls.t_recalc, ls.t_update, ls.t_timeo) if routing.HasField("link_state") else None,
        directory.policy,
        directory.settings if directory.HasField("settings") else None,
        m.address_authority, m.congestion, tuple((text(n.kind), text(n.name)) for n in m.named),
    )  # fmt: skip

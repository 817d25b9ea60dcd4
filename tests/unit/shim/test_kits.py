"""The kits of codecs and media, on the smallest type, and on what is wrong in one way each."""

import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from ouro_core.contracts.packets import ManagementFrame
from ouro_core.contracts.programs import Route
from ouro_core.model.errors import WireError
from ouro_core.shim import Codec, FlowReply, FlowRequest
from ouro_core.testing.shim import CodecContract, MediumContract

from .loop import HEADER, LoopMedium
from .member import PlainCodec


class TestCodec(CodecContract):
    codec = PlainCodec()


class TestMedium(MediumContract):
    @pytest.fixture
    def media(self) -> Iterator[Any]:
        a, b = LoopMedium(), LoopMedium()
        yield (a, a.port), (b, b.port)
        a.close()
        b.close()


# ---------------------------------------------------------------- wrong ones


class Crashes(PlainCodec):
    """Takes what comes for what it should be."""

    def decode(self, data: bytes) -> Any:
        if len(data) < 4:
            struct.unpack(">I", data)
        return super().decode(data)


class Cuts(PlainCodec):
    """Hashes of 32 bytes at most."""

    def encode(self, message: Any) -> bytes:
        if isinstance(message, FlowRequest):
            message = FlowRequest(message.eid, message.hash[:32], message.qos, message.data)
        return super().encode(message)


class Drops(PlainCodec):
    """Forgets which endpoint accepted."""

    def decode(self, data: bytes) -> Any:
        found = super().decode(data)
        return FlowReply(found.requester, 0, found.response, found.data) if isinstance(found, FlowReply) else found


@pytest.mark.parametrize(
    ("codec", "test", "says"),
    [
        (Crashes(), "test_decoding_is_total", "decode raises error.* for the bytes"),
        (Cuts(), "test_messages_come_back", "hash of FLOW_REQ"),
        (Drops(), "test_messages_come_back", "responder of FLOW_REPLY"),
    ],
)
def test_a_wrong_codec(codec: Codec, test: str, says: str) -> None:
    kit = type("Mine", (CodecContract,), {"codec": codec})()
    with pytest.raises((AssertionError, pytest.fail.Exception), match=says):
        getattr(kit, test)()


class Anonymous(LoopMedium):
    """Does not look who sent a message."""

    def read(self, frame: ManagementFrame) -> tuple[int, bytes]:
        return 1, super().read(frame)[1]


class Whole(LoopMedium):
    """Hands the header over as well."""

    def read(self, frame: ManagementFrame) -> tuple[int, bytes]:
        return super().read(frame)[0], frame.frame


class Trusting(LoopMedium):
    """Promises a source, and takes everybody's for the peer's."""

    def route(self, peer: int, remote: int, own: int) -> Route:
        made = super().route(peer, remote, own)
        return Route(made.header, made.to, b"\xff\xff")


class Swapped(LoopMedium):
    """Sends to its own endpoint's number."""

    def route(self, peer: int, remote: int, own: int) -> Route:
        made = super().route(peer, remote, own)
        return Route(HEADER.pack(own, self.port), made.to, made.source)


class Once(LoopMedium):
    """Cannot be closed twice."""

    def close(self) -> None:
        socket.close(self.fd)
        self._socket.detach()


@pytest.mark.parametrize(
    ("medium", "test", "says"),
    [
        (Anonymous, "test_messages_arrive_with_their_sender", "from 1, and"),
        (Whole, "test_the_longest_message_arrives", "."),
        (Trusting, "test_packets_of_flows_arrive", "a packet of 1 bytes arrives"),
        (Swapped, "test_packets_of_flows_arrive", "a packet of 1 bytes arrives"),
        (Once, "test_closing_twice_is_harmless", "Bad file descriptor"),
    ],
)
def test_a_wrong_medium(medium: type[LoopMedium], test: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ouro_core.testing.packets.bench._LIMIT", 0.5)
    a, b = medium(), medium()
    kit = MediumContract()
    sides = MediumContract.sides.__wrapped__(kit, ((a, a.port), (b, b.port)))  # type: ignore[attr-defined]
    try:
        with pytest.raises((AssertionError, WireError, OSError), match=says):
            getattr(kit, test)(next(sides))
    finally:
        next(sides, None)
        for one in (a, b):
            one._socket.close()

"""The contract kits of what a type over a legacy technology brings (`ouro_core.shim`): its codec, and its medium.

    import pytest
    from ouro_core.testing.shim import CodecContract, MediumContract

    class TestCodec(CodecContract):
        codec = MyCodec()

    class TestMedium(MediumContract):
        @pytest.fixture
        def media(self, tmp_path):
            a, b = MyMedium(tmp_path, 1), MyMedium(tmp_path, 2)
            yield (a, 1), (b, 2)
            a.close()
            b.close()

`media` are the media of two members of one layer, each with the address by which the other one knows it. Their frames
go through pumps of the packet system `heap`. The whole type is then for `ouro_core.testing.ipcp`.
"""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from ..builtin.heap import HeapPacketSystem
from ..contracts.packets import FlowEnd, PacketClient, Pump
from ..model.errors import WireError
from ..model.qos import QOS_BY_NAME
from ..rib import to_plain
from ..shim import Codec, Extension, FlowReply, FlowRequest, Medium
from .packets.bench import Bench, drain, eventually

__all__ = ["CodecContract", "MediumContract"]

often = settings(max_examples=100, deadline=None)


class CodecContract:
    """Subclass it and set `codec`."""

    codec: ClassVar[Codec]
    eids: ClassVar[tuple[int, int]] = (1, 0xFFFF)
    """The first and the last number of an endpoint."""
    hashes: ClassVar[Sequence[int]] = (28, 32, 48, 64)
    """Bytes of a hash, for each algorithm that the type's layers may have."""

    def _messages(self) -> st.SearchStrategy[Any]:
        eid, data = st.integers(*self.eids), st.binary(max_size=100)
        hash = st.sampled_from(self.hashes).flatmap(lambda n: st.binary(min_size=n, max_size=n))
        return st.one_of(
            st.builds(FlowRequest, eid, hash, st.sampled_from(list(QOS_BY_NAME.values())), data),
            st.builds(FlowReply, eid, eid, st.just(0), data),
            st.builds(FlowReply, eid, st.just(0), st.integers(-1009, -1)),
            st.builds(Extension, data),
        )

    def test_messages_come_back(self) -> None:
        """A request with another QoS may come back with one that means the same to this type."""

        @often
        @given(self._messages())
        def check(message: Any) -> None:
            wire = self.codec.encode(message)
            back = self.codec.decode(wire)
            assert type(back) is type(message)
            for name in ("eid", "hash", "data", "requester", "responder", "response", "body"):
                assert getattr(back, name, None) == getattr(message, name, None), f"{name} of {message}"
            assert self.codec.encode(back) == wire, f"{message} is encoded in two ways"

        check()

    def test_decoding_is_total(self) -> None:
        """Noise, and messages that were cut or changed."""

        @often
        @given(self._messages(), st.binary(max_size=100), st.lists(st.tuples(st.integers(0), st.integers(0, 255))))
        def check(message: Any, noise: bytes, changes: list[tuple[int, int]]) -> None:
            wire = bytearray(self.codec.encode(message))
            for place, value in changes:
                wire[place % len(wire)] = value
            for data in (noise, bytes(wire), *(bytes(wire[:n]) for n in range(min(len(wire), 80)))):
                try:
                    self.codec.decode(data)
                except WireError:
                    pass
                except Exception as e:
                    pytest.fail(f"decode raises {e!r}, not WireError, for the bytes {data.hex() or 'none'}")

        check()


@frozen
class _Side:
    """A member: its medium with a pump, and an application."""

    medium: Medium[Any]
    address: Any
    ipcp: PacketClient
    pump: Pump
    bench: Bench

    def bind(self, eid: int, peer: "_Side", remote: int) -> FlowEnd:
        """The application's end of a flow from our endpoint to one of the peer."""
        app, end = self.bench.flow(self.bench.client(), self.ipcp)
        self.pump.bind(eid, end, self.medium.route(peer.address, remote, eid))
        return app

    def message(self) -> tuple[Any, bytes]:
        """The next management message, and who sent it."""
        (frame,) = eventually(lambda: self.pump.management(1), f"a management message arrives at {self.shown}")
        return self.medium.read(frame)

    @property
    def shown(self) -> str:
        return self.medium.show(self.address)


class MediumContract:
    """Subclass it and give it the fixture `media`."""

    @pytest.fixture
    def sides(self, media: Sequence[tuple[Medium[Any], Any]]) -> Iterator[tuple[_Side, _Side]]:
        bench = Bench(HeapPacketSystem)
        made = []
        for medium, address in media:
            ipcp = bench.client()
            made.append(_Side(medium, address, ipcp, ipcp.pump(medium.program, medium.fd), bench))
        yield made[0], made[1]
        for side in made:
            side.pump.stop()
        bench.close()

    def test_it_has_all_that_it_says(self, sides: tuple[_Side, _Side]) -> None:
        for side in sides:
            medium = side.medium
            assert medium.max_message > 0
            assert medium.room(side.address) > 0
            assert medium.endpoints.most > 0
            assert side.shown
            assert callable(medium.codec.encode)
            assert callable(medium.codec.decode)
            json.dumps(to_plain(medium.view()))

    def test_messages_arrive_with_their_sender(self, sides: tuple[_Side, _Side]) -> None:
        for a, b in (sides, sides[::-1]):
            for eid in (1, 2):
                sent = a.medium.codec.encode(FlowReply(eid, eid, 0, b"answer"))
                a.medium.send(b.address, sent)
                sender, message = b.message()
                assert sender == a.address, f"from {b.medium.show(sender)}, and {a.shown} sent it"
                assert b.medium.codec.decode(message) == FlowReply(eid, eid, 0, b"answer")

    def test_the_longest_message_arrives(self, sides: tuple[_Side, _Side]) -> None:
        a, b = sides
        for longest in {a.medium.max_message, a.medium.room(b.address)}:
            empty = len(a.medium.codec.encode(FlowReply(1, 1, 0, b"")))
            a.medium.send(b.address, a.medium.codec.encode(FlowReply(1, 1, 0, bytes(longest - empty))))
            assert b.medium.codec.decode(b.message()[1]) == FlowReply(1, 1, 0, bytes(longest - empty))

    def test_packets_of_flows_arrive(self, sides: tuple[_Side, _Side]) -> None:
        """Of both, between endpoints with different numbers, the longest and the empty too."""
        a, b = sides
        eids = {side.shown: [side.medium.endpoints.take() for _ in range(3)] for side in sides}
        ours, theirs = eids[a.shown], eids[b.shown][1:]
        flows = [(a.bind(i, b, j), b.bind(j, a, i)) for i, j in zip(ours, theirs, strict=False)]
        most = min(a.medium.program.max_payload, b.medium.program.max_payload, 16000)
        for near, far in flows:
            for source, sink in ((near, far), (far, near)):
                for size in (1, 64, most):
                    source.write(bytes([size & 255]) * size)
                    assert _read(sink, f"a packet of {size} bytes") == bytes([size & 255]) * size
                arrived = sink.sequence()[1]
                source.keepalive()
                eventually(partial(_went_on, sink, arrived), "a keep-alive arrives")

    def test_who_is_not_the_peer_cannot_speak_in_a_flow(self, sides: tuple[_Side, _Side]) -> None:
        """Where the route says what a packet's source must be: here it is of a flow to the member itself."""
        a, b = sides
        eid, other = a.medium.endpoints.take(), b.medium.endpoints.take()
        if not a.medium.route(a.address, other, eid).source:
            pytest.skip("frames of this type do not say who sent them")
        app, end = a.bench.flow(a.bench.client(), a.ipcp)
        a.pump.bind(eid, end, a.medium.route(a.address, other, eid))
        b.bind(other, a, eid).write(b"forged")
        eventually(lambda: a.pump.counters()["bad_source"], "a packet of somebody else is dropped")
        assert drain(app) == []

    def test_closing_twice_is_harmless(self, sides: tuple[_Side, _Side]) -> None:
        for side in sides:
            side.pump.stop()
            side.medium.close()
            side.medium.close()


def _went_on(end: FlowEnd, arrived: int) -> bool:
    return end.sequence()[1] != arrived


def _read(end: FlowEnd, what: str) -> bytes:
    found: list[bytes] = eventually(partial(drain, end), f"{what} arrives")
    assert len(found) == 1, f"{what} arrives {len(found)} times, or in pieces"
    return found[0]

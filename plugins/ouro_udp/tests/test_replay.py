"""The prototype's recorded exchanges, with our state machine in the place of either side."""

from pathlib import Path
from random import Random

import pytest
from ouro_udp.wire import UdpCodec

from ouro_core.model.errors import error_from_code
from ouro_core.shim import Answered, Arrived, FlowReply, FlowRequest, Management, Refused

from .captures import CAPTURES, Datagram, datagrams

CODEC = UdpCodec()


def exchange(path: Path) -> list[tuple[Datagram, FlowRequest | FlowReply]]:
    """The management messages of a capture, in order."""
    found: list[tuple[Datagram, FlowRequest | FlowReply]] = []
    for datagram in datagrams(path):
        if datagram.payload[:4] == bytes(4):
            message = CODEC.decode(datagram.payload)
            assert isinstance(message, FlowRequest | FlowReply)
            found.append((datagram, message))
    return found


def member() -> Management[bytes]:
    return Management(CODEC, Random(1), 2048, any_name=True)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_in_the_place_of_the_requester(path: Path) -> None:
    ours, answered = member(), 0
    for now, (datagram, message) in enumerate(exchange(path)):
        if isinstance(message, FlowRequest):
            ours.cancel(message.eid)  # one that was never answered
            ours.request(message.eid, datagram.to, message.hash, message.qos, message.data, now)
            assert ours.datagrams_to_send(now) == [(datagram.to, datagram.payload)]
            continue
        ours.receive(datagram.payload, now, datagram.source)
        [event] = ours.events()
        if message.response:
            assert isinstance(event, Refused)
            assert event.eid == message.requester
            assert type(event.error) is type(error_from_code(message.response))
        else:
            assert event == Answered(message.requester, datagram.source, message.responder, message.data)
        answered += 1
    assert answered


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_in_the_place_of_the_responder(path: Path) -> None:
    ours, waiting, answered = member(), {}, 0
    for now, (datagram, message) in enumerate(exchange(path)):
        if isinstance(message, FlowRequest):
            ours.receive(datagram.payload, now, datagram.source)
            [event] = ours.events()
            assert isinstance(event, Arrived)
            request = event.request
            assert (request.peer, request.eid, request.hash) == (datagram.source, message.eid, message.hash)
            assert (request.qos, request.data) == (message.qos, message.data)
            waiting[message.eid] = request
            continue
        request = waiting.pop(message.requester)
        if message.response:
            ours.refuse(request, error_from_code(message.response), now)
            [(to, payload)] = ours.datagrams_to_send(now)
            refusal = CODEC.decode(payload)
            assert refusal == FlowReply(message.requester, 0, message.response, message.data), "there is no endpoint"
        else:
            assert ours.accept(request, message.responder, message.data, now)
            [(to, payload)] = ours.datagrams_to_send(now)
            assert payload == datagram.payload
        assert to == datagram.to
        answered += 1
    assert answered

"""OCEP and enrolment as pairs over links that lose, double, reorder and damage packets, and against strangers."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from ouro_unicast.enrolment import EnrolmentClient, EnrolmentServer
from ouro_unicast.handshake import Accepting, Handshake, Initiating
from ouro_unicast.wire import ocep, oep

from ouro_core.model.errors import (
    FlowTimeout,
    InvalidArgument,
    IpcpError,
    IpcpTypeError,
    NotPermitted,
    OuroError,
    WireError,
)  # fmt: skip
from ouro_core.testing.links import Faulty, Link
from ouro_core.testing.network import Network

A, B = 0x04030201, 0x08070605
ID = bytes(range(8))
WALL = 1_770_000_000.25
LAYER = oep.Layer("net", 1, oep.UNICAST, oep.Unicast(directory_settings=b"peer"))
COMPONENTS = {i.component: i.at(B) for i in (ocep.DATA_TRANSFER, ocep.MANAGEMENT)} | {"Enrollment": ocep.ENROLMENT}


def run(a: Any, b: Any, there: Link | None = None, back: Link | None = None, until: float = 60.0) -> Network:
    network = Network()
    network.connect(a, b, there or Link(), back or Link())
    network.run_until(until, lambda: a.done and b.done)
    return network


def faulty(seed: int) -> tuple[Faulty, Faulty]:
    faults = {"loss": 0.2, "duplication": 0.2, "reordering": 0.2, "corruption": 0.2}
    return Faulty(seed, **faults), Faulty(seed + 10**6, **faults)


# ---------------------------------------------------------------- OCEP


@pytest.mark.parametrize("ours", [ocep.ENROLMENT, ocep.DATA_TRANSFER.at(A), ocep.MANAGEMENT.at(A)])
def test_two_members_meet(ours: ocep.Identity) -> None:
    a, b = Initiating(ours, 0.0), Accepting(COMPONENTS, 0.0)
    run(a, b)
    assert a.peer == COMPONENTS[ours.component]
    assert b.peer == ours


def test_a_component_that_there_is_not() -> None:
    a, b = Initiating(ocep.BROADCAST_TRANSFER, 0.0), Accepting({"Enrollment": ocep.ENROLMENT}, 0.0)
    run(a, b)
    with pytest.raises(IpcpError, match="has no component Data Transfer"):
        raise a.error or AssertionError
    with pytest.raises(IpcpError, match="unknown component 'Data Transfer'"):
        raise b.error or AssertionError


def test_the_answer_for_an_unknown_component_is_all_zero() -> None:
    b = Accepting(COMPONENTS, 0.0)
    b.receive(ocep.Identity("Weather", "x", 1, 0).encode(), 0.1)
    assert b.datagrams_to_send(0.1) == [bytes.fromhex("0a001200180028004000")]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"protocol": "dtq"}, "requested dtp, got dtq"),
        ({"protocol": ""}, "requested dtp, got"),
        ({"version": 2}, "protocol version 2"),
        ({"version": -1}, "protocol version -1"),
        ({"syntax": 0}, "protocol syntax 0"),
        ({"address": 0}, "has no address"),
        ({"address": A}, "our own address 01.02.03.04"),
        ({"address": 2**32}, "more than 32 bits"),
    ],
)
def test_what_an_initiator_refuses(change: dict[str, Any], why: str) -> None:
    theirs = evolve(ocep.DATA_TRANSFER.at(B), **change)
    a = Initiating(ocep.DATA_TRANSFER.at(A), 0.0)
    a.receive(theirs.encode(), 0.1)
    with pytest.raises(OuroError, match=why):
        raise a.error or AssertionError
    assert a.peer is None


def test_the_name_of_the_component_is_not_compared() -> None:
    a = Initiating(ocep.DATA_TRANSFER.at(A), 0.0)
    a.receive(evolve(ocep.DATA_TRANSFER.at(B), component="Transfer").encode(), 0.1)
    assert a.peer is not None


def test_an_acceptor_answers_before_it_looks() -> None:
    b = Accepting(COMPONENTS, 0.0)
    b.receive(evolve(ocep.DATA_TRANSFER.at(A), protocol="old", version=7).encode(), 0.1)
    assert b.datagrams_to_send(0.1) == [ocep.DATA_TRANSFER.at(B).encode()]
    assert isinstance(b.error, IpcpError)


def test_two_members_with_one_address() -> None:
    a, b = Initiating(ocep.DATA_TRANSFER.at(B), 0.0), Accepting(COMPONENTS, 0.0)
    run(a, b)
    assert isinstance(a.error, InvalidArgument)
    assert isinstance(b.error, InvalidArgument)


@pytest.mark.parametrize("side", [Initiating(ocep.ENROLMENT, 5.0), Accepting(COMPONENTS, 5.0)])
def test_silence_ends_after_a_second(side: Handshake) -> None:
    side.receive(b"", 5.5)  # a keep-alive
    assert side.next_timeout() == 6.0
    side.handle_timeout(5.9)
    assert not side.done
    side.handle_timeout(6.0)
    assert isinstance(side.error, FlowTimeout)
    assert side.next_timeout() is None


@pytest.mark.parametrize("data", [b"\0", b"\xff" * 128, b"x" * 129, bytes.fromhex("0a001200180028")])
@pytest.mark.parametrize("make", [lambda: Initiating(ocep.ENROLMENT, 0.0), lambda: Accepting(COMPONENTS, 0.0)])
def test_nonsense_ends_it(make: Callable[[], Handshake], data: bytes) -> None:
    side = make()
    side.datagrams_to_send(0.0)
    side.receive(data, 0.1)
    assert isinstance(side.error, WireError)
    assert side.datagrams_to_send(0.1) == []


def test_handshakes_over_faulty_links() -> None:
    met = 0
    for seed in range(200):
        a, b = Initiating(ocep.MANAGEMENT.at(A), 0.0), Accepting(COMPONENTS, 0.0)
        links = faulty(seed)
        network = run(a, b, *links)
        assert a.done, links
        assert b.done, links
        assert network.now < 2.1
        met += a.peer is not None
    assert 20 < met < 180


# ---------------------------------------------------------------- enrolment


def client(type: int = oep.UNICAST) -> EnrolmentClient:
    return EnrolmentClient(ID, type, 0.0, WALL)


class Acknowledging:
    """A client that becomes a member at once."""

    def __init__(self, client: EnrolmentClient) -> None:
        self.client = client
        self.receive_only, self.next_timeout, self.handle_timeout = (
            client.receive, client.next_timeout, client.handle_timeout,
        )  # fmt: skip
        self.datagrams_to_send = client.datagrams_to_send

    @property
    def done(self) -> bool:
        return self.client.done

    def receive(self, data: bytes, now: float) -> None:
        before = self.client.layer
        self.receive_only(data, now)
        if before is None and self.client.layer is not None:
            self.client.acknowledge()


def test_a_configuration_travels() -> None:
    a, b = Acknowledging(client()), EnrolmentServer(LAYER, 0.0, WALL)
    run(a, b)
    assert a.client.layer == LAYER
    assert b.result == 0
    assert b.error is None
    assert a.client.offset == pytest.approx(0.002, abs=0.0015)


@pytest.mark.parametrize(("ahead", "warns"), [(0.0, False), (0.017, False), (0.025, True), (-0.025, True)])
def test_the_clock_is_compared(ahead: float, warns: bool) -> None:
    from ouro_unicast.enrolment import CLOCK_OFFSET

    a, b = Acknowledging(client()), EnrolmentServer(LAYER, 0.0, WALL + ahead)
    run(a, b)
    assert (a.client.offset > CLOCK_OFFSET) is warns


@pytest.mark.parametrize(
    ("response", "error", "why"),
    [
        (oep.EnrolResponse(ID[::-1], 0, 0, 0, LAYER), WireError, "ID mismatch"),
        (oep.EnrolResponse(b"", 0, 0, 0, LAYER), WireError, "ID mismatch"),
        (oep.EnrolResponse(ID, 0, 0, -1), NotPermitted, "denied request: -1"),
        (oep.EnrolResponse(ID, 0, 0, -1, LAYER), NotPermitted, "denied request: -1"),
        (oep.EnrolResponse(ID, 0, 0, 0, oep.Layer("b", 1, oep.BROADCAST)), IpcpTypeError, "Wrong type"),
        (oep.EnrolResponse(ID, 0, 0, 0, oep.Layer("b", 1, 77)), IpcpTypeError, "of another"),
    ],
)
def test_what_a_client_refuses(response: oep.EnrolResponse, error: type[OuroError], why: str) -> None:
    c = client()
    assert c.datagrams_to_send(0.0) == [oep.EnrolRequest(ID).encode()]
    c.receive(response.encode(), 0.1)
    with pytest.raises(error, match=why):
        raise c.error or AssertionError
    assert c.datagrams_to_send(0.1) == []  # no ack


@pytest.mark.parametrize("size", [0, 7, 9, 500])
def test_ids_have_eight_bytes(size: int) -> None:
    s = EnrolmentServer(LAYER, 0.0, WALL)
    s.receive(oep.EnrolRequest(bytes(size)).encode(), 0.1)
    assert isinstance(s.error, WireError)
    assert s.datagrams_to_send(0.1) == []


def test_a_client_that_could_not_become_a_member() -> None:
    c, s = client(), EnrolmentServer(LAYER, 0.0, WALL)
    s.receive(c.datagrams_to_send(0.0)[0], 0.0)
    c.receive(s.datagrams_to_send(0.0)[0], 0.0)
    c.acknowledge(-1003)
    s.receive(c.datagrams_to_send(0.0)[0], 0.0)
    assert s.result == -1003
    assert isinstance(s.error, IpcpError)


@pytest.mark.parametrize("step", ["request", "acknowledgement"])
def test_a_client_that_vanishes(step: str) -> None:
    s = EnrolmentServer(LAYER, 0.0, WALL)
    if step == "acknowledgement":
        s.receive(oep.EnrolRequest(ID).encode(), 3.0)
        assert s.next_timeout() == 13.0
    due = s.next_timeout()
    assert due is not None
    s.handle_timeout(due)
    with pytest.raises(FlowTimeout, match=step):
        raise s.error or AssertionError


def test_a_server_that_vanishes() -> None:
    c = client()
    assert c.next_timeout() == 1.0
    c.handle_timeout(1.0)
    assert isinstance(c.error, FlowTimeout)


@pytest.mark.parametrize("data", [b"\0", b"\x0a\xff", bytes(1025), b"garbage"])
def test_nonsense_ends_enrolment(data: bytes) -> None:
    c, s, late = client(), EnrolmentServer(LAYER, 0.0, WALL), EnrolmentServer(LAYER, 0.0, WALL)
    late.receive(oep.EnrolRequest(ID).encode(), 0.0)
    for side in (c, s, late):
        side.receive(data, 0.1)
        assert isinstance(side.error, WireError)


def test_enrolments_over_faulty_links() -> None:
    enrolled = 0
    for seed in range(200):
        a, b = Acknowledging(client()), EnrolmentServer(LAYER, 0.0, WALL)
        links = faulty(seed)
        run(a, b, *links)
        assert a.client.done, links
        assert b.done, links
        if b.result == 0:
            enrolled += 1
            assert a.client.layer is not None
    assert 20 < enrolled < 180

"""Queries for names, allocation between both sides, and recorded exchanges with our management as either side."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import evolve
from ouro_eth.mgmt import EthManagement, Found
from ouro_eth.wire import BROADCAST, Dix, Framing, Llc, NameQuery, NameQueryReply

from ouro_core.model.qos import RAW
from ouro_core.shim import Answered, Arrived, FlowReply, FlowRequest, Incoming, Refused
from ouro_core.testing.links import Faulty, Link
from ouro_core.testing.network import Network

from .ethernet_frames import CLIENT, FILES, HASH_SIZE, SERVER, framing_of, management, name_of

HASH = bytes(range(32))
FRAMINGS = {"dix": Dix(HASH_SIZE, 0xA000), "llc": Llc(HASH_SIZE)}


class Host:
    """A member that accepts everything. A broadcast goes to all of `neighbours`."""

    def __init__(self, mac: bytes, framing: Framing, neighbours: list[bytes]) -> None:
        self.mac = mac
        self.management = EthManagement(framing, Random(mac[-1]), 1400)
        self.neighbours = neighbours
        self.seen: list[Any] = []
        self.arrived: list[Incoming[bytes]] = []
        self.eid = 2

    def receive(self, data: bytes, now: float, source: Any) -> None:
        self.management.receive(data, now, source)

    def next_timeout(self) -> float | None:
        return self.management.next_timeout()

    def handle_timeout(self, now: float) -> None:
        self.management.handle_timeout(now)

    def datagrams_to_send(self, now: float) -> Iterable[tuple[bytes, bytes]]:
        for event in self.management.events():
            if isinstance(event, Arrived):
                self.arrived.append(event.request)
                self.eid += 1
                self.management.accept(event.request, self.eid, b"response", now)
            else:
                self.seen.append(event)
        for to, message in self.management.datagrams_to_send(now):
            for mac in self.neighbours if to == BROADCAST else [to]:
                yield mac, message


class Segment:
    """Hosts on one Ethernet."""

    def __init__(self, number: int, framing: Framing, link: Any = None) -> None:
        macs = [bytes((2, 0, 0, 0, 0, i)) for i in range(number)]
        self.network = Network(default_link=link or (lambda a, b: Link()))
        self.hosts = [Host(mac, framing, [m for m in macs if m != mac]) for mac in macs]
        for host in self.hosts:
            self.network.add(host.mac, host)

    def query(self, host: Host, hash: bytes = HASH) -> bool:
        known = host.management.query(hash, self.network.now)
        self.network.wake(host.mac)
        return known

    def run(self, seconds: float) -> None:
        self.network.run_until(self.network.now + seconds)

    @property
    def sent(self) -> int:
        return self.network.statistics.sent


@pytest.fixture(params=FRAMINGS)
def framing(request: pytest.FixtureRequest) -> Framing:
    return FRAMINGS[request.param]


def test_who_has_a_name_answers_the_asker_alone(framing: Framing) -> None:
    segment = Segment(4, framing)
    asker, owner = segment.hosts[0], segment.hosts[2]
    owner.management.registered.add(HASH)
    assert not segment.query(asker)
    segment.run(0.04)
    assert asker.seen == [Found(HASH)]
    assert asker.management.directory.find(HASH) == owner.mac
    assert segment.sent == 3 + 1
    assert segment.query(asker)
    segment.run(10.0)
    assert segment.sent == 3 + 1
    assert not segment.hosts[1].management.directory.entries()


def test_a_query_is_repeated_within_what_the_irm_waits(framing: Framing) -> None:
    segment = Segment(2, framing)
    asker = segment.hosts[0]
    assert not segment.query(asker)
    segment.run(0.15)
    assert asker.management.counters.queries_sent == 3
    segment.run(1.0)
    assert asker.management.counters.queries_sent == 3
    assert not segment.query(asker)
    segment.run(0.15)
    assert asker.management.counters.queries_sent == 6
    segment.run(5.0)
    assert asker.next_timeout() is None
    assert not asker.management._queries


def test_a_query_that_is_lost(framing: Framing) -> None:
    lossy = Segment(2, framing, lambda a, b: Faulty(a[-1], loss=1.0))
    lossy.hosts[1].management.registered.add(HASH)
    lossy.query(lossy.hosts[0])
    lossy.run(0.03)
    for pair in list(lossy.network.links()):
        lossy.network.link(*pair, Link())
    lossy.network.link(lossy.hosts[1].mac, lossy.hosts[0].mac, Link())
    lossy.run(0.1)
    assert lossy.hosts[0].seen == [Found(HASH)]


def test_a_late_answer_serves_the_next_allocation(framing: Framing) -> None:
    segment = Segment(2, framing, lambda a, b: Link(0.5))
    segment.hosts[1].management.registered.add(HASH)
    segment.query(segment.hosts[0])
    segment.run(1.1)
    assert segment.query(segment.hosts[0])


def test_answers_that_nobody_asked_for_are_not_believed(framing: Framing) -> None:
    host = Segment(1, framing).hosts[0]
    reply = framing.encode(NameQueryReply(HASH))
    for i in range(100):
        host.management.receive(reply, 0.0, SERVER)
        host.management.receive(framing.encode(NameQueryReply(bytes((i,)) * 32)), 0.0, SERVER)
    assert not host.management.directory.entries()
    assert host.management.counters.unasked == 200
    host.management.query(HASH, 1.0)
    host.management.receive(reply, 2.0, SERVER)
    host.management.receive(reply, 2.0, CLIENT)
    assert host.management.directory.entries() == {HASH: (CLIENT, SERVER)}
    host.management.handle_timeout(10.0)
    host.management.handle_timeout(20.0)
    host.management.receive(reply, 20.0, SERVER)
    assert host.management.directory.find(HASH) == CLIENT


def test_an_unregistered_name_is_silence(framing: Framing) -> None:
    segment = Segment(2, framing)
    owner = segment.hosts[1].management
    owner.registered.add(HASH)
    owner.registered.discard(HASH)
    segment.query(segment.hosts[0])
    segment.run(0.03)
    assert owner.counters.queries_received == 1
    assert owner.counters.query_replies_sent == 0
    owner.receive(framing.encode(FlowRequest(64 if framing.fixed == 39 else 2, HASH, RAW, b"")), 0.0, CLIENT)
    assert owner.counters.unknown_name == 1
    assert owner.datagrams_to_send(0.0) == []


@pytest.mark.parametrize("corruption", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(10))
def test_queries_and_requests_over_bad_links(framing: Framing, seed: int, corruption: float) -> None:
    """What is corrupted the hardware throws away, as a rule; else nothing worse happens than a refusal."""
    seeds = Random(seed)

    def bad(a: Any, b: Any) -> Link:
        link = Faulty(seeds.getrandbits(32), loss=0.2, duplication=0.3, reordering=0.3, corruption=corruption, late=0.1)
        print(a, b, link)
        return link

    segment = Segment(3, framing, bad)
    client, server = segment.hosts[0], segment.hosts[1]
    server.management.registered.add(HASH)
    for _ in range(10):
        if segment.query(client):
            break
        segment.run(1.0)
    peer = client.management.directory.find(HASH)
    if corruption and peer != server.mac:
        return
    assert peer == server.mac
    for eid in range(40, 60):
        client.management.request(eid, peer, HASH, RAW, b"%d" % eid, segment.network.now)
        segment.network.wake(client.mac)
    segment.run(60.0)
    answered = {event.eid: event.remote for event in client.seen if isinstance(event, Answered)}
    assert client.management.view()["pending"] == server.management.view()["waiting"] == 0
    if not corruption:
        assert sorted(answered) == list(range(40, 60))
        assert len(set(answered.values())) == 20


# ---------------------------------------------------------------- recorded exchanges


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_as_the_side_that_asks(path: Path) -> None:
    """What it is told to do gives the recorded messages; what the prototype answered has the recorded effect."""
    framing = framing_of(path)
    ours = EthManagement(framing, Random(1), 9000)
    answered = 0
    for recorded in management(path):
        message = framing.decode(recorded.message)
        if recorded.source == CLIENT and isinstance(message, NameQuery | FlowRequest):
            if isinstance(message, NameQuery):
                ours._queries.pop(message.hash, None)  # the prototype asks once, in the time of our three
                assert not ours.query(message.hash, recorded.time)
                to = BROADCAST
            else:
                to = ours.directory.find(message.hash) or SERVER
                ours.cancel(message.eid)  # it reuses its EIDs
                ours.directory.learn(message.hash, to)
                ours.request(message.eid, to, message.hash, message.qos, message.data, recorded.time)
            assert ours.datagrams_to_send(recorded.time) == [(recorded.to, recorded.message)]
            assert recorded.to == to
        elif recorded.to == CLIENT and isinstance(message, NameQueryReply | FlowReply):
            ours.receive(recorded.message, recorded.time, recorded.source)
            [event] = ours.events()
            answered += 1
            if isinstance(message, NameQueryReply):
                assert event == Found(message.hash)
                assert ours.directory.find(message.hash) == SERVER
            elif message.response:
                assert isinstance(event, Refused)
                assert (event.eid, event.error.code) == (message.requester, message.response)
            else:
                assert event == Answered(message.requester, SERVER, message.responder, message.data)
    assert answered
    counters = ours.counters
    assert (counters.unexpected, counters.unasked, counters.malformed, counters.unknown_code) == (0, 0, 0, 0)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_as_the_side_that_answers(path: Path) -> None:
    framing = framing_of(path)
    ours = EthManagement(framing, Random(1), 9000)
    frames = list(management(path))
    for recorded in frames:
        message = framing.decode(recorded.message)
        if recorded.source == SERVER and isinstance(message, NameQueryReply):
            ours.registered.add(message.hash)
    pending: dict[int, list[Incoming[bytes]]] = defaultdict(list)
    expected: list[tuple[bytes, bytes]] = []
    for recorded in frames:
        message = framing.decode(recorded.message)
        if recorded.source == CLIENT:
            ours.receive(recorded.message, recorded.time, recorded.source)
            for event in ours.events():
                assert isinstance(event, Arrived)
                assert isinstance(message, FlowRequest)
                request = event.request
                assert (request.peer, request.eid, request.hash) == (CLIENT, message.eid, message.hash)
                assert (request.qos, request.data) == (message.qos, message.data)
                pending[request.eid].append(request)
            expected += ours.datagrams_to_send(recorded.time)
        elif isinstance(message, NameQueryReply):
            assert expected.pop(0) == (recorded.to, recorded.message)
        elif isinstance(message, FlowReply):
            request = pending[message.requester].pop()
            if message.response:
                error = type("Refusal", (Exception,), {"code": message.response})()
                ours.refuse(request, error, recorded.time)
                message = evolve(message, responder=0)  # there is no flow, so it has no endpoint here
            else:
                assert ours.accept(request, message.responder, message.data, recorded.time)
            assert ours.datagrams_to_send(recorded.time) == [(recorded.to, framing.encode(message))]
    assert not expected
    assert ours.counters.malformed == ours.counters.unknown_code == 0

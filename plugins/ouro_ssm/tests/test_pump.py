"""The native pump where the contract kit does not look: wake-ups, blocks, tables."""

import os
import random
import select
import socket
import struct
import threading
import time
from functools import partial

import pytest
from ouro_ssm.movers import NativePump
from ouro_ssm.system import SsmPacketSystem

from ouro_core.builtin.movers import PythonPump
from ouro_core.contracts.packets import ClientRef, Domain, Event, FlowEnd, Geometry, Options, SizeClass, State
from ouro_core.model.errors import PacketsError
from ouro_core.testing.packets.bench import BLOCKING, NON_BLOCKING, Background, Bench, drain, eventually, fill
from ouro_core.testing.packets.programs import dix, dix_route
from ouro_core.testing.packets.wire import (
    MAC,
    PEER,
    Wire,
    await_event,
    dix_frame,
    idle,
    loopback,
)

ROUTE = dix_route(PEER, MAC, 0x4142)


# ---------------------------------------------------------------- which mover


def test_the_first_mover_of_a_client_is_native_and_the_next_one_once_it_stopped(wire: Wire) -> None:
    assert isinstance(wire.pump, NativePump)
    second = wire.ipcp.pump(dix(MAC), wire.near.fileno())
    assert isinstance(second, PythonPump)
    second.stop()
    wire.pump.stop()
    third = wire.ipcp.pump(dix(MAC), wire.near.fileno())
    assert isinstance(third, NativePump)
    third.stop()


def test_a_mover_and_event_sets_of_one_client_do_not_disturb_each_other(wire: Wire) -> None:
    """Lanes bulk and loop: bound ends for the pump, others for two event sets."""
    bound, _ = wire.bound(64, ROUTE)
    sets = [wire.ipcp.event_set() for _ in range(2)]
    watched = []
    for events in sets:
        app, end = wire.bench.flow(wire.bench.client(), wire.ipcp)
        events.add(end)
        watched.append((app, end, events))
    for n in range(200):
        bound.write(b"%d" % n)
        for app, end, events in watched:
            app.write(b"set %d" % n)
            assert events.wait(10.0) == [(end, Event.PACKET)]
            assert end.read() == b"set %d" % n
        assert wire.receive()[18:] == b"%d" % n
        wire.send(dix_frame(64, b"back"))
        assert bound.read() == b"back"


def test_a_relay_beside_a_pump_shares_no_blocks(wire: Wire) -> None:
    """Both take blocks as receivers, one with the GIL and one without."""
    bound, _ = wire.bound(64, ROUTE)
    outside, inside = wire.ipcp.pair()
    outside.set_options(BLOCKING)
    app, end = wire.bench.flow(wire.bench.client(), wire.ipcp)
    relay = wire.ipcp.relay(inside, end)
    sender = Background(lambda: [outside.write(b"relay %d" % n * 20) for n in range(5000)])
    reader = Background(lambda: [app.read() for _ in range(5000)])
    for n in range(5000):
        wire.send(dix_frame(64, b"pump %d" % n * 20))
        assert bound.read() == b"pump %d" % n * 20
    sender.result()
    assert reader.result() == [b"relay %d" % n * 20 for n in range(5000)]
    relay.stop()


# ---------------------------------------------------------------- waking up (traps 1 and 2)


@pytest.mark.parametrize("burst", [1, 31, 32, 33, 64])
def test_no_wake_up_is_lost_where_a_turn_ends(wire: Wire, burst: int) -> None:
    """A mover that leaves a ring because its turn is over must come back, also when the ring is empty just then."""
    app, _ = wire.bound(64, ROUTE)
    rng = random.Random(burst)
    for n in range(2000 // burst):
        app.write_many([b"%d" % n] * burst)
        for _ in range(burst):
            assert wire.receive()[18:] == b"%d" % n
        if n % 7 == 0:
            time.sleep(rng.uniform(0, 0.0004))


def test_many_flows_wake_the_pump_at_once(wire: Wire) -> None:
    apps = [wire.bound(key, ROUTE)[0] for key in range(64, 96)]

    def write(app: FlowEnd) -> None:
        for _ in range(300):
            app.write(b"x")

    threads = [Background(partial(write, app)) for app in apps]
    for _ in range(32 * 300):
        assert wire.receive()[18:] == b"x"
    for thread in threads:
        thread.result()


def test_flows_of_every_domain_wake_the_pump(wire: Wire) -> None:
    """One event set a domain, all in one sleep."""
    apps = [wire.bound(64, ROUTE)[0], wire.bound(65, ROUTE, user=True)[0]]
    if os.getuid() == 0:
        other = SsmPacketSystem.client(*wire.bench.sent(wire.bench.broker.admit(ClientRef(1000, Domain(1001)))))
        wire.bench.clients.append(other)
        app, end = wire.bench.flow(other, wire.ipcp)
        wire.pump.bind(66, end, ROUTE)
        apps.append(app)
    idle(wire.pump)
    for n in range(300):
        app = apps[n % len(apps)]
        app.write(b"%d" % n)
        assert wire.receive()[18:] == b"%d" % n
        key = 64 + n % len(apps)
        wire.send(dix_frame(key, b"%d" % n))
        assert app.read() == b"%d" % n


# ---------------------------------------------------------------- blocks (trap 6)


def used(bench: Bench, payload: int, uid: int = 0) -> int:
    return bench.broker.counters()[f"pool.{uid}.{payload}.used"]


@pytest.mark.parametrize(("size", "payload"), [(64, 256), (256, 256), (257, 2048), (1400, 2048), (5000, 16384)])
def test_a_packet_occupies_a_block_of_its_size(bench: Bench, size: int, payload: int) -> None:
    wire = Wire(bench, dix(MAC, mtu=9000), *socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
    app, _ = wire.bound(64, ROUTE)
    in_hand = 32 if payload == 2048 else 0  # what the pump receives into
    eventually(lambda: used(bench, payload) == in_hand)
    for n in range(20):
        wire.send(dix_frame(64, bytes([n]) * size))
    eventually(lambda: app.queued()[0] == 20)
    assert 20 <= used(bench, payload) <= 20 + in_hand
    assert [app.read() for _ in range(20)] == [bytes([n]) * size for n in range(20)]
    wire.close()


def test_a_datagram_longer_than_a_block_arrives_whole(bench: Bench) -> None:
    wire = loopback(bench)
    app, _ = wire.bound(7)
    for size in (1999, 2048, 2049, 9000, 16384):
        body = random.Random(size).randbytes(size)
        wire.send(struct.pack("!I", 7) + body)
        assert app.read() == body
    wire.send(struct.pack("!I", 7) + bytes(20000))  # larger than every block of this pool
    wire.counted("no_block")
    wire.send(struct.pack("!I", 7) + b"after")
    assert app.read() == b"after"
    wire.close()


def test_in_a_pool_that_is_hardly_there() -> None:
    """Nothing is left to receive into; frames come through private memory."""
    bench = Bench(SsmPacketSystem, Geometry((SizeClass(512, 8),)))
    wire = Wire(bench, dix(MAC, mtu=500), *socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
    app, _ = wire.bound(64, ROUTE)
    for n in range(100):
        wire.send(dix_frame(64, b"%d" % n * 50))
        assert app.read() == b"%d" % n * 50
        app.write(b"%d" % n)
        assert wire.receive()[18:] == b"%d" % n
    wire.close()
    bench.close()


def test_no_block_stalls_like_a_full_ring_and_passes(bench: Bench) -> None:
    small = Bench(SsmPacketSystem, Geometry((SizeClass(512, 8),)))
    wire = Wire(small, dix(MAC, mtu=500), *socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
    app, _ = wire.bound(64, ROUTE)
    other, _ = wire.bound(65, ROUTE)
    for n in range(20):
        wire.send(dix_frame(64, b"%d" % n))
    eventually(lambda: wire.pump.counters()["no_block"] > 0)
    assert wire.pump.counters()["stalls"] == 1
    got = drain(app)
    assert got == [b"%d" % n for n in range(len(got))]
    wire.send(dix_frame(65, b"there are blocks again"))
    assert other.read() == b"there are blocks again"
    wire.close()
    small.close()


def test_what_was_seen_on_the_wire_is_counted(wire: Wire) -> None:
    app, _ = wire.bound(64, ROUTE)
    for n in range(1, 2001):
        app.write(b"x")
        wire.receive()
        assert wire.pump.flow_counters(64)["tx"] == n


# ---------------------------------------------------------------- tables (packets.md 4.4)


def test_hundreds_of_keys_come_and_go_beside_traffic(wire: Wire) -> None:
    """Tables are made anew while the thread reads them."""
    app, _ = wire.bound(64, ROUTE)
    stop = threading.Event()

    def traffic() -> int:
        n = 0
        while not stop.is_set():
            wire.send(dix_frame(64, b"%d" % n))
            assert app.read() == b"%d" % n
            n += 1
        return n

    running = Background(traffic)
    owner = wire.bench.client()
    for _ in range(3):
        flows = {}
        for key in range(100, 500):
            flows[key], end = wire.bench.flow(owner, wire.ipcp)
            wire.pump.bind(key, end, ROUTE)
        for key in (100, 237, 499):
            flows[key].write(b"%d" % key)
        wanted = {b"100", b"237", b"499"}
        while wanted:
            wanted.discard(wire.receive()[18:])
        for key in flows:
            wire.pump.unbind(key)
        gone: set[int] = set()
        while len(gone) < len(flows):
            gone |= {event.key for event in wire.pump.events() if event.kind == "UNBOUND"}
            time.sleep(0.001)
    stop.set()
    assert running.result() > 0


def test_an_unbound_end_can_be_read_at_once(wire: Wire) -> None:
    for n in range(100):
        app, end = wire.bench.flow(wire.bench.client(), wire.ipcp)
        wire.pump.bind(64, end, None)
        app.write(b"%d" % n)
        wire.pump.unbind(64)
        assert await_event(wire.pump, "UNBOUND").value == 1
        end.set_options(BLOCKING)
        assert end.read() == b"%d" % n
        end.write(b"back")
        assert app.read() == b"back"


def test_giving_an_end_back_behind_the_back_of_its_pump_is_refused(wire: Wire) -> None:
    app, end = wire.bound(64, ROUTE)
    with pytest.raises(PacketsError):
        end.unclaim()
    app.write(b"still bound")
    assert wire.receive()[18:] == b"still bound"


@pytest.mark.parametrize("order", ["fsf", "sff", "fsfsf"])
def test_what_changes_before_it_was_told_is_told_once(wire: Wire, order: str) -> None:
    """Two flows go down and up again before anybody asks; where they stand in the queue of news is the order."""
    apps = {"f": wire.bound(64, ROUTE)[0], "s": wire.bound(65, ROUTE)[0]}
    keys = {"f": 64, "s": 65}
    down = dict.fromkeys(apps, False)
    for name in order:
        down[name] = not down[name]
        apps[name].mark(State.DOWN if down[name] else State.UP, State.UP if down[name] else State.DOWN)
        time.sleep(0.02)
    wanted = {(keys[name], "DOWN" if is_down else "UP") for name, is_down in down.items()}
    told: list[tuple[int, str]] = []
    eventually(lambda: told.extend((e.key, e.kind) for e in wire.pump.events()) or wanted <= set(told))
    assert not select.select([wire.pump.fileno()], [], [], 0.05)[0]
    for key in keys.values():
        wire.pump.unbind(key)
        assert await_event(wire.pump, "UNBOUND").key == key
    assert not wire.pump.events()


def test_closing_bound_ends_in_traffic(wire: Wire) -> None:
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            wire.far.send(dix_frame(64, bytes(100)))

    flooding = Background(flood)
    for _ in range(100):
        app, end = wire.bound(64, ROUTE)
        app.set_options(NON_BLOCKING)
        fill(app)
        end.close()
        assert app.state & State.CLOSED
        assert await_event(wire.pump, "UNBOUND").end is end
        drain_gone(app)
        app.close()
    stop.set()
    flooding.result()


def drain_gone(end: FlowEnd) -> None:
    while end.queued()[0]:
        end.read_many(1024)


def test_bursts_both_ways_without_end(bench: Bench) -> None:
    """Two pumps on one pair of sockets, two readers and two writers; sockets and rings are full most of the time."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far.setblocking(False)
    wire = Wire(bench, dix(MAC), near, far)
    there = bench.client()
    pump = there.pump(dix(PEER), far.fileno())
    a, _ = wire.bound(64, dix_route(PEER, MAC, 64))
    b, end = bench.flow(bench.client(), there, Options(read_timeout=30.0, write_timeout=30.0))
    pump.bind(64, end, dix_route(MAC, PEER, 64))
    counts: dict[str, int] = {}

    def write(name: str, app: FlowEnd) -> None:
        for n in range(20000):
            app.write(b"%d" % n)
            if n % 500 == 499:
                time.sleep(0.01)

    def read(name: str, app: FlowEnd) -> None:
        last = -1
        app.set_options(Options(read_timeout=2.0, write_timeout=30.0))
        while last < 19999:
            n = int(app.read())
            assert n > last
            last = n
            counts[name] = counts.get(name, 0) + 1

    threads = [Background(partial(f, name, app)) for f in (write, read) for name, app in (("a", a), ("b", b))]
    for thread in threads:
        thread.result()
    assert min(counts.values()) > 10000
    pump.stop()
    wire.close()

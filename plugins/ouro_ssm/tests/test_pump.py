"""The native pump where the contract kit does not look: wake-ups, blocks, full sockets and devices, hostile users."""

import ctypes
import mmap
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from ouro_ssm.movers import NativePump
from ouro_ssm.system import SsmPacketSystem

from ouro_core.builtin.movers import PythonPump
from ouro_core.contracts.packets import ClientRef, Domain, Event, FlowEnd, Geometry, Options, SizeClass, State
from ouro_core.model.errors import PacketsError, WouldBlock
from ouro_core.testing.packets.bench import BLOCKING, NON_BLOCKING, Background, Bench, drain, eventually, fill
from ouro_core.testing.packets.programs import dix, dix_route, udp, udp_route
from ouro_core.testing.packets.wire import MAC, PEER, Wire, await_event, dix_frame, idle, raw_address

ROUTE = dix_route(PEER, MAC, 0x4142)
USER = os.getuid() or 1000


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(SsmPacketSystem, uid=USER)
    yield bench
    bench.close()


@pytest.fixture
def wire(bench: Bench) -> Iterator[Wire]:
    wire = Wire(bench, dix(MAC), *socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
    yield wire
    wire.close()


def loopback(bench: Bench) -> Wire:
    near, far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for each in (near, far):
        each.bind(("127.0.0.1", 0))
    far.connect(near.getsockname())
    return Wire(bench, udp(socket.AF_INET), near, far)


def route_to(wire: Wire) -> Any:
    return udp_route(1, raw_address(wire.far.getsockname()))


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


# ---------------------------------------------------------------- sockets (traps 4 and 8, and section 9)


def test_what_the_socket_loses_is_counted(bench: Bench) -> None:
    wire = loopback(bench)
    app, _ = wire.bound(7)
    for _ in range(1024):
        wire.send(struct.pack("!I", 7) + b"x")
    eventually(lambda: app.queued()[0] == 1024)
    wire.near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sent = 1024
    for _ in range(3000):
        wire.send(struct.pack("!I", 7) + bytes(500))
        sent += 1
    drain(app)
    app.set_options(BLOCKING)

    def all_counted() -> bool:
        """The loss is told with the next datagram."""
        nonlocal sent
        wire.send(struct.pack("!I", 7) + b"x")
        sent += 1
        drain(app)
        counted = wire.pump.counters()
        return counted["socket_dropped"] > 0 and sent == sum(counted[n] for n in ("rx", "ring_full", "socket_dropped"))

    eventually(all_counted)
    wire.close()


def in_new_network(call: Callable[[], None]) -> None:
    """Runs it in a thread with a network of its own, which is gone with its last socket."""
    libc = ctypes.CDLL(None, use_errno=True)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            if libc.unshare(0x40000000):
                pytest.skip("no network namespaces here")
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for error in errors:
        raise error


def shell(command: str) -> None:
    if subprocess.run(command.split(), capture_output=True).returncode:
        pytest.skip(f"not possible here: {command}")


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("tc"), reason="needs root and tc")
def test_a_device_that_takes_no_more_loses_nothing(bench: Bench) -> None:
    """ENOBUFS of a real queueing discipline: 20 Mbit/s, 5 packets deep."""

    def run() -> None:
        shell("ip link add va type veth peer name vb")
        for name in ("va", "vb"):
            shell(f"ip link set {name} up")
        shell("tc qdisc add dev va root tbf rate 20mbit burst 3000 limit 6000")
        near, far = (socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0xA000)) for _ in range(2))
        near.bind(("va", 0xA000))
        far.bind(("vb", 0xA000))
        far.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)
        wire = Wire(bench, dix(MAC), near, far)
        app, _ = wire.bound(64, ROUTE)
        writer = Background(lambda: [app.write(n.to_bytes(4, "big") + bytes(996)) for n in range(500)])
        for n in range(500):
            assert wire.receive()[18:22] == n.to_bytes(4, "big")
        writer.result()
        assert wire.pump.counters()["tx_no_buffer"] > 0
        assert wire.pump.counters()["tx_error"] == 0
        wire.send(PEER + MAC + b"\xa0\0\0\x40\0\1x")  # not for us
        wire.send(dix_frame(64, b"to us"))
        assert app.read() == b"to us"
        wire.close()

    in_new_network(run)


def test_a_socket_that_fails_is_told_and_does_not_make_the_pump_spin(bench: Bench) -> None:
    wire = loopback(bench)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = raw_address(gone.getsockname())
    app, _ = wire.bound(7, udp_route(1, nobody))
    wire.near.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: nobody listens, and the socket says so
    app.write(b"to nobody")
    assert await_event(wire.pump, "FAILED").value
    wire.pump.set_route(7, route_to(wire))
    app.write(b"goes on")
    eventually(lambda: wire.pump.counters()["tx"] + wire.pump.counters()["tx_error"] >= 2)
    app.write(b"and on")
    assert wire.far.recv(100)[4:] in (b"goes on", b"and on")
    wire.close()


def test_a_pump_that_is_blocked_or_stalled_stops_at_once(bench: Bench) -> None:
    wire = Wire(bench, dix(MAC), *socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
    stuck, end = wire.bound(64, ROUTE)
    fill(stuck)
    eventually(lambda: wire.pump.counters()["tx_again"] > 0)
    for _ in range(1100):
        wire.send(dix_frame(64, b"x"))
    began = time.monotonic()
    wire.pump.stop()
    assert time.monotonic() - began < 5.0
    assert end.owner is None
    wire.close()


def test_a_neighbour_waits_for_a_slow_reader_an_eighth_of_the_time_at_most(wire: Wire) -> None:
    """Trap 4: a reader that takes one packet a millisecond, flooded; beside it somebody plays ping-pong."""
    slow, _ = wire.bound(64, ROUTE)
    quick, _ = wire.bound(65, ROUTE)
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            for _ in range(20):
                wire.far.send(dix_frame(64, bytes(100)))
            time.sleep(0.001)

    def read_slowly() -> None:
        while not stop.is_set():
            slow.read()
            time.sleep(0.001)

    threads = [Background(flood), Background(read_slowly)]
    for n in range(300):
        wire.far.send(dix_frame(65, b"%d" % n))
        assert quick.read() == b"%d" % n
    counted = wire.pump.counters()
    stop.set()
    wire.far.send(dix_frame(64, b"end"))
    for thread in threads:
        thread.result()
    assert counted["rx"] > 300


# ---------------------------------------------------------------- users (5.2, section 9)

HEADER, RING, SLOTS = 128, 17024, 640


class Vandal:
    """A user's hand on the memory of his flow and pool. His end is 0: he writes ring 0."""

    def __init__(self, wire: Wire, key: int) -> None:
        self.client = wire.bench.client(user=True)
        flow = wire.bench.create(self.client, wire.ipcp)
        grant = flow.grant(1)  # the pump's, for it names all memory
        self.flow, self.pool, self.events = (mmap.mmap(fd, 0) for fd in grant.fds[:3])
        self.app = self.client.attach(*wire.bench.sent(flow.grant(0)), BLOCKING)
        self.end = wire.ipcp.attach(*wire.bench.sent(grant), BLOCKING)
        wire.pump.bind(key, self.end, ROUTE)

    def slot(self, number: int) -> int:
        return HEADER + SLOTS + number % 1024 * 16

    def put_head(self, head: int) -> None:
        struct.pack_into("<I", self.flow, HEADER, head & 0xFFFFFFFF)

    def close(self) -> None:
        for each in (self.flow, self.pool, self.events):
            each.close()


@pytest.fixture
def vandal(wire: Wire) -> Iterator[Vandal]:
    vandal = Vandal(wire, 66)
    yield vandal
    vandal.close()


def test_a_user_who_scribbles_over_his_ring_and_packets_hurts_nobody_else(wire: Wire, vandal: Vandal) -> None:
    good, _ = wire.bound(64, dix_route(MAC, PEER, 64))
    stop = threading.Event()
    pool_size = len(vandal.pool)

    def scribble() -> None:
        rng = random.Random(1)
        while not stop.is_set():
            for _ in range(50):
                block = rng.choice((rng.getrandbits(32), (rng.randrange(1, 4) << 24) | rng.randrange(200)))
                struct.pack_into(
                    "<3I",
                    vandal.flow,
                    vandal.slot(rng.randrange(1024)),
                    block,
                    rng.randrange(3000),
                    rng.randrange(3000),
                )
                at = pool_size - 64 - rng.randrange(1 << 20)  # payloads, while they are copied
                vandal.pool[at : at + 8] = rng.randbytes(8)

    def write() -> None:
        vandal.app.set_options(NON_BLOCKING)
        while not stop.is_set():
            try:
                vandal.app.write(bytes(1000))
            except WouldBlock:
                time.sleep(0.0001)

    threads = [Background(scribble), Background(write)]
    got: list[bytes] = []
    far = wire.far

    def collect() -> None:
        while len(got) < 3000:
            frame = far.recv(65536)
            assert frame[:12] in (PEER + MAC, MAC + PEER), "no header but those of the routes"
            assert len(frame) == 18 + int.from_bytes(frame[16:18], "big")
            if frame[:6] == MAC:
                got.append(frame[18:])

    collecting = Background(collect)
    for n in range(3000):
        good.write(b"%d" % n)
        if n % 100 == 0:
            time.sleep(0.01)
    collecting.result()
    stop.set()
    keep_reading = Background(lambda: drain_socket(far))
    for thread in threads:
        thread.result()
    keep_reading.result()
    assert got == [b"%d" % n for n in range(3000)]
    assert vandal.end.counters()["rejected"] > 0


def drain_socket(far: socket.socket) -> None:
    while select.select([far], [], [], 0.2)[0]:
        far.recv(65536)


def test_a_block_that_is_offered_twice_is_sent_and_freed_once(wire: Wire, vandal: Vandal) -> None:
    vandal.app.write(b"once")
    assert wire.receive()[18:] == b"once"
    wire.pump.set_route(66, None)
    vandal.app.write(b"twice?")
    vandal.flow[vandal.slot(2) : vandal.slot(2) + 16] = vandal.flow[vandal.slot(1) : vandal.slot(1) + 16]
    vandal.put_head(3)
    wire.pump.set_route(66, ROUTE)
    frames = [wire.receive()[18:]]
    while not wire.silent():
        frames.append(wire.receive()[18:])
    assert set(frames) == {b"twice?"}  # a batch may send it twice, but its block goes back once
    assert not wire.bench.used().get(f"pool.{USER}.256.used")


@pytest.mark.parametrize("head", [1025, 1 << 31, 0xFFFFFFFF])
def test_an_impossible_head_puts_the_flow_down_and_the_pump_goes_on(wire: Wire, vandal: Vandal, head: int) -> None:
    good, _ = wire.bound(64, ROUTE)
    idle(wire.pump)
    vandal.put_head(head)
    vandal.app.mark(State.PEER)  # wakes whoever sleeps for the flow
    assert await_event(wire.pump, "DOWN").key == 66
    good.write(b"goes on")
    assert wire.receive()[18:] == b"goes on"
    idle(wire.pump)
    wire.pump.unbind(66)
    assert await_event(wire.pump, "UNBOUND").end is vandal.end


def test_bits_that_a_user_sets_for_nothing_cost_a_look(wire: Wire, vandal: Vandal) -> None:
    good, _ = wire.bound(64, ROUTE)
    lane = 128  # bulk: waiter, 124 bytes, summary, 120 bytes, 64 words
    for at in range(lane + 128, lane + 256 + 512, 8):
        if at == lane + 128 or at >= lane + 256:
            struct.pack_into("<Q", vandal.events, at, (1 << 64) - 1)
    good.write(b"x")
    assert wire.receive()[18:] == b"x"
    idle(wire.pump)


# ---------------------------------------------------------------- forks


def test_a_forked_child_can_do_nothing_with_a_pump(wire: Wire) -> None:
    app, end = wire.bound(64, ROUTE)
    _, free = wire.bench.flow(wire.bench.client(), wire.ipcp)
    pump = wire.pump
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        refused = 0
        for call in (
            lambda: pump.bind(65, free), lambda: pump.set_route(64, None), lambda: pump.unbind(64), pump.events,
            pump.management,
        ):  # fmt: skip
            try:
                call()
            except PacketsError:
                refused += 1
        pump.stop()
        os.write(writer, bytes([refused]))
        os._exit(0)
    assert os.read(reader, 1) == b"\5"
    os.waitpid(pid, 0)
    for fd in (reader, writer):
        os.close(fd)
    app.write(b"the parent's works")
    assert wire.receive()[18:] == b"the parent's works"
    assert end.owner == "pump"


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

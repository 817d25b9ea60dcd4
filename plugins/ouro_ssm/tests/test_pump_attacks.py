"""The native pump between full sockets and devices, and users who write what they like into their memory."""

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

import pytest

from ouro_core.contracts.packets import State
from ouro_core.model.errors import PacketsError, WouldBlock
from ouro_core.testing.packets.bench import BLOCKING, NON_BLOCKING, USER, Background, Bench, drain, eventually, fill
from ouro_core.testing.packets.programs import dix, dix_route, udp_route
from ouro_core.testing.packets.wire import (
    MAC,
    PEER,
    Wire,
    await_event,
    dix_frame,
    idle,
    loopback,
    raw_address,
    route_to,
)

ROUTE = dix_route(PEER, MAC, 0x4142)


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

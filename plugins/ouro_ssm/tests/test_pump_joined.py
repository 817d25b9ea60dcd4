"""Datagrams that cross the border to the kernel as one message (UDP_SEGMENT, UDP_GRO): the wire shows nothing of it."""

import random
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from attrs import evolve

from ouro_core.contracts.packets import FlowEnd
from ouro_core.contracts.programs import PumpProgram
from ouro_core.testing.netns import Namespace, join, unusable
from ouro_core.testing.packets.bench import Bench, eventually
from ouro_core.testing.packets.programs import udp, udp_route
from ouro_core.testing.packets.wire import Wire, await_event, raw_address, route_to

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
SO_NO_CHECK = 11
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
RECEIVE_BUFFER = 4 << 20
PROGRAM = udp(socket.AF_INET)


def bound_socket(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.bind((host, 0))
    return sock


def over(bench: Bench, near: socket.socket, far: socket.socket, program: PumpProgram = PROGRAM) -> Wire:
    far.connect(near.getsockname())
    return Wire(bench, program, near, far)


@pytest.fixture
def wire(bench: Bench) -> Iterator[Wire]:
    wire = over(bench, bound_socket(), bound_socket())
    yield wire
    wire.close()


def written_at_once(wire: Wire, packets: list[bytes]) -> FlowEnd:
    """All of them are in the ring when the pump comes to look."""
    app, end = wire.bench.flow(wire.bench.client(), wire.ipcp)
    for packet in packets:
        app.write(packet)
    wire.pump.bind(64, end, route_to(wire))
    return app


def joins(sock: socket.socket) -> bool:
    try:
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
        sock.setsockopt(SOL_UDP, UDP_SEGMENT, 0)
    except OSError:
        return False
    return True


@pytest.fixture
def far_joins(wire: Wire) -> None:
    if not joins(wire.far):
        pytest.skip("needs a kernel with UDP_SEGMENT and UDP_GRO (5.0)")


def messages(sock: socket.socket, datagrams: int) -> list[list[bytes]]:
    """The datagrams of each message, as a socket shows them that asked for joined ones."""
    found: list[list[bytes]] = []
    while sum(map(len, found)) < datagrams:
        data, control, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(4))
        each = next((struct.unpack("=i", value)[0] for _, kind, value in control if kind == UDP_GRO), len(data))
        found.append([data[at : at + each] for at in range(0, len(data), each)])
    return found


# ---------------------------------------------------------------- to the wire


@pytest.mark.usefixtures("far_joins")
def test_datagrams_of_one_length_leave_as_one_message(wire: Wire) -> None:
    packets = [b"%03d" % n * 20 for n in range(64)]
    written_at_once(wire, packets)
    got = messages(wire.far, 64)
    assert [datagram for message in got for datagram in message] == [b"\0\0\0\1" + packet for packet in packets]
    assert max(map(len, got)) > 1


@pytest.mark.usefixtures("far_joins")
def test_a_program_can_do_without(bench: Bench) -> None:
    wire = over(bench, bound_socket(), bound_socket(), evolve(PROGRAM, join=False))
    joins(wire.far)
    app = written_at_once(wire, [b"x" * 60] * 64)
    assert [len(message) for message in messages(wire.far, 64)] == [1] * 64
    send_joined(wire, [b"\0\0\0\x40" + bytes([n]) * 50 for n in range(20)])
    assert [app.read() for _ in range(20)] == [bytes([n]) * 50 for n in range(20)]
    wire.close()


def test_lengths_stay_as_they_are(wire: Wire) -> None:
    """To a socket that knows nothing of joining: runs of equal lengths, shorter and longer ones, empty ones."""
    rng = random.Random(7)
    app = written_at_once(wire, [])
    sent = 0
    for _ in range(50):
        lengths = [n for _ in range(6) for n in [rng.choice([1, 60, 61, 1400, 4000])] * rng.choice([1, 2, 5])]
        packets = [rng.randbytes(length) for length in lengths]
        app.write_many(packets)
        app.keepalive()
        assert [wire.receive()[4:] for _ in range(len(packets) + 1)] == [*packets, b""]
        sent += len(packets) + 1
    assert wire.pump.flow_counters(64)["tx"] == sent


def test_the_longest_message_is_not_too_long(wire: Wire) -> None:
    """32 datagrams of this length are more than one message of UDP can be."""
    packets = [bytes([n]) * 8000 for n in range(32)]
    written_at_once(wire, packets)
    assert [wire.receive()[4:] for _ in packets] == packets
    assert wire.pump.counters()["tx_error"] == 0


def test_a_socket_that_refuses_joined_ones_gets_them_one_by_one(wire: Wire) -> None:
    """The kernel cannot make checksums for the parts when there are to be none."""
    wire.near.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    packets = [b"%03d" % n * 20 for n in range(200)]
    app = written_at_once(wire, packets)
    assert [wire.receive()[4:] for _ in packets] == packets
    app.write_many(packets)
    assert [wire.receive()[4:] for _ in packets] == packets
    assert wire.pump.counters()["tx_error"] == 0
    assert wire.pump.flow_counters(64)["dropped"] == 0
    assert not wire.pump.events()


def test_flows_are_not_mixed(bench: Bench) -> None:
    """Two peers, packets of one length, all waiting at once."""
    wire = over(bench, bound_socket(), bound_socket())
    others = [wire.far, bound_socket()]
    others[1].settimeout(10.0)
    for key, sock in enumerate(others):
        app, end = bench.flow(bench.client(), wire.ipcp)
        for n in range(100):
            app.write(b"%d.%03d" % (key, n))
        wire.pump.bind(key, end, udp_route(key + 7, raw_address(sock.getsockname())))
    for key, sock in enumerate(others):
        wanted = [struct.pack("!I", key + 7) + b"%d.%03d" % (key, n) for n in range(100)]
        assert [sock.recv(100) for _ in range(100)] == wanted
    others[1].close()
    wire.close()


# ---------------------------------------------------------------- on a path of 1500 bytes


@pytest.fixture
def path(bench: Bench) -> Iterator[Wire]:
    """The wire goes between two namespaces, over a device that carries 1500 bytes."""
    if why := unusable():
        pytest.skip(why)
    with Namespace() as here, Namespace() as far:
        join(here, "v0", far, "v0")
        for network, address in ((here, "10.97.0.1"), (far, "10.97.0.2")):
            network.ip("addr", "add", f"{address}/24", "dev", "v0")
        with here.inside():
            near = bound_socket("10.97.0.1")
        with far.inside():
            other = bound_socket("10.97.0.2")
        wire = over(bench, near, other)
        yield wire
        wire.close()


def test_what_is_too_large_for_the_path_goes_in_fragments(path: Wire) -> None:
    packets = [bytes([n]) * length for n, length in enumerate([1400] * 9 + [3000] * 9 + [1400] * 9 + [3000, 1400] * 9)]
    app = written_at_once(path, packets)
    assert [path.receive()[4:] for _ in packets] == packets
    app.write_many(packets)
    assert [path.receive()[4:] for _ in packets] == packets
    assert path.pump.counters()["tx_error"] == 0


def test_what_must_not_be_in_fragments_is_refused_one_by_one(path: Wire) -> None:
    path.near.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    small, large = [bytes([n]) * 1400 for n in range(20)], [bytes([n]) * 3000 for n in range(20)]
    written_at_once(path, small + large + small)
    assert [path.receive()[4:] for _ in range(40)] == small + small
    path.counted("tx_error", 20)
    assert path.pump.flow_counters(64)["dropped"] == 20
    assert await_event(path.pump, "FAILED").key == 64


# ---------------------------------------------------------------- from the wire


def send_joined(wire: Wire, datagrams: list[bytes]) -> None:
    """As one message. All are as long as the first one; the last may be shorter."""
    each = struct.pack("=H", len(datagrams[0]))
    wire.far.sendmsg([b"".join(datagrams)], [(SOL_UDP, UDP_SEGMENT, each)])


def to(key: int) -> Callable[[bytes], bytes]:
    return lambda payload: struct.pack("!I", key) + payload


@pytest.mark.usefixtures("far_joins")
@pytest.mark.parametrize(("length", "count"), [(1, 60), (60, 60), (300, 60), (1400, 40), (9000, 7), (1996, 2)])
def test_joined_datagrams_are_packets_of_their_own(wire: Wire, length: int, count: int) -> None:
    app, _ = wire.bound(64)
    for last in (length, 1):
        packets = [bytes([n]) * length for n in range(count - 1)] + [b"x" * last]
        send_joined(wire, list(map(to(64), packets)))
        assert [app.read() for _ in packets] == packets


@pytest.mark.usefixtures("far_joins")
def test_each_of_joined_datagrams_is_looked_at(wire: Wire) -> None:
    app, _ = wire.bound(64)
    other, _ = wire.bound(65)
    body = bytes(50)
    frames = [to(64)(body), to(66)(body), to(65)(body), to(0)(body), to(64)(body), to(67)(body), b"\0\0\0"]
    send_joined(wire, frames)
    assert [app.read(), app.read(), other.read()] == [body] * 3
    wire.counted("unknown_key", 2)
    wire.counted("short")
    assert wire.management().frame == to(0)(body)


@pytest.mark.usefixtures("far_joins")
def test_a_reader_who_comes_late_misses_no_part_of_a_message(wire: Wire) -> None:
    """His ring is full in the middle of one. What waits comes after, each once; what does not is counted."""
    app, _ = wire.bound(64)
    packets = [b"%04d" % n for n in range(1500)]
    for at in range(0, 1500, 60):
        send_joined(wire, list(map(to(64), packets[at : at + 60])))
    eventually(lambda: wire.pump.counters()["stalls"] > 0, "the pump waits")
    got: list[bytes] = []

    def all_came() -> bool:
        while app.queued()[0]:
            got.append(app.read())
        counted = wire.pump.flow_counters(64)
        return counted["rx"] + counted["dropped"] == len(packets) and not app.queued()[0]

    eventually(all_came, "all packets are accounted for")
    assert len(got) == wire.pump.flow_counters(64)["rx"] >= 1024
    assert got == sorted(set(got))
    assert got[:1024] == packets[:1024]


@pytest.mark.usefixtures("far_joins")
def test_who_reads_the_socket_afterwards_gets_datagrams(wire: Wire) -> None:
    wire.pump.stop()
    send_joined(wire, [b"one.", b"two.", b"end"])
    wire.near.settimeout(10.0)
    assert [wire.near.recv(100) for _ in range(3)] == [b"one.", b"two.", b"end"]

"""The pump and the forwarder of `heap` on recorded frames of the prototype.

What is received must equal an independent reading of the frames; what is sent again must equal them byte for byte.
"""

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from ouro_core.builtin.heap import HeapPacketSystem
from ouro_core.contracts.packets import FlowEnd, Options, PacketClient, Pump
from ouro_core.contracts.programs import Group, PumpProgram, Route
from ouro_core.testing.packets.bench import BLOCKING, Bench, eventually
from ouro_core.testing.packets.programs import dix, dix_route, dt, llc, llc_route, udp, udp_route
from ouro_core.testing.packets.wire import raw_address, raw_address6

CAPTURES = Path(__file__).parents[2] / "data" / "captures"
BROADCAST = b"\xff" * 6
EMPTY_TOO = Options(read_timeout=10.0, write_timeout=10.0, deliver_empty=True)


def read_pcap(path: Path) -> list[bytes]:
    """The frames of a capture in the classic format, little-endian, link type Ethernet."""
    data = path.read_bytes()
    magic, link = data[:4], struct.unpack_from("<I", data, 20)[0]
    assert (magic.hex(), link) == ("d4c3b2a1", 1)
    frames, at = [], 24
    while at < len(data):
        kept, size = struct.unpack_from("<II", data, at + 8)
        assert kept == size
        frames.append(data[at + 16 : at + 16 + kept])
        at += 16 + kept
    return frames


def captures(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (CAPTURES / folder).glob("*.pcap"))


def name(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


class Reading(NamedTuple):
    """What a frame is, read without any program. `to` and `source` tell hosts; `key` and `peer` are EIDs or SAPs, where
    `peer` is that of the sender as far as the frame has it.
    """

    to: bytes
    source: bytes
    key: int
    peer: int
    whole: bytes  # without padding
    payload: bytes
    management: bool


def read_dix(frame: bytes) -> Reading | None:
    to, source, ethertype, key, size = struct.unpack_from("!6s6sHHH", frame)
    if ethertype != 0xA000:
        return None
    return Reading(to, source, key, 0, frame[: 18 + size], frame[18 : 18 + size], key == 0)


def mirrored(octet: int) -> int:
    return sum(1 << 7 - bit for bit in range(8) if octet >> bit & 1)


def read_llc(frame: bytes) -> Reading | None:
    to, source, size, dsap, ssap, control = struct.unpack_from("!6s6sHBBB", frame)
    if size > 1500 or control != 3:
        return None
    keys = mirrored(dsap), mirrored(ssap)
    return Reading(to, source, *keys, frame[: 14 + size], frame[17 : 14 + size], keys == (1, 1))


def read_udp(frame: bytes) -> Reading | None:
    """`whole` is the datagram."""
    ethertype = int.from_bytes(frame[12:14], "big")
    if ethertype == 0x0800 and frame[14] == 0x45 and frame[23] == 17:
        source, to, at = frame[26:30], frame[30:34], 34
    elif ethertype == 0x86DD and frame[20] == 17:
        source, to, at = frame[22:38], frame[38:54], 54
    else:
        return None
    datagram = frame[at + 8 : at + int.from_bytes(frame[at + 4 : at + 6], "big")]
    key = int.from_bytes(datagram[:4], "big")
    return Reading(to, source, key, 0, datagram, datagram[4:], key == 0)


class Host:
    """One of the recorded hosts: a pump with what the capture needs bound on demand."""

    def __init__(self, program: PumpProgram, near: socket.socket) -> None:
        self.bench = Bench(HeapPacketSystem)
        self.ipcp: PacketClient = self.bench.client()
        self.app: PacketClient = self.bench.client()
        near.setblocking(False)
        self.near = near
        self.pump: Pump = self.ipcp.pump(program, near.fileno())
        self.flows: dict[int, FlowEnd] = {}

    def flow(self, key: int, route: Route | None) -> FlowEnd:
        if key not in self.flows:
            app, end = self.bench.flow(self.app, self.ipcp, EMPTY_TOO)
            self.pump.bind(key, end)
            self.flows[key] = app
        self.pump.set_route(key, route)
        return self.flows[key]

    def management(self) -> bytes:
        [frame] = eventually(lambda: self.pump.management(1))
        return bytes(frame.frame)

    def refused(self) -> int:
        counted = self.pump.counters()
        return sum(counted[name] for name in ("short", "foreign", "bad_length", "unknown_key", "bad_source"))

    def close(self) -> None:
        self.pump.stop()
        self.near.close()
        self.bench.close()


def replay_ethernet(path: Path, own: bytes, llc_frames: bool) -> tuple[int, int, int]:
    """Every frame of a capture, at the host with this MAC. (data received, data sent, management received)."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far.settimeout(10.0)
    data = sent = management = refused = 0
    with closing(Host((llc if llc_frames else dix)(own, 9000), near)) as host, far:
        for frame in read_pcap(path):
            reading = (read_llc if llc_frames else read_dix)(frame)
            if reading is not None and reading.source == own and not reading.management:
                app, header = outgoing(host, own, reading, llc_frames)
                app.write(reading.payload) if reading.payload else app.keepalive()
                assert far.recv(10000) == reading.whole
                assert reading.whole.startswith(header)
                sent += 1
            if reading is not None and reading.to in (own, BROADCAST) and not reading.management:
                route = llc_route(reading.source, own, reading.peer, reading.key) if llc_frames else None
                app = host.flow(reading.key, route)
                far.send(frame)
                assert app.read() == reading.payload
                data += 1
                continue
            far.send(frame)
            if reading is not None and reading.to in (own, BROADCAST):
                assert host.management() == reading.whole
                management += 1
            else:
                refused += 1
                eventually(lambda expected=refused: host.refused() == expected)  # type: ignore[misc]
        assert host.refused() == refused
    return data, sent, management


def outgoing(host: Host, own: bytes, reading: Reading, llc_frames: bool) -> tuple[FlowEnd, bytes]:
    """A flow that sends to where the frame went, and the beginning of its header."""
    if llc_frames:
        return host.flow(reading.peer, llc_route(reading.to, own, reading.key, reading.peer)), reading.whole[:12]
    return host.flow(0xF000 + reading.key % 0xF00, dix_route(reading.to, own, reading.key)), reading.whole[:16]


def macs(path: Path) -> set[bytes]:
    return {frame[6:12] for frame in read_pcap(path)}


@pytest.mark.parametrize("path", captures("eth-dix", "unicast", "broadcast"), ids=name)
def test_eth_dix(path: Path) -> None:
    totals = [replay_ethernet(path, own, False) for own in macs(path)]
    assert sum(data for data, _, _ in totals) == sum(sent for _, sent, _ in totals)
    assert sum(management for _, _, management in totals) > 0


@pytest.mark.parametrize("path", captures("eth-llc"), ids=name)
def test_eth_llc(path: Path) -> None:
    totals = [replay_ethernet(path, own, True) for own in macs(path)]
    assert sum(data for data, _, _ in totals) == sum(sent for _, sent, _ in totals)
    assert sum(management for _, _, management in totals) > 0


@pytest.mark.parametrize("path", captures("udp4", "udp6"), ids=name)
def test_udp(path: Path) -> None:
    """Each recorded host in turn; the other one is a second socket on the loopback interface."""
    readings = [reading for frame in read_pcap(path) if (reading := read_udp(frame)) is not None]
    assert readings
    family, host_name, raw = (
        (socket.AF_INET, "127.0.0.1", raw_address)
        if len(readings[0].to) == 4
        else (socket.AF_INET6, "::1", raw_address6)
    )
    for own in {reading.to for reading in readings}:
        near, far = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        for each in (near, far):
            each.bind((host_name, 0))
        far.settimeout(10.0)
        peer = raw(far.getsockname())
        with closing(Host(udp(family), near)) as host, far:
            for reading in readings:
                if reading.to == own:
                    app = None if reading.management else host.flow(reading.key, udp_route(reading.key, peer))
                    far.sendto(reading.whole, near.getsockname())
                    assert (host.management() if app is None else app.read()) in (reading.whole, reading.payload)
                elif not reading.management:
                    app = host.flow(2**31 + reading.key, udp_route(reading.key, peer))
                    app.write(reading.payload) if reading.payload else app.keepalive()
                    assert far.recv(10000) == reading.whole
            assert host.refused() == 0


# ---- node h2 of the unicast layer


H1, H2, H3 = 859278658, 3994803253, 1213068024
LEFT, RIGHT = bytes.fromhex("020000000002"), bytes.fromhex("020000000102")  # h2's MACs
DATA_TRANSFER = 65  # EID of the N-1 flows that carry data, on both segments


def transfers(segment: str) -> Iterator[Reading]:
    for frame in read_pcap(CAPTURES / "unicast" / f"{segment}.pcap"):
        reading = read_dix(frame)
        if reading is not None and reading.key == DATA_TRANSFER and len(reading.payload) >= 15:
            destination, cube, _, _, _ = struct.unpack_from("<IBBBQ", reading.payload)
            if destination in (H1, H2, H3) and cube == 0:
                yield reading


class Packet(NamedTuple):
    """A PCI and what follows, as the node sees it."""

    destination: int
    ttl: int
    eid: int
    whole: bytes

    @classmethod
    def of(cls, whole: bytes) -> "Packet":
        destination, _, ttl, _, eid = struct.unpack_from("<IBBBQ", whole)
        return cls(destination, ttl, eid, whole)


def test_node_h2_of_the_unicast_layer() -> None:
    arrived: dict[str, list[Packet]] = {}
    left_h2: dict[str, list[Packet]] = {}
    for segment, mac in (("seg-h1-h2", LEFT), ("seg-h2-h3", RIGHT)):
        frames = list(transfers(segment))
        arrived[segment] = [Packet.of(f.payload) for f in frames if f.to == mac]
        left_h2[segment] = [Packet.of(f.payload) for f in frames if f.source == mac]
    bench = Bench(HeapPacketSystem)
    node = bench.client()
    forwarder = node.forwarder(dt(H2))
    ends: dict[str, FlowEnd] = {}
    ports: dict[str, int] = {}
    for segment in arrived:
        inside, ends[segment] = node.pair()
        ends[segment].set_options(BLOCKING)
        ports[segment] = forwarder.add_network(inside)
    forwarder.set_routes(0, {H1: Group((ports["seg-h1-h2"],)), H3: Group((ports["seg-h2-h3"],))})

    transit = 0
    for here, there in (("seg-h1-h2", "seg-h2-h3"), ("seg-h2-h3", "seg-h1-h2")):
        crossing = [packet for packet in arrived[here] if packet.destination != H2]
        for packet in crossing:
            ends[here].write(packet.whole)
        recorded = [packet.whole for packet in left_h2[there] if packet.ttl < 60]
        assert [ends[there].read() for _ in crossing] == recorded
        transit += len(crossing)
    assert transit == 27

    components: dict[int, FlowEnd] = {}
    for eid in (0, 1):
        inside, components[eid] = node.pair()
        components[eid].set_options(BLOCKING)
        forwarder.add_component(eid, inside)
    flows: dict[int, FlowEnd] = {}
    for segment, packets in arrived.items():
        for packet in (p for p in packets if p.destination == H2):
            end = components.get(packet.eid) or flows.get(packet.eid)
            if end is None:
                end, lower = bench.flow(bench.client(), node)
                flows[packet.eid] = end
                forwarder.add_flow(packet.eid, lower, H1, 0)
            ends[segment].write(packet.whole)
            assert end.read() == packet.whole[15:]

    for segment, packets in left_h2.items():
        for packet in (p for p in packets if p.ttl == 60):
            if packet.eid in components:
                components[packet.eid].write(packet.whole)
            else:
                end, lower = bench.flow(bench.client(), node, EMPTY_TOO)
                key = 2**20 + len(bench.flows)
                forwarder.add_flow(key, lower, packet.destination, packet.eid)
                end.write(packet.whole[15:]) if packet.whole[15:] else end.keepalive()
            assert ends[segment].read() == packet.whole
    counted = forwarder.counters()
    assert [counted[name] for name in ("ttl", "no_route", "no_eid", "short", "ring_full", "down")] == [0] * 6
    assert counted["forwarded"] == transit
    forwarder.stop()
    bench.close()


def test_a_readable_descriptor_means_management() -> None:
    """What an IPCP does: sleep on the pump until it has something."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = CAPTURES / "eth-dix" / "plain.pcap"
    with closing(Host(dix(LEFT), near)) as host, far:
        for frame in read_pcap(path):
            reading = read_dix(frame)
            if reading is not None and reading.management and reading.to in (LEFT, BROADCAST):
                assert not select.select([host.pump.fileno()], [], [], 0)[0]
                far.send(frame)
                assert select.select([host.pump.fileno()], [], [], 10.0)[0]
                assert host.management() == reading.whole

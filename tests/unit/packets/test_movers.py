"""The Python movers where the contract leaves them to themselves."""

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from attrs import evolve

from ouro_core.builtin.heap import HeapPacketSystem
from ouro_core.builtin.movers import address, fields
from ouro_core.contracts.packets import State
from ouro_core.contracts.programs import Field, ForwardProgram, Group, PumpProgram
from ouro_core.model.errors import CryptError, InvalidArgument, PacketsError, WouldBlock
from ouro_core.testing.packets.bench import BLOCKING, NON_BLOCKING, Bench, eventually, fill
from ouro_core.testing.packets.forwarder import Node, pci
from ouro_core.testing.packets.programs import dix, dix_route, dt
from ouro_core.testing.packets.relay import Shouting
from ouro_core.testing.packets.wire import MAC, PEER, Wire, await_event


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench(HeapPacketSystem)
    yield bench
    bench.close()


@pytest.fixture
def wire(bench: Bench) -> Iterator[Wire]:
    wire = Wire(bench, dix(MAC), *socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
    yield wire
    wire.close()


def test_a_pump_gives_up_an_end_that_its_own_client_closed(wire: Wire) -> None:
    _, end = wire.bound(64, dix_route(PEER, MAC, 1))
    other, _ = wire.bound(65)
    end.close()
    for key in (64, 65):
        wire.send(MAC + PEER + struct.pack("!HHH", 0xA000, key, 1) + b"x")
    assert other.read() == b"x"
    assert await_event(wire.pump, "UNBOUND").key == 64


def test_a_forwarder_gives_up_an_end_that_its_own_client_closed(bench: Bench) -> None:
    node = Node(bench, dt(1))
    left, _ = node.network()
    right, right_port = node.network()
    inside, _ = node.pair()
    gone = node.forwarder.add_network(inside)
    node.route(9, gone)
    inside.close()
    left.write(pci(9, 1))
    assert await_event(node.forwarder, "UNBOUND").key == gone
    assert node.forwarder.counters()["down"] == 1
    node.forwarder.set_routes(0, {9: Group((gone, right_port))})
    left.write(pci(9, 1))
    assert right.read() == pci(9, 1, ttl=59)
    node.forwarder.stop()


def test_a_component_says_its_cube_in_the_pci(bench: Bench) -> None:
    node = Node(bench, dt(1))
    right, port = node.network()
    node.route(9, port, cube=2)
    node.component(0).write(pci(9, 1, cube=2))
    assert right.read() == pci(9, 1, cube=2)
    node.forwarder.stop()


def test_a_forwarder_that_is_held_back_does_not_spin(bench: Bench) -> None:
    node = Node(bench, dt(1))
    left, _ = node.network()
    right, port = node.network()
    node.route(9, port)
    fill(left, pci(9, 1))
    eventually(lambda: right.queued()[0] == 1024)
    fill(left, pci(9, 1))
    before = node.forwarder.counters()["sleeps"]
    time.sleep(0.2)
    assert 0 < node.forwarder.counters()["sleeps"] - before < 200
    node.forwarder.stop()


def test_the_options_of_an_end_survive_its_mover(wire: Wire) -> None:
    _, end = wire.bench.flow(wire.bench.client(), wire.ipcp, NON_BLOCKING)
    wire.pump.bind(64, end)
    wire.pump.unbind(64)
    await_event(wire.pump, "UNBOUND")
    with pytest.raises(WouldBlock):
        end.read()


def test_options_set_meanwhile_do_not_reach_the_mover(wire: Wire) -> None:
    app, end = wire.bound(64, dix_route(PEER, MAC, 1))
    end.set_options(BLOCKING)
    app.write(b"x")
    assert wire.receive()[18:] == b"x"
    wire.pump.unbind(64)
    await_event(wire.pump, "UNBOUND")
    app.write(b"ours")
    assert end.read() == b"ours"


def test_all_threads_are_gone_after_stop(bench: Bench) -> None:
    before = threading.active_count()
    node = Node(bench, dt(1))
    node.network()
    a, b = node.ipcp.pair()
    relay = node.ipcp.relay(a, b)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    pump = node.ipcp.pump(dix(MAC), near.fileno())
    assert threading.active_count() > before
    for mover in (node.forwarder, relay, pump):
        mover.stop()
    near.close()
    far.close()
    assert threading.active_count() == before


def test_a_pump_needs_a_socket(bench: Bench) -> None:
    client = bench.client()
    read, write = os.pipe()
    with pytest.raises(PacketsError):
        client.pump(dix(MAC), read)
    os.close(read)
    os.close(write)
    with pytest.raises(PacketsError):
        client.pump(dix(MAC), read)


@pytest.mark.parametrize(
    "program",
    [
        PumpProgram(header=4, key=Field(0, 3), max_payload=1),
        PumpProgram(header=4, key=Field(0, 4, order="middle"), max_payload=1),
        PumpProgram(header=4, key=Field(0, 2, bit_reversed=True), max_payload=1),
        PumpProgram(header=4, key=Field(0, 4), length=Field(3, 2), max_payload=1),
        PumpProgram(header=0, key=Field(0, 1), max_payload=1),
        PumpProgram(header=12, key=Field(0, 4), require=dix(MAC).require, max_payload=1),
    ],
)
def test_impossible_pump_programs(bench: Bench, program: PumpProgram) -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far, pytest.raises(PacketsError):
        bench.client().pump(program, near.fileno())


_LAYER = dt(1)


@pytest.mark.parametrize(
    "layer",
    [
        evolve(_LAYER, ttl=15),
        evolve(_LAYER, ecn=-1),
        evolve(_LAYER, max_ttl=0),
        evolve(_LAYER, max_ttl=256),
        evolve(_LAYER, cubes=0),
        evolve(_LAYER, eid=Field(8, 8)),
    ],
)
def test_impossible_layers(bench: Bench, layer: ForwardProgram) -> None:
    with pytest.raises(PacketsError):
        bench.client().forwarder(layer)


def test_an_impossible_relay(bench: Bench) -> None:
    client = bench.client()
    with pytest.raises(InvalidArgument):
        client.relay(*client.pair(), batch=0)


def test_a_relay_drops_what_a_flow_that_is_down_does_not_take(bench: Bench) -> None:
    client = bench.client()
    a, b = client.pair()
    mine, theirs = bench.flow(client, bench.client(user=True), BLOCKING)
    relay = client.relay(b, mine)
    a.write(b"before")
    assert theirs.read() == b"before"
    mine.mark(State.DOWN)
    a.write(b"lost")
    eventually(lambda: relay.flow_counters(1)["dropped"] == 1)
    mine.mark(clear=State.DOWN)
    a.write(b"after")
    assert theirs.read() == b"after"
    relay.stop()


class Broken(Shouting):
    """Its stage fails once a packet says so."""

    def read_many(self, most: int = 32) -> list[bytes]:
        packets = super().read_many(most)
        if b"fail" in packets:
            raise CryptError
        return packets


def test_a_relay_survives_a_stage_that_fails(bench: Bench) -> None:
    client = bench.client()
    inside, outside = client.pair()
    outside.set_options(BLOCKING)
    mine, theirs = bench.flow(client, bench.client())
    relay = client.relay(Broken(mine), inside)
    theirs.write(b"fail")
    event = await_event(relay, "FAILED")
    assert (event.key, event.value) == (0, CryptError.errno)
    theirs.write(b"goes on")
    assert outside.read() == b"goes on"
    relay.stop()


# ---- fields and addresses


@pytest.mark.parametrize(
    ("field", "meaning", "raw"),
    [
        (Field(1, 2), 0x4142, "00414200"),
        (Field(1, 2, order="little"), 0x4142, "00424100"),
        (Field(0, 4), 2**32 - 1, "ffffffff"),
        (Field(2, 1, bit_reversed=True), 2, "00004000"),
        (Field(2, 2, bias=3), 5, "00000008"),
    ],
)
def test_fields(field: Field, meaning: int, raw: str) -> None:
    header = bytearray(4)
    fields.put(field, header, meaning)
    assert header.hex() == raw
    assert fields.get(field, bytes(header)) == meaning


def test_a_field_below_its_bias_is_negative() -> None:
    assert fields.get(Field(0, 2, bias=3), b"\0\1") == -2


@pytest.mark.parametrize("where", [("127.0.0.1", 3435), ("::1", 3435, 0, 0), ("fe80::1", 1, 7, 2)])
def test_addresses(where: address.Address) -> None:
    raw = address.pack(where)
    assert len(raw) in (16, 28)
    assert address.pack(address.unpack(raw)) == raw


def test_the_flow_label_does_not_tell_a_peer() -> None:
    assert address.peer(("fe80::1", 1, 7, 2)) == address.peer(("fe80::1", 1, 8, 2))
    assert address.peer(("fe80::1", 1, 7, 2)) != address.peer(("fe80::1", 1, 7, 3))


@pytest.mark.parametrize("raw", [b"", b"\0", bytes(16), struct.pack("=H", socket.AF_INET) + bytes(13), bytes(28)])
def test_what_is_no_address(raw: bytes) -> None:
    with pytest.raises(PacketsError):
        address.unpack(raw)

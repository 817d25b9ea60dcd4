"""The two sides of the fuzz test: `python fuzz_child.py SOCKET vandal|victim|mover`."""

import json
import mmap
import os
import random
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from ouro_ssm.client import SsmClient

from ouro_core.contracts.packets import FlowEnd, Options, PacketClient, State
from ouro_core.contracts.programs import Group
from ouro_core.model.errors import OuroError
from ouro_core.testing.packets.programs import dt

NON_BLOCKING: Final = Options(read_blocking=False, write_blocking=False)
SHORT: Final = Options(read_timeout=0.002, write_timeout=0.002, spin=0.0)
HEADER, RING, SLOTS = 128, 17024, 640
NEIGHBOUR: Final = Options(read_timeout=30.0, write_timeout=30.0)


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    data, fds, _, _ = socket.recv_fds(control, 256, 16)
    return data, fds


def say(control: socket.socket, **values: object) -> None:
    control.send(json.dumps(values).encode())


# ---------------------------------------------------------------- the vandal


class Vandal:
    """A user's hand on everything that he can map: `fds` are those of a grant."""

    def __init__(self, fds: list[int], seed: int) -> None:
        self.choose = random.Random(seed)
        self.memory = []
        self.bells = []
        for fd in fds:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                self.bells.append(socket.socket(fileno=fd))
            else:
                self.memory.append(mmap.mmap(fd, os.fstat(fd).st_size))
        self.flow, self.pool, *self.events = self.memory

    def value(self) -> int:
        choose = self.choose
        kind = choose.randrange(6)
        if kind == 0:
            return choose.getrandbits(32)
        if kind == 1:
            return choose.randrange(8)
        if kind == 2:
            return choose.randrange(1, 5) << 24 | choose.randrange(2048)  # a block
        if kind == 3:
            return 1 << 31 | choose.randrange(256)  # a tag
        return choose.choice((0, 1, 0xFFFFFFFF, 1024, 1025, 1 << 31, choose.randrange(4096)))

    def poke(self, memory: mmap.mmap, start: int, end: int) -> None:
        struct.pack_into("<I", memory, self.choose.randrange(start // 4, end // 4) * 4, self.value())

    def anything(self) -> None:
        memory = self.choose.choice(self.memory)
        self.poke(memory, 0, len(memory))

    def slots(self) -> None:
        """Descriptors, and an index that could be."""
        ring = HEADER + self.choose.randrange(2) * RING
        self.poke(self.flow, ring + SLOTS, ring + RING)
        if self.choose.random() < 0.05:
            at = ring + self.choose.randrange(2) * 128
            (index,) = struct.unpack_from("<I", self.flow, at)
            struct.pack_into("<I", self.flow, at, (index + self.choose.randrange(-40, 41)) & 0xFFFFFFFF)

    def waiters(self) -> None:
        """Wishes and states."""
        field = self.choose.choice((256, 384, 512))
        struct.pack_into("<I", self.flow, HEADER + self.choose.randrange(2) * RING + field, self.value())

    def owners(self) -> None:
        """Owner words, hints, shards and the head of the pool."""
        self.poke(self.pool, 0, 65536)

    def blocks(self) -> None:
        """Packets while they are read."""
        self.poke(self.pool, 65536, len(self.pool))

    def sets(self) -> None:
        memory = self.choose.choice(self.events)
        self.poke(memory, 0, len(memory))

    def ring(self) -> None:
        with suppress(OSError):
            self.choose.choice(self.bells).send(b"!", socket.MSG_DONTWAIT)

    def holes(self) -> None:
        if self.choose.random() < 0.001:
            memory = self.choose.choice(self.memory)
            memory.madvise(mmap.MADV_REMOVE, self.choose.randrange(len(memory) // 4096) * 4096, 4096)

    def run(self, seconds: float) -> int:
        most: tuple[Callable[[], None], ...]
        most = (self.slots, self.waiters, self.owners, self.blocks, self.sets, self.ring, self.holes)
        ways = self.choose.choice(((self.anything, *most), most, (self.slots, self.blocks), (self.owners, self.slots)))
        end = time.monotonic() + seconds
        done = 0
        while time.monotonic() < end:
            for _ in range(50):
                self.choose.choice(ways)()
            done += 50
        return done


def vandal(control: socket.socket) -> None:
    """Each order has a seed, a time, and the descriptors of a grant."""
    while True:
        data, fds = receive(control)
        if not data:
            return
        order = json.loads(data)
        say(control, done=Vandal(fds, order["seed"]).run(order["seconds"]))


# ---------------------------------------------------------------- the victims


def echo_once(end: FlowEnd, number: int) -> None:
    """A neighbour at the other end gives back what it gets."""
    data = b"%d" % number * 20
    end.write(data)
    got = end.read()
    assert got == data, f"the neighbour's packet {number} is {got!r}"


def calls_on(client: PacketClient, end: FlowEnd, choose: random.Random) -> list[Callable[[], Any]]:
    """Everything that reads or writes shared memory of this flow."""
    events = client.event_set()
    events.add(end)
    views: list[memoryview] = []

    def keep() -> None:
        packet = end.recv()
        views.append(packet.payload)
        bytes(views[-1])
        if len(views) > 20:
            views.clear()

    def send() -> None:
        packet = end.alloc(choose.randrange(1, 1500))
        packet.payload[:1] = b"x"
        packet.push(10)
        end.send(packet)

    return [
        end.read, end.read_many, keep, partial(end.readinto, bytearray(100)), partial(end.write, b"y" * 300),
        partial(end.write_many, [b"z" * 64] * 40), send, end.keepalive, end.queued, end.sequence, end.counters,
        events.poll, events.spin, partial(events.wait, 0.001), lambda: end.state,
        partial(end.mark, set=State.READ_ONLY), partial(end.mark, clear=State.READ_ONLY),
        partial(end.set_options, NON_BLOCKING), partial(end.set_options, SHORT), client.counters,
    ]  # fmt: skip


def victim(control: socket.socket) -> None:
    """Grants: a client, two neighbours' ends; then an end for each round, until there is no more."""
    client: PacketClient = SsmClient(*receive(control))
    neighbours = [client.attach(*receive(control), NEIGHBOUR) for _ in range(2)]
    choose = random.Random(1)
    number = calls = errors = 0
    while True:
        data, fds = receive(control)
        if not data:
            break
        end = client.attach(data, fds, NON_BLOCKING)
        say(control, attached=True)
        ways = calls_on(client, end, choose)
        control.setblocking(False)
        while True:
            with suppress(BlockingIOError):
                control.recv(8)
                break
            for _ in range(100):
                calls += 1
                try:
                    choose.choice(ways)()
                except OuroError:
                    errors += 1
            for neighbour in neighbours:
                echo_once(neighbour, number)
            number += 1
        control.setblocking(True)
        del ways
        end.close()
        say(control, closed=True)
    say(control, calls=calls, errors=errors, neighbours=number)


def mover(control: socket.socket) -> None:
    """The same with a forwarder: flows of users come and go, between two neighbours it goes on."""
    client: PacketClient = SsmClient(*receive(control))
    forwarder = client.forwarder(dt(1, window=None))
    inside, outside = client.pair()
    port = forwarder.add_network(inside)
    forwarder.set_routes(0, {2: Group((port,))})
    for eid in (64, 65):
        forwarder.add_flow(eid, client.attach(*receive(control)), destination=2, remote_eid=64 + 65 - eid)
    outside.set_options(Options(read_timeout=0.05))
    looped = 0

    def loop() -> None:
        """What goes out comes back, to the EID it is for; nonsense is dropped there."""
        nonlocal looped
        with suppress(OuroError):
            for packet in outside.read_many(64):
                outside.write((1).to_bytes(4, "little") + packet[4:])
                looped += 1

    hostile: dict[int, FlowEnd] = {}
    eid = 66
    while True:
        control.setblocking(False)
        try:
            data, fds = receive(control)
        except BlockingIOError:
            loop()
            continue
        finally:
            control.setblocking(True)
        if not data:
            break
        if fds:
            end = client.attach(data, fds)
            hostile[forwarder.add_flow(eid, end, destination=2, remote_eid=eid)] = end
            eid += 1
            say(control, attached=True)
            continue
        port, end = hostile.popitem()
        forwarder.remove(port)
        while not any(event.kind == "UNBOUND" for event in forwarder.events()):
            loop()
        end.close()
        say(control, closed=True)
    forwarder.stop()
    say(control, looped=looped)


if __name__ == "__main__":
    {"vandal": vandal, "victim": victim, "mover": mover}[sys.argv[2]](socket.socket(fileno=int(sys.argv[1])))

"""Ways to write and to read numbered packets until the flow is down; what victims and survivors do."""

from collections.abc import Callable
from typing import Any, Final

from ouro_core.contracts.packets import Event, FlowEnd, Options, PacketClient
from ouro_core.model.errors import FlowTimeout, WouldBlock

__all__ = ["PATIENCE", "READERS", "SIZES", "VICTIMS", "WRITERS", "Bad", "Check", "ask", "packet"]

PATIENCE: Final = Options(read_timeout=10.0, write_timeout=10.0)
SIZES: Final = (8, 64, 248, 1504)


def packet(number: int, size: int) -> bytes:
    """Every eight bytes have the number, so that a mixture of two packets is none."""
    return number.to_bytes(8, "little") * (size // 8)


class Bad(Exception):
    """A packet that was not the next one, or damaged."""


class Check:
    """Packets must be those from 0 on."""

    def __init__(self) -> None:
        self.next = 0

    def __call__(self, data: bytes) -> None:
        if not data or data != packet(self.next, len(data)):
            raise Bad(f"packet {self.next} is {data[:16].hex()}, {len(data)} bytes")
        self.next += 1


def write(client: PacketClient, end: FlowEnd, size: int) -> None:
    number = 0
    while True:
        end.write(packet(number, size))
        number += 1


def write_many(client: PacketClient, end: FlowEnd, size: int) -> None:
    number = 0
    while True:
        number += end.write_many([packet(number + n, size) for n in range(32)])


def send(client: PacketClient, end: FlowEnd, size: int) -> None:
    """Without a copy."""
    number = 0
    while True:
        block = end.alloc(size)
        block.payload[:] = packet(number, size)
        end.send(block)
        number += 1


def write_events(client: PacketClient, end: FlowEnd, size: int) -> None:
    """As a loop does."""
    events = client.event_set()
    events.add(end)
    end.set_options(Options(write_blocking=False))
    number = 0
    while True:
        try:
            while True:
                end.write(packet(number, size))
                number += 1
        except WouldBlock:
            _wait(events, Event.SPACE)


def read(client: PacketClient, end: FlowEnd, check: Check) -> None:
    while True:
        check(end.read())


def read_many(client: PacketClient, end: FlowEnd, check: Check) -> None:
    while True:
        for data in end.read_many(32):
            check(data)


def recv(client: PacketClient, end: FlowEnd, check: Check) -> None:
    """Without a copy; a few packets are held at a time."""
    held: list[Any] = []
    while True:
        held.append(end.recv())
        check(bytes(held[-1].payload))
        if len(held) > 5:
            held.clear()


def read_parts(client: PacketClient, end: FlowEnd, check: Check) -> None:
    buffer = bytearray(96)
    data = b""
    while True:
        n = end.readinto(buffer)
        data += buffer[:n]
        if n < len(buffer):
            check(data)
            data = b""


def read_events(client: PacketClient, end: FlowEnd, check: Check) -> None:
    """As a loop does."""
    events = client.event_set()
    events.add(end)
    end.set_options(Options(read_blocking=False))
    while True:
        try:
            while True:
                for data in end.read_many(32):
                    check(data)
        except WouldBlock:
            _wait(events, Event.PACKET)


def _wait(events: Any, wanted: Event) -> None:
    over = wanted | Event.DOWN | Event.DEALLOC
    while not any(what & over for _, what in events.wait(10.0)):
        pass


def echo(client: PacketClient, end: FlowEnd, size: int) -> None:
    while True:
        end.write(end.read())


def ask(client: PacketClient, end: FlowEnd, check: Check, size: int = 64) -> None:
    """Eight packets, and eight answers."""
    number = 0
    while True:
        for _ in range(8):
            end.write(packet(number, size))
            number += 1
        for _ in range(8):
            check(end.read())


def _reads(role: Callable[[PacketClient, FlowEnd, Check], None]) -> Callable[[PacketClient, FlowEnd, int], None]:
    return lambda client, end, size: role(client, end, Check())


WRITERS: Final = {role.__name__: role for role in (write, write_many, send, write_events)}
READERS: Final = {role.__name__: role for role in (read, read_many, recv, read_parts, read_events)}
VICTIMS: Final = {**WRITERS, **{name: _reads(role) for name, role in READERS.items()}, "echo": echo}
"""What the process does that will be killed."""


def bystand(client: PacketClient, one: FlowEnd, other: FlowEnd, stopped: Callable[[], bool]) -> int:
    """Packets from one end to the other, until told to stop: how many."""
    check = Check()
    while not stopped():
        many = [packet(check.next + n, 240) for n in range(16)]
        while many:
            del many[: one.write_many(many)]
            while other.queued()[0]:
                check(other.read())
        while other.queued()[0]:
            check(other.read())
    return check.next


def is_hang(error: BaseException) -> bool:
    """Whether somebody waited in vain."""
    return isinstance(error, FlowTimeout)

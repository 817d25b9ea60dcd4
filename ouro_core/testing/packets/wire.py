"""A wire for movers: a pump at one end of a pair of sockets, the test at the other, and frames to send."""

import select
import socket
import struct
import time

from ouro_core.contracts.packets import FlowEnd, ManagementFrame, Mover, MoverEvent, PacketClient, Pump
from ouro_core.contracts.programs import PumpProgram, Route

from .bench import Bench, eventually
from .programs import udp, udp_route

__all__ = [
    "BROADCAST",
    "MAC",
    "PEER",
    "Wire",
    "await_event",
    "dix_frame",
    "idle",
    "llc_frame",
    "loopback",
    "raw_address",
    "raw_address6",
    "route_to",
]

MAC = bytes.fromhex("020000000001")
PEER = bytes.fromhex("020000000002")
BROADCAST = b"\xff" * 6


def raw_address(address: tuple[str, int]) -> bytes:
    """A sockaddr_in."""
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", address[1], socket.inet_aton(address[0]))


def raw_address6(address: tuple[str, int, int, int]) -> bytes:
    """A sockaddr_in6."""
    ip = socket.inet_pton(socket.AF_INET6, address[0])
    return (
        struct.pack("=H", socket.AF_INET6)
        + struct.pack("!HI16s", address[1], address[2], ip)
        + struct.pack("=I", address[3])
    )


def await_event(mover: Mover, kind: str) -> MoverEvent:
    """The next event of this kind; the others are thrown away."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        if select.select([mover.fileno()], [], [], 0.5)[0]:
            for event in mover.events():
                if event.kind == kind:
                    return event
    raise AssertionError(f"no event {kind}")


def idle(mover: Mover) -> None:
    """Returns when the mover has slept for 0.3 s without a wake-up of its own."""

    def slept() -> bool:
        before = mover.counters()["sleeps"]
        time.sleep(0.3)
        return mover.counters()["sleeps"] == before

    eventually(slept, "a mover with nothing to do sleeps")


class Wire:
    """A pump on one end of a pair of datagram sockets; the test speaks at the other end, `far`."""

    def __init__(self, bench: Bench, program: PumpProgram, near: socket.socket, far: socket.socket) -> None:
        self.bench = bench
        self.ipcp: PacketClient = bench.client()
        self.near, self.far = near, far
        self.near.setblocking(False)
        self.far.settimeout(10.0)
        self.pump: Pump = self.ipcp.pump(program, near.fileno())

    def bound(self, key: int, route: Route | None = None, user: bool = False) -> tuple[FlowEnd, FlowEnd]:
        """A flow of a new application, bound: the application's end, and the IPCP's."""
        app, end = self.bench.flow(self.bench.client(user), self.ipcp)
        self.pump.bind(key, end, route)
        return app, end

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self.far.send(frame)

    def receive(self) -> bytes:
        return self.far.recv(65536)

    def silent(self) -> bool:
        """Nothing comes out for a moment."""
        return not select.select([self.far], [], [], 0.05)[0]

    def management(self) -> ManagementFrame:
        [frame] = eventually(lambda: self.pump.management(1), "management frame")
        return frame  # type: ignore[no-any-return]

    def counted(self, name: str, value: int = 1) -> None:
        eventually(lambda: self.pump.counters()[name] >= value, f"{name} >= {value}")
        assert self.pump.counters()[name] == value

    def close(self) -> None:
        self.pump.stop()
        self.near.close()
        self.far.close()


def loopback(bench: Bench) -> Wire:
    """With sockets of UDP over IPv4 on the loopback interface."""
    near, far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for each in (near, far):
        each.bind(("127.0.0.1", 0))
    far.connect(near.getsockname())
    return Wire(bench, udp(socket.AF_INET), near, far)


def route_to(wire: Wire, key: int = 1) -> Route:
    """To the far end of a wire of UDP over IPv4, with this key in the header."""
    return udp_route(key, raw_address(wire.far.getsockname()))


def dix_frame(key: int, payload: bytes, to: bytes = MAC, ethertype: int = 0xA000, length: int | None = None) -> bytes:
    header = struct.pack("!HHH", ethertype, key, len(payload) if length is None else length)
    return to + PEER + header + payload


def llc_frame(
    dsap: int, ssap: int, payload: bytes, sender: bytes = PEER, control: int = 3, length: int | None = None
) -> bytes:
    """SAPs as on the wire."""
    size = len(payload) + 3 if length is None else length
    return MAC + sender + struct.pack("!HBBB", size, dsap, ssap, control) + payload

"""`python -m ouro_ssm.bench wire`: applications on two hosts, which are network namespaces joined by a pair of veth.

Every process is one of its own: an application, a shim with its pump, a layer with its forwarder on each host. A host
has its own broker, hence its own pools; all brokers live here. Needs root and `ip`; the namespaces are gone afterwards.
The prototype's figures for the same, and ours of the day this was designed, are in docs/explanation/packets.md.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from ouro_core.contracts.packets import (
    SHARED_GEOMETRY,
    USER_GEOMETRY,
    ClientRef,
    Domain,
    FlowEnd,
    Mover,
    Options,
    PacketClient,
)
from ouro_core.contracts.programs import Field, ForwardProgram, Group, Match, PumpProgram, Route, Source
from ouro_core.model.errors import FlowTimeout

from .system import SsmPacketSystem

__all__ = ["main"]

RUNS: Final = 5
PACKETS: Final = 100_000
PINGS: Final = 5_000
PACED: Final = 500
PAUSE: Final = 0.002
"""Between paced pings, in seconds."""
SILENCE: Final = 0.5
"""After which a reader believes that the rest was lost."""
ETHERTYPE: Final = 0xA000
PORT: Final = 3435
ADDRESSES: Final = ("10.77.0.1", "10.77.0.2")
MACS: Final = (bytes.fromhex("020000004d01"), bytes.fromhex("020000004d02"))
KEY: Final = 64

# ---------------------------------------------------------------- processes: what they do with their ends


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    data, fds, _, _ = socket.recv_fds(control, 256, 16)
    return data, fds


def _dix(side: int) -> tuple[PumpProgram, socket.socket, Route]:
    """18 bytes: two MACs, ethertype, EID, payload length."""
    program = PumpProgram(
        header=18,
        key=Field(14, 2),
        length=Field(16, 2),
        max_payload=1496,
        require=(Match(12, ETHERTYPE.to_bytes(2, "big")),),
        accept=(Match(0, MACS[side]), Match(0, b"\xff" * 6)),
        management=(Match(14, b"\0\0"),),
        management_min=39,
    )
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
    sock.bind((f"ouro{side}", ETHERTYPE))
    return program, sock, Route(MACS[1 - side] + MACS[side] + struct.pack("!HHH", ETHERTYPE, KEY, 0))


def _udp(side: int) -> tuple[PumpProgram, socket.socket, Route]:
    """4 bytes: EID."""
    program = PumpProgram(
        header=4,
        key=Field(0, 4),
        max_payload=8976,
        management=(Match(0, bytes(4)),),
        management_min=43,
        source=Source(address=True),
        addressed=True,
        send_flags=0x800,  # MSG_CONFIRM
    )
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((ADDRESSES[side], PORT))
    peer = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", PORT, socket.inet_aton(ADDRESSES[1 - side]))
    return program, sock, Route(struct.pack("!I", KEY), to=peer, source=peer)


def _serve(mover: Mover, control: socket.socket) -> None:
    """Until the other end of `control` is closed."""
    control.send(b"{}")
    control.recv(1)
    mover.stop()


def _shim(client: PacketClient, ends: list[FlowEnd], control: socket.socket, kind: str, side: str) -> None:
    program, sock, route = {"dix": _dix, "udp": _udp}[kind](int(side))
    with sock:
        pump = client.pump(program, sock.fileno())
        pump.bind(KEY, ends[0], route)
        _serve(pump, control)


def _layer(client: PacketClient, ends: list[FlowEnd], control: socket.socket, side: str) -> None:
    """15 bytes of PCI. Its flows: with the application, and with the shim."""
    here, there = int(side) + 1, 2 - int(side)
    forwarder = client.forwarder(
        ForwardProgram(
            header=15, destination=Field(0, 4, "little"), cube=4, ttl=5, ecn=6, eid=Field(7, 8, "little"), address=here
        )
    )
    network = forwarder.add_network(ends[1])
    forwarder.add_flow(KEY, ends[0], there, KEY)
    forwarder.set_routes(0, {there: Group((network,))})
    _serve(forwarder, control)


def _application(client: PacketClient, ends: list[FlowEnd], control: socket.socket) -> None:
    """Does what it is told, and says how it went."""
    end = ends[0]
    control.send(b"{}")
    while order := control.recv(256):
        what, *numbers = json.loads(order)
        calls: dict[str, Callable[..., object]] = {"write": _write, "read": _read, "ping": _ping, "echo": _echo}
        control.send(json.dumps(calls[what](end, *numbers)).encode())


def _write(end: FlowEnd, count: int, size: int, batch: int) -> None:
    packet = bytes(size)
    if batch == 1:
        for _ in range(count):
            end.write(packet)
        return
    packets = [packet] * batch
    while count > 0:
        count -= end.write_many(packets[:count])


def _read(end: FlowEnd, count: int, batch: int) -> tuple[int, float]:
    """How many of so many packets came, and packets a second."""
    end.set_options(Options(read_timeout=5.0))
    got, start, last = 0, 0.0, 0.0
    with suppress(FlowTimeout):
        end.read()
        start = last = time.perf_counter()
        end.set_options(Options(read_timeout=SILENCE))
        got = 1
        while got < count:
            if batch == 1:
                end.read()
                got += 1
            else:
                got += len(end.read_many(batch))
            if got % 64 < batch:
                last = time.perf_counter()
        last = time.perf_counter()
    return got, got / (last - start) if last > start else 0.0


def _ping(end: FlowEnd, count: int, pause: float) -> list[float]:
    """[median, average, 99th percentile] in microseconds."""
    end.set_options(Options(read_timeout=5.0))
    packet, times = bytes(64), []
    for _ in range(count):
        start = time.perf_counter()
        end.write(packet)
        with suppress(FlowTimeout):
            end.read()
            times.append((time.perf_counter() - start) * 1e6)
        if pause:
            time.sleep(pause)
    times.sort()
    return [statistics.median(times), statistics.fmean(times), times[len(times) * 99 // 100]]


def _echo(end: FlowEnd, count: int) -> None:
    end.set_options(Options(read_timeout=5.0))
    with suppress(FlowTimeout):
        for _ in range(count):
            end.write(end.read())


def _child(control: socket.socket, role: str, ends: str, *arguments: str) -> None:
    client = SsmPacketSystem.client(*_receive(control))
    attached = [client.attach(*_receive(control)) for _ in range(int(ends))]
    roles: dict[str, Callable[..., None]] = {"shim": _shim, "layer": _layer, "application": _application}
    roles[role](client, attached, control, *arguments)
    client.close()


# ---------------------------------------------------------------- the two hosts


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True)


@contextmanager
def _network() -> Iterator[tuple[str, str]]:
    """The names of two namespaces with a veth, ouro0 or ouro1, each."""
    names = f"ouro-bench-{os.getpid()}-0", f"ouro-bench-{os.getpid()}-1"
    try:
        for name in names:
            _run(f"ip netns add {name}")
        _run(f"ip -n {names[0]} link add ouro0 type veth peer name ouro1 netns {names[1]}")
        for side, name in enumerate(names):
            mac = MACS[side].hex(":")
            _run(f"ip -n {name} link set ouro{side} address {mac} up")
            _run(f"ip -n {name} address add {ADDRESSES[side]}/24 dev ouro{side}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


class _Process:
    """A client in a process of its own, in a namespace."""

    def __init__(self, host: _Host, role: str, ends: int, *arguments: object) -> None:
        self.ref = ClientRef(next(host.ids), Domain())
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(120.0)
        command = ["ip", "netns", "exec", host.namespace, sys.executable, "-m", __spec__.name]
        command += [str(theirs.fileno()), role, str(ends), *map(str, arguments)]
        with theirs:
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        self._send(host.broker.admit(self.ref))

    def _send(self, grant: Any) -> None:
        socket.send_fds(self._control, [grant.data], list(grant.fds))

    def join(self, grant: Any) -> None:
        self._send(grant)

    def say(self, *order: object) -> None:
        self._control.send(json.dumps(order).encode())

    def hear(self) -> Any:
        return json.loads(self._control.recv(4096))

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        with open(f"/proc/{self._process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self._control.close()
        self._process.wait()


class _Host:
    def __init__(self, side: int, namespace: str, kind: str, layered: bool) -> None:
        self.namespace = namespace
        self.broker = SsmPacketSystem.broker(SHARED_GEOMETRY, USER_GEOMETRY)
        self.ids = itertools.count(1)
        self._flow_ids = itertools.count(1)
        self.application = _Process(self, "application", 1)
        self.shim = _Process(self, "shim", 1, kind, side)
        self.processes = [self.application, self.shim]
        if layered:
            layer = _Process(self, "layer", 2, side)
            self.processes.append(layer)
            self._flow(self.application, layer)
            self._flow(layer, self.shim)
        else:
            self._flow(self.application, self.shim)
        for process in self.processes:
            process.hear()

    def _flow(self, upper: _Process, lower: _Process) -> None:
        flow = self.broker.create_flow(next(self._flow_ids), upper.ref, lower.ref)
        upper.join(flow.grant(0))
        lower.join(flow.grant(1))

    def close(self) -> None:
        for process in self.processes:
            process.close()
        self.broker.close()


def _stream(hosts: list[_Host], size: int, batch: int) -> tuple[float, float, float]:
    """Medians of kpps and of the part that arrived, in percent; microseconds that all movers spent on a packet."""
    rates, arrived = [], []
    movers = [process for host in hosts for process in host.processes[1:]]
    before = sum(mover.cpu() for mover in movers)
    for _ in range(RUNS):
        hosts[1].application.say("read", PACKETS, batch)
        hosts[0].application.say("write", PACKETS, size, batch)
        hosts[0].application.hear()
        got, rate = hosts[1].application.hear()
        rates.append(rate / 1000)
        arrived.append(100 * got / PACKETS)
        time.sleep(0.1)
    spent = sum(mover.cpu() for mover in movers) - before
    return statistics.median(rates), statistics.median(arrived), spent / RUNS / PACKETS * 1e6


def _pings(hosts: list[_Host], count: int, pause: float) -> list[float]:
    hosts[1].application.say("echo", count)
    hosts[0].application.say("ping", count, pause)
    times: list[float] = hosts[0].application.hear()
    hosts[1].application.hear()
    return times


def _series(title: str, kind: str, layered: bool, namespaces: tuple[str, str]) -> None:
    with ExitStack() as stack:
        hosts = []
        for side, namespace in enumerate(namespaces):
            hosts.append(_Host(side, namespace, kind, layered))
            stack.callback(hosts[-1].close)
        _pings(hosts, 200, 0.0)  # ARP, pages, pools
        columns = [f"{title:22}"]
        for batch in (1, 32):
            for size in (64, 1400):
                rate, arrived, spent = _stream(hosts, size, batch)
                columns.append(f"{rate:4.0f} {arrived:3.0f} % {spent:4.1f}")
        for count, pause in ((PINGS, 0.0), (PACED, PAUSE)):
            median, average, late = _pings(hosts, count, pause)
            columns.append(f"{median:6.0f}/{average:5.0f}/{late:5.0f}")
        print("  ".join(columns))


def main() -> None:
    if os.geteuid() or not shutil.which("ip"):
        print("two hosts: needs root and ip")
        return
    print(
        f"{'two hosts':22}  kpps, arrived, us of movers a packet: 64 B, 1400 B; the same, 32 a call; "
        "RTT us median/average/p99; paced"
    )
    with _network() as namespaces:
        _series("eth-dix", "dix", False, namespaces)
        _series("udp4", "udp", False, namespaces)
        _series("unicast over eth-dix", "dix", True, namespaces)
        _series("unicast over udp4", "udp", True, namespaces)


if __name__ == "__main__":  # a child
    _child(socket.socket(fileno=int(sys.argv[1])), *sys.argv[2:])

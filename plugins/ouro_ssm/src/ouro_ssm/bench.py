"""`python -m ouro_ssm.bench`: packets a second one way between two processes, and the time of a round trip; then the
same between two hosts (`bench_wire`). `python -m ouro_ssm.bench wire` measures the latter alone.

A measurement, not a test: it depends on what else the machine does. Medians of several runs, each series twice: where
the scheduler puts the two processes, which may be one processor that both take turns on, with all data in its nearest
cache; and on two processors, where every packet crosses between caches. The two differ by a factor of two to four, so
say which one you quote. `cpu` is the time this process, the reader, spent on a packet.
"""

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ouro_core.contracts.packets import (
    SHARED_GEOMETRY,
    USER_GEOMETRY,
    ClientRef,
    Domain,
    FlowEnd,
    Grant,
)

from . import bench_wire
from .system import SsmPacketSystem

__all__ = ["main"]

RUNS = 5
STREAMS = ((64, 1, 2_000_000), (64, 32, 4_000_000), (1500, 1, 1_500_000), (1500, 32, 2_000_000), (16384, 1, 200_000))
"""Bytes, packets a call, packets a run."""
PINGS = 20_000


def _send(control: socket.socket, grant: Grant) -> None:
    socket.send_fds(control, [grant.data], list(grant.fds))


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    data, fds, _, _ = socket.recv_fds(control, 256, 16)
    return data, fds


def _write(end: FlowEnd, size: int, batch: int, count: int) -> None:
    packet = bytes(size)
    if batch == 1:
        for _ in range(count):
            end.write(packet)
        return
    packets = [packet] * batch
    left = count
    while left:
        left -= end.write_many(packets if left >= batch else packets[:left])


def _read(end: FlowEnd, batch: int, count: int) -> None:
    if batch == 1:
        for _ in range(count):
            end.read()
        return
    left = count
    while left:
        left -= len(end.read_many(min(batch, left)))


def _child(control: socket.socket) -> None:
    """Writes streams on demand, answers pings."""
    client = SsmPacketSystem.client(*_receive(control))
    end = client.attach(*_receive(control))
    while order := control.recv(64):
        what, size, batch, count = order.decode().split()
        if what == "stream":
            _write(end, int(size), int(batch), int(count))
        else:
            for _ in range(int(count)):
                end.write(end.read())
    client.close()


@contextmanager
def _peer(processors: list[int] | None) -> Iterator[tuple[FlowEnd, socket.socket]]:
    """An end whose other end is in another process; `processors`: one for each of them."""
    broker = SsmPacketSystem.broker(SHARED_GEOMETRY, USER_GEOMETRY)
    refs = ClientRef(1, Domain()), ClientRef(2, Domain())
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "ouro_ssm.bench", "--child", str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    before = os.sched_getaffinity(0)
    if processors:
        os.sched_setaffinity(0, processors[:1])
        os.sched_setaffinity(process.pid, processors[1:])
    here = broker.admit(refs[0])
    client = SsmPacketSystem.client(here.data, [os.dup(fd) for fd in here.fds])
    _send(control, broker.admit(refs[1]))
    flow = broker.create_flow(1, *refs)
    _send(control, flow.grant(1))
    mine = flow.grant(0)
    try:
        yield client.attach(mine.data, [os.dup(fd) for fd in mine.fds]), control
    finally:
        control.close()
        process.wait()
        client.close()
        broker.close()
        os.sched_setaffinity(0, before)


def _stream(end: FlowEnd, control: socket.socket, size: int, batch: int, count: int) -> tuple[float, float]:
    """Packets a microsecond; CPU time of the reader in ns a packet."""
    control.send(f"stream {size} {batch} {count}".encode())
    _read(end, batch, 1000)
    start, cpu = time.perf_counter(), time.process_time()
    _read(end, batch, count - 1000)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return (count - 1000) / seconds / 1e6, cpu / (count - 1000) * 1e9


def _pings(end: FlowEnd, control: socket.socket, count: int) -> list[float]:
    """Microseconds each."""
    control.send(f"ping 0 0 {count}".encode())
    packet, times = bytes(64), []
    for _ in range(count):
        start = time.perf_counter_ns()
        end.write(packet)
        end.read()
        times.append((time.perf_counter_ns() - start) / 1000)
    return times


def _series(title: str, processors: list[int] | None) -> None:
    with _peer(processors) as (end, control):
        print(f"{title}\n{'bytes':>8}{'a call':>8}{'Mpps':>8}{'least':>8}{'most':>8}{'Gb/s':>8}{'cpu ns':>8}")
        for size, batch, count in STREAMS:
            runs = [_stream(end, control, size, batch, count) for _ in range(RUNS)]
            rates = [rate for rate, _ in runs]
            rate = statistics.median(rates)
            cpu = statistics.median(cpu for _, cpu in runs)
            print(
                f"{size:8}{batch:8}{rate:8.2f}{min(rates):8.2f}{max(rates):8.2f}{rate * size * 8 / 1000:8.1f}{cpu:8.0f}"
            )
        times = sorted(_pings(end, control, PINGS))
        print(
            f"  round trip of 64 bytes, us: min {times[0]:.1f}, median {statistics.median(times):.1f}, "
            f"average {statistics.fmean(times):.1f}, p99 {times[len(times) * 99 // 100]:.1f}"
        )


def main() -> None:
    _series("placed by the scheduler", None)
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:
        _series(f"on processors {processors[0]} and {processors[1]}", processors[:2])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(socket.socket(fileno=int(sys.argv[2])))
    else:
        if sys.argv[1:2] != ["wire"]:
            main()
        bench_wire.main()

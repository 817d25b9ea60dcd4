"""Our side of the measurements of flows with FRCT, and TCP beside them.

    sink NAME BATCH                        accept flows for a name; for each: packets, bytes, seconds, gaps
    source NAME QOS SIZE BATCH LIMIT       write packets that long, then the last one. LIMIT: bytes, or seconds as 5s
    echo NAME                              accept flows, and send back what comes
    ping NAME QOS SIZE COUNT               median round trip in µs
    take NAME                              accept flows, and read a file from each: bytes, seconds, SHA-256
    give NAME SIZE PACKET                  write a file of so many random bytes in packets that long: SHA-256, how many
                                           packets were sent again, whether the flow is encrypted
    tcp-sink ADDRESS                       the same as sink, of TCP connections
    tcp-source ADDRESS CONGESTION LIMIT    the same as source

BATCH 1: one call a packet.
"""

import contextlib
import hashlib
import random
import socket
import statistics
import sys
from collections.abc import Callable, Iterator
from time import perf_counter, sleep

from ouro_core import (
    BEST_EFFORT,
    DATA,
    RAW,
    VIDEO,
    VOICE,
    Flow,
    FlowTimeout,
    IpcpError,
    UnknownName,
    announce,
    flow_accept,
    flow_alloc,
)

QOS = {"raw": RAW, "best": BEST_EFFORT, "video": VIDEO, "voice": VOICE, "data": DATA}
LAST = b"last"
"""The packet that ends a transfer: shorter than any other."""
TIMEOUT = 20.0
ENDINGS = 5
PORT = 5000
CHUNK = 1 << 20
LOOK = 256
"""Packets between two looks at the clock."""


def sink(name: str, batch: str) -> None:
    announce(name)
    while True:
        with flow_accept() as flow:
            packets, size, seconds = receive(flow, int(batch))
            print(packets, size, seconds, flow.counters.get("gaps", 0), flush=True)
            flow.write(LAST)


def receive(flow: Flow, most: int) -> tuple[int, int, float]:
    packet = flow.read()
    start, packets, size = perf_counter(), 0, 0
    if most == 1:
        while len(packet) > len(LAST):
            packets += 1
            size += len(packet)
            packet = flow.read()
        return packets, size, perf_counter() - start
    batch = [packet]
    while len(batch[-1]) > len(LAST):
        packets += len(batch)
        size += len(b"".join(batch))
        batch = flow.read_many(most)
    return packets + len(batch) - 1, size + len(b"".join(batch[:-1])), perf_counter() - start


def allocate(name: str, qos: str) -> Flow:
    """A flow to a name that will be there soon: a layer is asked for a moment only, which is too short when a machine
    is busy.
    """
    end = perf_counter() + TIMEOUT
    while True:
        try:
            return flow_alloc(name, QOS[qos], timeout=TIMEOUT)
        except (UnknownName, IpcpError):
            if perf_counter() > end:
                raise
            sleep(0.1)


def source(name: str, qos: str, size: str, batch: str, limit: str) -> None:
    packet, most = bytes(int(size)), int(batch)
    packets = [packet] * most
    with allocate(name, qos) as flow:
        for left in rounds(limit, len(packet) * LOOK):
            count = -(-left // len(packet))
            if most == 1:
                for _ in range(count):
                    flow.write(packet)
            else:
                while count > 0:
                    count -= flow.write_many(packets[:count])
        flow.read_timeout = TIMEOUT / ENDINGS
        for _ in range(ENDINGS):  # both the last packet and its answer may be lost
            with contextlib.suppress(FlowTimeout):
                flow.write(LAST)
                flow.read()
                break


def rounds(limit: str, step: int) -> Iterator[int]:
    """Bytes to be written, `step` at a time, until there are as many as that or time is up."""
    if limit.endswith("s"):
        end = perf_counter() + float(limit[:-1])
        while perf_counter() < end:
            yield step
    else:
        for at in range(0, int(limit), step):
            yield min(step, int(limit) - at)


def echo(name: str) -> None:
    announce(name)
    while True:
        with flow_accept() as flow:
            for packet in flow:
                flow.write(packet)


def ping(name: str, qos: str, size: str, count: str) -> None:
    packet = bytes(int(size))
    times = []
    with allocate(name, qos) as flow:
        for _ in range(int(count)):
            start = perf_counter()
            flow.write(packet)
            flow.read()
            times.append(perf_counter() - start)
    print(statistics.median(times) * 1e6)


def take(name: str) -> None:
    announce(name)
    while True:
        with flow_accept() as flow, flow.stream() as stream:
            left = size = int(stream.readline())
            start, digest = perf_counter(), hashlib.sha256()
            while left:
                chunk = stream.read(min(left, CHUNK))
                digest.update(chunk)
                left -= len(chunk)
            print(size, perf_counter() - start, digest.hexdigest(), flush=True)
            stream.write(b"thanks\n")


def give(name: str, size: str, packet: str) -> None:
    numbers, digest = random.Random(1), hashlib.sha256()
    with allocate(name, "data") as flow, flow.stream(int(packet)) as stream:
        stream.write(b"%d\n" % int(size))
        for part in rounds(size, CHUNK):
            chunk = numbers.randbytes(part)
            digest.update(chunk)
            stream.write(chunk)
        stream.flush()
        assert stream.readline() == b"thanks\n"
        counters = flow.counters
        print(digest.hexdigest(), counters["retransmitted"], "encrypted" if "undecryptable" in counters else "plain")


def tcp_sink(address: str) -> None:
    with socket.create_server((address, PORT)) as server:
        print("ready", flush=True)
        while True:
            with server.accept()[0] as connection:
                size = len(connection.recv(CHUNK))
                start = perf_counter()
                while data := connection.recv(CHUNK):
                    size += len(data)
                print(0, size, perf_counter() - start, 0, flush=True)


def tcp_source(address: str, congestion: str, limit: str) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        connection.connect((address, PORT))
        for left in rounds(limit, CHUNK // 16):
            connection.sendall(bytes(left))


ACTIONS: dict[str, Callable[..., None]] = {
    "sink": sink, "source": source, "echo": echo, "ping": ping, "take": take, "give": give,
    "tcp-sink": tcp_sink, "tcp-source": tcp_source,
}  # fmt: skip

if __name__ == "__main__":
    ACTIONS[sys.argv[1]](*sys.argv[2:])

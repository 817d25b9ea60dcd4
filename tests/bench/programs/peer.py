"""Our side of the measurements: small programs on the public API. `peer.c` takes the same words and prints the same.

    read BATCH                      accept flows one after the other; for each: packets, seconds from first to last
    write NAME SIZE BATCH SECONDS   write packets that long, then the last one
    sink BATCH                      the same where packets may be lost; seconds up to the last one that is not
    flood NAME SIZE BATCH SECONDS   write for it, and the last one several times
    accept keep|drop                accept flows; keep them, or deallocate each at once
    alloc NAME COUNT keep|drop      allocate flows, one after the other; flows, seconds
    hold NAME                       wait for a packet that never comes
    ahold NAME                      the same in asyncio

BATCH 1: one call a packet. Otherwise that many packets a call, which the C API cannot do.
"""

import asyncio
import sys
from collections.abc import Callable
from time import perf_counter, sleep

from ouro_core import Flow, aio, flow_accept, flow_alloc

LAST = b"last"
"""The packet that ends a stream: shorter than any other."""
LOOK = 256
"""Packets between two looks at the clock."""
TIMEOUT = 10.0
REPEATED, PAUSE = 5, 0.05
"""Times the last packet is sent, and seconds between, where it may be lost."""


def read(batch: str) -> None:
    most = int(batch)
    while True:
        with flow_accept() as flow:
            first = flow.read()
            start = perf_counter()
            if most == 1:
                while len(first) > len(LAST):
                    first = flow.read()
            else:
                while flow.read_many(most)[-1] != LAST:
                    pass
            seconds = perf_counter() - start
            print(flow.counters["rx"] - 1, seconds, flush=True)
            flow.write(LAST)


def write(name: str, size: str, batch: str, seconds: str) -> None:
    packet, calls = bytes(int(size)), LOOK // int(batch)
    with flow_alloc(name, timeout=TIMEOUT) as flow:
        end = perf_counter() + float(seconds)
        while perf_counter() < end:
            if batch == "1":
                for _ in range(calls):
                    flow.write(packet)
            else:
                write_batches(flow, [packet] * int(batch), calls)
        flow.write(LAST)
        flow.read()  # the reader has all


def write_batches(flow: Flow, packets: list[bytes], calls: int) -> None:
    for _ in range(calls):
        flow.write_many(packets)


def sink(batch: str) -> None:
    most = int(batch)
    while True:
        with flow_accept() as flow:
            packets = flow.read_many(most)
            count, start = 0, perf_counter()
            end = start
            while packets[-1] != LAST:
                count, end = count + len(packets), perf_counter()
                packets = [flow.read()] if most == 1 else flow.read_many(most)
            print(count + packets.index(LAST), end - start, flush=True)
            flow.write(LAST)


def flood(name: str, size: str, batch: str, seconds: str) -> None:
    packet, calls = bytes(int(size)), LOOK // int(batch)
    with flow_alloc(name, timeout=TIMEOUT) as flow:
        end = perf_counter() + float(seconds)
        while perf_counter() < end:
            if batch == "1":
                for _ in range(calls):
                    flow.write(packet)
            else:
                write_batches(flow, [packet] * int(batch), calls)
        for _ in range(REPEATED):
            flow.write(LAST)
            sleep(PAUSE)
        flow.read_timeout = TIMEOUT
        flow.read()


def accept(what: str) -> None:
    kept = []
    while True:
        flow = flow_accept()
        if what == "keep":
            kept.append(flow)
        else:
            flow.close()


def alloc(name: str, count: str, what: str) -> None:
    flow_alloc(name, timeout=TIMEOUT).close()  # this process is known to the daemon now
    flows = []
    start = perf_counter()
    for _ in range(int(count)):
        flow = flow_alloc(name, timeout=TIMEOUT)
        if what == "keep":
            flows.append(flow)
        else:
            flow.close()
    print(count, perf_counter() - start, flush=True)
    for flow in flows:
        flow.close()


def hold(name: str) -> None:
    with flow_alloc(name, timeout=TIMEOUT) as flow:
        print("holds", flush=True)
        flow.read()


def ahold(name: str) -> None:
    async def run() -> None:
        async with await aio.flow_alloc(name, timeout=TIMEOUT) as flow:
            print("holds", flush=True)
            await flow.read()

    asyncio.run(run())


ACTIONS: dict[str, Callable[..., None]] = {
    "read": read, "write": write, "sink": sink, "flood": flood, "accept": accept, "alloc": alloc, "hold": hold,
    "ahold": ahold,
}  # fmt: skip

if __name__ == "__main__":
    ACTIONS[sys.argv[1]](*sys.argv[2:])

"""The server and the client of the demo, as programs: `python -m ouro_core.cli.demo.peers server`, and `client`.

`client reliable` measures the throughput of reliable flows: for layers that lose what comes too fast.
"""

import json
import sys
from time import perf_counter, perf_counter_ns
from typing import Any, Final

from ... import Flow, flow_accept, flow_alloc
from ...api.process import announce
from ...model.errors import FlowDown
from ...model.qos import DATA, RAW, QosSpec
from .figures import ECHO, END, PINGS, SERVER, SINK, SPAN, STREAMS, Stream, round_trips

__all__ = ["READY", "RELIABLE"]

READY: Final = "ready"
"""What the server says when it can be bound to a name."""
RELIABLE: Final = "reliable"
"""What asks a client for reliable flows."""
_PATIENCE: Final = 5.0
_CALLS: Final = 64
"""Calls between two looks at the clock."""


def serve() -> None:
    """One flow after the other."""
    announce()
    print(READY, flush=True)
    while True:
        with flow_accept() as flow:
            try:
                (_echo if flow.data == ECHO else _sink)(flow)
            except FlowDown:
                pass  # the client has enough


def _echo(flow: Flow) -> None:
    while (packet := flow.read()) != END:  # layers over UDP do not tell when the client closes
        flow.write(packet)


def _sink(flow: Flow) -> None:
    arrived = 0
    while True:
        packets = flow.read_many(64)
        arrived += len(packets)
        if packets[-1] == END:
            flow.write(str(arrived - 1).encode())  # arrives, though we close
            return


def measure(reliable: bool) -> dict[str, Any]:
    """All figures."""
    qos = DATA if reliable else RAW
    return {"round_trip": _ping(), "one_way": [_stream(stream, qos) for stream in STREAMS]}


def _alloc(what: bytes, qos: QosSpec = RAW) -> Flow:
    flow = flow_alloc(SERVER, qos, data=what)
    flow.read_timeout = flow.write_timeout = _PATIENCE
    return flow


def _ping() -> dict[str, Any]:
    times: list[int] = []
    lost = 0
    with _alloc(ECHO) as flow:
        for number in range(2 * PINGS):
            packet = number.to_bytes(64, "big")
            start = perf_counter_ns()
            flow.write(packet)
            returned = flow.read()
            end = perf_counter_ns()
            if returned != packet:
                lost += 1
            elif number >= PINGS:
                times.append(end - start)
        flow.write(END)
    return round_trips(times, lost)


def _stream(stream: Stream, qos: QosSpec) -> dict[str, Any]:
    packet = bytes(stream.size)
    batch = [packet] * stream.batch
    sent = 0
    with _alloc(SINK, qos) as flow:
        start = perf_counter()
        while perf_counter() - start < SPAN:
            for _ in range(_CALLS):
                if stream.batch == 1:
                    flow.write(packet)
                    sent += 1
                else:
                    sent += flow.write_many(batch)
        flow.write(END)
        arrived = int(flow.read())
        return stream.figures(sent, arrived, perf_counter() - start)


def main(words: list[str]) -> None:
    """Be the peer that is asked for."""
    if words == ["server"]:
        try:
            serve()
        except KeyboardInterrupt:
            pass
    else:
        print(json.dumps(measure(RELIABLE in words)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

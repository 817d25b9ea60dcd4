"""The demo in one process: a `Node` over heap, where no packet system for several processes is installed."""

import asyncio
import os
import time
from time import perf_counter, perf_counter_ns
from typing import Any, Final

from ... import AsyncFlow, Node
from ...model.errors import FlowTimeout
from .figures import ECHO, END, PINGS, SERVER, SINK, SPAN, STREAMS, Stream, round_trips
from .view import IPCP, LAYER, Screen

__all__ = ["run_in_node"]

_CALLS: Final = 16
"""Calls between two turns of the loop."""


def run_in_node(screen: Screen, deadline: float) -> dict[str, Any]:
    """Build it, show it, measure it, take it down; the figures."""

    async def bounded() -> dict[str, Any]:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await _run(screen)
        except TimeoutError:
            raise FlowTimeout("the demo took too long; is the machine very busy?") from None

    return asyncio.run(bounded())


async def _run(screen: Screen) -> dict[str, Any]:
    screen.step("A host of the network within this process")
    screen.typed('node = Node(packets="heap", direct=False)', "no short cut past it", prompt=">>>")
    async with Node(packets="heap", direct=False) as node:
        screen.step("A layer, of the type for flows within one host")
        screen.typed(f'await node.irm.create_ipcp("{IPCP}", "local")', prompt=">>>")
        await node.irm.create_ipcp(IPCP, "local")
        screen.typed(f'await node.irm.bootstrap_ipcp("{IPCP}", "{LAYER}")', prompt=">>>")
        await node.irm.bootstrap_ipcp(IPCP, LAYER)
        screen.step("A server, which the layer knows by name")
        screen.typed(f'await node.bind("{SERVER}")', prompt=">>>")
        await node.bind(SERVER)
        screen.typed(f'await node.irm.reg_name("{SERVER}", "{IPCP}")', prompt=">>>")
        await node.irm.reg_name(SERVER, IPCP)
        server = asyncio.create_task(_serve(node))
        screen.step("A client, who knows but that name, allocates flows and measures them")
        screen.typed(f'flow = await node.flow_alloc("{SERVER}")', prompt=">>>")
        screen.picture(os.getpid(), os.getpid(), os.getpid())
        try:
            trips = await _ping(node)
            return {"round_trip": trips, "one_way": [await _stream(node, stream) for stream in STREAMS]}
        finally:
            server.cancel()
            await asyncio.wait([server])


async def _serve(node: Node) -> None:
    while True:
        async with await node.flow_accept() as flow:
            if flow.data == ECHO:
                async for packet in flow:
                    await flow.write(packet)
            else:
                await _sink(flow)


async def _sink(flow: AsyncFlow) -> None:
    arrived = 0
    while True:
        packets = await flow.read_many(64)
        arrived += len(packets)
        if packets[-1] == END:
            await flow.write(str(arrived - 1).encode())
            async for _ in flow:
                pass  # until the client, who has the answer then, closes
            return


async def _ping(node: Node) -> dict[str, Any]:
    times: list[int] = []
    lost = 0
    async with await node.flow_alloc(SERVER, data=ECHO) as flow:
        for number in range(PINGS):
            packet = number.to_bytes(64, "big")
            start = perf_counter_ns()
            await flow.write(packet)
            returned = await flow.read()
            if returned == packet:
                times.append(perf_counter_ns() - start)
            else:
                lost += 1
    return round_trips(times, lost)


async def _stream(node: Node, stream: Stream) -> dict[str, Any]:
    packet = bytes(stream.size)
    batch = [packet] * stream.batch
    sent = 0
    async with await node.flow_alloc(SERVER, data=SINK) as flow:
        start = perf_counter()
        while perf_counter() - start < SPAN:
            for _ in range(_CALLS):
                if stream.batch == 1:
                    await flow.write(packet)
                    sent += 1
                else:
                    sent += await flow.write_many(batch)
            await asyncio.sleep(0)
        await flow.write(END)
        arrived = int(await flow.read())
        return stream.figures(sent, arrived, perf_counter() - start)

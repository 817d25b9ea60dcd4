"""`ouro demo --network`: three hosts in a line, a layer across them that routes, a link that is cut and mended.

The hosts are `Node`s of this process, joined by UDP over the loopback interface; each link is a UDP layer of its own,
and cutting it is ending its two IPCPs. All else is done by the types `udp4`, `unicast` and the directory `dht`.
"""

import asyncio
import itertools
import logging
import socket
import time
from contextlib import AsyncExitStack
from time import perf_counter_ns
from typing import Any, Final

from ... import AsyncFlow, Node
from ...model.errors import FlowTimeout, OuroError
from .figures import round_trips
from .view import Screen

__all__ = ["NEEDED", "run_network"]

NEEDED: Final = (("ipcp_types", "udp4"), ("ipcp_types", "unicast"), ("directory_policies", "dht"))
HOSTS: Final = 3
PINGS: Final = 200
LAYER: Final = "network"
NAME: Final = "echo"
PAUSE: Final = 0.01


def run_network(screen: Screen, deadline: float) -> dict[str, Any]:
    """Build it, show it, cut it, mend it, take it down; the figures."""

    async def bounded() -> dict[str, Any]:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                async with AsyncExitStack() as stack:
                    nodes = [await stack.enter_async_context(Node(f"h{n}")) for n in range(1, HOSTS + 1)]
                    return await _Network(screen, nodes).run()
        except TimeoutError:
            raise FlowTimeout("the demo took too long; is the machine very busy?") from None

    logging.getLogger("ouro").setLevel(logging.ERROR)  # members warn of the cut, which is shown here
    return asyncio.run(bounded())


class _Network:
    """Hosts h1, h2, h3; member mN of the layer on host N; UDP IPCPs left and right on the links."""

    def __init__(self, screen: Screen, nodes: list[Node]) -> None:
        self._screen = screen
        self._nodes = nodes
        self._ports = _free_ports(2 * (HOSTS - 1))

    async def run(self) -> dict[str, Any]:
        screen = self._screen
        screen.step("Three hosts in a line; each of the two links is a layer over UDP")
        for left in range(HOSTS - 1):
            await self._mend(left)
        screen.step(f'A layer "{LAYER}" across them: h1 founds it, the others enrol and connect with their neighbour')
        for host in range(HOSTS):
            await self._member(host)
        for host in range(HOSTS):
            await self._until_reached(host, HOSTS - 1)
        await self._picture()
        screen.step(f'h3 registers the name "{NAME}"; h1, which knows but that name, allocates a flow')
        server = asyncio.create_task(_serve(self._nodes[-1]))
        try:
            self._typed(f'await h3.bind("{NAME}")')
            await self._nodes[-1].bind(NAME)
            self._typed(f'await h3.irm.reg_name("{NAME}", "m3")')
            await self._nodes[-1].irm.reg_name(NAME, f"m{HOSTS}")
            self._typed(f'flow = await h1.flow_alloc("{NAME}")')
            async with await self._alloc() as flow:
                return await self._measure(flow)
        finally:
            server.cancel()
            await asyncio.wait([server])

    async def _measure(self, flow: AsyncFlow) -> dict[str, Any]:
        screen = self._screen
        trips = await _ping(flow)
        screen.say(
            f"   {trips['returned']} of {trips['sent']} came back; median {trips['median_us']:.0f} µs over two hops"
        )
        screen.step("The link between h2 and h3 is cut")
        began = time.monotonic()
        await self._cut(HOSTS - 2)
        await self._until_reached(0, HOSTS - 2)
        noticed = time.monotonic() - began
        screen.say(f"   h1 knows after {noticed * 1000:.0f} ms; the flow stays allocated, its packets go nowhere")
        await self._picture()
        screen.step("It is mended, and h3 connects again by itself")
        began = time.monotonic()
        await self._mend(HOSTS - 2)
        lost = await _first_answer(flow)
        recovered = time.monotonic() - began
        screen.say(f"   the flow works again after {recovered * 1000:.0f} ms; {_lost(lost)}")
        await self._picture()
        again = await _ping(flow)
        return {
            "round_trip": trips, "round_trip_again": again,
            "cut": {"noticed_ms": round(noticed * 1000, 1), "recovered_ms": round(recovered * 1000, 1), "lost": lost},
        }  # fmt: skip

    # ---- links

    async def _mend(self, left: int) -> None:
        """The link between host `left` and the next."""
        for host, other in ((left, left + 1), (left + 1, left)):
            mine, theirs = self._ports[left + host], self._ports[left + other]
            options = {"ip": "127.0.0.1", "port": mine, "peers": f"m{other + 1}=127.0.0.1:{theirs}"}
            irm = self._nodes[host].irm
            name = "left" if host > left else "right"
            link = f"link{left + 1}{left + 2}"
            self._typed(f'await h{host + 1}.irm.autoboot("{name}", "udp4", "{link}", …)', f"port {mine} to {theirs}")
            await irm.autoboot(name, "udp4", link, options, bind=False)

    async def _cut(self, left: int) -> None:
        await self._nodes[left].irm.destroy_ipcp("right")
        await self._nodes[left + 1].irm.destroy_ipcp("left")

    # ---- the layer

    async def _member(self, host: int) -> None:
        irm, name, typed = self._nodes[host].irm, f"m{host + 1}", f"await h{host + 1}.irm"
        if host == 0:
            self._typed(f'{typed}.autoboot("{name}", "unicast", "{LAYER}")')
            await irm.autoboot(name, "unicast", LAYER)
            return
        self._typed(f'{typed}.create_ipcp("{name}", "unicast")')
        await irm.create_ipcp(name, "unicast")
        self._typed(f'{typed}.bind_ipcp("{name}", "{name}")')
        await irm.bind_ipcp(name, name)
        self._typed(f'{typed}.enroll_ipcp("{name}", "m{host}")')
        await irm.enroll_ipcp(name, f"m{host}")
        self._typed(f'{typed}.connect_ipcp("{name}", "m{host}")')
        await irm.connect_ipcp(name, f"m{host}")

    def _typed(self, line: str, remark: str = "") -> None:
        self._screen.typed(line, remark, prompt=">>>")

    async def _seen(self, host: int, what: str) -> Any:
        return await self._nodes[host].irm.rib_read(f"ipcps/m{host + 1}/member/{what}")

    async def _until_reached(self, host: int, number: int) -> None:
        """Returns when a host has routes to so many others."""
        while len((await self._seen(host, "table")).get("all", {})) != number:  # noqa: ASYNC110 it has no event
            await asyncio.sleep(0.01)

    async def _alloc(self) -> AsyncFlow:
        """The first look-up in a directory that has just come into being may come too early."""
        while True:
            try:
                return await self._nodes[0].flow_alloc(NAME)
            except OuroError:
                await asyncio.sleep(0.2)

    async def _picture(self) -> None:
        """The layer as h1 sees it."""
        addresses = [(await self._seen(host, ""))["address"] for host in range(HOSTS)]
        links = await self._seen(0, "links")
        self._screen.line_of_hosts(
            [(f"h{n}", f"m{n}", address) for n, address in enumerate(addresses, 1)],
            [b in links.get(a, ()) and a in links.get(b, ()) for a, b in itertools.pairwise(addresses)],
        )


async def _serve(node: Node) -> None:
    while True:
        async with await node.flow_accept() as flow:
            async for packet in flow:
                await flow.write(packet)


async def _ping(flow: AsyncFlow) -> dict[str, Any]:
    times: list[int] = []
    lost = 0
    for number in range(PINGS):
        packet = number.to_bytes(64, "big")
        start = perf_counter_ns()
        await flow.write(packet)
        try:
            async with asyncio.timeout(1.0):
                while await flow.read() != packet:
                    pass  # an answer that came after its time
            times.append(perf_counter_ns() - start)
        except TimeoutError:
            lost += 1
    return round_trips(times, lost)


async def _first_answer(flow: AsyncFlow) -> int:
    """Write until something comes back; how much did not."""
    lost = 0
    while True:
        await flow.write(b"anybody there?")
        try:
            async with asyncio.timeout(PAUSE):
                await flow.read()
            return lost
        except TimeoutError:
            lost += 1


def _lost(pings: int) -> str:
    return "1 ping was lost" if pings == 1 else f"{pings} pings were lost"


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()

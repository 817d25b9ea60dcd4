"""Real members over a real segment that loses, doubles and reorders frames.

What comes in at one port goes out at the other. The faults are those of netem, on the devices, where the kernel has it;
else of a faulty link of ours between the ports. `-s` shows which, and why.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio

from ouro_core.model.errors import OuroError
from ouro_core.model.qos import DATA
from ouro_core.testing.links import Faulty, Link
from ouro_core.testing.netns import Namespace, join, queue

from .ethernet_layer import NAME, WAIT, Layer, layer
from .ethernet_network import network

_ETH_P_ALL = 3
_OUTGOING = 4
_NETEM = ("netem", "delay", "1ms", "reorder", "20%", "loss", "10%", "duplicate", "10%")


@contextmanager
def moved(ports: tuple[str, str], links: tuple[Link, Link]) -> Iterator[None]:
    """Frames that arrive at one port leave at the other, in the running loop."""
    loop = asyncio.get_running_loop()
    sockets = []
    for port in ports:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ALL))
        sock.bind((port, _ETH_P_ALL))
        sockets.append(sock)

    def send(sock: socket.socket, frame: bytes) -> None:
        if sock.fileno() >= 0 and len(frame) >= 14:
            sock.send(frame)

    def move(here: socket.socket, there: socket.socket, link: Faulty) -> None:
        for _ in range(32):
            try:
                frame, address = here.recvfrom(65536)
            except BlockingIOError:
                return
            if address[2] != _OUTGOING:
                for at, arriving in link.transmit(frame, loop.time()):
                    loop.call_at(at, send, there, arriving)

    for here, there, link in ((*sockets, links[0]), (*sockets[::-1], links[1])):
        loop.add_reader(here, move, here, there, link)
    try:
        yield
    finally:
        for sock in sockets:
            loop.remove_reader(sock)
            sock.close()


@pytest.fixture
def ports() -> Iterator[Namespace]:
    """v0 and v1, and what is at their other ends: p0 and p1."""
    with network() as namespace:
        join(namespace, "v0", namespace, "p0")
        join(namespace, "v1", namespace, "p1")
        join(namespace, "v2", namespace, "p2")  # nobody's
        yield namespace


@pytest_asyncio.fixture(params=["eth-dix", "eth-llc"])
async def lay(request: pytest.FixtureRequest, ports: Namespace) -> AsyncIterator[Layer]:
    lacking = queue(ports, "v0", *_NETEM) or queue(ports, "v1", *_NETEM)
    links: list[Link] = [Link(0.0), Link(0.0)]
    if lacking is not None:
        links = [Faulty(i, loss=0.1, duplication=0.1, reordering=0.2, delay=0.001, late=0.01) for i in (7, 8)]
    print(lacking or "the faults are netem's;", *links)
    with moved(("p0", "p1"), (links[0], links[1])):
        async with layer(request.param) as made:
            yield made
    for link, device in zip(links, ("v0", "v1"), strict=True):
        if lacking is None:
            [netem] = json.loads(ports.run("tc", "-s", "-j", "qdisc", "show", "dev", device))
            assert (netem["kind"], netem["drops"] > 0) == ("netem", True)
        else:
            assert link.statistics.lost
            assert link.statistics.duplicated
            assert link.statistics.reordered


async def test_flows_are_allocated_all_the_same(lay: Layer) -> None:
    """Each request is one flow at the server, however often it comes."""
    for _ in range(20):
        client, server = await lay.flow()
        async with client, server:
            for _ in range(50):
                await client.write(b"there")
            assert await asyncio.wait_for(server.read(), WAIT) == b"there"
    await asyncio.sleep(0.5)
    assert await lay.count(lay.server, "endpoints/in_use") == 0
    sent = await lay.rib(lay.client, "management")
    assert await lay.count(lay.server, "management/requests_received") <= sent["requests_sent"]


async def test_what_has_to_arrive_arrives(lay: Layer) -> None:
    accepting = asyncio.ensure_future(lay.server.flow_accept())
    for _ in range(20):
        try:
            client = await lay.client.flow_alloc(NAME, DATA, timeout=WAIT)
            break
        except OuroError:  # the query was lost three times
            continue
    async with client, await asyncio.wait_for(accepting, WAIT) as server:
        expected = [b"%d" % i * 50 for i in range(300)]

        async def send() -> None:
            for packet in expected:
                await client.write(packet)

        sending = asyncio.ensure_future(send())
        got = [await asyncio.wait_for(server.read(), WAIT) for _ in expected]
        await sending
        assert got == expected

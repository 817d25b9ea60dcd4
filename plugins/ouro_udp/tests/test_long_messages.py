"""Management messages that the prototype has no room for: fragments between our nodes, an error towards others."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from random import Random

import pytest
from ouro_udp.addresses import IPV4, IPV6
from ouro_udp.io import MAX_MESSAGE, UdpMedium
from ouro_udp.wire import UdpCodec

from ouro_core import Node
from ouro_core.model.errors import TooLong
from ouro_core.shim import Extension
from ouro_core.testing.ipcp import within

from .conftest import free_port

LONG = Random(1).randbytes(7000)


async def test_both_ways_between_our_nodes() -> None:
    port = free_port()
    async with Node() as server, Node() as client:
        for node, ip, peers in ((server, "127.0.0.2", ""), (client, "127.0.0.3", "name=127.0.0.2")):
            ipcp = await node.irm.create_ipcp("u", "udp4")
            await node.irm.bootstrap_ipcp(ipcp, "net", {"ip": ip, "port": port, "peers": peers})
            if node is server:
                await node.bind("name")
                await node.irm.reg_name("name", ipcp)
        accepting = asyncio.ensure_future(server.flow_accept(data=LONG[::-1]))
        flow = await within(client.flow_alloc("name", data=LONG))
        async with flow, await within(accepting) as accepted:
            assert accepted.data == LONG
            assert flow.data == LONG[::-1]
        for node in (server, client):
            assert (await node.irm.rib_read("ipcps/u/carrier"))["messages_received"] == 1


async def test_towards_a_node_that_does_not_take_them() -> None:
    """A socket that takes no notice of our questions, as the prototype. Nothing longer than its buffer comes there."""
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as prototype:
        prototype.bind(("127.0.0.2", port))
        prototype.setblocking(False)
        async with Node() as client:
            ipcp = await client.irm.create_ipcp("u", "udp4")
            options = {"ip": "127.0.0.3", "port": port, "peers": "name=127.0.0.2"}
            await client.irm.bootstrap_ipcp(ipcp, "net", options)
            with pytest.raises(TooLong, match=r"message of 70\d\d bytes.* 2048 bytes"):
                await within(client.flow_alloc("name", data=LONG))
        codec, seen = UdpCodec(), []
        try:
            while True:
                seen.append(prototype.recv(65536))
        except BlockingIOError:
            pass
        assert seen
        assert all(len(datagram) <= MAX_MESSAGE for datagram in seen)
        assert all(isinstance(codec.decode(datagram), Extension) for datagram in seen)


@pytest.mark.parametrize(("family", "ip", "expected"), [(IPV4, "127.0.0.2", 8976), (IPV6, "::1", 8948)])
def test_fragments_on_the_loopback_interface(family: object, ip: str, expected: int) -> None:
    family = IPV4 if family is IPV4 else IPV6
    own = family.parse(ip).with_port(free_port())
    medium = UdpMedium(own, "lo", True, Random(1))
    assert medium.room(own) == expected
    medium.close()


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with a device of MTU 1280, whose routes say 900 for one host."""
    if os.geteuid():
        pytest.skip("network namespaces need root")
    name = f"udp-{os.getpid()}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, timeout=20)

    try:
        ip("netns", "add", name)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("this machine has no network namespaces")
    try:
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "add", "d0", "type", "veth", "peer", "name", "d1")
        ip("-n", name, "link", "set", "d1", "up")
        ip("-n", name, "link", "set", "d0", "mtu", "1280", "up")
        ip("-n", name, "addr", "add", "10.77.0.1/24", "dev", "d0")
        ip("-n", name, "addr", "add", "fd77::1/64", "dev", "d0", "nodad")
        ip("-n", name, "route", "add", "10.78.0.0/24", "dev", "d0", "mtu", "900")
        yield name
    finally:
        ip("netns", "del", name)


CODE = """
from random import Random
from ouro_udp.addresses import IPV4, IPV6
from ouro_udp.io import UdpMedium
for family, own, peers in ((IPV4, "10.77.0.1", ["10.77.0.2", "10.78.0.2"]), (IPV6, "fd77::1", ["fd77::2"])):
    medium = UdpMedium(family.parse(own).with_port(3435), "d0", True, Random(1))
    for peer in peers:
        print(medium.room(family.parse(peer).with_port(3435)))
"""


def test_fragments_respect_the_path_mtu(namespace: str) -> None:
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == [str(1280 - 28), str(900 - 28), str(1280 - 48)], done.stderr

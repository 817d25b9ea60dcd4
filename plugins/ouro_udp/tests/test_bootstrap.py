"""Configurations that will not do: said so, and the IPCP can be tried again."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ouro_core import Node
from ouro_core.model.errors import ConfigError, NotPermitted
from ouro_core.model.layer import IpcpInfo
from ouro_core.testing.ipcp import within

from .conftest import free_port


@pytest_asyncio.fixture
async def node() -> AsyncIterator[Node]:
    async with Node() as node:
        yield node


async def refused(node: Node, ipcp: IpcpInfo, fault: str, **options: object) -> None:
    with pytest.raises(ConfigError, match=f"(?i){fault}"):
        await node.irm.bootstrap_ipcp(ipcp, "net", options)


async def test_addresses_that_are_not_ours(node: Node) -> None:
    ipcp = await node.irm.create_ipcp("u", "udp4")
    await refused(
        node, ipcp, "203.0.113.7 is no IPv4 address of this machine. Give ip one .*127.0.0.1", ip="203.0.113.7"
    )
    await refused(node, ipcp, "the wildcard is none", ip="0.0.0.0")
    await refused(node, ipcp, "needs an IPv4 address", ip="::1")
    await refused(node, ipcp, '"ip" is missing', port=free_port())
    six = await node.irm.create_ipcp("u6", "udp6")
    await refused(node, six, "2001:db8::7 is no IPv6 address of this machine", ip="2001:db8::7")
    await refused(node, six, "needs the interface of a link-local address", ip="fe80::1")
    await node.irm.bootstrap_ipcp(ipcp, "net", {"ip": "127.0.0.2", "port": free_port()})
    await node.irm.bootstrap_ipcp(six, "net", {"ip": "::1", "port": free_port()})


async def test_a_port_in_use(node: Node) -> None:
    ipcp = await node.irm.create_ipcp("u", "udp4")
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.2", 0))
        port = other.getsockname()[1]
        await refused(node, ipcp, f"cannot use 127.0.0.2:{port}: Address already in use", ip="127.0.0.2", port=port)
        second = await node.irm.create_ipcp("v", "udp4")
        await node.irm.bootstrap_ipcp(second, "net", {"ip": "127.0.0.3", "port": port})
    await node.irm.bootstrap_ipcp(ipcp, "net", {"ip": "127.0.0.2", "port": port})
    third = await node.irm.create_ipcp("w", "udp4")
    await refused(node, third, "is there a second IPCP for this layer", ip="127.0.0.2", port=port)
    await node.irm.destroy_ipcp(ipcp)
    await node.irm.bootstrap_ipcp(third, "net", {"ip": "127.0.0.2", "port": port})


async def test_options_that_will_not_do(node: Node, tmp_path: Path) -> None:
    ipcp = await node.irm.create_ipcp("u", "udp4")
    hosts = tmp_path / "hosts"
    hosts.write_text("rubbish oping\n")
    for fault, options in (
        ("line 1: rubbish needs an IPv4 address", {"hosts": hosts}),
        ("cannot read the hosts file", {"hosts": tmp_path / "none"}),
        ("both without a name", {"peers": "127.0.0.4,127.0.0.5"}),
        ("needs an IPv4 address", {"dns": "none"}),
        ("from 1 to 65535", {"port": 65536}),
        ("from 1 to 65535", {"dns_port": 0}),
        ("needs true or false", {"check_source": "perhaps"}),
    ):
        await refused(node, ipcp, fault, ip="127.0.0.2", **options)
    await node.irm.bootstrap_ipcp(ipcp, "net", {"ip": "127.0.0.2", "port": free_port()})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every port")
async def test_a_port_for_root(node: Node) -> None:
    ipcp = await node.irm.create_ipcp("u", "udp4")
    with pytest.raises(NotPermitted, match="Ports below 1024 are for root"):
        await node.irm.bootstrap_ipcp(ipcp, "net", {"ip": "127.0.0.2", "port": 99})


async def test_names_are_hashed_by_md5_whatever_is_asked_for(node: Node) -> None:
    ipcp = await node.irm.create_ipcp("u", "udp")
    assert ipcp.type == "udp4"
    layer = await node.irm.bootstrap_ipcp(ipcp, "net", {"ip": "127.0.0.2", "port": free_port()})
    assert layer.hash.name == "MD5"


async def test_a_member_reaches_itself_and_ends_in_peace(caplog: pytest.LogCaptureFixture) -> None:
    """Both ends of a flow are at one IPCP. It stops while they are being given back."""
    async with Node(direct=False) as node:
        ipcp = await node.irm.create_ipcp("u", "udp4")
        options = {"ip": "127.0.0.2", "port": free_port(), "peers": "name=127.0.0.2"}
        await node.irm.bootstrap_ipcp(ipcp, "net", options)
        await node.bind("name")
        await node.irm.reg_name("name", ipcp)
        accepting = asyncio.ensure_future(node.flow_accept())
        client = await within(node.flow_alloc("name"))
        server = await within(accepting)
        await client.write(b"there")
        assert await within(server.read()) == b"there"
        await server.write(b"back")
        assert await within(client.read()) == b"back"
        await client.close()
        await server.close()
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]

"""Replies of the flow allocator of unicast layers, byte for byte, between two daemons in namespaces of their own: what
a refusal looks like on the wire (unicast.md 6.1, 6.6), and what the requester's application is told.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from ouro_core.model.names import HashAlgorithm, hash_name
from ouro_core.testing.netns import unusable
from tests.interop.hosts import OuroHost
from tests.interop.lines import UNICAST, Line

pytest.importorskip("ouro_eth")
pytest.importorskip("ouro_unicast")
pytest.importorskip("ouro_dht")
pytestmark = pytest.mark.timeout(150)

_ALL: Final = 3  # ETH_P_ALL
FIXED: Final = struct.Struct(">QQQQiIIIIIHBBB")
"""s_addr, r_eid, s_eid, bandwidth, response, delay, loss, ber, max_gap, timeout, ece, code, availability, in_order"""
REQUEST, REPLY = 0, 1
RAW: Final = (0, 0, 2**32 - 1, 1, 1, 2**32 - 1, 120000, 0, REQUEST, 0, 0)
"""A request's fields from the bandwidth on."""


class Wire:
    """The wire between two members, and what they say on it."""

    def __init__(self, hosts: list[OuroHost], heard: socket.socket) -> None:
        self.client, self.server = hosts
        self._heard = heard
        self.addresses = [host.host.rib(f"ipcps/n{n}/member")["number"] for n, host in enumerate(hosts, 1)]

    def _frames(self) -> Iterator[bytes]:
        while True:
            try:
                yield self._heard.recv(2000)
            except BlockingIOError:
                return

    def _message(self, frame: bytes, to: int) -> bytes:
        """The message for the flow allocator of a member, 0 or 1; empty: it is none."""
        at = frame.find(self.addresses[to].to_bytes(4, "little") + bytes((0, 60)))
        if at < 0 or frame[at + 7 : at + 15] != bytes(8):  # any ECN; EID 0
            return b""
        return frame[at + 15 :]

    def ask(self, name: str) -> tuple[str, bytes, bytes]:
        """What an application is told that asks for a flow; the request on the wire, and the reply."""
        list(self._frames())
        done = self.client.run("oping", "-n", name, "-c", "1", "-i", "10")
        requests: set[bytes] = set()  # a request that is not answered soon is repeated
        replies: set[bytes] = set()
        for frame in self._frames():
            for to, code, found in ((1, REQUEST, requests), (0, REPLY, replies)):
                message = self._message(frame, to)
                if len(message) >= FIXED.size and message[58] == code:
                    found.add(message)
        assert len(requests) == len(replies) == 1, f"{done.stdout}{done.stderr}{requests}{replies}"
        return done.stdout, *requests, *replies


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    reason = unusable()
    if reason:
        pytest.skip(reason)
    with ExitStack() as stack:
        hosts = [stack.enter_context(OuroHost()) for _ in range(2)]
        Line(hosts).build()
        with hosts[0].network.inside():
            heard = stack.enter_context(
                socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ALL))
            )
            heard.bind(("v1", 0))
        yield Wire(hosts, heard)


def named(wire: Wire, name: str, served: bool = True) -> None:
    """The name is registered in the layer at the server's member, and served there or not."""
    if served:
        wire.server.serve(name, UNICAST)
    else:
        wire.server.irm("name", "create", name)
        wire.server.irm("name", "register", name, "layer", UNICAST)


def check(wire: Wire, name: str, response: int) -> tuple[str, bytes]:
    """Ask for a flow: request and reply are what they must be, byte for byte. What the application is told, and what
    follows the reply's fixed part.
    """
    told, request, reply = wire.ask(name)
    requester = int.from_bytes(request[16:24])
    assert requester >= 64
    assert request[:61] == FIXED.pack(wire.addresses[0], 0, requester, *RAW)
    assert request[61:93] == hash_name(name, HashAlgorithm.SHA3_256)
    assert len(request) > 93  # OAP
    responder = int.from_bytes(reply[16:24])
    assert responder >= 64 if response == 0 else responder == 0
    assert reply[:61] == FIXED.pack(0, requester, responder, 0, response, 0, 0, 0, 0, 0, 0, REPLY, 0, 0)
    return told, reply[61:]


def test_a_flow(wire: Wire) -> None:
    named(wire, "plain")
    told, body = check(wire, "plain", 0)
    assert "1 received" in told
    assert body  # OAP


@pytest.mark.parametrize(
    ("name", "files", "response"),
    [("crypt", {"enc.conf": "kex=X25519\n"}, -1008), ("auth", {"enc.conf": "auth=required\n"}, -1009)],
)
def test_a_server_that_asks_for_more(wire: Wire, name: str, files: dict[str, str], response: int) -> None:
    if name == "auth":
        assert wire.server.run("ouro", "pki", "init").returncode == 0
    wire.server.secure("server", name, files)
    named(wire, name)
    told, body = check(wire, name, response)
    assert f"Failed to allocate flow: {response}." in told
    assert body == b""


def test_nobody_accepts(wire: Wire) -> None:
    """The prototype says nothing at all."""
    named(wire, "idle", served=False)
    told, body = check(wire, "idle", -110)
    assert "Failed to allocate flow: -110." in told
    assert body == b""


def test_a_name_that_the_server_has_no_more(wire: Wire) -> None:
    named(wire, "gone", served=False)
    wire.server.irm("name", "destroy", "gone")
    told, body = check(wire, "gone", -1007)
    assert "Failed to allocate flow: -1007." in told
    assert body == b""

"""Encrypted flows from their allocation on: who finds the cipher, and what becomes of a flow that cannot be used."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest

from ouro_core.api.aio import AsyncFlow, Client
from ouro_core.api.flow import attach
from ouro_core.contracts.packets import SHARED_GEOMETRY, USER_GEOMETRY, ClientRef, Domain, Options, PacketClient
from ouro_core.model.errors import CryptError, FlowDown, NotSupported, OuroError
from ouro_core.model.flow import Grant
from ouro_core.model.irm_requests import Allocation, FlowAccept, FlowAlloc, FlowDealloc
from ouro_core.model.qos import RAW, RAW_NO_ERRORS
from ouro_core.model.request import Request
from ouro_core.rpc.fds import dup_grant

from .conftest import KEY, Encrypted

LONG = 30
KINDS = pytest.mark.parametrize(
    "kind",
    [Encrypted(RAW), Encrypted(RAW_NO_ERRORS), Encrypted(RAW, "aes-256-ctr")],
    ids=["AEAD", "crc", "counter mode"],
)
UNUSABLE = pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"key": b""}, CryptError),
        ({"key": KEY[:31]}, CryptError),
        ({"key": bytes(32)}, CryptError),
        ({"suite": "rot13"}, NotSupported),
        ({"plugin": "nobody"}, NotSupported),
    ],
    ids=["no key", "short key", "zeros", "unknown cipher", "unknown plugin"],
)


class TwoClients:
    """An IRM of two clients and one flow at a time: the first allocates, the second accepts."""

    def __init__(self, system: Any) -> None:
        self.broker = system.broker(SHARED_GEOMETRY, USER_GEOMETRY)
        self.refs = ClientRef(1, Domain()), ClientRef(2, Domain())
        grants = [dup_grant(self.broker.admit(ref)) for ref in self.refs]
        self.packets: list[PacketClient] = [system.client(grant.data, grant.fds) for grant in grants]
        self.clients = [Client(self._caller(side), packets) for side, packets in enumerate(self.packets)]
        self.deallocated: list[int] = []
        self.kind = Encrypted(RAW)
        self.changes: dict[str, Any] = {}
        self._flow = self.broker.create_flow(1, *self.refs)

    def allocation(self, side: int) -> Allocation:
        grant = dup_grant(self._flow.grant(side))
        return attrs.evolve(self.kind.allocation(side + 1, grant), **self.changes)

    def _caller(self, side: int) -> Any:
        async def call(request: Request[Any]) -> Any:
            if isinstance(request, FlowDealloc):
                self.deallocated.append(request.flow_id)
                return None
            assert isinstance(request, FlowAlloc | FlowAccept)
            return self.allocation(side)

        return call

    async def flows(self, kind: Encrypted) -> tuple[AsyncFlow, AsyncFlow]:
        self.kind = kind
        return await self.clients[0].flow_alloc("name", kind.qos), await self.clients[1].flow_accept()

    async def close(self) -> None:
        for client, packets, ref in zip(self.clients, self.packets, self.refs, strict=True):
            await client.close()
            packets.close()
            self.broker.leave(ref, False)
        self.broker.close()


@pytest.fixture
async def irm(system: Any) -> AsyncIterator[TwoClients]:
    async with asyncio.timeout(LONG):
        irm = TwoClients(system)
        yield irm
        await irm.close()


@KINDS
async def test_packets_both_ways(irm: TwoClients, kind: Encrypted) -> None:
    a, b = await irm.flows(kind)
    async with a, b:
        await a.write(b"one")
        assert await a.write_many([b"two", b"three"]) == 2
        assert await b.read() == b"one"
        assert await b.read_many() == [b"two", b"three"]
        await b.write(b"0123456789")
        buffer = bytearray(6)
        assert [await a.readinto(buffer), await a.readinto(buffer)] == [6, 4]
        await a.write(b"secret")
        assert b"secret" not in b._end.read()
    assert irm.deallocated == [2, 1]


@KINDS
async def test_a_writer_waits_for_room(irm: TwoClients, kind: Encrypted) -> None:
    a, b = await irm.flows(kind)
    packets = [b"%d" % n for n in range(3000)]

    async def write() -> None:
        for packet in packets:
            await a.write(packet)
        await a.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        assert [packet async for packet in b] == packets
    assert b.counters["undecryptable"] == 0
    await b.close()


async def test_a_reader_is_not_woken_for_good_by_what_is_dropped(irm: TwoClients) -> None:
    a, b = await irm.flows(Encrypted(RAW))
    reading = asyncio.ensure_future(b.read())
    for n in range(200):
        a._end.write(bytes(50))
        if n % 50 == 0:
            await asyncio.sleep(0)
    assert not reading.done()
    await a.write(b"good")
    assert await reading == b"good"
    assert b.counters["undecryptable"] == 200
    await a.close()
    with pytest.raises(FlowDown):
        await b.read()
    await b.close()


@UNUSABLE
async def test_an_unusable_flow_is_deallocated(
    irm: TwoClients, changes: dict[str, Any], error: type[OuroError]
) -> None:
    irm.changes = changes
    with pytest.raises(error, match="flow 1"):
        await irm.clients[0].flow_alloc("name")
    for _ in range(10):
        await asyncio.sleep(0)
    assert irm.deallocated == [1]


@UNUSABLE
def test_descriptors_of_an_unusable_flow_are_closed(
    client: PacketClient, changes: dict[str, Any], error: type[OuroError]
) -> None:
    fds = os.pipe()
    allocation = attrs.evolve(Encrypted(RAW).allocation(1, Grant(b"", fds)), **changes)
    with pytest.raises(error):
        attach(client, allocation, Options())
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_only_the_plugin_of_the_cipher_is_loaded() -> None:
    program = """
import sys
from ouro_core.api.flow import load_suite, plugin_host
import ouro_core.api.process
assert not any(name.startswith(("ouro_core.builtin", "ouro_core.plugins", "cryptography")) for name in sys.modules)
assert load_suite("classic", "aes-256-gcm").nid == 901
print(*[plugin.name for plugin in plugin_host().plugins() if plugin.state == "loaded"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["classic"]

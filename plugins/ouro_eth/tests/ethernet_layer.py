"""Two nodes in a layer, in this process, and a neighbour who sends what he likes."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from ouro_eth.device import Devices
from ouro_eth.io import ETH_P_802_2
from ouro_eth.wire import BROADCAST, Dix, Framing, Llc

from ouro_core import Node
from ouro_core.api.aio import AsyncFlow
from ouro_core.model.errors import OuroError
from ouro_core.model.names import HashAlgorithm, hash_name
from ouro_core.model.qos import QosSpec

WAIT = 20.0
NAME = "a.name"
FRAMINGS: dict[str, Framing] = {"eth-dix": Dix(32, 0xA000), "eth-llc": Llc(32)}


def digest(name: str) -> bytes:
    """Its hash in the layers here."""
    return hash_name(name, HashAlgorithm.SHA3_256)


HASH = digest(NAME)


async def eventually(check: Callable[[], Any]) -> Any:
    """The first true result. `check` may be a coroutine function."""
    async with asyncio.timeout(WAIT):
        while True:
            result = check()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return result
            await asyncio.sleep(0.01)


@frozen
class Layer:
    """`client` on v0, `server` on v1, which serves `NAME`; `neighbour` is a raw socket on another device."""

    type: str
    client: Node
    server: Node
    neighbour: socket.socket

    @property
    def framing(self) -> Framing:
        return FRAMINGS[self.type]

    def mac(self, device: str) -> bytes:
        return Devices().read(device).mac

    async def rib(self, node: Node, path: str) -> Any:
        return await node.irm.rib_read(f"ipcps/e/{path}")

    async def count(self, node: Node, path: str) -> int:
        """A counter, such as "frames/short"."""
        return int(await self.rib(node, path))

    async def flow(self, qos: QosSpec | None = None) -> tuple[AsyncFlow, AsyncFlow]:
        """(the client's end, the server's end) of a new one."""
        accepting = asyncio.ensure_future(self._accept())
        try:
            return await self._alloc(qos), await asyncio.wait_for(accepting, WAIT)
        except BaseException:
            accepting.cancel()
            raise

    async def _accept(self) -> AsyncFlow:
        """As servers do: a request that was refused is no reason to end."""
        while True:
            with contextlib.suppress(OuroError):
                return await self.server.flow_accept()

    async def _alloc(self, qos: QosSpec | None) -> AsyncFlow:
        """As clients do in a crowd: again."""
        deadline = time.monotonic() + WAIT
        while True:
            try:
                return await self.client.flow_alloc(NAME, qos, timeout=WAIT)
            except OuroError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)

    async def works(self) -> None:
        """A flow, and a packet there and back."""
        client, server = await self.flow()
        async with client, server:
            await client.write(b"there")
            assert await asyncio.wait_for(server.read(), WAIT) == b"there"
            await server.write(b"back")
            assert await asyncio.wait_for(client.read(), WAIT) == b"back"

    def send(self, frame: bytes) -> None:
        """From the neighbour's device."""
        while True:
            with contextlib.suppress(BlockingIOError):
                self.neighbour.send(frame)
                return

    def heard(self) -> list[bytes]:
        """What others sent, to whom it may be: frames since the last call."""
        frames = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frames.append(self.neighbour.recv(65536, socket.MSG_DONTWAIT))
        return frames

    def message(self, frame: bytes) -> Any:
        """The management message in a frame; None: there is none."""
        is_one = frame[14:16] in (b"\0\0", b"\x80\x80")
        return self.framing.decode(self.framing.open(frame)[1]) if is_one else None

    def tell(self, message: Any, to: bytes, source: bytes) -> None:
        """A management message, in a frame that claims to be from `source`."""
        data = message if isinstance(message, bytes) else self.framing.encode(message)
        self.send(self.framing.management_frame(source, to, data))


@contextlib.asynccontextmanager
async def layer(type_name: str, neighbour: str = "v2", security: Path | None = None) -> AsyncIterator[Layer]:
    """Of a type, on devices that are there. `security`: files of both nodes."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((neighbour, ETH_P_802_2 if type_name == "eth-llc" else 0xA000))
        nodes = [Node(direct=False, security=security) for _ in range(2)]
        async with nodes[0] as client, nodes[1] as server:
            for node, device in ((client, "v0"), (server, "v1")):
                await node.irm.create_ipcp("e", type_name)
                await node.irm.bootstrap_ipcp("e", "layer", {"dev": device})
            await server.irm.reg_name(NAME, "e")
            await server.bind(NAME)
            yield Layer(type_name, client, server, sock)


__all__ = ["BROADCAST", "HASH", "NAME", "Layer", "digest", "eventually", "layer"]

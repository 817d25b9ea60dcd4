"""A type as small as can be: members of one host, over UDP, that know each other by ports. Names are in a table."""

import socket
import struct
from typing import Any, ClassVar, Final

from ouro_core.contracts.packets import ManagementFrame
from ouro_core.contracts.programs import Field, Match, PumpProgram, Route, Source
from ouro_core.model.layer import LayerInfo
from ouro_core.shim import Endpoints, Medium, ShimIpcp
from ouro_core.testing.packets.wire import raw_address

from .member import PlainCodec

HEADER: Final = struct.Struct(">HH")
"""EID, 0 for management; port of the sender."""


class LoopMedium(Medium[int]):
    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self.fd = self._socket.fileno()
        self.codec, self.endpoints, self.max_message = PlainCodec(), Endpoints(1, 65535), 1400
        self.program = PumpProgram(
            header=HEADER.size, key=Field(0, 2), max_payload=1400, management=(Match(0, b"\0\0"),),
            source=Source(((2, 2),)), addressed=True,
        )  # fmt: skip

    def route(self, peer: int, remote: int, own: int) -> Route:
        header = HEADER.pack(remote, self.port)
        return Route(header, raw_address(("127.0.0.1", peer)), peer.to_bytes(2, "big"))

    def read(self, frame: ManagementFrame) -> tuple[int, bytes]:
        return HEADER.unpack_from(frame.frame)[1], frame.frame[HEADER.size :]

    def send(self, to: int, message: bytes) -> None:
        self._socket.sendto(HEADER.pack(0, self.port) + message, ("127.0.0.1", to))

    def show(self, address: int) -> str:
        return str(address)

    def close(self) -> None:
        self._socket.close()


class LoopIpcp(ShimIpcp[int]):
    name = "loop"
    mpl = 100
    medium_class: ClassVar[type[LoopMedium]] = LoopMedium
    names: ClassVar[dict[bytes, int]] = {}

    async def open(self, layer: LayerInfo, config: Any) -> Medium[int]:
        self.there = self.medium_class()
        return self.there

    async def reg(self, hash: bytes) -> None:
        await super().reg(hash)
        self.names[hash] = self.there.port

    async def lookup(self, hash: bytes) -> bool:
        if hash not in self.names:
            return False
        self.management.directory.learn(hash, self.names[hash])
        return True

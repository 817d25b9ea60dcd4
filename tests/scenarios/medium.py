"""A plugin for tests: the IPCP type `medium`, a layer of one host that shows what goes over it and lets in what comes.

Below its directory it makes two files:

    tape     what went over the layer, flow requests and answers and packets, a line of hex each
    socket   a line of JSON [hash, OAP message], both in hex, is a flow request that came over the layer; the line that
             comes back is [code, text, OAP message]. A flow that is accepted is ended at once.
"""

import asyncio
import contextlib
import json
import random
from pathlib import Path

from attrs import frozen

from ouro_core.contracts.ipcp import Ipcp, IpcpContext, NFlow
from ouro_core.contracts.packets import FlowEnd, Options
from ouro_core.hookspecs import hookimpl
from ouro_core.model.capability import Capability
from ouro_core.model.config import boolean, integer, option, text
from ouro_core.model.errors import OuroError, WouldBlock
from ouro_core.model.ipcp_requests import FlowReply
from ouro_core.model.layer import LayerInfo
from ouro_core.model.qos import RAW, QosSpec

OURO_API = (1, 0)
MPL = 100
NAME = "ouro-test-medium"


def install(site: Path) -> dict[str, str]:
    """Make a distribution of this module in a directory; the environment that adds it."""
    info = site / "ouro_test_medium-1.dist-info"
    info.mkdir(parents=True)
    (site / "ouro_test_medium.py").write_text(Path(__file__).read_text())
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[ouro]\n{NAME} = ouro_test_medium\n")
    return {"PYTHONPATH": str(site)}


@frozen
class MediumConfig:
    """Where the two files are."""

    directory: str = option(parse=text(255), help="directory")
    lose: int = option(0, parse=integer(0, 100), help="so many packets of a hundred are lost")
    answers: bool = option(False, parse=boolean, help="whether peers answer a probe, as Ouro nodes do")


class MediumIpcp(Ipcp):
    """Flows between applications of this host, packet by packet through this process."""

    name = "medium"
    Config = MediumConfig

    def __init__(self, context: IpcpContext) -> None:
        super().__init__(context)
        self._hashes: set[bytes] = set()
        self._chance = random.Random(1)
        self._peers: dict[int, int] = {}
        self._ends: dict[int, FlowEnd] = {}
        self._listening = contextlib.AsyncExitStack()

    async def bootstrap(self, layer: LayerInfo, config: MediumConfig) -> LayerInfo:
        self._lose = config.lose
        self._answers = config.answers
        path = Path(config.directory, "tape")
        self._tape = self._listening.enter_context(path.open("ab", buffering=0))  # noqa: ASYNC230, a local file
        server = await asyncio.start_unix_server(self._serve, f"{config.directory}/socket", limit=1 << 20)
        self._listening.callback(server.close)
        self.ctx.spawn(self._carry(), "medium")
        return layer

    async def reg(self, hash: bytes) -> None:
        self._hashes.add(hash)

    async def unreg(self, hash: bytes) -> None:
        self._hashes.discard(hash)

    async def query(self, hash: bytes) -> bool:
        return hash in self._hashes

    async def capabilities(self, hash: bytes) -> Capability:
        return self.ctx.capabilities if self._answers else Capability(0)

    async def flow_alloc(self, flow: NFlow, hash: bytes, qos: QosSpec, data: bytes) -> FlowReply:
        self._record(data)
        arrived = await self.ctx.flow_arrived(hash, qos, MPL, data)
        self._record(arrived.data)
        for here, there in ((flow, arrived.flow), (arrived.flow, flow)):
            here.carried.set_options(Options(read_blocking=False, write_blocking=False))
            self._ends[here.id], self._peers[here.id] = here.carried, there.id
        return FlowReply(MPL, arrived.data)

    async def flow_dealloc(self, flow: NFlow, linger: float) -> None:
        self._move()
        self._ends.pop(flow.id, None)
        peer = self._peers.pop(flow.id, None)
        if peer in self._ends:
            self.ctx.flow_closed(peer)

    async def stop(self) -> None:
        await self._listening.aclose()

    # ------------------------------------------------------------ packets

    async def _carry(self) -> None:
        while True:
            self._move()
            await asyncio.sleep(0.002)

    def _move(self) -> None:
        for number, end in list(self._ends.items()):
            other = self._ends.get(self._peers[number])
            with contextlib.suppress(WouldBlock, OuroError):
                while other is not None:
                    packet = end.read()
                    self._record(packet)
                    # By chance: a fixed rhythm of losses can fall in step with that of resending.
                    if self._chance.randrange(100) >= self._lose:
                        other.write(packet)

    def _record(self, data: bytes) -> None:
        self._tape.write(data.hex().encode() + b"\n")

    # ------------------------------------------------------------ requests from outside

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = []
        while line := await reader.readline():
            hashed, data = (bytes.fromhex(word) for word in json.loads(line))
            answers.append(asyncio.create_task(self._answer(writer, hashed, data)))
        await asyncio.gather(*answers)
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, hashed: bytes, data: bytes) -> None:
        found: tuple[int, str, str]
        try:
            arrived = await self.ctx.flow_arrived(hashed, RAW, MPL, data)
        except OuroError as e:
            found = e.code, str(e), ""
        else:
            self.ctx.flow_closed(arrived.flow.id)
            found = 0, "", arrived.data.hex()
        writer.write(json.dumps(found).encode() + b"\n")


@hookimpl
def ouro_register_ipcp_types() -> list[type[Ipcp]]:
    return [MediumIpcp]

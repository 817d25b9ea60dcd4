"""The IPCP type `broadcast` (unicast.md 11): what one writes, all others get.

Members connect their Data Transfer components to a tree; applications join their member. Packets are flooded in the
IPCP's loop. A neighbour that does not read has a queue of its own, and loses what does not fit into it: nobody else
waits for it. Who connects asks first whether that would close a loop: see `tree`.
"""

import asyncio
from collections import deque
from functools import partial
from os import urandom
from typing import Final

from attrs import define, field

from ouro_core.contracts.ipcp import IpcpContext, NFlow, NoConfig
from ouro_core.contracts.packets import FlowEnd, Options
from ouro_core.model.errors import Exists, FlowTimeout, IpcpError, OuroError, UnknownName, WouldBlock
from ouro_core.model.ipcp_requests import FlowReply
from ouro_core.model.layer import LayerInfo
from ouro_core.model.log import logger
from ouro_core.model.names import HashAlgorithm, hash_name
from ouro_core.model.qos import DATA, QosSpec

from .events import Connected, Disconnected
from .flood import Flood
from .io import LowerFlow
from .ipcp import LayerIpcp
from .tree import TREE, Accepted, Ready, Refused, Tree
from .wire import oep
from .wire.ocep import BROADCAST_TRANSFER, MANAGEMENT, Identity

__all__ = ["BroadcastIpcp"]

_log = logger("dt")

MPL: Final = 100
QUEUE: Final = 1024
"""Packets that wait for a neighbour who does not read."""
RETRY: Final = 0.1
MAX_RETRY: Final = 5.0
"""Seconds between two attempts to make a connection again: they double."""
ANSWER: Final = 3.0
"""Seconds for another member to say what is behind it, and whether it will be connected."""
_OPTIONS: Final = Options(read_blocking=False, write_blocking=False)
_BATCH: Final = 32


@define(eq=False)
class _Outlet:
    """Where packets for a neighbour go."""

    end: FlowEnd
    waiting: deque[bytes] = field(factory=deque)


@define(eq=False)
class _Channel:
    """A channel to another member. `ready`: it told what is behind it; `answer`: it agreed; `over`: it is gone."""

    name: str
    flow: LowerFlow
    ready: "asyncio.Future[None]"
    answer: "asyncio.Future[None]"
    over: "asyncio.Future[None]"


@define(eq=False)
class _Link:
    """A connection that somebody asked for."""

    qos: QosSpec
    channel: int | None = None
    connection: int | None = None
    remaking: bool = False


class BroadcastIpcp(LayerIpcp):
    """A member of a broadcast layer. Connecting Management does nothing, so that connecting everything works."""

    name = "broadcast"
    Config = NoConfig
    components = (MANAGEMENT.component, BROADCAST_TRANSFER.component)
    broadcast = True
    layer_type = oep.BROADCAST

    def __init__(self, context: IpcpContext) -> None:
        super().__init__(context)
        self._layer: oep.Layer | None = None
        self._flood = Flood()
        self._tree = Tree(1 << 63 | int.from_bytes(urandom(8)))
        self._outlets: dict[int, _Outlet] = {}
        self._joined: dict[int, int] = {}  # by the IRM's id
        self._connected: dict[int, int] = {}  # by connection
        self._channels: dict[int, _Channel] = {}
        self._links: dict[str, _Link] = {}  # by what they lead to
        self._numbers = 0
        self._connecting = asyncio.Lock()

    # ------------------------------------------------------------ life

    async def bootstrap(self, layer: LayerInfo, config: NoConfig) -> LayerInfo:
        return await self._join(oep.Layer(layer.name, HashAlgorithm.SHA3_256, oep.BROADCAST))

    async def become(self, layer: oep.Layer) -> None:
        self._layer = layer
        self.connections.register(BROADCAST_TRANSFER)
        self.connections.register(TREE.at(self._tree.id), self._visited)
        self.events.subscribe(Connected, self._on_connected)
        self.events.subscribe(Disconnected, self._on_disconnected)
        self.ctx.rib.publish("member/neighbours", self._flood.view)
        self.ctx.rib.publish("member/tree", self._tree.view)
        self.ctx.rib.publish("member/connections", lambda: dict(self.connections.counters))

    def described(self) -> oep.Layer:
        assert self._layer is not None
        return self._layer

    async def stop(self) -> None:
        for channel in list(self._channels.values()):
            await channel.flow.close()
        await self.connections.stop()
        self.reader.close()

    # ------------------------------------------------------------ applications

    async def flow_join(self, flow: NFlow, hash: bytes) -> FlowReply:
        layer = self.described()
        if hash != hash_name(layer.name, HashAlgorithm.SHA3_256):
            raise UnknownName(f"Hash mismatch for layer {layer.name}.")
        end = flow.carried
        end.set_options(_OPTIONS)
        number = self._joined[flow.id] = self._add(end, member=False)
        self.reader.watch(end, partial(self._readable, number, end))
        return FlowReply(MPL, b"")

    async def flow_dealloc(self, flow: NFlow, linger: float) -> None:
        number = self._joined.pop(flow.id, None)
        if number is not None:
            self._readable(number, flow.carried, most=QUEUE)  # what was written last
            self.reader.unwatch(flow.carried)
            self._remove(number)

    def _readable(self, number: int, end: FlowEnd, most: int = _BATCH) -> None:
        self._flush(number)
        try:
            packets = end.read_many(most)
        except OuroError:  # none, or it is down
            return
        self._received(number, packets)

    # ------------------------------------------------------------ flooding

    def _add(self, end: FlowEnd, member: bool) -> int:
        self._numbers += 1
        self._flood.add(self._numbers, member)
        self._outlets[self._numbers] = _Outlet(end)
        return self._numbers

    def _remove(self, number: int) -> None:
        self._flood.remove(number)
        self._outlets.pop(number, None)

    def _received(self, source: int, packets: list[bytes]) -> None:
        now = self._loop.time()
        for packet in packets:
            for number in self._flood.receive(source, packet, now):
                self._send(number, packet)
        if self._flood.looping(source):
            self._cut(source)

    def _send(self, number: int, packet: bytes) -> None:
        waiting = self._outlets[number].waiting
        if len(waiting) >= QUEUE:
            self._flood.count(number, "dropped")
            return
        waiting.append(packet)
        self._flush(number)

    def _flush(self, number: int) -> None:
        outlet = self._outlets.get(number)
        while outlet is not None and outlet.waiting:
            try:
                outlet.end.write(outlet.waiting[0])
            except WouldBlock:
                return  # room is an event
            except OuroError:
                self._flood.count(number, "dropped")
            else:
                self._flood.count(number, "sent")
            outlet.waiting.popleft()

    def _cut(self, number: int) -> None:
        """A neighbour sends what others sent before: there is a loop through members that do not know of `tree`."""
        for connection in self.connections:
            if self._connected.get(connection.number) == number:
                self.ctx.log.error(
                    "The connections of this layer are a loop: the one with %s is broken. Disconnect one for good.",
                    connection.name,
                )
                self._remove(number)
                if connection.dst is not None:
                    self._links.pop(connection.dst, None)
                self.ctx.spawn(self.connections.drop(connection), f"cut of connection {connection.number}")

    # ------------------------------------------------------------ other members

    def _on_connected(self, event: Connected) -> None:
        number = self._connected[event.connection] = self._add(event.flow.end, member=True)
        event.flow.receive(partial(self._received, number), partial(self._flush, number))
        _log.debug("Neighbor %d added.", event.flow.id)

    def _on_disconnected(self, event: Disconnected) -> None:
        number = self._connected.pop(event.connection, None)
        if number is not None:
            self._remove(number)
            self._lost(None, event.connection)
            _log.debug("Neighbor %d deleted.", event.flow.id)

    async def connect(self, dst: str, component: str, qos: QosSpec) -> None:
        if component == MANAGEMENT.component:
            return
        known = self._links.get(dst)
        link = self._links.setdefault(dst, _Link(qos))
        try:
            await self._make(dst, link)
        except BaseException:
            if known is None and self._links.get(dst) is link:
                del self._links[dst]
            raise

    async def disconnect(self, dst: str, component: str) -> None:
        link = self._links.pop(dst, None) if component != MANAGEMENT.component else None
        if link is not None:
            await self._unmake(dst, link)

    async def _make(self, dst: str, link: _Link) -> None:
        """Connect, if the tree allows. One at a time, so that none of ours closes a loop with another of ours."""
        async with self._connecting:
            if link.connection is not None:
                return
            link.channel = await self._ask(dst)
            try:
                made = await self.connections.connect(dst, BROADCAST_TRANSFER.component, link.qos, keep=False)
            except BaseException:
                await self._unmake(dst, link)
                raise
            link.connection = made.number

    async def _unmake(self, dst: str, link: _Link) -> None:
        channel, link.channel, link.connection = link.channel, None, None
        if channel is not None:
            await self._leave(channel)
        await self.connections.disconnect(dst, BROADCAST_TRANSFER.component)

    def _lost(self, channel: int | None, connection: int | None) -> None:
        """One half of a connection of ours is gone, so the other goes, too, and both are made again."""
        for dst, link in self._links.items():
            if not link.remaking and (
                (channel is not None and link.channel == channel)
                or (connection is not None and link.connection == connection)
            ):
                link.remaking = True
                self.ctx.spawn(self._remake(dst, link), f"connection with {dst}")

    async def _remake(self, dst: str, link: _Link) -> None:
        await self._unmake(dst, link)
        pause, warned = RETRY, False
        while self._links.get(dst) is link:
            await asyncio.sleep(pause * (0.5 + self.ctx.random.random()))
            pause = min(2 * pause, MAX_RETRY)
            try:
                await self._make(dst, link)
                self.ctx.log.info("Connected with %s again.", dst)
                break
            except OuroError as e:
                if not warned:  # once is enough
                    self.ctx.log.warning(
                        "Not connected with %s: %s. It is tried again until it works, or is disconnected by command.",
                        dst, e,
                    )  # fmt: skip
                warned = True
        link.remaking = False

    # ------------------------------------------------------------ the tree

    async def _ask(self, dst: str) -> int | None:
        """A channel on which the other member agreed to be connected. None: it is of the prototype. Exists: a loop."""
        try:
            flow, peer = await self.connections.open(dst, TREE.at(self._tree.id), DATA)
        except IpcpError as e:
            self.ctx.log.info("%s does not help against loops: %s", dst, e)
            return None
        number = self._channel(dst, flow, peer)
        channel = self._channels[number]
        try:
            async with asyncio.timeout(ANSWER):
                await channel.ready
                self._tree.join(number)
                self._run()
                await channel.answer
        except TimeoutError:
            await self._leave(number)
            raise FlowTimeout(f"{dst} did not say within {ANSWER:g} s whether it will be connected") from None
        except BaseException:
            await self._leave(number)
            raise
        return number

    async def _visited(self, flow: LowerFlow, peer: Identity) -> None:
        """Somebody opened a channel. It lasts until it is gone."""
        number = self._channel(f"member {peer.address:016x}", flow, peer)
        try:
            await self._channels[number].over
        finally:
            self._forget(number)

    def _channel(self, name: str, flow: LowerFlow, peer: Identity) -> int:
        self._numbers += 1
        number = self._numbers
        self._channels[number] = _Channel(name, flow, *(self._loop.create_future() for _ in range(3)))
        flow.changed = lambda change: self._changed(number, change)
        self._tree.up(number, peer.address)
        flow.receive(lambda packets: self._heard(number, packets))
        self._run()
        return number

    def _changed(self, number: int, change: str) -> None:
        if change == "GONE":
            self._broken(number, "the flow to the other member is gone")

    def _heard(self, number: int, packets: list[bytes]) -> None:
        for packet in packets:
            self._tree.receive(number, packet)
        self._run()

    def _run(self) -> None:
        for number, message in self._tree.output():
            if number in self._channels and not self._channels[number].flow.send(message):
                self._broken(number, "it does not take what it is told")
        for event in self._tree.events():
            channel = self._channels.get(event.channel)
            if channel is None:
                continue
            if isinstance(event, Ready):
                _settle(channel.ready)
            elif isinstance(event, Accepted):
                _settle(channel.answer)
            elif isinstance(event, Refused):
                _settle(channel.answer, Exists(
                    f"the connection would close a loop: member {event.member:016x} can be reached already"
                ))  # fmt: skip
            else:
                self._broken(event.channel, event.why)

    def _broken(self, number: int, why: str) -> None:
        """The channel is of no use any more."""
        channel = self._channels.get(number)
        if channel is None:
            return
        self.ctx.log.info("The channel with %s ends: %s.", channel.name, why)
        _settle(channel.ready, IpcpError(why))
        _settle(channel.answer, IpcpError(why))
        _settle(channel.over)
        self._lost(number, None)

    def _forget(self, number: int) -> None:
        if self._channels.pop(number, None) is not None:
            self._tree.down(number)
            self._run()

    async def _leave(self, number: int) -> None:
        channel = self._channels.get(number)
        if channel is not None:
            self._tree.leave(number)
            self._run()
            self._forget(number)
            await channel.flow.close()


def _settle(future: "asyncio.Future[None]", error: OuroError | None = None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # looked at: nobody may wait any more

"""Data transfer: the forwarder of a unicast IPCP, its ports and tables (unicast.md 4, 5, 9).

Theory of operation. All packets are moved by the native forwarder; Python edits its tables. A port is a N-1 flow of a
Data Transfer connection, a flow of the layer above, or one half of a pair whose other half a component (flow allocator,
directory) reads and writes here. Which ports packets for a member go to is what the forwarding function says (`pff`).

A packet for this very member has no next hop, and the prototype drops it. Here a pair whose two halves are both N-1
ports leads back, so that two applications of one member have a flow like any other.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define

from ouro_core.contracts.ipcp import IpcpContext
from ouro_core.contracts.packets import FlowEnd, MoverEvent, Options
from ouro_core.contracts.programs import ForwardProgram, Group
from ouro_core.model.errors import OuroError, WouldBlock
from ouro_core.model.log import logger

from .addresses import address_text
from .congestion import PacedFlow
from .contracts import CongestionPolicy, PffPolicy, RoutingTable
from .events import Connected, Disconnected, Events, WentDown, WentUp
from .io import LowerFlow, Reader
from .pff import ForwardingFunction
from .wire.ocep import DATA_TRANSFER
from .wire.pci import Pci

__all__ = ["Component", "DataTransfer"]

_QUEUE: Final = 1024
"""Packets of a component that wait for room in the forwarder; more are dropped and counted."""
_OPTIONS: Final = Options(read_blocking=False, write_blocking=False)
_BATCH: Final = 32
_HURRY: Final = 0.5
"""Seconds for a port to leave when nobody waits for it any more."""
_LOOK: Final = 0.005
"""Seconds between two looks at a flow that is to be drained by code."""

_log = logger("dt")


@define(eq=False)
class _Neighbour:
    """What a port of a Data Transfer connection leads to."""

    address: int
    name: str
    connection: int
    flow: LowerFlow
    cube: int
    up: bool = True


class Component:
    """What has an EID of its own at this member: packets for it come to `handler`, without their headers."""

    def __init__(self, transfer: "DataTransfer", eid: int, handler: Callable[[bytes], None]) -> None:
        self.eid = eid
        self.dropped = 0
        self._transfer = transfer
        self._handler = handler
        self._waiting: deque[bytes] = deque()
        inside, self._end = transfer.ctx.packets.pair()
        self._end.set_options(_OPTIONS)
        transfer.forwarder.add_component(eid, inside)
        transfer.reader.watch(self._end, self._news)

    def send(self, destination: int, payload: bytes) -> bool:
        """Send to the same component of another member. False: there is no route, or no room."""
        if not self._transfer.reaches(destination):
            return False
        if len(self._waiting) >= _QUEUE:
            self.dropped += 1
            return False
        self._waiting.append(Pci(destination, self.eid, self._transfer.max_ttl).encode() + payload)
        self._flush()
        return True

    @property
    def waiting(self) -> int:
        """Packets that wait for room in the forwarder."""
        return len(self._waiting)

    def _flush(self) -> None:
        while self._waiting:
            try:
                self._end.write(self._waiting[0])
            except WouldBlock:
                return  # room is an event
            except OuroError:
                self.dropped += 1
            self._waiting.popleft()

    def _news(self) -> None:
        try:
            packets = self._end.read_many(_BATCH)
        except OuroError:  # none, or the forwarder has stopped
            packets = []
        for packet in packets:
            self._handler(packet)
        self._flush()

    def close(self) -> None:
        """Neither receive nor send any more. The forwarder has stopped."""
        self._transfer.reader.unwatch(self._end)
        self._end.close()


class DataTransfer:
    """The forwarder and who uses it. `table_changed` is called with the members that came into reach, and those that
    went out of it.
    """

    def __init__(
        self, ctx: IpcpContext, reader: Reader, program: ForwardProgram, pff: PffPolicy, congestion: CongestionPolicy
    ) -> None:
        self.ctx = ctx
        self.reader = reader
        self.address = program.address
        self.max_ttl = program.max_ttl
        self.forwarder = ctx.packets.forwarder(program)
        self.table_changed: Callable[[set[int], set[int]], None] = lambda near, far: None
        self.reported: Callable[[int, int], None] = lambda port, ece: None
        """Called with the port of a flow whose packets were marked, and what its sender is to be told."""
        self._function = ForwardingFunction(pff, program.cubes)
        self._congestion = congestion
        self._paced: dict[int, PacedFlow] = {}  # flows whose sender is code, by port
        self._cubes = program.cubes
        self._loop = asyncio.get_running_loop()
        self._neighbours: dict[int, _Neighbour] = {}  # by port
        self._components: list[Component] = []
        self._reached: frozenset[int] = frozenset()
        self._loop_port: int | None = None
        self._leaving: dict[int, asyncio.Future[int]] = {}
        self._fd = self.forwarder.fileno()
        self._loop.add_reader(self._fd, self._news)

    def subscribe(self, events: Events) -> None:
        """Be told of connections from now on."""
        events.subscribe(Connected, self._connected)
        events.subscribe(WentDown, self._went_down)
        events.subscribe(WentUp, self._went_up)
        events.subscribe(Disconnected, self._disconnected)

    def stop(self) -> None:
        """Move nothing any more. All ends are out of use then."""
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        self._fd = -1
        for paced in self._paced.values():
            paced.close()
        self.forwarder.stop()
        for component in self._components:
            component.close()
        for gone in self._leaving.values():
            if not gone.done():
                gone.set_result(0)
        self._leaving.clear()
        self._neighbours.clear()

    # ------------------------------------------------------------ who uses it

    def component(self, eid: int, handler: Callable[[bytes], None]) -> Component:
        """A component of this member, with an EID below 64."""
        made = Component(self, eid, handler)
        self._components.append(made)
        return made

    def add_flow(self, eid: int, end: FlowEnd, destination: int, remote_eid: int) -> int:
        """A flow of the layer above; its port. `remote_eid` 0 until `forwarder.set_peer`."""
        if destination == self.address:
            self._close_the_loop()
        sender = self._congestion.sender(time.monotonic_ns())
        if sender is None:
            return self.forwarder.add_flow(eid, end, destination, remote_eid)
        paced = PacedFlow(self.ctx.packets, eid, end, sender)
        try:
            port = self.forwarder.add_flow(eid, paced.end, destination, remote_eid)
        except BaseException:
            paced.close()
            raise
        self._paced[port] = paced
        return port

    def feedback(self, eid: int, ece: int) -> None:
        """The peer of a flow reports congestion. Unknown flows are ignored: the report may be late."""
        for paced in self._paced.values():
            if paced.eid == eid:
                paced.feedback(ece)
                return
        self.forwarder.feedback(eid, ece)

    async def remove(self, port: int, drain: float = 0.0) -> int:
        """Returns when the end of this port is out of use, how many of its packets were not sent within `drain` s."""
        until = self._loop.time() + drain
        paced = self._paced.get(port)
        try:
            while paced is not None and paced.waiting() and self._loop.time() < until:  # noqa: ASYNC110 no event says it
                await asyncio.sleep(_LOOK)
        finally:
            lost = paced.close() if paced is not None else 0
            self._paced.pop(port, None)
            gone = self._leave(port, max(0.0, until - self._loop.time()))
        try:
            return lost + await asyncio.shield(gone)
        except asyncio.CancelledError:
            await asyncio.wait({gone}, timeout=_HURRY)  # the end must be out of use all the same
            raise

    def _leave(self, port: int, drain: float) -> asyncio.Future[int]:
        """Done when the forwarder has given the end of this port up."""
        gone: asyncio.Future[int] = self._loop.create_future()
        if self._fd < 0:
            gone.set_result(0)
        else:
            self.forwarder.remove(port, drain)
            self._leaving[port] = gone
        return gone

    def reaches(self, destination: int) -> bool:
        """Whether there is a route; to this very member there is one from now on."""
        if destination == self.address:
            self._close_the_loop()
            return True
        return destination in self._reached

    def _close_the_loop(self) -> None:
        if self._loop_port is None:
            out, back = self.ctx.packets.pair()
            self._loop_port = self.forwarder.add_network(out)
            self.forwarder.add_network(back)
            for cube in range(self._cubes):
                self._install(cube)

    # ------------------------------------------------------------ neighbours

    def _connected(self, event: Connected) -> None:
        if event.component != DATA_TRANSFER.component:
            return
        cube = event.flow.qos.cube
        port = self.forwarder.add_network(event.flow.end, cube)
        self._neighbours[port] = _Neighbour(event.peer.address, event.name, event.connection, event.flow, cube)
        self._function.neighbour_up(port, event.peer.address)
        _log.debug("Added fd %d to packet scheduler.", event.flow.id)
        self._route()

    def _disconnected(self, event: Disconnected) -> None:
        for port in [p for p, n in self._neighbours.items() if n.connection == event.connection]:
            del self._neighbours[port]
            self._function.neighbour_down(port)
            _log.debug("Removed fd %d from packet scheduler.", event.flow.id)
            event.wait_for(self._release(port))
            self._route()

    async def _release(self, port: int) -> None:
        await self.remove(port)

    def _went_down(self, event: WentDown) -> None:
        self._set_up(event.connection, False)

    def _went_up(self, event: WentUp) -> None:
        self._set_up(event.connection, True)

    def _set_up(self, connection: int, up: bool) -> None:
        for port, neighbour in self._neighbours.items():
            if neighbour.connection == connection and neighbour.up is not up:
                neighbour.up = up
                if up:
                    self._function.neighbour_up(port, neighbour.address)
                else:
                    self._function.neighbour_down(port)
                self._route()

    # ------------------------------------------------------------ tables

    def set_table(self, table: RoutingTable) -> None:
        """What routing found."""
        self._function.set_table(table)
        self._route()

    def _route(self) -> None:
        """Give the forwarder the tables that have changed."""
        if self._fd < 0:
            return
        for cube, _ in self._function.output():
            self._install(cube)
        before, self._reached = self._reached, self._function.reached()
        if before != self._reached:
            self.table_changed(set(self._reached - before), set(before - self._reached))

    def _install(self, cube: int) -> None:
        groups = dict(self._function.table(cube))
        groups.pop(self.address, None)
        if self._loop_port is not None:
            groups[self.address] = Group((self._loop_port,))
        self.forwarder.set_routes(cube, groups)

    # ------------------------------------------------------------ what the forwarder says

    def _news(self) -> None:
        for event in self.forwarder.events():
            self._event(event)

    def _event(self, event: MoverEvent) -> None:
        if event.kind == "UNBOUND":
            gone = self._leaving.pop(event.key, None)
            if gone is not None and not gone.done():
                gone.set_result(event.value)
        elif event.kind == "REPORT":
            self.reported(event.key, event.value)
        elif event.key in self._neighbours:
            self._neighbours[event.key].flow.tell_of(event)

    # ------------------------------------------------------------ looking inside

    def components(self) -> Mapping[str, Any]:
        """By EID: packets of a component that wait for room, and those that were lost for want of it."""
        return {str(c.eid): {"waiting": c.waiting, "dropped": c.dropped} for c in self._components}

    def neighbours(self) -> Mapping[str, Any]:
        """By port: who is there, over what, and what went through."""
        return {
            str(port): {
                "address": address_text(n.address), "flow": n.flow.id, "name": n.name, "cube": n.cube,
                "up": n.up, "connection": n.connection, "packets": self._counted(port), "queued": _queued(n.flow.end),
            }
            for port, n in sorted(self._neighbours.items())
        }  # fmt: skip

    def table(self) -> Mapping[str, Any]:
        """The forwarding table, by cube where cubes differ: the next hops of each destination."""
        tables = [
            {
                address_text(destination): [address_text(hop) for hop in hops]
                for destination, hops in sorted(self._function.hops(cube).items())
            }
            for cube in range(self._cubes)
        ]
        if all(table == tables[0] for table in tables):
            return {"all": tables[0]}
        return {str(cube): table for cube, table in enumerate(tables)}

    def _counted(self, port: int) -> Mapping[str, int]:
        try:
            return self.forwarder.flow_counters(port)
        except KeyError:  # on its way out
            return {}


def _queued(end: FlowEnd) -> Mapping[str, int]:
    try:
        received, sent = end.queued()
    except OuroError:
        return {}
    return {"received": received, "sent": sent}

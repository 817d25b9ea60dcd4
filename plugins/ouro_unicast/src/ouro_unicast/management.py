"""Routing on the wire: a routing policy, the management connections that carry its messages, and its clock.

When the flow of a management connection comes up again, everything is said anew, for what was said meanwhile is lost.
Its two ends come up one after the other, up to a second apart, and what is sent to the one that is still down is lost
as well. So the first packet that comes shows that the other end is up by now, and everything is said once more.
"""

import asyncio
from typing import Any

from attrs import define

from .addresses import address_text
from .contracts import RoutingPolicy, RoutingTable
from .events import Connected, Disconnected, Events, WentDown, WentUp
from .io import LowerFlow, Timer
from .transfer import DataTransfer
from .wire.ocep import DATA_TRANSFER, MANAGEMENT

__all__ = ["RoutingManagement"]


@define(eq=False)
class _Management:
    """A connection of management. `risen`: its flow came up, and nothing has come since."""

    address: int
    name: str
    flow: LowerFlow
    risen: bool = False
    unsent: int = 0
    """Messages that a full ring, or a flow that is down, did not take."""


class RoutingManagement:
    """Runs a routing policy. Its connections and ports have the numbers of the connections."""

    def __init__(self, policy: RoutingPolicy, transfer: DataTransfer) -> None:
        self.policy = policy
        self._transfer = transfer
        self._connections: dict[int, _Management] = {}
        self._loop = asyncio.get_running_loop()
        self._timer = Timer(policy, self._run)
        self._timer.arm()

    def subscribe(self, events: Events) -> None:
        """Be told of connections from now on."""
        events.subscribe(Connected, self._connected)
        events.subscribe(Disconnected, self._disconnected)
        events.subscribe(WentDown, self._went_down)
        events.subscribe(WentUp, self._went_up)

    def stop(self) -> None:
        """Say and hear nothing any more."""
        self._timer.stop()
        self._connections.clear()

    def _connected(self, event: Connected) -> None:
        now = self._loop.time()
        if event.component == MANAGEMENT.component:
            number = event.connection
            self._connections[number] = _Management(event.peer.address, event.name, event.flow)
            self.policy.management_up(number, event.peer.address, now)
            event.flow.receive(lambda packets: self._received(number, packets))
        elif event.component == DATA_TRANSFER.component:
            self.policy.neighbour_up(event.connection, event.peer.address, now)
        self._run()

    def _disconnected(self, event: Disconnected) -> None:
        now = self._loop.time()
        if self._connections.pop(event.connection, None) is not None:
            self.policy.management_down(event.connection, now)
        elif event.component == DATA_TRANSFER.component:
            self.policy.neighbour_down(event.connection, now)
        self._run()

    def _went_down(self, event: WentDown) -> None:
        if event.component == DATA_TRANSFER.component:
            self.policy.neighbour_down(event.connection, self._loop.time())
            self._run()

    def _went_up(self, event: WentUp) -> None:
        if event.component == DATA_TRANSFER.component:
            self.policy.neighbour_up(event.connection, event.peer.address, self._loop.time())
            self._run()
        elif event.connection in self._connections:
            self._connections[event.connection].risen = True
            self._begin_anew(event.connection)

    def _begin_anew(self, number: int) -> None:
        now = self._loop.time()
        self.policy.management_down(number, now)
        self.policy.management_up(number, self._connections[number].address, now)
        self._run()

    def _received(self, number: int, packets: list[bytes]) -> None:
        now = self._loop.time()
        for packet in packets:
            if packet:
                self.policy.receive(number, packet, now)
        self._run()
        known = self._connections.get(number)
        if known is not None and known.risen:
            known.risen = False
            self._begin_anew(number)

    def _run(self) -> None:
        for item in self.policy.output():
            if isinstance(item, RoutingTable):
                self._transfer.set_table(item)
            else:
                known = self._connections.get(item.connection)
                if known is not None and not known.flow.send(item.data):
                    known.unsent += 1
        self._timer.arm()

    def connections(self) -> dict[str, Any]:
        """Of management, for the RIB: by number, who is there."""
        return {
            str(number): {"address": address_text(c.address), "name": c.name, "flow": c.flow.id, "unsent": c.unsent}
            for number, c in self._connections.items()
        }

"""The prototype's link-state routing, written down from its specification (unicast.md 8) with all it does wrong: what
ours is measured against, and has to live with.
"""

import random
from typing import Any

from ouro_unicast.contracts import RoutingPolicy
from ouro_unicast.routing.graph import Graph, simple
from ouro_unicast.routing.link_state import LinkStateConfig
from ouro_unicast.routing.wire import LSU_SIZE, LinkStateUpdate

from ouro_core.contracts.ipcp import Publisher
from ouro_core.model.errors import WireError


class Prototype(RoutingPolicy):
    """A neighbour that goes down is FLOW_DOWN, of which the database does not hear; one whose management goes too was
    disconnected.
    """

    name = "prototype"
    Config = LinkStateConfig

    def __init__(self, address: int, config: Any, rng: random.Random, rib: Publisher) -> None:
        super().__init__(address, config, rng, rib)
        self.managers: dict[int, int] = {}
        self.ports: dict[int, int] = {}
        self.database: dict[tuple[int, int], list[float]] = {}  # (destination, source) -> [seqno, stamp]
        self.graph = Graph()
        self.next_pass = rng.uniform(0, config.ls_t_update)
        self.next_check = rng.uniform(0, config.ls_t_recalc)
        self.modified = False
        self.malformed = 0

    def management_up(self, connection: int, address: int, now: float) -> None:
        self.managers[connection] = address
        for destination, source in sorted(self.database):
            self._tell(destination, source, [connection])

    def management_down(self, connection: int, now: float) -> None:
        address = self.managers.pop(connection, None)
        if address is not None and address not in self.ports.values() and (address, self.address) in self.database:
            self._remove(address, self.address)
            self.modified = True

    def neighbour_up(self, port: int, address: int, now: float) -> None:
        self.ports[port] = address
        for connection in self.managers:
            self.send(connection, LinkStateUpdate(self.address, address, 0).encode())
        self._hear(self.address, address, 0, now)

    def neighbour_down(self, port: int, now: float) -> None:
        self.ports.pop(port, None)

    def receive(self, connection: int, data: bytes, now: float) -> None:
        if len(data) != LSU_SIZE:
            self.malformed += 1
            return
        try:
            update = LinkStateUpdate.decode(data)
        except WireError:
            raise AssertionError("every 24 bytes are an LSU") from None
        if self._hear(update.source, update.destination, update.seqno, now):
            for other in self.managers:
                if other != connection:
                    self.send(other, data)

    def next_timeout(self) -> float | None:
        return min(self.next_pass, self.next_check)

    def handle_timeout(self, now: float) -> None:
        if now >= self.next_check:
            self.next_check = now + self.config.ls_t_recalc
            if self.modified:
                self.modified = False
                self._compute()
        if now >= self.next_pass:
            self.next_pass = now + self.config.ls_t_update
            for destination, source in sorted(self.database):
                entry = self.database[destination, source]
                if now > entry[1] + self.config.ls_t_timeo:
                    self._remove(destination, source)
                elif source == self.address:
                    entry[:] = entry[0] + 1, now
                    self._tell(destination, source, list(self.managers))

    def links(self) -> list[tuple[int, int]]:
        return [key[::-1] for key in self.database]

    def _hear(self, source: int, destination: int, seqno: int, now: float) -> bool:
        entry = self.database.get((destination, source))
        if entry is None:
            self.database[destination, source] = [seqno, now]
            self.graph.add(source, destination)
            self.modified = True
            self._compute()
            return True
        if entry[0] >= seqno:
            return False
        entry[:] = seqno, now
        return True

    def _remove(self, destination: int, source: int) -> None:
        del self.database[destination, source]
        self.graph.remove(source, destination)

    def _tell(self, destination: int, source: int, connections: list[int]) -> None:
        update = LinkStateUpdate(source, destination, int(self.database[destination, source][0]))
        for connection in connections:
            self.send(connection, update.encode())

    def _compute(self) -> None:
        if len({address for key in self.database for address in key}) > 1:
            self.publish(simple(self.graph, self.address))

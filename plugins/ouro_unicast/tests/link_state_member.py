"""One member with link-state routing, and a clock, for tests."""

from random import Random

from ouro_unicast.contracts import RoutingSend, RoutingTable
from ouro_unicast.routing.link_state import LinkStateConfig, LinkStateRouting
from ouro_unicast.routing.wire import LinkStateUpdate

from ouro_core.rib import Rib

ME, LEFT, RIGHT, FAR, STRANGER = 10, 20, 30, 40, 50
DEFAULTS = LinkStateConfig()


class Member:
    """Member ME, with a clock."""

    def __init__(self, config: LinkStateConfig = DEFAULTS, address: int = ME) -> None:
        self.rib = Rib()
        self.routing = LinkStateRouting(address, config, Random(1), self.rib)
        self.now = 0.0
        self.counters = self.routing.counters

    def connect(self, address: int) -> None:
        """Connections to a neighbour; their number is its address."""
        self.routing.management_up(address, address, self.now)
        self.routing.neighbour_up(address, address, self.now)

    def hear(self, neighbour: int, source: int, destination: int, seqno: int = 0, withdrawn: bool = False) -> None:
        update = LinkStateUpdate(source, destination, seqno, withdrawn)
        self.routing.receive(neighbour, update.encode(), self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass, with all that was to happen in it."""
        until = self.now + seconds
        while (due := self.routing.next_timeout()) is not None and due <= until:
            self.now = max(self.now, due)
            self.routing.handle_timeout(self.now)
        self.now = until

    def said(self) -> list[tuple[int, str]]:
        """(connection, update in short) for each message since the last call."""
        found = []
        for one in self.routing.output():
            if isinstance(one, RoutingSend):
                u = LinkStateUpdate.decode(one.data)
                found.append((one.connection, f"{u.source}-{u.destination}:{u.seqno}{'x' if u.withdrawn else ''}"))
        return found

    def table(self) -> dict[int, tuple[int, ...]] | None:
        """The last table since the last call. Messages are lost."""
        tables = [one.hops for one in self.routing.output() if isinstance(one, RoutingTable)]
        return dict(tables[-1]) if tables else None

    def links(self) -> set[tuple[int, int]]:
        return set(self.routing.links())

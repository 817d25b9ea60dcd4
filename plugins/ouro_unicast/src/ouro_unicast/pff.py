"""Packet forwarding functions (PFF): from the hops that routing found to the forwarder's table (unicast.md 8.8, 9).

`ForwardingFunction` keeps the last table of each cube, and which ports lead to which neighbour now. When either
changes it makes the groups anew, so a port that fails leaves every group at once, before routing has had its say.
Packets move on even earlier where a group is FIRST_UP: the forwarder looks at the state of the port by itself.
"""

from collections.abc import Mapping

from ouro_core.contracts.programs import Group, Mode
from ouro_core.model.log import logger

from .contracts import PffPolicy, RoutingTable

__all__ = ["POLICIES", "AlternatePff", "ForwardingFunction", "MultipathPff", "SimplePff"]

_log = logger("pff")


class SimplePff(PffPolicy):
    """The best hop. Others are kept out of the table, and taken when routing says so."""

    name = "simple"

    def group(self, ports: tuple[int, ...]) -> Group:
        return Group(ports[:1])


class AlternatePff(PffPolicy):
    """The best hop that works: others stand in while it is down, and it is back with the first packet after."""

    name = "alternate"

    def group(self, ports: tuple[int, ...]) -> Group:
        return Group(ports, Mode.FIRST_UP)


class MultipathPff(PffPolicy):
    """All hops in turn, packet by packet. Packets of one flow may overtake each other."""

    name = "multipath"

    def group(self, ports: tuple[int, ...]) -> Group:
        return Group(ports, Mode.ROTATE)


POLICIES: tuple[type[PffPolicy], ...] = (SimplePff, AlternatePff, MultipathPff)


class ForwardingFunction:
    """The component between routing and the forwarder. Call `output` after every other method."""

    def __init__(self, policy: PffPolicy, cubes: int = 3) -> None:
        _log.debug("Using %s PFF policy.", policy.name)
        self._policy = policy
        self._hops: list[Mapping[int, tuple[int, ...]]] = [{}] * cubes
        self._made: list[dict[int, Group]] = [{} for _ in range(cubes)]
        self._ports: dict[int, int] = {}  # port -> neighbour, those that work
        self._changed: set[int] = set()

    def neighbour_up(self, port: int, address: int) -> None:
        """Packets for the neighbour `address` can be sent through `port` from now on. Of several ports to one
        neighbour the newest, with the highest number, is used: the others may be what the neighbour gave up without
        a word, and are not better for having been down with the link, and up again.
        """
        self._ports[port] = address
        self._touch()

    def neighbour_down(self, port: int) -> None:
        """The port does not work any more, or is gone. Unknown ones are ignored."""
        if self._ports.pop(port, None) is not None:
            self._touch()

    def set_table(self, table: RoutingTable) -> None:
        """A new table of routing. A cube that the layer does not have is ignored."""
        cubes = range(len(self._hops)) if table.cube is None else (table.cube,)
        for cube in cubes:
            if 0 <= cube < len(self._hops):
                self._hops[cube] = table.hops
                self._changed.add(cube)

    def output(self) -> list[tuple[int, Mapping[int, Group]]]:
        """(cube, table) for each cube whose table is not what it was: for `Forwarder.set_routes`."""
        found: list[tuple[int, Mapping[int, Group]]] = []
        for cube in sorted(self._changed):
            groups = self._groups(self._hops[cube])
            if groups != self._made[cube]:
                self._made[cube] = groups
                found.append((cube, groups))
        self._changed.clear()
        return found

    def table(self, cube: int = 0) -> Mapping[int, Group]:
        """The table that `output` gave last for a cube."""
        return self._made[cube]

    def hops(self, cube: int = 0) -> Mapping[int, tuple[int, ...]]:
        """What routing found for a cube."""
        return self._hops[cube]

    def reached(self) -> frozenset[int]:
        """Destinations that packets can be sent to, on whatever cube."""
        return frozenset().union(*self._made)

    def _touch(self) -> None:
        self._changed.update(range(len(self._hops)))

    def _groups(self, hops: Mapping[int, tuple[int, ...]]) -> dict[int, Group]:
        leading = {address: port for port, address in sorted(self._ports.items())}  # the newest
        groups: dict[int, Group] = {}
        for destination, addresses in hops.items():
            ports = dict.fromkeys(leading[address] for address in addresses if address in leading)
            if ports:
                groups[destination] = self._policy.group(tuple(ports))
        return groups

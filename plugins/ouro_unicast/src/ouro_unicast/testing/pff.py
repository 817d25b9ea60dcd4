"""The contract kit of forwarding functions.

from ouro_unicast.testing.pff import PffContract

class TestMine(PffContract):
    policy = MyPff
"""

import time
from collections.abc import Iterator
from typing import ClassVar

import pytest

from ouro_core.builtin.heap import HeapPacketSystem
from ouro_core.contracts.packets import PacketSystem, State
from ouro_core.contracts.programs import Group
from ouro_core.testing.packets.bench import Bench
from ouro_core.testing.packets.forwarder import Node, pci
from ouro_core.testing.packets.programs import dt

from ..contracts import PffPolicy, RoutingTable
from ..pff import ForwardingFunction

__all__ = ["PffContract"]


class PffContract:
    """Subclass it and set `policy`."""

    policy: ClassVar[type[PffPolicy]]
    packets: ClassVar[type[PacketSystem]] = HeapPacketSystem

    @pytest.mark.parametrize("ports", [(1,), (7, 3), (3, 7), tuple(range(20, 0, -1))])
    def test_a_group_is_of_the_ports_given(self, ports: tuple[int, ...]) -> None:
        group = self.policy().group(ports)
        assert group.ports
        assert set(group.ports) <= set(ports)
        assert len(set(group.ports)) == len(group.ports)

    def test_a_single_port_is_taken(self) -> None:
        assert self.policy().group((5,)).ports == (5,)

    def test_equal_ports_give_equal_groups(self) -> None:
        policy = self.policy()
        groups = [policy.group((4, 2)), policy.group((4, 2)), self.policy().group((4, 2))]
        assert groups == groups[:1] * 3, "the group must follow from the ports alone"

    # ------------------------------------------------------------ with a forwarder

    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        bench = Bench(self.packets)
        yield bench
        bench.close()

    def test_packets_arrive_as_long_as_one_hop_works(self, bench: Bench) -> None:
        """Three neighbours, of which one after the other fails, and comes back."""
        node = Node(bench, dt(1))
        incoming, _ = node.network()
        outgoing = [node.network() for _ in range(3)]
        function = ForwardingFunction(self.policy(), cubes=1)
        for number, (_, port) in enumerate(outgoing):
            function.neighbour_up(port, 100 + number)
        function.set_table(RoutingTable({9: (100, 101, 102)}))
        self._install(node, function)
        working = {0, 1, 2}
        for number in (0, 1, 2, 0):
            if number in working and len(working) > 1:
                working.remove(number)
                function.neighbour_down(outgoing[number][1])
            else:
                working.add(number)
                function.neighbour_up(outgoing[number][1], 100 + number)
            self._install(node, function)
            for _ in range(6):
                incoming.write(pci(9, 1))
            assert self._arrived(outgoing, 6) <= working
        node.forwarder.stop()

    @staticmethod
    def _install(node: Node, function: ForwardingFunction) -> None:
        for cube, groups in function.output():
            node.forwarder.set_routes(cube, groups)

    @staticmethod
    def _arrived(outgoing: list, packets: int) -> set[int]:  # type: ignore[type-arg]
        """Which neighbours the packets arrived at."""
        found: list[int] = []
        deadline = time.monotonic() + 20.0
        while len(found) < packets and time.monotonic() < deadline:
            for number, (end, _) in enumerate(outgoing):
                if not end.state & State.DOWN and end.queued()[0]:
                    found += [number] * len(end.read_many())
            time.sleep(0.001)
        assert len(found) == packets, "packets were lost, or sent to a neighbour that does not work"
        return set(found)

    # ------------------------------------------------------------ with routing

    def test_the_newest_port_to_a_neighbour_is_used(self) -> None:
        function = ForwardingFunction(self.policy(), cubes=1)
        function.neighbour_up(1, 100)
        function.neighbour_up(2, 100)
        function.set_table(RoutingTable({9: (100,)}))
        assert function.output() == [(0, {9: self.policy().group((2,))})]
        function.neighbour_down(2)
        assert function.output() == [(0, {9: self.policy().group((1,))})]
        function.neighbour_down(1)
        assert function.output() == [(0, dict[int, Group]())]

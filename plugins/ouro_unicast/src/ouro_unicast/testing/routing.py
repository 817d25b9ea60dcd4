"""The contract kit of routing policies: what every one owes to a layer, tested in virtual time.

from ouro_unicast.testing.routing import RoutingContract

class TestMine(RoutingContract):
    policy = MyRouting
"""

from collections.abc import Iterable
from random import Random
from typing import Any, ClassVar

import pytest

from ouro_core.model.config import options, parse_config
from ouro_core.rib import Rib
from ouro_core.testing.links import Faulty

from ..contracts import PffPolicy, RoutingPolicy, RoutingSend, RoutingTable
from .layer import Links, VirtualLayer, grid, line, random_graph, ring, star, tree

__all__ = ["RoutingContract"]

FORMS: dict[str, Links] = {
    "pair": line(2), "line": line(7), "ring": ring(6), "star": star(8), "tree": tree(10), "grid": grid(3, 3),
    "random": random_graph(12, 8, 5),
}  # fmt: skip


class RoutingContract:
    """Subclass it and set `policy`."""

    policy: ClassVar[type[RoutingPolicy]]
    config: ClassVar[Any] = None
    """An instance of `policy.Config`; None: the defaults."""
    settles: ClassVar[float] = 30.0
    """Seconds after which the tables of a layer are right, whatever happened before, if nothing happens any more. A
    policy that derives from `LinkStateRouting` needs 80: what was lost is missed when links grow old, `ls_t_timeo`.
    """
    reacts: ClassVar[float] = 30.0
    """Seconds after which they are right when one link has failed, or come back, in a layer that had settled."""
    longest: ClassVar[int] = 1400
    """Bytes in a message."""
    pff: ClassVar[type[PffPolicy] | None] = None
    """The PFF policy that `policy.pff` names; None: the one that is installed under this name."""

    def layer(self, links: Links, **options: Any) -> VirtualLayer:
        """A layer with these links that has settled."""
        layer = self._layer(links, **options)
        layer.run(self.settles)
        return layer

    def _layer(self, links: Links, **options: Any) -> VirtualLayer:
        forwarding = None if self.pff is None else self.pff()
        layer = VirtualLayer(self.policy, self.config, pff_policy=forwarding, **options)
        for a, b in links:
            layer.connect(a, b)
        return layer

    def _config(self) -> Any:
        return parse_config(self.policy.Config, {}) if self.config is None else self.config

    def alone(self) -> RoutingPolicy:
        """A member with the address 1."""
        return self.policy(1, self._config(), Random(1), Rib())

    # ------------------------------------------------------------ configuration

    def test_the_configuration_travels(self) -> None:
        """As texts, that `routing_options` can have."""
        config = self._config()
        for o in options(self.policy.Config):
            value = getattr(config, o.name)
            assert o.parse(o.text(value)) == value, f"`show` of {o.name} is not the reverse of `parse`"
            assert "," not in o.text(value), f"routing_options cannot say {o.name}={o.text(value)}, for the commas"

    # ------------------------------------------------------------ tables

    @pytest.mark.parametrize("form", FORMS)
    def test_everybody_reaches_everybody(self, form: str) -> None:
        layer = self.layer(FORMS[form])
        assert layer.faults() == []
        assert _without_path(layer) == []

    def test_a_member_that_joins_is_reached(self) -> None:
        layer = self.layer(line(4))
        layer.connect(4, 5)
        layer.run(self.reacts)
        assert layer.faults() == []

    def test_there_is_no_way_to_oneself(self) -> None:
        layer = self.layer(ring(4))
        assert all(not member.next_hops(address) for address, member in layer.members.items())

    def test_a_neighbour_without_management_harms_nobody(self) -> None:
        layer = self.layer(ring(4))
        layer.member(1).up(99, layer.now)
        layer.network.wake(1)
        layer.run(self.settles)
        assert layer.faults() == []
        layer.member(1).down(99, layer.now)

    def test_two_ports_to_one_neighbour(self) -> None:
        """One of them fails: nothing changes for the others."""
        routing = self.alone()
        routing.management_up(1, 2, 0.0)
        routing.neighbour_up(2, 2, 0.0)
        routing.neighbour_up(3, 2, 0.0)
        routing.output()
        routing.neighbour_down(2, 1.0)
        tables = [said for said in routing.output() if isinstance(said, RoutingTable)]
        assert all(2 in table.hops for table in tables)

    # ------------------------------------------------------------ failures

    def test_a_link_fails_and_comes_back(self) -> None:
        layer = self.layer(ring(6))
        for what in (layer.fail, layer.repair):
            what(2, 3)
            layer.run(self.reacts)
            assert layer.faults() == []
            layer.run(self.settles)

    def test_a_link_is_closed_and_made_again(self) -> None:
        layer = self.layer(ring(6))
        for what in (layer.disconnect, layer.connect):
            what(2, 3)
            layer.run(self.reacts)
            assert layer.faults() == []
            layer.run(self.settles)

    def test_a_member_dies(self) -> None:
        layer = self.layer(grid(3, 3))
        layer.kill(5)
        layer.run(self.settles)
        assert layer.faults() == []

    def test_a_partition_and_its_healing(self) -> None:
        layer = self.layer([*ring(4), (4, 5), *[(a + 4, b + 4) for a, b in ring(4)]])
        layer.fail(4, 5)
        layer.run(self.settles)
        assert layer.faults() == []
        layer.repair(4, 5)
        layer.run(self.settles)
        assert layer.faults() == []

    def test_what_changes_on_both_sides_of_a_partition(self) -> None:
        layer = self.layer([*ring(5), (5, 6), *[(a + 5, b + 5) for a, b in ring(5)]])
        layer.fail(5, 6)
        layer.run(self.settles)
        layer.fail(1, 2)
        layer.fail(7, 8)
        layer.run(self.settles)
        layer.repair(1, 2)
        layer.repair(5, 6)
        layer.run(self.settles)
        assert layer.faults() == []

    def test_a_link_that_flaps(self) -> None:
        layer = self.layer(ring(5))
        for _ in range(20):
            layer.fail(1, 2)
            layer.run(0.05)
            layer.repair(1, 2)
            layer.run(0.05)
        layer.run(self.settles)
        assert layer.faults() == []

    @pytest.mark.parametrize("seed", range(3))
    def test_messages_are_lost_doubled_late_and_damaged(self, seed: int) -> None:
        def link(a: int, b: int) -> Faulty:
            return Faulty(seed * 1000 + a * 100 + b, loss=0.2, duplication=0.1, reordering=0.3, corruption=0.05)

        layer = self.layer(grid(3, 3), link=link, seed=seed)
        layer.fail(1, 2)
        layer.fail(5, 6)
        layer.run(3 * self.settles)
        assert _without_path(layer) == [], f"{3 * self.settles} s after the last failure; see `settles`"

    # ------------------------------------------------------------ messages

    def test_messages_fit_a_packet(self) -> None:
        layer = self._layer(grid(4, 4))
        longest = 0
        for member in layer.members.values():
            receive = member.routing.receive

            def watch(connection: int, data: bytes, now: float, receive: Any = receive) -> None:
                nonlocal longest
                longest = max(longest, len(data))
                receive(connection, data, now)

            member.routing.receive = watch  # type: ignore[method-assign]
        layer.run(self.settles)
        assert 0 < longest <= self.longest

    def test_a_quiet_layer_says_little(self) -> None:
        """At most ten messages a second over each link, on average."""
        layer = self.layer(grid(3, 3))
        before = layer.sent
        layer.run(60.0)
        assert layer.sent - before <= 60 * 10 * 2 * len(grid(3, 3))

    def test_equal_seeds_give_equal_runs(self) -> None:
        runs = []
        for _ in range(2):
            layer = self.layer(grid(3, 3), seed=3)
            layer.fail(1, 2)
            layer.run(self.reacts)
            runs.append([(member.sent, member.bytes) for member in layer.members.values()])
        assert runs[0] == runs[1]

    @pytest.mark.parametrize("seed", range(3))
    def test_a_neighbour_that_sends_anything(self, seed: int) -> None:
        """Noise, and true messages cut and changed: nothing is raised, and the layer works when it is over."""
        rng = Random(seed)
        layer = self.layer(ring(5), seed=seed)
        victim = layer.members[1]
        connection = victim.connections[2]
        true = _messages(self.layer(ring(4)))
        for _ in range(400):
            victim.routing.receive(connection, _noise(rng, true), layer.now)
            layer.network.wake(1)
            layer.run(0.001)
        layer.run(200.0)
        assert _without_path(layer) == []

    def test_a_message_over_no_connection(self) -> None:
        layer = self.layer(ring(4))
        for data in (*_messages(layer), b""):
            layer.members[1].routing.receive(4711, data, layer.now)
        layer.network.wake(1)
        layer.run(self.settles)
        assert layer.faults() == []

    def test_ends_of_what_never_was(self) -> None:
        routing = self.alone()
        routing.neighbour_down(5, 0.0)
        routing.management_down(5, 0.0)
        routing.handle_timeout(0.0)
        assert not any(isinstance(said, RoutingSend) for said in routing.output())

    def test_nothing_is_sent_over_a_closed_connection(self) -> None:
        layer = self.layer(ring(4))
        routing = layer.members[1].routing
        gone = layer.members[1].connections[2]
        routing.management_down(gone, layer.now)
        for now in (layer.now, layer.now + self.settles):
            routing.handle_timeout(now)
            assert all(said.connection != gone for said in routing.output() if isinstance(said, RoutingSend))


def _without_path(layer: VirtualLayer) -> Links:
    """Pairs of members of which the first cannot send to the second."""
    return [(a, b) for a in layer.members for b in layer.members if layer.path(a, b) is None]


def _messages(layer: VirtualLayer) -> list[bytes]:
    """What member 1 of a layer says to a new neighbour."""
    routing = layer.members[1].routing
    routing.management_up(1000, 77, layer.now)
    routing.neighbour_up(1001, 77, layer.now)
    said: Iterable[RoutingSend | RoutingTable] = routing.output()
    if (due := routing.next_timeout()) is not None:
        routing.handle_timeout(due)
        said = [*said, *routing.output()]
    routing.management_down(1000, layer.now)
    routing.neighbour_down(1001, layer.now)
    routing.output()
    return [one.data for one in said if isinstance(one, RoutingSend)]


def _noise(rng: Random, true: list[bytes]) -> bytes:
    if not true or rng.random() < 0.3:
        return rng.randbytes(rng.randrange(80))
    data = bytearray(rng.choice(true))
    for _ in range(rng.randrange(4)):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data)

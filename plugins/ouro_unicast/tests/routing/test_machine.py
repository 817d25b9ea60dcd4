"""Anything in any order: one member with link-state routing, and what always holds."""

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ouro_unicast.contracts import RoutingPolicy, RoutingSend, RoutingTable
from ouro_unicast.routing import POLICIES
from ouro_unicast.routing.graph import Graph
from ouro_unicast.routing.link_state import LinkStateConfig, LinkStateRouting
from ouro_unicast.routing.wire import LinkStateUpdate

from ouro_core.rib import Rib

ME = 1
ADDRESSES = st.integers(0, 6)
SEQNOS = st.one_of(st.integers(0, 5), st.sampled_from([2**63 - 1, 2**63, 2**64 - 1]))
CONNECTIONS = st.integers(1, 4)
CONFIG = LinkStateConfig(ls_t_recalc=1, ls_t_update=3, ls_t_timeo=8)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.managers: set[int] = set()
        self.ports: dict[int, int] = {}
        self.table: dict[int, tuple[int, ...]] = {}

    @initialize(policy=st.sampled_from(POLICIES))
    def begin(self, policy: type[RoutingPolicy]) -> None:
        made = policy(ME, CONFIG, Random(1), Rib())
        assert isinstance(made, LinkStateRouting)
        self.routing = made

    def look(self) -> None:
        for said in self.routing.output():
            if isinstance(said, RoutingTable):
                self.table = dict(said.hops)
            else:
                assert isinstance(said, RoutingSend)
                assert said.connection in self.managers
                update = LinkStateUpdate.decode(said.data)
                assert update.source not in (0, update.destination)
                if update.destination == 0:
                    assert (update.seqno, update.withdrawn) == (0, False)
                elif update.source == ME:
                    assert update.withdrawn is (update.destination not in self.neighbours())

    def neighbours(self) -> set[int]:
        return set(self.ports.values()) - {0, ME}

    @rule(connection=CONNECTIONS, address=ADDRESSES)
    def management_up(self, connection: int, address: int) -> None:
        self.managers.add(connection)
        self.routing.management_up(connection, address, self.now)
        self.look()

    @rule(connection=CONNECTIONS)
    def management_down(self, connection: int) -> None:
        self.managers.discard(connection)
        self.routing.management_down(connection, self.now)
        self.look()

    @rule(port=CONNECTIONS, address=ADDRESSES)
    def neighbour_up(self, port: int, address: int) -> None:
        self.ports[port] = address
        self.routing.neighbour_up(port, address, self.now)
        self.look()

    @rule(port=CONNECTIONS)
    def neighbour_down(self, port: int) -> None:
        self.ports.pop(port, None)
        self.routing.neighbour_down(port, self.now)
        self.look()

    @rule(connection=CONNECTIONS, source=ADDRESSES, destination=ADDRESSES, seqno=SEQNOS, withdrawn=st.booleans())
    def hear(self, connection: int, source: int, destination: int, seqno: int, withdrawn: bool) -> None:
        data = LinkStateUpdate(source, destination, seqno, withdrawn).encode()
        self.routing.receive(connection, data, self.now)
        self.look()

    @rule(connection=CONNECTIONS, data=st.binary(max_size=30))
    def noise(self, connection: int, data: bytes) -> None:
        self.routing.receive(connection, data, self.now)
        self.look()

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.02, 0.5, 4.0, 9.0]))
    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(1000):
            due = self.routing.next_timeout()
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            self.routing.handle_timeout(self.now)
            self.look()
        else:
            pytest.fail("it does not get past its time-outs")
        self.now = until

    @rule(seconds=st.sampled_from([1.0, 20.0]))
    def sleep(self, seconds: float) -> None:
        """The loop was held up: everything comes late, and once."""
        self.now += seconds
        self.routing.handle_timeout(self.now)
        self.look()

    @invariant()
    def own_links_are_those_to_neighbours(self) -> None:
        if hasattr(self, "routing"):
            own = {destination for source, destination in self.routing.links() if source == ME}
            assert own == self.neighbours()

    @invariant()
    def nothing_is_overdue(self) -> None:
        if hasattr(self, "routing"):
            due = self.routing.next_timeout()
            assert due is None or due > self.now

    @invariant()
    def the_table_follows_the_links(self) -> None:
        """Unless a computation is waiting for its turn."""
        if hasattr(self, "routing") and not self.routing._changes:
            graph = Graph()
            for link in self.routing.links():
                graph.add(*link)
            assert self.table.keys() == self.routing.table(graph).keys()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

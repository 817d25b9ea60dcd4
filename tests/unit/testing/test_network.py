"""The virtual-time network: order, determinism, thousands of nodes."""

from collections.abc import Hashable, Iterable
from random import Random

import pytest

from ouro_core.testing.links import Faulty, Link
from ouro_core.testing.network import Network


class Gossip:
    """Tells what it has heard to some neighbours, a little later, once."""

    def __init__(self, neighbours: list[Hashable], delay: float) -> None:
        self.neighbours, self.delay = neighbours, delay
        self.heard: float | None = None
        self.count = 0
        self._tell: float | None = None
        self._out: list[tuple[Hashable, bytes]] = []

    def hear(self, now: float) -> None:
        self.count += 1
        if self.heard is None:
            self.heard = now
            self._tell = now + self.delay

    def receive(self, data: bytes, now: float, source: Hashable) -> None:
        assert data == b"rumour"
        self.hear(now)

    def next_timeout(self) -> float | None:
        return self._tell

    def handle_timeout(self, now: float) -> None:
        assert now == self._tell
        self._tell = None
        self._out = [(neighbour, b"rumour") for neighbour in self.neighbours]

    def datagrams_to_send(self, now: float) -> Iterable[tuple[Hashable, bytes]]:
        out, self._out = self._out, []
        return out


def gossip(count: int, seed: int) -> tuple[Network, list[Gossip]]:
    "Each node knows the next one and twelve others; links lose a tenth."
    random = Random(seed)
    network = Network(lambda a, b: Faulty(random.randrange(2**32), loss=0.1, reordering=0.2, duplication=0.1))
    nodes = []
    for address in range(count):
        neighbours: list[Hashable] = [(address + 1) % count, *random.choices(range(count), k=12)]
        nodes.append(Gossip(neighbours, random.uniform(0, 0.01)))
        network.add(address, nodes[-1])
    nodes[0].hear(0.0)
    network.wake(0)
    return network, nodes


def test_two_thousand_nodes() -> None:
    network, nodes = gossip(2000, seed=3)
    assert network.run_until(60.0, lambda: all(node.heard is not None for node in nodes))
    assert network.now < 1.0
    network.run_until(60.0)
    statistics = network.statistics
    assert (network.now, statistics.timeouts, statistics.sent) == (60.0, 2000, 26000)
    links = [link.statistics for link in network.links().values()]
    assert statistics.delivered == sum(link.sent - link.lost + link.duplicated for link in links)
    assert sum(node.count for node in nodes) == statistics.delivered + 1


def test_a_run_repeats_itself() -> None:
    def history() -> list[float | None]:
        network, nodes = gossip(200, seed=5)
        network.run_until(10.0)
        return [node.heard for node in nodes]

    assert history() == history()


class Pinger:
    """An endpoint that sends at fixed times and notes what comes."""

    def __init__(self, times: list[float] | None = None) -> None:
        self.times = times or []
        self.heard: list[tuple[float, bytes]] = []
        self.out: list[bytes] = []

    def receive(self, data: bytes, now: float) -> None:
        self.heard.append((now, data))

    def next_timeout(self) -> float | None:
        return self.times[0] if self.times else None

    def handle_timeout(self, now: float) -> None:
        self.out.append(f"{self.times.pop(0)}".encode())

    def datagrams_to_send(self, now: float) -> Iterable[bytes]:
        out, self.out = self.out, []
        return out


def test_endpoints_and_the_order_of_events() -> None:
    network = Network()
    a, b = Pinger([1.0, 2.0, 2.0]), Pinger([0.5])
    here, _ = network.connect(a, b, Link(0.25), Link(1.0))
    network.run_until(1.25)
    assert (a.heard, b.heard) == ([], [(1.25, b"1.0")])
    network.run_until(10.0)
    assert a.heard == [(1.5, b"0.5")]
    assert b.heard == [(1.25, b"1.0"), (2.25, b"2.0"), (2.25, b"2.0")]
    assert network.statistics.timeouts == 4

    a.out.append(b"by command")
    network.wake(here)
    network.run_until(11.0)
    assert b.heard[-1] == (10.25, b"by command")


def test_a_time_out_that_moved_fires_once() -> None:
    network = Network()
    a, b = Pinger([5.0]), Pinger()
    here, _ = network.connect(a, b, Link(), Link())
    a.times = [1.0]
    network.wake(here)
    a.times = [3.0]
    network.wake(here)
    network.run_until(10.0)
    assert [data for _, data in b.heard] == [b"3.0"]


def test_a_time_out_in_the_past_fires_at_once() -> None:
    network = Network()
    network.run_until(7.0)
    a, b = Pinger([float("-inf"), 1.0]), Pinger()
    network.connect(a, b, Link(0.5), Link())
    network.run_until(8.0)
    assert b.heard == [(7.5, b"-inf"), (7.5, b"1.0")]


def test_a_condition_stops_the_clock() -> None:
    network = Network()
    a, b = Pinger([1.0, 2.0]), Pinger()
    network.connect(a, b, Link(0.5), Link())
    assert network.run_until(10.0, lambda: len(b.heard) == 1)
    assert network.now == 1.5
    assert not network.run_until(10.0, lambda: len(b.heard) == 3)
    assert network.now == 10.0
    assert network.run_until(10.0, lambda: True)


def test_nobody_there() -> None:
    network = Network()
    node = Gossip(["nobody", "gone"], 0.0)
    network.add("a", node)
    network.add("gone", Gossip([], 0.0))
    network.link("a", "gone", Link(1.0))
    node.hear(0.0)
    network.wake("a")
    network.run_until(0.5)
    network.remove("gone")
    network.run_until(5.0)
    assert (network.statistics.sent, network.statistics.unreachable, network.statistics.delivered) == (2, 2, 0)
    with pytest.raises(ValueError, match="'a' already"):
        network.add("a", node)


def test_a_node_that_does_not_get_on_is_named() -> None:
    class Stuck(Pinger):
        def handle_timeout(self, now: float) -> None:
            pass

    network = Network()
    network.connect(Stuck([1.0]), Pinger(), Link(), Link())
    with pytest.raises(RuntimeError, match=r"does not get past its time-out at 1\.0"):
        network.run_until(2.0)

"""The tree of a broadcast layer, and flooding over it, without a packet."""

import random
from collections import deque

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ouro_unicast import flood, tree
from ouro_unicast.flood import Flood
from ouro_unicast.tree import IDS, LEFT, Accepted, Broken, Ready, Refused, Tree


class Layer:
    """Members that hear each other in an order of our choice. Channels are numbered 2k and 2k+1, by connection k."""

    def __init__(self, number: int, seed: int = 0) -> None:
        self.members = [Tree(n + 1) for n in range(number)]
        self.random = random.Random(seed)
        self.at: dict[int, int] = {}
        self.lines: dict[int, deque[bytes]] = {}
        self.results: dict[int, str] = {}
        self.graph = networkx.Graph()
        self.graph.add_nodes_from(range(number))
        self.connections: dict[int, tuple[int, int]] = {}

    def connect(self, a: int, b: int) -> int:
        """`a` asks `b`; the number of the connection."""
        k = len(self.connections)
        self.connections[k] = (a, b)
        for channel, here, there in ((2 * k, a, b), (2 * k + 1, b, a)):
            self.at[channel] = here
            self.lines[channel] = deque()
            self.members[here].up(channel, self.members[there].id)
        self.collect()
        return k

    def collect(self) -> None:
        for member in self.members:
            for channel, data in member.output():
                self.lines[channel ^ 1].append(data)
            for event in member.events():
                self.happened(member, event)

    def happened(self, member: Tree, event: object) -> None:
        assert isinstance(event, Ready | Accepted | Refused | Broken)
        k = event.channel // 2
        if isinstance(event, Ready):
            if event.channel % 2 == 0:
                member.join(event.channel)
                self.collect()
        elif isinstance(event, Accepted):
            self.results[k] = "connected"
            self.graph.add_edge(*self.connections[k])
        elif isinstance(event, Refused):
            self.results[k] = "refused"
            self.close(k)
        else:
            self.results[k] = "broken"
            if self.graph.has_edge(*self.connections[k]):
                self.graph.remove_edge(*self.connections[k])
            self.close(k)

    def close(self, k: int) -> None:
        for channel in (2 * k, 2 * k + 1):
            self.lines[channel].clear()
            self.members[self.at[channel]].down(channel)
        self.collect()

    def run(self) -> None:
        for _ in range(100_000):
            waiting = [channel for channel, line in self.lines.items() if line]
            if not waiting:
                return
            channel = self.random.choice(waiting)
            self.members[self.at[channel]].receive(channel, self.lines[channel].popleft())
            self.collect()
        raise AssertionError("they never stop talking")


def test_a_triangle_is_refused() -> None:
    layer = Layer(3)
    for a, b in ((0, 1), (1, 2)):
        layer.connect(a, b)
        layer.run()
    third = layer.connect(2, 0)
    layer.run()
    assert layer.results == {0: "connected", 1: "connected", third: "refused"}


@pytest.mark.parametrize("way", [(0, 1), (1, 0)])
def test_two_connections_of_one_pair_are_refused(way: tuple[int, int]) -> None:
    layer = Layer(2)
    layer.connect(0, 1)
    layer.run()
    again = layer.connect(*way)
    layer.run()
    assert layer.results == {0: "connected", again: "refused"}


def test_a_member_that_connects_with_itself_is_refused() -> None:
    layer = Layer(1)
    layer.connect(0, 0)
    layer.run()
    assert layer.results == {0: "refused"}


def test_a_connection_that_is_broken_can_be_made_elsewhere() -> None:
    layer = Layer(3)
    for a, b in ((0, 1), (1, 2)):
        layer.connect(a, b)
        layer.run()
    layer.members[0].leave(0)
    layer.collect()
    layer.run()
    assert layer.results[0] == "broken"
    again = layer.connect(2, 0)
    layer.run()
    assert layer.results[again] == "connected"
    assert networkx.is_tree(layer.graph)


@given(st.integers(2, 12), st.integers(0, 2**32))
def test_whatever_is_connected_at_once_no_loop_stays(number: int, seed: int) -> None:
    rng = random.Random(seed)
    layer = Layer(number, seed)
    for _ in range(3 * number):
        layer.connect(rng.randrange(number), rng.randrange(number))
        if rng.random() < 0.3:
            layer.run()
    layer.run()
    assert networkx.is_forest(layer.graph)
    # one after the other the rest can be connected
    for a in range(number):
        for b in range(a):
            layer.connect(a, b)
            layer.run()
    assert networkx.is_tree(layer.graph)


def test_more_members_than_a_message_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "IDS", 4)
    layer = Layer(30)
    for a in range(1, 30):
        layer.connect(a, 0)
        layer.run()
    assert networkx.is_tree(layer.graph)
    refused = layer.connect(5, 29)
    layer.run()
    assert layer.results[refused] == "refused"


@pytest.mark.parametrize("data", [b"\x09", b"\x01abc", bytes((2,)) + bytes(8 * IDS + 8), bytes((255,)) * 100])
def test_nonsense_breaks_the_connection(data: bytes) -> None:
    layer = Layer(2)
    layer.connect(0, 1)
    layer.run()
    layer.members[0].receive(0, data)
    layer.collect()
    assert layer.results[0] == "broken"


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_strangers_say_anything(messages: list[bytes]) -> None:
    member = Tree(1)
    member.up(7, 2)
    for data in messages:
        member.receive(7, data)
        member.receive(8, data)
    for _, message in member.output():
        assert message
    assert member.view()


def test_one_that_floods_us_with_ids_is_left() -> None:
    member = Tree(1)
    member.up(7, 2)
    full = b"".join((10 + n).to_bytes(8) for n in range(IDS))
    member.receive(7, b"\x01" + full)
    for n in range(1000):
        member.receive(7, b"\x01" + b"".join((10 + n * IDS + i).to_bytes(8) for i in range(IDS)))
    assert any(isinstance(event, Broken) for event in member.events())
    member.receive(7, bytes((LEFT,)))


# ---------------------------------------------------------------- flooding


def test_a_packet_goes_to_all_others() -> None:
    f = Flood()
    for n in range(4):
        f.add(n, member=n < 2)
    assert f.receive(0, b"x", 0.0) == (1, 2, 3)
    assert f.receive(3, b"y", 0.0) == (0, 1, 2)
    assert f.receive(3, b"", 0.0) == ()  # a keep-alive
    f.remove(1)
    assert f.receive(0, b"x", 0.0) == (2, 3)
    assert f.receive(1, b"x", 0.0) == ()
    with pytest.raises(ValueError, match="Already know"):
        f.add(0, member=True)


def test_what_circulates_is_found_and_what_is_said_twice_is_not() -> None:
    f = Flood()
    for n in range(3):
        f.add(n, member=n < 2)
    for i in range(1000):  # two applications that say the same, 50 times a second each
        f.receive(0, b"hello", i * 0.02)
        f.receive(1, b"hello", i * 0.02 + 0.001)
        assert not f.looping(0)
        assert not f.looping(1)
    for i in range(flood.LOOP + 1):
        f.receive(0, b"round and round %d" % i, 30 + i * 0.001)
        f.receive(1, b"round and round %d" % i, 30 + i * 0.001)
    assert f.looping(1)
    assert not f.looping(0)
    assert not f.looping(2)


def test_what_is_remembered_is_bounded() -> None:
    f = Flood()
    f.add(0, member=True)
    for i in range(3 * flood.MEMORY):
        f.receive(0, b"%d" % i, 0.0)
    assert len(f._first) <= flood.MEMORY
    f.receive(0, b"much later", 100.0)
    assert len(f._first) == 1

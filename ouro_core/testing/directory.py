"""The contract kit of directory policies: what every policy owes to the unicast IPCP, tested in virtual time.

    from ouro_core.testing.directory import DirectoryContract

    class TestMine(DirectoryContract):
        policy = MyDirectory

The members of the layer under test are joined by links that a test may make faulty. A policy may go on answering with
members that left for `forgets` seconds. What members share apart from messages, such as a file, is `config`'s to name,
a new one for each test.
"""

import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..contracts.directory import DirectoryAnswer, DirectoryPolicy, DirectoryReport, DirectorySend, DirectorySetup
from ..model.config import options, parse_config
from ..model.errors import ConfigError, InvalidArgument, WireError
from ..model.names import HashAlgorithm, hash_name
from ..rib import Rib
from .links import Faulty, Link
from .network import Network

__all__ = ["PATIENCE", "Directories", "DirectoryContract", "Member"]

PATIENCE = 2.0
"""Seconds within which a query is answered."""
SETTLE = 30.0
"""Seconds in which members get to know each other and their names."""

few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors])


class Member:
    """One member: its directory, and what came out of it."""

    def __init__(self, policy: DirectoryPolicy, address: int, rib: Rib) -> None:
        self.policy, self.address, self.rib = policy, address, rib
        self.answers: dict[int, list[DirectoryAnswer]] = {}
        self.reports: dict[int, DirectoryReport] = {}
        self.sent: list[bytes] = []
        self.next_timeout = policy.next_timeout
        self.handle_timeout = policy.handle_timeout

    def receive(self, data: bytes, now: float, source: Hashable) -> None:
        self.policy.receive(data, now)

    def datagrams_to_send(self, now: float) -> Iterable[tuple[Hashable, bytes]]:
        out = []
        for item in self.policy.output():
            if isinstance(item, DirectorySend):
                assert item.address > 0, f"a message to the address {item.address}"
                assert item.address != self.address, "a message to itself"
                self.sent.append(item.data)
                out.append((item.address, item.data))
            elif isinstance(item, DirectoryAnswer):
                assert self.address not in item.addresses, "the addresses of an answer are those of other members"
                self.answers.setdefault(item.query, []).append(item)
            else:
                self.reports[item.question] = item
        return out


class Directories:
    """A layer of members. `link(seed)` makes the link of one direction."""

    def __init__(
        self, policy: type[DirectoryPolicy], algorithm: HashAlgorithm = HashAlgorithm.SHA3_256,
        link: Callable[[int], Link] | None = None, seed: int = 1, config: Any = None,
    ) -> None:  # fmt: skip
        self._policy, self._algorithm = policy, algorithm
        self._rng = random.Random(seed)
        self.config: Any = parse_config(policy.Config, {}) if config is None else config
        make = link or (lambda seed: Link())
        self.network = Network(lambda source, destination: make(self._rng.getrandbits(32)))
        self.members: list[Member] = []

    @property
    def now(self) -> float:
        return self.network.now

    def add(self, *peers: int) -> Member:
        """A new member, started with the addresses of some others. Its configuration travels as at enrolment."""
        address = self._rng.randrange(1, 1 << 32)
        config, _ = self._policy.decode_config(self._policy.encode_config(self.config, address))
        rib = Rib()
        rng = random.Random(self._rng.getrandbits(64))
        setup = DirectorySetup(address, self._algorithm, config, rng, rib, lambda now: 1_800_000_000.0 + now)
        member = Member(self._policy(setup), address, rib)
        self.members.append(member)
        member.policy.start(peers, self.now)
        self.network.add(address, member)
        return member

    def grow(self, count: int) -> list[Member]:
        """So many members; each enrols with an earlier one."""
        for _ in range(count):
            earlier = [self._rng.choice(self.members).address] if self.members else []
            self.add(*earlier)
            self.run(0.5)
        self.run(SETTLE)
        return self.members

    def run(self, seconds: float) -> None:
        self.network.run_until(self.now + seconds)

    def key(self, name: str) -> bytes:
        return hash_name(name, self._algorithm)

    def register(self, member: Member, name: str) -> None:
        member.policy.register(self.key(name), self.now)
        self.network.wake(member.address)

    def unregister(self, member: Member, name: str) -> None:
        member.policy.unregister(self.key(name), self.now)
        self.network.wake(member.address)

    def query(self, member: Member, name: str) -> DirectoryAnswer:
        """The one answer to a query, which must come in time."""
        number = member.policy.query(self.key(name), self.now)
        self.network.wake(member.address)
        end = self.now + PATIENCE + 0.001
        assert self.network.run_until(end, lambda: number in member.answers), f"no answer in {PATIENCE} s"
        assert len(member.answers[number]) == 1, f"query {number} was answered more than once"
        return member.answers[number][0]

    def addresses(self, member: Member, name: str) -> tuple[int, ...]:
        return self.query(member, name).addresses

    def lose(self, gone: Member) -> None:
        """A member is gone, and routing says so."""
        self.members.remove(gone)
        self.network.remove(gone.address)
        for member in self.members:
            member.policy.peer_down(gone.address, self.now)
            self.network.wake(member.address)


class DirectoryContract:
    """Subclass it and set `policy`."""

    policy: ClassVar[type[DirectoryPolicy]]
    config: Any = None
    """An instance of `policy.Config`, an attribute or a property; None: the defaults."""
    forgets: ClassVar[float] = 7200.0
    """Seconds after which a name that was unregistered, or whose member is gone, is not found any more."""
    algorithms: ClassVar[Sequence[HashAlgorithm]] = (HashAlgorithm.SHA3_224, HashAlgorithm.SHA3_512)

    def layer(self, count: int = 0, **more: object) -> Directories:
        """A layer with so many members."""
        layer = Directories(self.policy, config=self.config, **more)  # type: ignore[arg-type]
        layer.grow(count)
        return layer

    def _config(self) -> Any:
        return parse_config(self.policy.Config, {}) if self.config is None else self.config

    # ------------------------------------------------------------ configuration

    def test_the_configuration_travels(self) -> None:
        config = self._config()
        for peer in (0, 1, 0x04030201, (1 << 32) - 1):
            assert self.policy.decode_config(self.policy.encode_config(config, peer)) == (config, peer)

    def test_defaults_are_within_their_ranges(self) -> None:
        for o in options(self.policy.Config):
            if not o.required:
                assert o.parse(o.text(o.default)) == o.default

    def test_a_broken_configuration_is_refused(self) -> None:
        whole = self.policy.encode_config(self._config(), 1)

        @few
        @given(st.one_of(st.binary(max_size=40), st.integers(0, len(whole)).map(lambda n: whole[:n])))
        def check(data: bytes) -> None:
            try:
                self.policy.decode_config(data)
            except (WireError, ConfigError):
                pass

        check()

    # ------------------------------------------------------------ names

    def test_a_member_alone(self) -> None:
        layer = self.layer(1)
        (only,) = layer.members
        answer = layer.query(only, "name")
        assert (answer.addresses, answer.here) == ((), False)
        layer.register(only, "name")
        answer = layer.query(only, "name")
        assert (answer.addresses, answer.here) == ((), True)
        layer.unregister(only, "name")
        assert not layer.query(only, "name").here

    @pytest.mark.parametrize("count", [2, 3, 12])
    def test_a_name_is_found_from_everywhere(self, count: int) -> None:
        layer = self.layer(count)
        layer.register(layer.members[0], "name")
        layer.run(SETTLE)
        for member in layer.members[1:]:
            answer = layer.query(member, "name")
            assert answer.addresses == (layer.members[0].address,)
            assert not answer.here
            assert layer.addresses(member, "another") == ()

    def test_hashes_of_all_lengths(self) -> None:
        for algorithm in self.algorithms:
            layer = self.layer(3, algorithm=algorithm)
            layer.register(layer.members[2], "name")
            layer.run(SETTLE)
            assert layer.addresses(layer.members[1], "name") == (layer.members[2].address,)
            for take in (layer.members[0].policy.register, layer.members[0].policy.query):
                try:
                    take(b"short", layer.now)
                except InvalidArgument:
                    continue
                pytest.fail(f"{take.__name__} takes a hash of 5 bytes; those of the layer have {algorithm.size}")

    def test_a_name_at_several_members(self) -> None:
        layer = self.layer(6)
        servers = layer.members[:3]
        for server in servers:
            layer.register(server, "name")
            layer.run(1.0)
        layer.run(SETTLE)
        assert set(layer.addresses(layer.members[5], "name")) == {s.address for s in servers}
        answer = layer.query(servers[0], "name")
        assert answer.here
        assert set(answer.addresses) == {s.address for s in servers[1:]}

    def test_twice_is_harmless_and_unknown_is_ignored(self) -> None:
        layer = self.layer(3)
        layer.unregister(layer.members[0], "name")
        layer.register(layer.members[0], "name")
        layer.register(layer.members[0], "name")
        layer.run(SETTLE)
        assert layer.addresses(layer.members[1], "name") == (layer.members[0].address,)
        layer.unregister(layer.members[0], "name")
        layer.unregister(layer.members[0], "name")
        layer.run(self.forgets)
        assert layer.addresses(layer.members[1], "name") == ()

    def test_what_was_registered_before_there_was_anybody(self) -> None:
        layer = self.layer(1)
        layer.register(layer.members[0], "name")
        layer.grow(4)
        assert layer.addresses(layer.members[4], "name") == (layer.members[0].address,)

    def test_a_name_that_comes_back(self) -> None:
        layer = self.layer(4)
        for _ in range(2):
            layer.register(layer.members[0], "name")
            layer.run(SETTLE)
            assert layer.addresses(layer.members[2], "name") == (layer.members[0].address,)
            layer.unregister(layer.members[0], "name")
            layer.run(0.1)

    # ------------------------------------------------------------ queries

    def test_queries_at_once_are_all_answered(self) -> None:
        layer = self.layer(5)
        layer.register(layer.members[0], "name")
        layer.run(SETTLE)
        member = layer.members[3]
        numbers = [member.policy.query(layer.key("name"), layer.now) for _ in range(20)]
        assert len(set(numbers)) == 20
        layer.network.wake(member.address)
        layer.run(PATIENCE)
        assert all(len(member.answers[n]) == 1 for n in numbers)
        assert all(member.answers[n][0].addresses == (layer.members[0].address,) for n in numbers)

    def test_a_cancelled_query_is_not_answered(self) -> None:
        layer = self.layer(5)
        member = layer.members[3]
        number = member.policy.query(layer.key("nobody has it"), layer.now)
        waiting = member.policy.query(layer.key("nobody has it"), layer.now)
        member.policy.cancel(number)
        member.policy.cancel(number)
        member.policy.cancel(10**9)
        layer.network.wake(member.address)
        layer.run(2 * PATIENCE)
        assert waiting in member.answers
        assert number not in member.answers, "a query that was cancelled is answered"

    def test_an_answer_comes_though_nobody_else_speaks(self) -> None:
        layer = self.layer(6)
        for silent in layer.members[1:]:
            layer.network.remove(silent.address)
        assert layer.addresses(layer.members[0], "name") == ()

    def test_an_address_that_refuses_is_not_the_best(self) -> None:
        layer = self.layer(6)
        for server in layer.members[:2]:
            layer.register(server, "name")
        layer.run(SETTLE)
        client = layer.members[4]
        for _ in range(2):
            best = layer.addresses(client, "name")[0]
            other = {m.address for m in layer.members[:2]} - {best}
            client.policy.refused(layer.key("name"), best, layer.now)
            assert {layer.addresses(client, "name")[0]} == other
            layer.run(600.0)
        client.policy.refused(layer.key("unknown"), 77, layer.now)

    # ------------------------------------------------------------ members that come and go

    def test_an_address_without_a_route_is_not_the_best(self) -> None:
        layer = self.layer(8)
        for server in layer.members[:2]:
            layer.register(server, "name")
        layer.run(SETTLE)
        stays, goes = layer.members[:2]
        layer.lose(goes)
        for member in layer.members[1:]:
            assert layer.addresses(member, "name")[0] == stays.address
        layer.run(self.forgets)
        assert layer.addresses(layer.members[3], "name") == (stays.address,)

    def test_names_survive_members(self) -> None:
        layer = self.layer(10)
        for i in range(10):
            layer.register(layer.members[0], f"name{i}")
        layer.run(SETTLE)
        for _ in range(4):
            layer.lose(layer.members[3])
        for i in range(10):
            assert layer.addresses(layer.members[-1], f"name{i}") == (layer.members[0].address,)

    def test_a_route_that_comes_back(self) -> None:
        layer = self.layer(4)
        layer.register(layer.members[0], "name")
        layer.run(SETTLE)
        server, client = layer.members[0], layer.members[2]
        for _ in range(3):
            client.policy.peer_down(server.address, layer.now)
            client.policy.peer_up(server.address, layer.now)
            layer.network.wake(client.address)
            layer.run(5.0)
        assert layer.addresses(client, "name") == (server.address,)
        client.policy.peer_up(client.address, layer.now)
        client.policy.peer_down(client.address, layer.now)
        client.policy.peer_down(77, layer.now)
        layer.run(5.0)
        assert layer.addresses(client, "name") == (server.address,)

    # ------------------------------------------------------------ a bad network, and bad members

    def test_loss_reordering_and_damage(self) -> None:
        layer = self.layer(
            8, link=lambda seed: Faulty(seed, loss=0.1, duplication=0.05, reordering=0.1, corruption=0.02)
        )
        for i, member in enumerate(layer.members):
            layer.register(member, f"name{i}")
        layer.run(2 * SETTLE)
        found = [
            layer.addresses(member, f"name{i}")[:1] == (layer.members[i].address,)
            for member in layer.members
            for i in range(8)
            if layer.members[i] is not member
        ]
        assert sum(found) >= 0.95 * len(found)

    def test_any_bytes_may_come(self) -> None:
        layer = self.layer(4)
        layer.register(layer.members[0], "name")
        layer.run(SETTLE)
        seen = [data for member in layer.members for data in member.sent[-40:]] or [b""]
        victim = layer.members[1]

        @few
        @given(st.data())
        def check(data: st.DataObject) -> None:
            message = bytearray(data.draw(st.one_of(st.binary(max_size=200), st.sampled_from(seen))))
            for place, value in data.draw(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), max_size=4)):
                if message:
                    message[place % len(message)] = value
            cut = data.draw(st.integers(0, len(message)))
            for wire in (bytes(message), bytes(message[:cut])):
                victim.policy.receive(wire, layer.now)
            victim.policy.output()

        check()
        layer.network.wake(victim.address)
        layer.run(SETTLE)
        assert layer.members[0].address in layer.addresses(victim, "name")

    # ------------------------------------------------------------ the rest

    def test_a_time_out_that_comes_early_is_harmless(self) -> None:
        layer = self.layer(3)
        for member in layer.members:
            due = member.policy.next_timeout()
            member.policy.handle_timeout(layer.now)
            assert due is None or member.policy.next_timeout() is not None
            assert not [item for item in member.policy.output() if isinstance(item, DirectoryAnswer)]

    def test_no_work_without_need(self) -> None:
        """An idle layer of five wakes each member less than once a second."""
        layer = self.layer(5)
        before = layer.network.statistics.timeouts
        layer.run(600.0)
        assert layer.network.statistics.timeouts - before < 600 * 5

    def test_its_state_is_in_the_rib(self) -> None:
        layer = self.layer(2)
        assert layer.members[0].rib.read() != {}, "the policy publishes nothing below `DirectorySetup.rib`"

    def test_an_unknown_question_is_refused(self) -> None:
        layer = self.layer(1)
        with pytest.raises(InvalidArgument):
            layer.members[0].policy.ask(("no", "such", "question"), layer.now)

"""The kit of directories, on the simplest policy there can be, and on ones that break the contract."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from attrs import frozen

from ouro_core.contracts.directory import (
    DirectoryAnswer,
    DirectoryPolicy,
    DirectoryReport,
    DirectorySend,
    DirectorySetup,
)
from ouro_core.contracts.ipcp import NoConfig
from ouro_core.model.config import option, text
from ouro_core.model.errors import InvalidArgument, WireError
from ouro_core.testing.directory import Directories, DirectoryContract


class Board(DirectoryPolicy):
    """All members of a process look at one board."""

    name = "board"
    code = 77
    board: ClassVar[dict[bytes, list[int]]] = {}

    @classmethod
    def encode_config(cls, config: Any, peer: int) -> bytes:
        return peer.to_bytes(8, "big")

    @classmethod
    def decode_config(cls, data: bytes) -> tuple[Any, int]:
        if len(data) != 8:
            raise WireError(f"{len(data)} bytes; 8 are needed")
        return NoConfig(), int.from_bytes(data, "big")

    def __init__(self, setup: DirectorySetup) -> None:
        self.setup = setup
        self.last = 0
        self.out: list[DirectorySend | DirectoryAnswer | DirectoryReport] = []
        self.bad: set[int] = set()
        self.refusals: dict[bytes, int] = {}
        setup.rib.publish("board", lambda: {"keys": len(self.board)})

    def start(self, peers: Sequence[int], now: float) -> None:
        if not peers:
            self.board.clear()

    def peer_up(self, address: int, now: float) -> None:
        self.bad.discard(address)

    def peer_down(self, address: int, now: float) -> None:
        self.bad.add(address)

    def check(self, hash: bytes) -> bytes:
        if len(hash) != self.setup.hash.size:
            raise InvalidArgument(f"a hash of {len(hash)} bytes")
        return hash

    def register(self, hash: bytes, now: float) -> None:
        addresses = self.board.setdefault(self.check(hash), [])
        if self.setup.address not in addresses:
            addresses.append(self.setup.address)

    def unregister(self, hash: bytes, now: float) -> None:
        if self.setup.address in self.board.get(hash, ()):
            self.board[hash].remove(self.setup.address)

    def query(self, hash: bytes, now: float) -> int:
        self.last += 1
        known = self.board.get(self.check(hash), [])
        others = [a for a in known if a != self.setup.address and a not in self.bad]
        others.sort(key=lambda a: a == self.refusals.get(hash))
        self.out.append(DirectoryAnswer(self.last, tuple(others), self.setup.address in known))
        return self.last

    def cancel(self, query: int) -> None:
        self.out = [said for said in self.out if not (isinstance(said, DirectoryAnswer) and said.query == query)]

    def refused(self, hash: bytes, address: int, now: float) -> None:
        self.refusals[hash] = address

    def receive(self, data: bytes, now: float) -> None:
        pass

    def next_timeout(self) -> float | None:
        return None

    def handle_timeout(self, now: float) -> None:
        pass

    def output(self) -> list[DirectorySend | DirectoryAnswer | DirectoryReport]:
        out, self.out = self.out, []
        return out


class TestBoard(DirectoryContract):
    policy = Board


class Silent(Board):
    """Never answers."""

    def output(self) -> list[DirectorySend | DirectoryAnswer | DirectoryReport]:
        return []


class Double(Board):
    """Answers twice."""

    def output(self) -> list[DirectorySend | DirectoryAnswer | DirectoryReport]:
        return 2 * super().output()


class Stubborn(Board):
    """Answers what nobody waits for."""

    def cancel(self, query: int) -> None:
        pass


class Lax(Board):
    """Takes hashes of any length."""

    def check(self, hash: bytes) -> bytes:
        return hash


class Hidden(Board):
    """Shows nothing."""

    def __init__(self, setup: DirectorySetup) -> None:
        super().__init__(setup)
        setup.rib.withdraw("board")


class Forgetful(Board):
    """Knows names of this member alone."""

    def query(self, hash: bytes, now: float) -> int:
        self.last += 1
        self.out.append(DirectoryAnswer(self.last, (), self.setup.address in self.board.get(hash, [])))
        return self.last


@pytest.mark.parametrize(
    ("policy", "test"),
    [
        (Silent, "test_a_member_alone"),
        (Double, "test_a_member_alone"),
        (Forgetful, "test_what_was_registered_before_there_was_anybody"),
        (Stubborn, "test_a_cancelled_query_is_not_answered"),
        (Lax, "test_hashes_of_all_lengths"),
        (Hidden, "test_its_state_is_in_the_rib"),
    ],
)
def test_the_kit_finds_what_is_wrong(policy: type[DirectoryPolicy], test: str) -> None:
    class Kit(DirectoryContract):
        pass

    Kit.policy = policy
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(Kit(), test)()


class EverySecond(Board):
    """Has numbers of its own for queries, and a configuration that must be given."""

    @frozen
    class Config:
        word: str = option(parse=text(10), help="what stands on the board")

    @classmethod
    def encode_config(cls, config: Any, peer: int) -> bytes:
        return peer.to_bytes(8, "big") + config.word.encode()

    @classmethod
    def decode_config(cls, data: bytes) -> tuple[Any, int]:
        _, peer = Board.decode_config(data[:8])
        try:
            return cls.Config(data[8:].decode()), peer
        except UnicodeDecodeError as e:
            raise WireError(f"the word is no text: {e}") from e

    def query(self, hash: bytes, now: float) -> int:
        self.last += 1
        return super().query(hash, now)


class TestEverySecond(DirectoryContract):
    policy = EverySecond
    config = EverySecond.Config("word")


def test_a_question_reaches_the_policy() -> None:
    layer = Directories(Board)
    member = layer.add()
    with pytest.raises(InvalidArgument, match="answers no questions"):
        member.policy.ask(("show",), layer.now)

"""A directory for tests: every member tells all others what it has, and knows what all others have. Code 200.

| offset | size | field                                                                     |
|--------|------|---------------------------------------------------------------------------|
| 0      | 1    | "+" it has the name, "-" it has it no more, "?" it wants to hear all       |
| 1      | 8    | address of the sender, big endian                                         |
| 9      | rest | the hash                                                                  |
"""

from collections.abc import Sequence
from typing import Any

from ouro_core.contracts.directory import (
    DirectoryAnswer,
    DirectoryPolicy,
    DirectoryReport,
    DirectorySend,
    DirectorySetup,
)
from ouro_core.contracts.ipcp import NoConfig
from ouro_core.hookspecs import hookimpl
from ouro_core.model.errors import WireError

OURO_API = (1, 0)


class FloodDirectory(DirectoryPolicy):
    name = "flood"
    code = 200

    @classmethod
    def encode_config(cls, config: Any, peer: int) -> bytes:
        return peer.to_bytes(8)

    @classmethod
    def decode_config(cls, data: bytes) -> tuple[Any, int]:
        if len(data) != 8:
            raise WireError(f"settings of {len(data)} bytes")
        return NoConfig(), int.from_bytes(data)

    def __init__(self, setup: DirectorySetup) -> None:
        self._address = setup.address
        self._here: set[bytes] = set()
        self._there: dict[bytes, set[int]] = {}
        self._members: set[int] = set()
        self._queries = 0
        self._output: list[DirectorySend | DirectoryAnswer | DirectoryReport] = []
        setup.rib.publish("names", lambda: {h.hex(): sorted(a) for h, a in self._there.items()})

    def start(self, peers: Sequence[int], now: float) -> None:
        self._peers = list(peers)

    def peer_up(self, address: int, now: float) -> None:
        self._members.add(address)
        self._say(address, b"?", b"")
        for hash in self._here:
            self._say(address, b"+", hash)

    def peer_down(self, address: int, now: float) -> None:
        self._members.discard(address)

    def _say(self, to: int, what: bytes, hash: bytes) -> None:
        self._output.append(DirectorySend(to, what + self._address.to_bytes(8) + hash))

    def register(self, hash: bytes, now: float) -> None:
        self._here.add(hash)
        for member in self._members:
            self._say(member, b"+", hash)

    def unregister(self, hash: bytes, now: float) -> None:
        self._here.discard(hash)
        for member in self._members:
            self._say(member, b"-", hash)

    def query(self, hash: bytes, now: float) -> int:
        self._queries += 1
        there = tuple(sorted(self._there.get(hash, ())))
        self._output.append(DirectoryAnswer(self._queries, there, hash in self._here))
        return self._queries

    def cancel(self, query: int) -> None:
        pass

    def refused(self, hash: bytes, address: int, now: float) -> None:
        pass

    def receive(self, data: bytes, now: float) -> None:
        what, source, hash = data[:1], int.from_bytes(data[1:9]), data[9:]
        if what == b"+":
            self._there.setdefault(hash, set()).add(source)
        elif what == b"-":
            self._there.get(hash, set()).discard(source)
        elif what == b"?":
            for own in self._here:
                self._say(source, b"+", own)

    def ask(self, words: Sequence[str], now: float) -> int:
        """`shout N`: to say N things to every member at once. Tells the members that are in reach."""
        for _ in range(int(words[1])):
            for member in self._members:
                self._say(member, b"-", b"")
        self._queries += 1
        self._output.append(DirectoryReport(self._queries, {"members": sorted(self._members)}))
        return self._queries

    def next_timeout(self) -> float | None:
        return None

    def handle_timeout(self, now: float) -> None:
        pass

    def output(self) -> list[DirectorySend | DirectoryAnswer | DirectoryReport]:
        found, self._output = self._output, []
        return found


@hookimpl
def ouro_register_directory_policies() -> list[type[DirectoryPolicy]]:
    return [FloodDirectory]

"""Directory policies of unicast layers: which address has a name (spec: unicast.md; dht.md for the first of them).

A policy is sans-IO: messages, commands and the time go in, messages and answers come out. The unicast IPCP carries its
messages between members and calls it back when it asked to be called.

Units: seconds of a monotonic clock (float) for `now`; addresses are unsigned integers of the layer's address size;
hashes
have the size of the layer's algorithm.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from attrs import frozen

from .ipcp import NoConfig, Publisher

__all__ = ["DirectoryAnswer", "DirectoryPolicy", "DirectorySend"]


@frozen
class DirectorySend:
    """A message for the directory of the member at `address`."""

    address: int
    data: bytes


@frozen
class DirectoryAnswer:
    """The end of a query: the addresses that registered the hash, the best first; none: it is not in the layer."""

    query: int
    addresses: tuple[int, ...]


class DirectoryPolicy(ABC):
    """One member's part of the directory. Subclasses are what `ouro_register_directory_policies` returns."""

    name: ClassVar[str]
    """The word that configuration selects it by."""
    Config: ClassVar[type] = NoConfig
    """Frozen attrs class made with `ouro_core.model.config.option`; every member of the layer gets equal values."""

    @abstractmethod
    def __init__(self, address: int, config: object, rng: random.Random, rib: Publisher) -> None:
        """A directory that knows nobody yet. `rng` is the only source of randomness."""

    @abstractmethod
    def start(self, peers: Sequence[int], now: float) -> None:
        """Begin, as the first member (no `peers`) or with the addresses of some members."""

    @abstractmethod
    def peer_up(self, address: int, now: float) -> None:
        """A member came into reach."""

    @abstractmethod
    def peer_down(self, address: int, now: float) -> None:
        """A member cannot be reached any more."""

    @abstractmethod
    def register(self, hash: bytes, now: float) -> None:
        """From now on `hash` is at this member. Twice is harmless."""

    @abstractmethod
    def unregister(self, hash: bytes, now: float) -> None:
        """The reverse. Unknown hashes are ignored."""

    @abstractmethod
    def query(self, hash: bytes, now: float) -> int:
        """Look `hash` up. The number stands in the `DirectoryAnswer`, which may be there at once."""

    @abstractmethod
    def cancel(self, query: int) -> None:
        """Forget a query. No answer comes for it."""

    @abstractmethod
    def receive(self, source: int, data: bytes, now: float) -> None:
        """A message of the member at `source`. Malformed ones are counted and dropped, never raised."""

    @abstractmethod
    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called; None: not at all."""

    @abstractmethod
    def handle_timeout(self, now: float) -> None:
        """The time has come. Too early is harmless."""

    @abstractmethod
    def output(self) -> list[DirectorySend | DirectoryAnswer]:
        """What there is to send and to answer since the last call. To be asked for after every other call."""

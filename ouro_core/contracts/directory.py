"""Directory policies of unicast layers: which addresses have a name (spec: unicast.md 2.5, 4.5, 6.4; dht.md).

A policy is sans-IO: messages, commands and the time go in, messages and answers come out. The unicast IPCP carries its
messages between members, to the endpoint id of directories, and calls it when it asked to be called. Messages arrive
without their sender's address, for the header of data transfer has none: whoever must be known says so in the message.

Units: seconds of a monotonic clock (float) for `now`; addresses are unsigned integers of the layer's address size, and
never 0; hashes have the size of the layer's algorithm.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from attrs import frozen

from ..model.errors import InvalidArgument
from ..model.names import HashAlgorithm
from .ipcp import NoConfig, Publisher

__all__ = ["DirectoryAnswer", "DirectoryPolicy", "DirectoryReport", "DirectorySend", "DirectorySetup"]


@frozen
class DirectorySend:
    """A message for the directory of the member at `address`. It may be lost; nobody tells.

    Where there is no route to it, the IPCP drops it and says `peer_down`.
    """

    address: int
    data: bytes


@frozen
class DirectoryAnswer:
    """The end of a query.

    `addresses` are those of *other* members where the hash is registered, the best first; none: there are no others.
    `here`: it is registered at this member as well.
    """

    query: int
    addresses: tuple[int, ...]
    here: bool = False


@frozen
class DirectoryReport:
    """The end of an administrator's question: a tree of plain values (`ouro_core.rib.to_plain`), or what went wrong."""

    question: int
    value: Mapping[str, Any]
    error: str = ""


@frozen
class DirectorySetup:
    """What a policy has of the world.

    `config` is an instance of the policy's `Config`, `rng` its only source of randomness, `rib` the node it publishes
    below. `unix_time` gives the time of day, in seconds since 1970, that belongs to a `now`: for what members tell each
    other about times, as their monotonic clocks have nothing in common.
    """

    address: int
    hash: HashAlgorithm
    config: Any
    rng: random.Random
    rib: Publisher
    unix_time: Callable[[float], float]


class DirectoryPolicy(ABC):
    """One member's part of the directory. Subclasses are what `ouro_register_directory_policies` returns.

    Members are taken to be in reach until `peer_down` says otherwise.
    """

    name: ClassVar[str]
    """The word that configuration selects it by."""
    code: ClassVar[int]
    """Its number (`dir.pol`) in the configuration that travels at enrolment. The prototype knows 0, its DHT; others are
    free, and no two policies may have the same: members that enrol know the policy by it."""
    Config: ClassVar[type] = NoConfig
    """Frozen attrs class made with `ouro_core.model.config.option`; every member of the layer gets equal values. Each
    option has a default, for an administrator can set those alone whose keywords are options of unicast layers as well:
    `dht_...`, `ls_t_...`.
    """

    @classmethod
    @abstractmethod
    def encode_config(cls, config: Any, peer: int) -> bytes:
        """What travels at enrolment: the bytes of field 2 of `dir_config_msg`, the policy's own message.

        `peer` is the address of the member that sends it: the first that the new one can ask.
        """

    @classmethod
    @abstractmethod
    def decode_config(cls, data: bytes) -> tuple[Any, int]:
        """(an instance of `Config`, peer) from such bytes. WireError; ConfigError: values that cannot be."""

    @abstractmethod
    def __init__(self, setup: DirectorySetup) -> None:
        """A directory that knows nobody yet. It publishes its state below `setup.rib`. ConfigError: the setup does not
        do for this policy.
        """

    @abstractmethod
    def start(self, peers: Sequence[int], now: float) -> None:
        """Begin, as the first member (no `peers`) or with the addresses of some members. Called once, when messages can
        be received.
        """

    @abstractmethod
    def peer_up(self, address: int, now: float) -> None:
        """A member came into reach."""

    @abstractmethod
    def peer_down(self, address: int, now: float) -> None:
        """A member cannot be reached any more."""

    @abstractmethod
    def register(self, hash: bytes, now: float) -> None:
        """From now on `hash` is at this member. Twice is harmless. InvalidArgument: a hash of another length than
        `DirectorySetup.hash` has.
        """

    @abstractmethod
    def unregister(self, hash: bytes, now: float) -> None:
        """The reverse. Unknown hashes are ignored."""

    @abstractmethod
    def query(self, hash: bytes, now: float) -> int:
        """Look `hash` up. The number stands in the one `DirectoryAnswer` to it, which may be there at once and comes
        within two seconds. Numbers are the policy's own, never used twice. InvalidArgument: as for `register`.
        """

    @abstractmethod
    def cancel(self, query: int) -> None:
        """Nobody waits for a query any more, and no answer comes for it. The policy may go on looking, so that the next
        query for the hash is answered from what it found. Unknown numbers are ignored.
        """

    @abstractmethod
    def refused(self, hash: bytes, address: int, now: float) -> None:
        """A flow for `hash` could not be had at `address`, an answer to a query: it is not to be the best any more."""

    @abstractmethod
    def receive(self, data: bytes, now: float) -> None:
        """A message of some member. Malformed ones are counted and dropped, never raised."""

    @abstractmethod
    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called; None: not at all."""

    @abstractmethod
    def handle_timeout(self, now: float) -> None:
        """The time has come. Too early is harmless."""

    @abstractmethod
    def output(self) -> list[DirectorySend | DirectoryAnswer | DirectoryReport]:
        """What there is to send and to answer since the last call. To be asked for after every other call."""

    def ask(self, words: Sequence[str], now: float) -> int:
        """An administrator's question or command, in words of the policy's own. The number stands in the one
        `DirectoryReport` to it. InvalidArgument: no such question.
        """
        raise InvalidArgument(f"the directory {self.name} answers no questions; its state is in the RIB")

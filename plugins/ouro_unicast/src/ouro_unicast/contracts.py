"""What can be chosen in a unicast layer: routing, forwarding function (PFF), address authority, congestion avoidance.

All policies are sans-IO: events, messages and the time go in; messages and tables come out. The IPCP carries messages
and calls back when it was asked to. Kits that check a policy against its contract are in `ouro_unicast.testing`.

Two kinds of connection join neighbours, and routing is told of both:

* *management* connections carry the messages of routing. Packets may be lost, doubled and reordered;
* *data transfer* connections carry everything else. Each is a port of the forwarder; a *neighbour* is what a port that
  works leads to. A connection that fails without being closed is a neighbour that goes down, and up again later.

Units: seconds of a monotonic clock (float) for `now`, unless a docstring says otherwise. Addresses are unsigned
integers of 32 bits, never 0. Connections and ports are small integers, chosen by the IPCP.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar

from attrs import frozen

from ouro_core.contracts.ipcp import NoConfig, Publisher
from ouro_core.contracts.programs import Group, Window

__all__ = [
    "AddressAuthority",
    "CongestionPolicy",
    "CongestionSender",
    "PffPolicy",
    "RoutingPolicy",
    "RoutingSend",
    "RoutingTable",
]


# ---------------------------------------------------------------- routing


@frozen
class RoutingSend:
    """A message for the routing of the neighbour at the other end of a management connection."""

    connection: int
    data: bytes


@frozen
class RoutingTable:
    """Where to send what: for each destination the addresses of neighbours to send it to, the best first.

    Replaces the table that was published before. `cube`: the QoS cube it is for; None: all of them.
    """

    hops: Mapping[int, tuple[int, ...]]
    cube: int | None = None


class RoutingPolicy(ABC):
    """One member's part of routing. Subclasses are what `ouro_register_routing_policies` returns.

    A policy calls `send` for each message and `publish` for each new table, from any of its methods, and needs nothing
    else of the world. It must bear any bytes in `receive`: what is malformed is dropped and counted, never raised.
    Messages should fit 1400 bytes, for the layers below do not split them.
    """

    name: ClassVar[str]
    """The word that configuration selects it by."""
    pff: ClassVar[str] = "simple"
    """The PFF policy that its tables are made for: "simple" takes the first hop of each destination, "alternate" the
    first that works, "multipath" all in turn; or the name of another one, which every member must have too.
    """
    Config: ClassVar[type] = NoConfig
    """Frozen attrs class made with `ouro_core.model.config.option`; every member of the layer gets equal values:
    those of `routing_options` at bootstrap, and of `ls_t_...` where it has such fields. They travel as texts, so
    `show` must be the reverse of `parse`; as `routing_options` separates them by commas, no text may have one.
    """

    def __init__(self, address: int, config: Any, rng: random.Random, rib: Publisher) -> None:
        """`address` is the member's own; `config` an instance of `Config`; `rng` the only source of randomness; `rib`
        the node for whatever there is to show.
        """
        self.address = address
        self.config = config
        self._rng = rng
        self._rib = rib
        self._output: list[RoutingSend | RoutingTable] = []

    # ---- what happens

    @abstractmethod
    def management_up(self, connection: int, address: int, now: float) -> None:
        """Messages can be exchanged with the member `address` from now on."""

    @abstractmethod
    def management_down(self, connection: int, now: float) -> None:
        """The connection is gone. Unknown ones are ignored."""

    @abstractmethod
    def neighbour_up(self, port: int, address: int, now: float) -> None:
        """Packets can be sent to `address` through `port` from now on. Several ports may lead to one neighbour;
        the newest that works is used.
        """

    @abstractmethod
    def neighbour_down(self, port: int, now: float) -> None:
        """The port does not work any more, or is gone. Unknown ones are ignored."""

    @abstractmethod
    def receive(self, connection: int, data: bytes, now: float) -> None:
        """A message came over a management connection, maybe one that is gone. Never raises."""

    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called; None: not at all."""
        return None

    def handle_timeout(self, now: float) -> None:  # noqa: B027 a policy without timers needs none
        """The time has come. Too early is harmless."""

    # ---- what it says

    def links(self) -> Iterable[tuple[int, int]]:
        """(from, to) for every adjacency of the layer that it knows of and takes for working, for people to look at."""
        return ()

    # ---- for the policy

    def send(self, connection: int, data: bytes) -> None:
        """Send a message to the neighbour at the other end of a management connection."""
        self._output.append(RoutingSend(connection, data))

    def publish(self, hops: Mapping[int, tuple[int, ...]], cube: int | None = None) -> None:
        """A new table: see `RoutingTable`. Hops that are no neighbours now are passed over."""
        self._output.append(RoutingTable(hops, cube))

    # ---- for the IPCP

    def output(self) -> list[RoutingSend | RoutingTable]:
        """What there is to do since the last call, in order. To be asked for after every other call."""
        found, self._output = self._output, []
        return found


# ---------------------------------------------------------------- forwarding


class PffPolicy(ABC):
    """Packet forwarding function: how the forwarder chooses among the next hops of a destination. Subclasses are what
    `ouro_register_pff_policies` returns; they are made without arguments, once by each member. Packets are forwarded
    natively: a policy makes the entries of the table, and has no parameters.
    """

    name: ClassVar[str]
    """The word that `RoutingPolicy.pff` selects it by."""

    @abstractmethod
    def group(self, ports: tuple[int, ...]) -> Group:
        """The entry for one destination. `ports`: those that lead there and work now, the best first; at least one, all
        different. Called again for every destination whenever routing or the state of a port changes, so the answer
        follows from `ports` alone: one drawn anew each time would be a new table each time. `Mode` says what can be
        left to the forwarder, packet by packet.
        """


# ---------------------------------------------------------------- addresses


class AddressAuthority(ABC):
    """Gives a member its address. Subclasses are what `ouro_register_address_authorities` returns. Layers have no
    parameters for them: whatever ranges there are belong to the class.
    """

    name: ClassVar[str]
    """The word that configuration selects it by."""

    @abstractmethod
    def __init__(self, size: int) -> None:
        """`size`: bytes of an address in the layer. ConfigError where the policy cannot fill them."""

    @abstractmethod
    def draw(self, entropy: Callable[[int], bytes], taken: Collection[int] = ()) -> int:
        """An address for this member: not 0 and none of `taken`. `entropy(n)` gives n random bytes that nobody can
        foresee. OutOfMemory when every address is taken.

        A new member knows of few that are taken, at most of the one it enrols with: a range must be so much larger than
        the layer that two members hardly draw the same.
        """


# ---------------------------------------------------------------- congestion


class CongestionSender(ABC):
    """What a policy written in Python keeps for one flow that this member sends on. Times: ns of a monotonic clock."""

    @abstractmethod
    def packet(self, size: int, now: int) -> int:
        """A packet of `size` payload bytes is to be sent, after those before it: how long it must wait, in ns from now;
        0: not at all. More than a second counts as one. Never less than 0.
        """

    @abstractmethod
    def feedback(self, ece: int, now: int) -> None:
        """The receiver of the flow reported this level of congestion, 0 to 65535; 0: it is over."""


class CongestionPolicy(ABC):
    """Congestion avoidance of a layer. Subclasses are what `ouro_register_congestion_policies` returns; they
    are made without arguments, once by each member. Layers have no parameters for them: other numbers are another class
    under another name.

    Forwarders mark packets, receivers average the marks and report them to the sender of the flow, which waits. All of
    this is numbers that the forwarder executes natively, but for the last: the sender may be code.
    """

    name: ClassVar[str]
    """The word that configuration selects it by."""
    ecn_shift: ClassVar[int | None] = 4
    """Forwarders or (packets in the ring to the next hop >> ecn_shift), 255 at most, into a packet's ECN byte; None:
    they mark nothing.
    """
    window: ClassVar[Window | None] = None
    """How receivers report and, without `sender`, how senders wait. None: neither."""

    def sender(self, now: int) -> CongestionSender | None:
        """For a new flow: None to let the forwarder delay it by `window`; or code that does, in a thread of the flow's
        own, at about 1 us a packet and the GIL. `window` is then best `congestion.reports_only()`.
        """
        return None

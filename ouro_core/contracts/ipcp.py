"""IPCPs: what a type of IPCP implements, and what its host gives it.

An IPCP runs on one asyncio loop, in a process of its own or in the one of a `Node`; it cannot tell. Control comes as
calls of its coroutines, several at a time; packets never do: they move between ends and movers of
`IpcpContext.packets`. The host keeps the state machine (spec: shims.md 1.2), refuses what the state or the type does
not allow, and turns every exception into an error for the caller: an `OuroError` keeps its number, anything else is
EIPCP and a line in the log.

A coroutine that is cancelled lost its caller (time-out, dead application): undo what was begun and let it pass.

Units: `mpl` in milliseconds, time-outs in seconds. Hashes have the size of the layer's algorithm.
"""

import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from attrs import frozen

from ..model.capability import Capability
from ..model.errors import NotSupported
from ..model.ipcp_requests import FlowReply
from ..model.irm_requests import Allocation
from ..model.layer import LayerInfo
from ..model.qos import RAW, QosSpec
from .packets import End, FlowEnd, PacketClient

__all__ = ["ArrivedFlow", "Ipcp", "IpcpContext", "NFlow", "NoConfig", "Publisher", "Registrations"]


@frozen
class NFlow:
    """A flow of the layer above (N+1), at this IPCP. `id` is the IRM's. `end` is None exactly where `Ipcp.carries` is
    False; `carried` is the end for types that carry.
    """

    id: int
    end: FlowEnd | None

    @property
    def carried(self) -> FlowEnd:
        """The end. TypeError for a flow of a type that does not carry."""
        if self.end is None:
            raise TypeError(f"flow {self.id} has no end at this IPCP")
        return self.end


@frozen
class ArrivedFlow:
    """An incoming flow that an application accepted. `data` (its OAP response) goes back to the requester.

    `flow.end` is None when the IRM joined both applications (`IpcpContext.flow_arrived` with `joins`); where their
    users share no pool it is not, and `joined` is the requester's end: a relay between the two is then the IPCP's to
    make.
    """

    flow: NFlow
    data: bytes
    joined: FlowEnd | None = None


class Publisher(Protocol):
    """A node of the RIB to publish into: see `ouro_core.rib`."""

    def publish(self, path: str, source: object) -> None:
        """Show `source` at `path` below this node: an attrs value, or a callable without arguments that returns one."""
        ...

    def withdraw(self, path: str) -> None:
        """Take away what is at and below `path`; nothing there is no error."""
        ...


class Registrations(Protocol):
    """What plugins registered, by kind: "directory_policies", or a kind of the plugin's own (`OURO_KINDS`)."""

    def get(self, kind: str, name: str) -> Any:
        """The one of this name. An OuroError that lists the known ones, and says what to install."""
        ...

    def registry(self, kind: str) -> Mapping[str, Any]:
        """All of a kind, by name."""
        ...


@frozen
class NoConfig:
    """Configuration of a type that needs none."""


class IpcpContext(ABC):
    """What an IPCP has of the world. Given to its constructor; attributes are valid for its whole life."""

    name: str
    """Its name, as the administrator gave it."""
    packets: PacketClient
    """Its own client of the packet system: pumps, forwarders, pairs, event sets."""
    plugins: Registrations
    """What there is to choose policies from."""
    rib: Publisher
    """Its own node of the RIB. `info`, `flows` and `packets` are published there by the host."""
    log: logging.Logger
    """Its logger; `log.log(PP, ...)` of `ouro_core.model.log` is protocol debugging."""
    capabilities: Capability
    """What this node can do beyond the prototype: what carriers tell their peers."""
    random: random.Random
    """Its source of randomness for protocol decisions; seeded in simulations, not for keys."""

    @abstractmethod
    async def flow_arrived(self, hash: bytes, qos: QosSpec, mpl: int, data: bytes, joins: int = 0) -> ArrivedFlow:
        """Offer a flow request that came over the layer. Returns when an application accepted.

        `data` is the requester's OAP message, unread. `joins` is the id of the requesting flow when it is one of this
        very IPCP (type local), so that both are ends of one flow. Raises the error to send back to the requester:
        UnknownName, FlowTimeout (nobody accepted), AuthenticationFailed, CryptError. Takes up to two seconds; call it
        in a task, never in the way of other messages.
        """

    @abstractmethod
    def flow_closed(self, flow_id: int) -> None:
        """Say that the layer ended a flow (the far end is gone). The application sees FlowDown. Unknown ids are
        ignored.
        """

    @abstractmethod
    async def flow_alloc(self, dst: str, qos: QosSpec = RAW, timeout: float | None = None) -> tuple[End, Allocation]:
        """A flow of the IPCP itself over another layer (N-1). The end carries what its QoS asks for."""

    @abstractmethod
    async def flow_accept(self, timeout: float | None = None) -> tuple[End, Allocation]:
        """The next N-1 flow for a name the IPCP is bound to."""

    @abstractmethod
    async def flow_dealloc(self, flow_id: int) -> None:
        """Give up a N-1 flow; its end must be out of use."""

    @abstractmethod
    def spawn(self, task: Coroutine[Any, Any, None], name: str) -> None:
        """Run a coroutine until the IPCP stops. If it fails, the IPCP is reported and ends: no half-dead IPCPs."""


class Ipcp(ABC):
    """One IPCP. Subclasses are what `ouro_register_ipcp_types` returns.

    Life: constructed (nothing opened yet), `bootstrap` or `enroll` once with success, then any of the others, at last
    `stop`. A failed `bootstrap` or `enroll` must leave it as it was: it may be tried again. An operation that the type
    does not have stays as it is here: NotSupported.
    """

    name: ClassVar[str]
    """The type's word on the command line: at most 10 characters by custom."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Other words that name it wherever a type is asked for. What is shown is always `name`."""
    Config: ClassVar[type] = NoConfig
    """Frozen attrs class made with `ouro_core.model.config.option`; `bootstrap` gets an instance. No option is called
    `type`, `layer`, `name`, `hash` or `autobind`, nor in TOML `bootstrap`, `conn`, `enrol` or `reg`: those are for all.
    """
    carries: ClassVar[bool] = True
    """False: the type only joins applications of this host, whose flows have no end here and end without it."""
    components: ClassVar[tuple[str, ...]] = ()
    """What `connect` accepts."""
    broadcast: ClassVar[bool] = False
    """True: flows are joined by the layer's name, never allocated to a name."""

    def __init__(self, context: IpcpContext) -> None:
        self.ctx = context

    async def bootstrap(self, layer: LayerInfo, config: Any) -> LayerInfo:
        """Found a layer; returns it as it is now (a type may force the hash). `config` is an instance of `Config`.

        ConfigError when the values do not fit this machine (no such device, address in use).
        """
        raise self._unsupported("be bootstrapped")

    async def enroll(self, dst: str) -> LayerInfo:
        """Become a member of the layer that the name `dst` is a member of; returns it as learnt from there."""
        raise self._unsupported("be enrolled")

    async def reg(self, hash: bytes) -> None:
        """Make `hash` reachable in the layer. Known already: no error, no change."""
        raise self._unsupported("register names")

    async def unreg(self, hash: bytes) -> None:
        """The reverse of `reg`. Unknown: no error."""
        raise self._unsupported("unregister names")

    async def query(self, hash: bytes) -> bool:
        """Whether the layer knows `hash`. The IRM waits 200 ms, then takes it for no."""
        raise self._unsupported("be queried")

    async def capabilities(self, hash: bytes) -> Capability:
        """What the member can do, beyond the prototype, that a flow to `hash` leads to; `Capability(0)`: nothing, or
        nobody knows. Types whose carrier can ask (`ouro_core.oap.carrier`) do, unless they know; they have 1 s.
        """
        return Capability(0)

    async def flow_alloc(self, flow: NFlow, hash: bytes, qos: QosSpec, data: bytes) -> FlowReply:
        """Request a flow to `hash` and wait for the far end's answer.

        `data` goes along unread. Raises the error that the far end answered with (`ouro_core.model.errors` makes it of
        its number: `error_from_code`), FlowTimeout when it did not answer, TooLong when there is no room for `data` and
        the far end takes no fragments.
        After an error or cancellation `flow.end` must be out of use.
        """
        raise self._unsupported("allocate flows")

    async def flow_join(self, flow: NFlow, hash: bytes) -> FlowReply:
        """Connect the flow to all others of a broadcast layer."""
        raise self._unsupported("join flows")

    async def flow_dealloc(self, flow: NFlow, linger: float) -> None:
        """The application closed or died. Send what it had written, keep the endpoint for `linger` seconds, free it.

        Comes once for every flow that `flow_alloc`, `flow_join` or `flow_arrived` made, also after `flow_closed`, and
        for both ends of a relayed flow, in any order and at once. Not for flows without an end here, whose applications
        were joined: with the reply they are no business of the IPCP any more. `linger` is for the endpoint on the
        medium: a type without one ignores it. The end must be out of use on return (unbound from its mover); the host
        closes it.
        """
        raise self._unsupported("deallocate flows")

    async def connect(self, dst: str, component: str, qos: QosSpec) -> None:
        """Connect one of `components` with that of the member `dst`."""
        raise self._unsupported("connect components")

    async def disconnect(self, dst: str, component: str) -> None:
        """The reverse of `connect`."""
        raise self._unsupported("disconnect components")

    async def ask(self, component: str, words: Sequence[str]) -> Mapping[str, Any]:
        """Answer an administrator's question to a component, such as "directory"; words are the component's own.

        Returns a tree of plain values. InvalidArgument: no such component, or no such question.
        """
        raise self._unsupported("be asked")

    @abstractmethod
    async def stop(self) -> None:
        """Free everything. Called once, in any state; flows are down already."""

    def _unsupported(self, what: str) -> Exception:
        return NotSupported(f"an IPCP of type {self.name} cannot {what}")

"""Connection manager: connections between components of members, made, broken and made again (unicast.md 3).

Theory of operation. An accept loop takes the flows that come, many at a time; OCEP says which component each is for.
Connections of components that were registered as `lasting` are told to everybody by `Connected` and `Disconnected`, and
live until their flow ends or somebody disconnects; others (enrolment) are handed to their component and forgotten.

Who initiated a connection wants it until `disconnect`: when its flow ends, it is made again, at once and then at longer
and longer intervals. The prototype leaves that to the operator. Connecting twice is connecting once.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final, TypeVar

from attrs import define, field

from ouro_core.contracts.ipcp import IpcpContext
from ouro_core.model.errors import FlowDown, FlowTimeout, IpcpError, NotSupported, OuroError
from ouro_core.model.log import logger
from ouro_core.model.qos import RAW, QosSpec

from .addresses import address_text
from .events import Connected, Disconnected, Events, WentDown, WentUp
from .handshake import Accepting, Initiating
from .io import Change, LowerFlow, Reader, converse
from .wire.ocep import Identity

__all__ = ["Connection", "ConnectionManager"]

ATTEMPTS: Final = 3
"""Times that a lost message of the handshake is made good by a new flow."""
ALLOC_TIMEOUT: Final = 5.0
"""Seconds for a flow to another member."""
RETRY: Final = 0.05
MAX_RETRY: Final = 5.0
"""Seconds between two attempts to make a connection again: they double. In layers on layers these times add up."""
MAX_HANDSHAKES: Final = 64
"""Incoming flows that say who they are at one time; more are refused."""

_log = logger("connection-manager")

E = TypeVar("E", Connected, Disconnected, WentDown, WentUp)
Taker = Callable[[LowerFlow, Identity], Awaitable[None]]


@define(eq=False)
class Connection:
    """A connection of a lasting component."""

    number: int
    component: str
    peer: Identity
    flow: LowerFlow
    dst: str | None
    """What was asked for; None: the other side initiated it."""
    up: bool = True

    @property
    def name(self) -> str:
        """What people know the other end by: the name that was asked for, or else its address, if its layer has any."""
        if self.dst is not None:
            return self.dst
        return address_text(self.peer.address) if self.peer.address else "a member that connected here"


@define(eq=False)
class _Wanted:
    """What somebody asked to be connected with."""

    qos: QosSpec
    keep: bool
    lock: asyncio.Lock = field(factory=asyncio.Lock)
    connection: Connection | None = None


class ConnectionManager:
    """Connections of one IPCP. Errors are `OuroError`s that say which step went wrong."""

    def __init__(self, ctx: IpcpContext, reader: Reader, events: Events) -> None:
        self._ctx = ctx
        self._reader = reader
        self._events = events
        self._identities: dict[str, Identity] = {}
        self._takers: dict[str, Taker] = {}
        self._connections: dict[int, Connection] = {}
        self._wanted: dict[tuple[str, str], _Wanted] = {}
        self._numbers = itertools.count(1)
        self._handshakes = 0
        self._accepting = False
        self._stopped = False
        self.counters = dict.fromkeys(("accepted", "initiated", "refused", "failed", "remade", "lost"), 0)

    # ------------------------------------------------------------ components

    def register(self, identity: Identity, taker: Taker | None = None) -> None:
        """Let a component be connected to. `taker` gets the flow of each connection that comes; None: they last."""
        self._identities[identity.component] = identity
        if taker is not None:
            self._takers[identity.component] = taker

    def withdraw(self, component: str) -> None:
        """The reverse. Connections there are stay."""
        self._identities.pop(component, None)
        self._takers.pop(component, None)

    def start(self) -> None:
        """Begin to accept."""
        if not self._accepting:
            self._accepting = True
            self._ctx.spawn(self._accept(), "acceptor")

    async def stop(self) -> None:
        """Close everything."""
        self._stopped = True
        self._wanted.clear()
        for connection in list(self._connections.values()):
            await self.drop(connection)

    # ------------------------------------------------------------ initiating

    async def open(
        self, dst: str, identity: Identity, qos: QosSpec = RAW, attempts: int = ATTEMPTS
    ) -> tuple[LowerFlow, Identity]:
        """A flow to a component of another member, which said who it is. The caller closes it."""
        for attempt in range(attempts):
            path, allocation = await self._ctx.flow_alloc(dst, qos, ALLOC_TIMEOUT)
            flow = LowerFlow(self._ctx, self._reader, path, allocation)
            try:
                return flow, await self._introduced(flow, identity)
            except FlowTimeout:
                await flow.close()
                if attempt == attempts - 1:
                    raise
            except BaseException:
                await flow.close()
                raise
        raise AssertionError("the last attempt returns or raises")

    async def _introduced(self, flow: LowerFlow, identity: Identity) -> Identity:
        _log.debug("Sending OCEP info for protocol %s to fd %d.", identity.protocol, flow.id)
        side = Initiating(identity, asyncio.get_running_loop().time())
        await converse(flow, side)
        if side.peer is None:
            self.counters["failed"] += 1
            raise side.error or IpcpError("there was no handshake")
        return side.peer

    async def connect(self, dst: str, component: str, qos: QosSpec, keep: bool = True) -> Connection:
        """Connect a lasting component, unless it is connected with `dst` already. `keep`: make it anew when it ends."""
        identity = self._identities.get(component)
        if identity is None or component in self._takers:
            raise NotSupported(f"No such component: {component}. There are: {', '.join(self._lasting()) or 'none'}.")
        key = dst, component
        known = self._wanted.get(key)
        wanted = self._wanted.setdefault(key, _Wanted(qos, keep))
        wanted.qos = qos
        try:
            return await self._make(key, wanted)
        except BaseException:
            if known is None and self._wanted.get(key) is wanted:
                del self._wanted[key]
            raise

    def _lasting(self) -> list[str]:
        return [component for component in self._identities if component not in self._takers]

    async def _make(self, key: tuple[str, str], wanted: _Wanted) -> Connection:
        dst, component = key
        async with wanted.lock:
            if wanted.connection is not None:
                return wanted.connection
            try:
                flow, peer = await self.open(dst, self._identities[component], wanted.qos)
            except OuroError as e:
                raise type(e)(f"Failed to connect {component} with {dst}: {e}", errno=e.errno) from e
            if flow.gone:
                await flow.close()
                raise FlowDown(f"Failed to connect {component} with {dst}: the flow ended at once; try again")
            if self._stopped or self._wanted.get(key) is not wanted:
                await flow.close()
                raise IpcpError(f"{component} was disconnected from {dst} while the connection was being made")
            self.counters["initiated"] += 1
            wanted.connection = self._established(component, flow, peer, dst)
            return wanted.connection

    async def disconnect(self, dst: str, component: str) -> None:
        """Break a connection that this side initiated, and do not make it again. There is none: nothing happens."""
        wanted = self._wanted.pop((dst, component), None)
        if wanted is not None and wanted.connection is not None:
            await self.drop(wanted.connection)

    # ------------------------------------------------------------ accepting

    async def _accept(self) -> None:
        while True:
            try:
                path, allocation = await self._ctx.flow_accept()
            except OuroError as e:
                _log.debug("A flow could not be accepted: %s", e)
                await asyncio.sleep(RETRY)
                continue
            flow = LowerFlow(self._ctx, self._reader, path, allocation)
            _log.info("Handling incoming flow %d.", flow.id)
            self._handshakes += 1
            self._ctx.spawn(self._arrived(flow), f"incoming flow {flow.id}")

    async def _arrived(self, flow: LowerFlow) -> None:
        """Never raises for what a peer does."""
        try:
            if self._handshakes > MAX_HANDSHAKES:
                self.counters["refused"] += 1
                await flow.close()
                return
            side = Accepting(self._identities, asyncio.get_running_loop().time())
            try:
                await converse(flow, side)
                peer = side.peer
                if peer is None:
                    raise side.error or IpcpError("there was no handshake")
                _log.info("Request to connect to %s.", peer.component)
            except OuroError as e:
                self.counters["refused"] += 1
                _log.error("Error receiving OCEP info: %s (flow %d)", e, flow.id)
                await flow.close()
                return
        except BaseException:
            await flow.close()
            raise
        finally:
            self._handshakes -= 1
        self.counters["accepted"] += 1
        _log.info("Finished handling incoming flow %d for %s.", flow.id, peer.component)
        taker = self._takers.get(peer.component)
        if taker is not None:
            try:
                await taker(flow, peer)
            finally:
                await flow.close()
        elif flow.gone:
            await flow.close()
        else:
            self._established(peer.component, flow, peer, None)

    # ------------------------------------------------------------ connections there are

    def _established(self, component: str, flow: LowerFlow, peer: Identity, dst: str | None) -> Connection:
        connection = Connection(next(self._numbers), component, peer, flow, dst)
        self._connections[connection.number] = connection
        flow.changed = partial(self._changed, connection)
        self._events.emit(_event(Connected, connection))
        return connection

    def _changed(self, connection: Connection, change: Change) -> None:
        if connection.number not in self._connections:
            return
        if change == "GONE":
            self.counters["lost"] += 1
            self._ctx.spawn(self._lost(connection), f"end of connection {connection.number}")
        elif change == "DOWN" and connection.up:
            connection.up = False
            self._events.emit(_event(WentDown, connection))
        elif change == "UP" and not connection.up:
            connection.up = True
            self._events.emit(_event(WentUp, connection))

    async def drop(self, connection: Connection) -> None:
        """Break a connection, whoever made it."""
        if self._connections.pop(connection.number, None) is None:
            return
        for wanted in self._wanted.values():
            if wanted.connection is connection:
                wanted.connection = None
        event = _event(Disconnected, connection)
        self._events.emit(event)
        await event.released()
        await connection.flow.close()

    async def _lost(self, connection: Connection) -> None:
        """The flow of a connection has ended: make it again if it is ours."""
        _log.info("The connection of %s with %s is gone.", connection.component, connection.name)
        await self.drop(connection)
        if connection.dst is not None:
            await self._make_again((connection.dst, connection.component))

    async def _make_again(self, key: tuple[str, str]) -> None:
        """Until it is there, or not wanted any more."""
        dst, component = key
        pause = RETRY
        while not self._stopped:
            wanted = self._wanted.get(key)
            if wanted is None or wanted.connection is not None:
                return
            if not wanted.keep:
                del self._wanted[key]
                return
            try:
                await self._make(key, wanted)
            except OuroError as e:
                level = logging.WARNING if pause == RETRY else logging.DEBUG  # once is enough
                _log.log(level, "%s. It is tried again until it works, or is disconnected by command.", e)
            else:
                self.counters["remade"] += 1
                _log.info("%s is connected with %s again.", component, dst)
                return
            await asyncio.sleep(pause * (0.5 + self._ctx.random.random()))
            pause = min(2 * pause, MAX_RETRY)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._connections.values()))


def _event(kind: type[E], connection: Connection) -> E:
    return kind(connection.number, connection.component, connection.peer, connection.name, connection.flow)

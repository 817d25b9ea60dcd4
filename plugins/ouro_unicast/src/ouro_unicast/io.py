"""Flows of an IPCP over layers below, and other ends, in its asyncio loop.

Theory of operation. One event set tells which ends have something; `Reader` calls who watches an end. A `LowerFlow` is
an N-1 flow: whatever stages its QoS asks for, what the rest of the plugin sees is a plain end, for a relay joins the
stages to one half of a pair (docs/explanation/packets.md 5.7). Packets of a flow are read here while two members get to
know each other, and where a component reads in Python; then the end can go to a forwarder, and this object still keeps
the flow alive, and says when it goes down, comes up, or is gone.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Literal, Protocol, TypeAlias

from ouro_core.contracts.ipcp import IpcpContext
from ouro_core.contracts.packets import End, FlowEnd, Mover, MoverEvent, Options, PacketClient, State
from ouro_core.frct.liveness import Liveness, LivenessAction
from ouro_core.frct.pipeline import Pipeline
from ouro_core.model.errors import FlowDown, FlowTimeout, OuroError, WouldBlock
from ouro_core.model.irm_requests import Allocation
from ouro_core.model.qos import QosSpec

__all__ = ["Change", "Conversation", "LowerFlow", "Reader", "Timer", "converse"]

Change: TypeAlias = Literal["UP", "DOWN", "GONE"]
"""What became of an N-1 flow."""

_OPTIONS: Final = Options(read_blocking=False, write_blocking=False)
_BATCH: Final = 32
_DRAIN: Final = 0.5
"""Seconds for what was written to a flow with stages before it is closed."""
_GONE: Final = State.CLOSED | State.DEAD | State.PEER


class Reader:
    """The ends of an IPCP that are read in its loop. To be made in the loop."""

    def __init__(self, packets: PacketClient) -> None:
        self._set = packets.event_set()
        self._loop = asyncio.get_running_loop()
        self._handlers: dict[FlowEnd, Callable[[], None]] = {}
        self._loop.add_reader(self._set, self._poll)

    def watch(self, end: FlowEnd, handler: Callable[[], None]) -> None:
        """Call `handler` whenever the end has a packet, room, or another state; until it has read what there is."""
        if end not in self._handlers:
            self._set.add(end)
        self._handlers[end] = handler

    def unwatch(self, end: FlowEnd) -> None:
        """No calls any more. Twice is harmless."""
        if self._handlers.pop(end, None) is not None:
            self._set.remove(end)

    def _poll(self) -> None:
        for end, _ in self._set.poll():
            handler = self._handlers.get(end)
            if handler is not None:
                handler()

    def close(self) -> None:
        """Watch nothing any more."""
        self._loop.remove_reader(self._set)
        self._handlers.clear()
        self._set.close()


class Timed(Protocol):
    """A sans-IO object with a clock."""

    def next_timeout(self) -> float | None: ...
    def handle_timeout(self, now: float) -> None: ...


class Timer:
    """Calls `handle_timeout` of a sans-IO object when it wants, and then `after`."""

    def __init__(self, what: Timed, after: Callable[[], None]) -> None:
        self._what = what
        self._after = after
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._stopped = False

    def arm(self) -> None:
        """To be called after everything that happened to the object."""
        due = None if self._stopped else self._what.next_timeout()
        if self._handle is not None:
            if due is not None and self._handle.when() <= due:
                return  # soon enough
            self._handle.cancel()
            self._handle = None
        if due is not None:
            self._handle = self._loop.call_at(due, self._over)

    def _over(self) -> None:
        self._handle = None
        self._what.handle_timeout(self._loop.time())
        self._after()
        self.arm()

    def stop(self) -> None:
        """No calls any more, whatever happens to the object."""
        self._stopped = True
        self.arm()


class LowerFlow:
    """An N-1 flow. `path` and `allocation` are what `IpcpContext.flow_alloc` and `flow_accept` give.

    `changed` is called with what becomes of the flow, at last with GONE: the other end is not there any more, or has
    not been heard of for the time that the QoS allows. That time runs while the flow is down, too, as it does at the
    other end, which gives the flow up then and may not know that it is down.
    """

    def __init__(self, ctx: IpcpContext, reader: Reader, path: End, allocation: Allocation) -> None:
        self.id: int = allocation.flow_id
        self.name: str = allocation.name
        self.qos: QosSpec = allocation.qos
        self.changed: Callable[[Change], None] = lambda change: None
        self.gone = False
        self._down = False  # as told by `_look_at_state`
        self._ctx = ctx
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._relay: Mover | None = None
        self._far: FlowEnd | None = None
        self._closed = False
        self._woken: asyncio.Future[None] | None = None
        self._handler: Callable[[list[bytes]], None] | None = None
        self._room: Callable[[], None] = lambda: None
        if isinstance(path, FlowEnd):
            self.end = self._inner = path
        else:
            assert isinstance(path, Pipeline)
            self._inner = path.end
            self.end, self._far = ctx.packets.pair()
            self._relay = ctx.packets.relay(path, self._far)
            self._relay_fd = self._relay.fileno()
            self._loop.add_reader(self._relay_fd, self._relay_news)
        self.end.set_options(_OPTIONS)
        self._liveness = Liveness(self.qos.timeout / 1000)
        self._looking: asyncio.TimerHandle | None = None
        self._look()

    def __repr__(self) -> str:
        return f"<N-1 flow {self.id} for the name {self.name!r}>"

    # ---- packets

    async def read(self, timeout: float) -> bytes:
        """The next packet. FlowTimeout; FlowDown, FlowPeer: none will come."""
        deadline = self._loop.time() + timeout
        while True:
            try:
                return self.end.read()
            except WouldBlock:
                pass
            if self.gone:
                raise FlowDown(f"the other end of {self!r} is gone")
            woken = self._woken = self._loop.create_future()
            self._reader.watch(self.end, self._wake)
            try:
                async with asyncio.timeout_at(deadline):
                    await woken
            except TimeoutError:
                raise FlowTimeout(f"nothing came on {self!r} within {timeout:g} s") from None
            finally:
                self._woken = None
                self._reader.unwatch(self.end)

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def send(self, packet: bytes) -> bool:
        """Send a packet. False: it was lost, as the ring is full or the flow is down."""
        try:
            self.end.write(packet)
        except OuroError:
            return False
        return True

    def receive(self, handler: Callable[[list[bytes]], None], room: Callable[[], None] = lambda: None) -> None:
        """From now on call `handler` with the packets that come, and `room` when a full ring may have room again."""
        self._handler, self._room = handler, room
        self._reader.watch(self.end, self._news)

    def _news(self) -> None:
        handler = self._handler
        if handler is None:
            return
        self._room()
        try:
            packets = self.end.read_many(_BATCH)
        except OuroError:  # none, or it is down: that is told below
            packets = []
        if packets:
            handler(packets)
        if not self._closed:
            self._look_at_state()

    # ---- state

    def tell(self, change: Change) -> None:
        """What somebody else found out: the forwarder that has the end."""
        if self.gone or self._closed:
            return
        if change == "GONE":
            self.gone = True
            self._wake()
        self.changed(change)

    def tell_of(self, event: MoverEvent) -> None:
        """What the mover that has the end says of it."""
        if event.kind in ("CLOSED", "DEAD"):
            self.tell("GONE")
        elif event.kind == "DOWN":
            self.tell("DOWN")
        elif event.kind == "UP":
            self.tell("UP")

    def _look_at_state(self) -> None:
        try:
            state = self.end.state
        except OuroError:
            state = State.CLOSED
        if state & _GONE:
            self._reader.unwatch(self.end)
            self.tell("GONE")
        elif bool(state & State.DOWN) is not self._down:
            self._down = not self._down
            self.tell("DOWN" if self._down else "UP")

    def _relay_news(self) -> None:
        assert self._relay is not None
        for event in self._relay.events():
            if event.key == 0:
                self.tell_of(event)

    def _look(self) -> None:
        """Keep-alives, and the other end's."""
        self._looking = None
        try:
            state = self._inner.state
            if state & (State.CLOSED | State.DEAD):
                return
            action = self._liveness.sample(self._inner.sequence(), self._loop.time())
            if action is LivenessAction.KEEPALIVE:
                self._inner.keepalive()
            elif action is LivenessAction.PEER_TIMED_OUT:
                self.tell("GONE")
        except OuroError:
            pass  # it went down just now: the next look finds out
        due = self._liveness.next_timeout()
        if due is not None and not self._closed:
            self._looking = self._loop.call_at(due, self._look)

    # ---- end

    async def close(self) -> None:
        """Give the flow up. Its end must be out of use. Idempotent."""
        if self._closed:
            return
        self._closed = self.gone = True
        self._handler = None
        if self._looking is not None:
            self._looking.cancel()
        self._reader.unwatch(self.end)
        self._wake()
        if self._relay is not None:
            await self._drained()
            self._loop.remove_reader(self._relay_fd)
            self._relay.stop()
            self.end.close()
            assert self._far is not None
            self._far.close()
        try:
            await self._ctx.flow_dealloc(self.id)
        except OuroError as e:
            self._ctx.log.debug("%r could not be deallocated: %s", self, e)

    async def _drained(self) -> None:
        """Let the relay take what was written last."""
        deadline = self._loop.time() + _DRAIN
        try:
            while self.end.queued()[1] and self._loop.time() < deadline:  # noqa: ASYNC110 relays do not tell
                await asyncio.sleep(0.002)
        except OuroError:
            pass


class Conversation(Timed, Protocol):
    """A sans-IO object with one peer that comes to an end."""

    @property
    def done(self) -> bool: ...
    def receive(self, data: bytes, now: float) -> None: ...
    def datagrams_to_send(self, now: float) -> list[bytes]: ...


async def converse(flow: LowerFlow, side: Conversation) -> None:
    """Let a sans-IO object talk over a flow until it is done. Not one packet more is read than it got. FlowDown."""
    loop = asyncio.get_running_loop()
    while True:
        for data in side.datagrams_to_send(loop.time()):
            flow.send(data)
        if side.done:
            return
        due = side.next_timeout()
        assert due is not None
        try:
            data = await flow.read(max(0.0, due - loop.time()))
        except FlowTimeout:
            side.handle_timeout(loop.time())
        else:
            side.receive(data, loop.time())

"""`ShimIpcp`: a `Management`, a `Medium` and a pump in an asyncio loop."""

import asyncio
import errno
from abc import abstractmethod
from collections import deque
from collections.abc import Hashable, Mapping
from contextlib import ExitStack
from functools import partial
from random import SystemRandom
from typing import Any, ClassVar, Final, Generic, TypeVar

from attrs import frozen

from ..contracts.ipcp import ArrivedFlow, Ipcp, IpcpContext, NFlow
from ..contracts.packets import MoverEvent, Pump, State
from ..model import ipcp_requests
from ..model.capability import Capability
from ..model.errors import FlowDown, IpcpError, OuroError, UnknownName
from ..model.layer import LayerInfo
from ..model.log import PP
from ..model.qos import QosSpec
from .admission import Admission
from .management import Answered, Arrived, Capable, Incoming, Management, Refused, Undelivered
from .medium import Medium

__all__ = ["ShimIpcp"]

A = TypeVar("A", bound=Hashable)

DRAIN: Final = 5.0
"""Seconds for what an application had written before it closed. Less than the IRM waits for a deallocation."""
RETRY: Final = 0.001
"""Seconds until management messages are sent again after the socket took no more."""
MESSAGES: Final = 256
"""Management messages that are handled between two turns of the loop."""
MESSAGE_RATE: Final = 4000.0
"""Management messages of one host that are handled a second, ..."""
MESSAGE_BURST: Final = 1000
"""... and at once: that is several long messages in fragments."""
MAX_UNSENT: Final = 1024
"""Management messages that wait for the socket."""
WARN: Final = 10.0
"""Seconds between two warnings of packets that cannot be sent."""


@frozen
class _Flow(Generic[A]):
    """A flow that is there: our endpoint, and the peer's."""

    flow: NFlow
    eid: int
    peer: A
    remote: int


class ShimIpcp(Ipcp, Generic[A]):
    """An IPCP over a legacy technology. A type implements `open` and `lookup`, and says its `mpl`.

    From `open` until `stop` there are `medium`, `management` and `pump`. Flows are bound to the pump by their endpoint
    before the request is sent, without a route, so that packets which overtake the reply are kept; an endpoint is free
    again when the pump has given the end back.
    """

    mpl: ClassVar[int]
    """Maximum packet lifetime in ms."""

    medium: Medium[A]
    management: Management[A]
    pump: Pump

    def __init__(self, context: IpcpContext) -> None:
        super().__init__(context)
        self._loop = asyncio.get_running_loop()
        self._running = False
        self._link_up = True
        self._timer: asyncio.TimerHandle | None = None
        self._unsent: deque[tuple[A, bytes]] = deque()
        self._resending: asyncio.TimerHandle | None = None
        self._not_sent = 0
        self._misreads = False
        self._warn_again = 0.0
        self._admission: Admission[A] = Admission(MESSAGE_RATE, MESSAGE_BURST)
        self._pending: dict[int, tuple[NFlow, asyncio.Future[bytes]]] = {}  # by our endpoint
        self._flows: dict[int, _Flow[A]] = {}  # by the IRM's id
        self._leaving: dict[int, asyncio.Future[None]] = {}
        self._asking: dict[A, list[asyncio.Future[Capability]]] = {}

    # ------------------------------------------------------------ for the types

    @abstractmethod
    async def open(self, layer: LayerInfo, config: Any) -> Medium[A]:
        """The medium of a new member. Leaves nothing open when it raises: ConfigError, NotPermitted, NotSupported."""

    @abstractmethod
    async def lookup(self, hash: bytes) -> bool:
        """Find a hash that `management.directory` does not have, and make it learn; whether it was found. May take
        seconds; cancelled when the IRM has waited long enough, and what is found later should be learnt all the same.

        `management.directory.learn(hash, address)` for each host that has it, the best last. A host that does not
        answer, or cannot be sent to, is forgotten, and the next allocation asks here again.
        """

    def make_management(self, medium: Medium[A]) -> Management[A]:
        """The management of a new member; a type with messages of its own has one of its own."""
        return Management(medium.codec, SystemRandom(), medium.max_message, self.ctx.capabilities, room=medium.room)

    def established(self) -> None:
        """There is another flow."""

    def happened(self, event: object) -> None:
        """An event of the type's own management."""

    # ------------------------------------------------------------ life

    async def bootstrap(self, layer: LayerInfo, config: Any) -> LayerInfo:
        with ExitStack() as undo:
            self.medium = await self.open(layer, config)
            undo.callback(self.medium.close)
            self.pump = self.ctx.packets.pump(self.medium.program, self.medium.fd)
            undo.callback(self.pump.stop)
            self.management = self.make_management(self.medium)
            undo.pop_all()
        self._running = True
        self._loop.add_reader(self.pump.fileno(), self._news)
        self._publish()
        return layer

    async def stop(self) -> None:
        if not self._running:
            return
        self._running = False
        for timer in (self._timer, self._resending):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self.pump.fileno())
        self.pump.stop()
        for gone in self._leaving.values():
            if not gone.done():
                gone.set_result(None)
        self.medium.close()

    # ------------------------------------------------------------ names

    async def reg(self, hash: bytes) -> None:
        self.management.registered.add(hash)

    async def unreg(self, hash: bytes) -> None:
        self.management.registered.discard(hash)

    async def query(self, hash: bytes) -> bool:
        return await self.find(hash) is not None

    async def find(self, hash: bytes) -> A | None:
        """Where a hash is. None: nobody knows. A type that knows of some without a directory overrides it."""
        directory = self.management.directory
        return directory.find(hash) if directory.find(hash) is not None or await self.lookup(hash) else None

    async def capabilities(self, hash: bytes) -> Capability:
        peer = await self.find(hash)
        if peer is None:
            return Capability(0)
        known = self.management.ask(peer, self._loop.time())
        if known is not None:
            return known
        answer: asyncio.Future[Capability] = self._loop.create_future()
        self._asking.setdefault(peer, []).append(answer)
        self.run()
        return await answer

    # ------------------------------------------------------------ flows

    async def flow_alloc(self, flow: NFlow, hash: bytes, qos: QosSpec, data: bytes) -> ipcp_requests.FlowReply:
        if not self._link_up:
            raise FlowDown("the link below this layer is down")
        peer = await self.find(hash)
        if peer is None:
            raise UnknownName(f"destination {hash[:4].hex()} is unreachable: no host of this layer is known to have it")
        eid = self.medium.endpoints.take()
        answer: asyncio.Future[bytes] = self._loop.create_future()
        try:
            self.pump.bind(eid, flow.carried)
        except BaseException:
            self.medium.endpoints.free(eid)
            raise
        self._pending[eid] = flow, answer
        try:
            self.management.request(eid, peer, hash, qos, data, self._loop.time())
            self.run()
            return ipcp_requests.FlowReply(self.mpl, await answer)
        except BaseException:
            self._pending.pop(eid, None)
            self._forget(flow.id)
            self.management.cancel(eid)
            await self._unbind(eid, 0.0)
            raise

    async def flow_dealloc(self, flow: NFlow, linger: float) -> None:
        there = self._flows.get(flow.id)
        if there is None:
            return
        try:
            await asyncio.sleep(linger)
        finally:
            self._forget(flow.id)
            await self._unbind(there.eid, DRAIN)

    def _forget(self, flow_id: int) -> None:
        if self._flows.pop(flow_id, None) is not None:
            self.ctx.rib.withdraw(f"flows/{flow_id}")

    async def _unbind(self, eid: int, drain: float) -> None:
        """Returns when the end of this endpoint is out of use."""
        if not self._running:
            return
        gone = self._leaving[eid] = self._loop.create_future()
        self.pump.unbind(eid, drain)
        await asyncio.shield(gone)

    def _established(self, flow: _Flow[A]) -> None:
        self._flows[flow.flow.id] = flow
        if not self._link_up:
            flow.flow.carried.mark(set=State.DOWN)
        self.ctx.rib.publish(f"flows/{flow.flow.id}", partial(self._flow_view, flow))
        self.established()

    # ------------------------------------------------------------ requests of others

    async def _answer(self, request: Incoming[A]) -> None:
        """Offer a request to the applications, and tell the requester what they say."""
        try:
            arrived = await self.ctx.flow_arrived(request.hash, request.qos, self.mpl, request.data)
        except OuroError as e:
            self._refuse(request, e)
        except Exception as e:
            self.ctx.log.exception("The flow request from %s could not be answered.", self.medium.show(request.peer))
            self._refuse(request, IpcpError(f"the request could not be answered: {e!r}"))
        else:
            self._accept(request, arrived)

    def _refuse(self, request: Incoming[A], error: OuroError) -> None:
        if self._running:
            self.ctx.log.debug("Could not get new flow from IRMd: %s", error)
            self.management.refuse(request, error, self._loop.time())
            self.run()

    def _accept(self, request: Incoming[A], arrived: ArrivedFlow) -> None:
        flow = arrived.flow
        try:
            eid = self.medium.endpoints.take()
        except OuroError as e:
            self.ctx.flow_closed(flow.id)
            self._refuse(request, e)
            return
        try:
            self.pump.bind(eid, flow.carried, self.medium.route(request.peer, request.eid, eid))
        except Exception as e:
            self.medium.endpoints.free(eid)
            self.ctx.flow_closed(flow.id)
            self._refuse(request, self._fault(request.peer, e))
            return
        self._established(_Flow(flow, eid, request.peer, request.eid))
        if not self.management.accept(request, eid, arrived.data, self._loop.time()):
            self.ctx.flow_closed(flow.id)
        self.run()

    def _fault(self, peer: A, error: Exception) -> OuroError:
        """What kept a flow from being bound. Said here, where it can be mended: the far end gets the number alone."""
        known = isinstance(error, OuroError)
        text = f"a flow with {self.medium.show(peer)} cannot be bound to the pump: {error if known else repr(error)}"
        self.ctx.log.error("%s", text, exc_info=None if known else error)
        return error if isinstance(error, OuroError) else IpcpError(text)

    # ------------------------------------------------------------ the loop

    def _news(self) -> None:
        """The pump has something for us."""
        for event in self.pump.events():
            self._pump_event(event)
        now = self._loop.time()
        for frame in self.pump.management(MESSAGES):
            try:
                source, message = self.medium.read(frame)
                if self._admission.admit(source, now):
                    self.management.receive(message, now, source)
            except Exception as e:  # the type's code: what others sent must not keep us from the rest
                self._misread(frame.frame, e)
        self.run()

    def _misread(self, frame: bytes, error: Exception) -> None:
        self.management.counters.malformed += 1
        if not self._misreads:
            self._misreads = True
            self.ctx.log.error(
                "A management frame cannot be read, for %r; others are dropped without a word: %s",
                error, frame.hex(), exc_info=error,
            )  # fmt: skip

    def _pump_event(self, event: MoverEvent) -> None:
        if event.kind == "UNBOUND":
            if event.value:
                self.ctx.log.warning("Endpoint %d: %d packets written last were not sent.", event.key, event.value)
            self.medium.endpoints.free(event.key)
            gone = self._leaving.pop(event.key, None)
            if gone is not None and not gone.done():
                gone.set_result(None)
        elif event.kind == "FAILED":
            self._failed(event.key, event.value)

    def _failed(self, eid: int, number: int) -> None:
        """Packets of a flow were dropped; `eid` 0: nothing can be received. An error may come with each packet."""
        self.ctx.log.debug("Failed to send or receive frames: %s.", errno.errorcode.get(number, number))
        now = self._loop.time()
        if not eid or not self._link_up or now < self._warn_again:
            return
        for flow in self._flows.values():
            if flow.eid == eid:
                self._warn_again = now + WARN
                peer, why = self.medium.show(flow.peer), self.medium.trouble(number)
                text = "Packets to %s are dropped, for they cannot be sent: %s. They are counted as tx_error."
                self.ctx.log.warning(text, peer, why)

    def run(self) -> None:
        """After everything that happened to `management`: do what it wants."""
        if not self._running:
            return
        while True:
            self._unsent.extend(self.management.datagrams_to_send(self._loop.time()))
            if self._unsent:
                self._transmit()
            events = self.management.events()
            if not events:
                break
            for event in events:
                self._event(event)
        self._arm()

    def _event(self, event: object) -> None:
        if isinstance(event, Arrived):
            self.ctx.log.debug(
                "New flow request, remote endpoint %d at %s.", event.request.eid, self.medium.show(event.request.peer)
            )
            self.ctx.spawn(self._answer(event.request), f"flow request from {self.medium.show(event.request.peer)}")
        elif isinstance(event, Answered):
            self._answered(event)
        elif isinstance(event, Refused):
            _, answer = self._pending.pop(event.eid, (None, None))
            if answer is not None and not answer.done():
                answer.set_exception(event.error)
        elif isinstance(event, Undelivered):
            for flow in [f for f in self._flows.values() if f.eid == event.eid]:
                self.ctx.log.error("Failed to respond to %s: %s", self.medium.show(flow.peer), event.error)
                self.ctx.flow_closed(flow.flow.id)
        elif isinstance(event, Capable):
            for asking in self._asking.pop(event.peer, ()):
                if not asking.done():
                    asking.set_result(event.capabilities)
        else:
            self.happened(event)

    def _answered(self, event: Answered[A]) -> None:
        flow, answer = self._pending.pop(event.eid, (None, None))
        if flow is None or answer is None or answer.done():
            return
        self.ctx.log.debug("Flow reply, src eid %d, dst eid %d.", event.remote, event.eid)
        try:
            self.pump.set_route(event.eid, self.medium.route(event.peer, event.remote, event.eid))
        except Exception as e:
            answer.set_exception(self._fault(event.peer, e))
            return
        self._established(_Flow(flow, event.eid, event.peer, event.remote))
        answer.set_result(event.data)

    def _transmit(self) -> None:
        while len(self._unsent) > MAX_UNSENT:
            self._unsent.pop()
            self._not_sent += 1
        while self._unsent and self._resending is None:
            to, message = self._unsent[0]
            try:
                self.medium.send(to, message)
            except OSError as e:
                if e.errno in (errno.EAGAIN, errno.ENOBUFS):
                    self._resending = self._loop.call_later(RETRY, self._resend)
                    return
                self._not_sent += 1
                text = f"cannot send to {self.medium.show(to)}: {self.medium.trouble(e.errno or 0)}"
                self.ctx.log.debug("Management message dropped: %s", text)
                self.management.unreachable(to, FlowDown(text))
            else:
                self.ctx.log.log(PP, "%d bytes to %s", len(message), self.medium.show(to))
            self._unsent.popleft()

    def _resend(self) -> None:
        self._resending = None
        self.run()

    def _arm(self) -> None:
        due = self.management.next_timeout()
        if self._timer is not None:
            if due is not None and self._timer.when() <= due:
                return  # soon enough
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_at(due, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        self.management.handle_timeout(self._loop.time())
        self.run()

    # ------------------------------------------------------------ the link

    def link(self, up: bool) -> None:
        """The link came up or went down: so do all flows. Twice the same is harmless."""
        if up == self._link_up:
            return
        self._link_up = up
        self.ctx.log.info("Interface %s.", "up" if up else "down")
        for flow in [there.flow for there in self._flows.values()]:
            try:
                flow.carried.mark(**{"clear" if up else "set": State.DOWN})
            except OuroError as e:
                self.ctx.log.debug("Flow %d: %s", flow.id, e)

    # ------------------------------------------------------------ looking inside

    def _publish(self) -> None:
        rib = self.ctx.rib
        rib.publish("medium", self.medium.view)
        rib.publish("link", lambda: {"up": self._link_up})
        rib.publish("registry", lambda: {"hashes": sorted(self.management.registered)})
        rib.publish("directory", self._directory_view)
        rib.publish("peers", self._peers_view)
        rib.publish("endpoints", lambda: {"in_use": len(self.medium.endpoints), "most": self.medium.endpoints.most})
        rib.publish("management", self._management_view)
        rib.publish("carrier", self.management.carrier_view)
        rib.publish("frames", self.pump.counters)

    def _management_view(self) -> Mapping[str, object]:
        kept = {"unsent": len(self._unsent), "not_sent": self._not_sent, "flooded": self._admission.dropped}
        return {**self.management.view(), **kept}

    def _directory_view(self) -> Mapping[str, object]:
        entries = self.management.directory.entries()
        return {hash.hex(): [self.medium.show(a) for a in addresses] for hash, addresses in entries.items()}

    def _peers_view(self) -> Mapping[str, object]:
        peers: dict[A, int] = {}
        for flow in self._flows.values():
            peers[flow.peer] = peers.get(flow.peer, 0) + 1
        for addresses in self.management.directory.entries().values():
            for address in addresses:
                peers.setdefault(address, 0)
        now = self._loop.time()
        return {
            self.medium.show(peer): {"flows": flows, "capabilities": _known(self.management.known(peer, now))}
            for peer, flows in peers.items()
        }

    def _flow_view(self, flow: _Flow[A]) -> Mapping[str, object]:
        try:
            counters = self.pump.flow_counters(flow.eid)
        except KeyError:  # on its way out
            counters = {}
        peer = self.medium.show(flow.peer)
        return {"endpoint": flow.eid, "peer": peer, "peer_endpoint": flow.remote, "frames": counters}


def _known(capabilities: object) -> str:
    return "not asked" if capabilities is None else str(capabilities)

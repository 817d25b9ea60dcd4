"""A member of a unicast layer: its components, made in order, wired by events, stopped in reverse (unicast.md 1.2).

connection manager --events--> data transfer --events--> routing --tables--> data transfer
flow allocator, directory: components with EIDs 0 and 1
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from os import urandom
from typing import Any, Final

from attrs import evolve, frozen

from ouro_core.contracts.directory import DirectoryAnswer, DirectoryPolicy, DirectorySetup
from ouro_core.contracts.ipcp import ArrivedFlow, IpcpContext, NFlow
from ouro_core.model.capability import Capability
from ouro_core.model.errors import FlowDown, FlowTimeout, IpcpError, OuroError, UnknownName
from ouro_core.model.ipcp_requests import FlowReply
from ouro_core.model.log import PP, logger
from ouro_core.model.names import HashAlgorithm
from ouro_core.model.qos import QosSpec
from ouro_core.shim.management import Answered, Arrived, Capable, Incoming, Refused, Undelivered

from .addresses import address_text
from .config import Policies, layer_info
from .connections import ConnectionManager
from .directory import Directory
from .events import Events
from .flowalloc import MPL, FlowAllocator, Withdrawn, new_eid
from .io import Reader, Timer
from .management import RoutingManagement
from .transfer import DataTransfer
from .wire import oep, pci
from .wire.ocep import DATA_TRANSFER, MANAGEMENT

__all__ = ["Member"]

_log = logger("flow-allocator")

DRAIN: Final = 5.0
"""Seconds for what an application had written before it closed. Less than the IRM waits for a deallocation."""


@frozen
class _Flow:
    """A flow of the layer above that is there."""

    flow: NFlow
    eid: int
    port: int
    peer: int
    remote: int


class Member:
    """From its making until `stop` an IPCP is a member of `layer`, which others can enrol in as it stands there."""

    def __init__(
        self,
        ctx: IpcpContext,
        reader: Reader,
        events: Events,
        connections: ConnectionManager,
        layer: oep.Layer,
        policies: Policies,
    ) -> None:
        assert layer.unicast is not None
        self._ctx = ctx
        self._loop = asyncio.get_running_loop()
        self._connections = connections
        self._stopped = False
        info = layer_info(layer)
        authority = policies.authority(layer.unicast.address_size)
        self.address = authority.draw(urandom, (policies.peer,))
        ctx.log.info("IPCP got address %d.", self.address)
        if layer.unicast.eid_size != pci.EID_SIZE:
            ctx.log.warning(
                "Invalid EID size. Only 64 bit is supported. The layer is described with %d bytes; 8 are used.",
                layer.unicast.eid_size,
            )
        settings = policies.directory.encode_config(policies.directory_config, self.address)
        self.layer = evolve(layer, unicast=evolve(layer.unicast, directory_settings=settings))
        congestion = policies.congestion()
        program = pci.program(self.address, layer.unicast.max_ttl, congestion.window, congestion.ecn_shift)
        routing = policies.routing(self.address, policies.routing_config, ctx.random, _At(ctx, "routing"))
        directory = self._directory_policy(policies, info.hash)
        pff = policies.pff()
        self.transfer = DataTransfer(ctx, reader, program, pff, congestion)
        self.routing = RoutingManagement(routing, self.transfer)
        self.allocator = FlowAllocator(self.address, info.hash.size, ctx.capabilities, updated=self.transfer.feedback)
        self._component = self.transfer.component(pci.FLOW_ALLOCATOR_EID, self._received)
        self._timer = Timer(self.allocator, self._run)
        self.directory = Directory(directory, self.transfer)
        self._pending: dict[int, tuple[NFlow, int, asyncio.Future[bytes]]] = {}  # by our EID
        self._flows: dict[int, _Flow] = {}  # by the IRM's id
        self._by_port: dict[int, _Flow] = {}
        self._offers: dict[object, asyncio.Task[ArrivedFlow]] = {}  # requests that applications are offered
        self._asking: dict[int, list[asyncio.Future[Capability]]] = {}
        self.transfer.table_changed = self.directory.reach
        self.transfer.reported = self._marked
        # nothing goes wrong from here on: a failed attempt leaves no trace
        self.transfer.subscribe(events)
        self.routing.subscribe(events)
        connections.register(MANAGEMENT.at(self.address))
        connections.register(DATA_TRANSFER.at(self.address))
        self.directory.start((policies.peer,) if policies.peer else ())
        self._publish(policies)

    def _directory_policy(self, policies: Policies, hash: HashAlgorithm) -> DirectoryPolicy:
        clock = time.time() - self._loop.time()
        rib = _At(self._ctx, "directory")
        return policies.directory(
            DirectorySetup(
                self.address, hash, policies.directory_config, self._ctx.random, rib, lambda now: now + clock
            )
        )

    async def stop(self) -> None:
        """Be a member no more. Everything is out of use then."""
        if self._stopped:
            return
        self._stopped = True
        for component in (MANAGEMENT, DATA_TRANSFER):
            self._connections.withdraw(component.component)
        self.directory.stop()
        self._timer.stop()
        self.routing.stop()
        self.transfer.stop()
        self._ctx.rib.withdraw("member")

    # ------------------------------------------------------------ names

    def register(self, hash: bytes) -> None:
        """From now on the name is at this member."""
        self.allocator.registered.add(hash)
        self.directory.register(hash)

    def unregister(self, hash: bytes) -> None:
        """The reverse."""
        self.allocator.registered.discard(hash)
        self.directory.unregister(hash)

    async def query(self, hash: bytes) -> bool:
        """Whether the layer knows a name."""
        answer = await self.directory.query(hash)
        return answer.here or bool(answer.addresses)

    async def capabilities(self, hash: bytes) -> Capability:
        """What the member can do that a flow to this name leads to."""
        candidates = self._candidates(await self.directory.query(hash))
        if not candidates:
            return Capability(0)
        known = self.allocator.ask(candidates[0], self._loop.time())
        if known is not None:
            return known
        answer: asyncio.Future[Capability] = self._loop.create_future()
        self._asking.setdefault(candidates[0], []).append(answer)
        self._run()
        return await answer

    def _candidates(self, answer: DirectoryAnswer) -> list[int]:
        """Where to ask for a flow: other members first, so that what is here already is not asked of the IRM again."""
        here = [self.address] if answer.here else []
        return [*(a for a in answer.addresses if self.transfer.reaches(a)), *here]

    # ------------------------------------------------------------ flows we ask for

    async def alloc(self, flow: NFlow, hash: bytes, qos: QosSpec, data: bytes) -> FlowReply:
        """A flow to the best member that has the name."""
        answer = await self.directory.query(hash)
        candidates = self._candidates(answer)
        if not candidates:
            if answer.addresses:
                where = ", ".join(address_text(a) for a in answer.addresses)
                raise FlowDown(f"{hash[:4].hex()} is registered at {where}, and there is no route to it now")
            raise UnknownName(f"{hash[:4].hex()} is registered nowhere in this layer")
        for peer in candidates:
            try:
                return await self._alloc(flow, peer, hash, qos, data)
            except UnknownName:
                self.directory.refused(hash, peer)  # it had the name once
            except (FlowTimeout, asyncio.CancelledError):
                self.directory.refused(hash, peer)  # the next request is for another
                raise
        where = ", ".join(map(address_text, candidates))
        raise UnknownName(f"{hash[:4].hex()} was registered at {where}, and is there no more")

    async def _alloc(self, flow: NFlow, peer: int, hash: bytes, qos: QosSpec, data: bytes) -> FlowReply:
        eid = new_eid()
        port = self.transfer.add_flow(eid, flow.carried, peer, 0)
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._pending[eid] = flow, port, answer
        try:
            self.allocator.request(eid, peer, hash, qos, data, self._loop.time())
            self._run()
            return FlowReply(MPL, await answer)
        except BaseException:
            self._pending.pop(eid, None)
            self._forget(flow.id)
            self.allocator.withdraw(eid, self._loop.time())
            self._run()
            await self.transfer.remove(port)
            raise

    def _answered(self, event: Answered[int]) -> None:
        flow, port, answer = self._pending.pop(event.eid, (None, 0, None))
        if flow is None or answer is None or answer.done():
            return
        self.transfer.forwarder.set_peer(port, event.peer, event.remote)
        self._established(_Flow(flow, event.eid, port, event.peer, event.remote))
        answer.set_result(event.data)

    def _refused(self, event: Refused) -> None:
        _, _, answer = self._pending.pop(event.eid, (None, 0, None))
        if answer is not None and not answer.done():
            answer.set_exception(event.error)

    # ------------------------------------------------------------ flows we are asked for

    async def _answer(self, request: Incoming[int]) -> None:
        """Offer a request to the applications, and tell the requester what they say."""
        offer = self._loop.create_task(self._ctx.flow_arrived(request.hash, request.qos, MPL, request.data))
        self._offers[request.key] = offer
        try:
            arrived = await offer
        except asyncio.CancelledError:
            if not request.superseded:
                raise
        except OuroError as e:
            self._refuse(request, e)
        except Exception as e:
            _log.exception("The flow request of %s could not be answered.", address_text(request.peer))
            self._refuse(request, IpcpError(f"the request could not be answered: {e!r}"))
        else:
            self._accept(request, arrived)
        finally:
            offer.cancel()
            del self._offers[request.key]

    def _refuse(self, request: Incoming[int], error: OuroError) -> None:
        if not self._stopped:
            _log.debug("A flow request of %s is refused: %s", address_text(request.peer), error)
            self.allocator.refuse(request, error, self._loop.time())
            self._run()

    def _accept(self, request: Incoming[int], arrived: ArrivedFlow) -> None:
        flow, eid = arrived.flow, new_eid()
        try:
            port = self.transfer.add_flow(eid, flow.carried, request.peer, request.eid)
        except Exception as e:
            self._ctx.flow_closed(flow.id)
            self._refuse(request, e if isinstance(e, OuroError) else IpcpError(f"the flow cannot be bound: {e!r}"))
            return
        self._established(_Flow(flow, eid, port, request.peer, request.eid))
        if not self.allocator.accept(request, eid, arrived.data, self._loop.time()):
            self._ctx.flow_closed(flow.id)
        self._run()

    def _undelivered(self, event: Undelivered) -> None:
        for flow in [f for f in self._flows.values() if f.eid == event.eid]:
            _log.error("Failed to respond to %s: %s", address_text(flow.peer), event.error)
            self._ctx.flow_closed(flow.flow.id)

    # ------------------------------------------------------------ flows that are there

    def _established(self, flow: _Flow) -> None:
        self._flows[flow.flow.id] = self._by_port[flow.port] = flow
        self._ctx.rib.publish(f"member/flows/{flow.flow.id}", partial(self._flow_view, flow))

    def _forget(self, flow_id: int) -> None:
        flow = self._flows.pop(flow_id, None)
        if flow is not None:
            self._by_port.pop(flow.port, None)
            self._ctx.rib.withdraw(f"member/flows/{flow_id}")

    async def dealloc(self, flow: NFlow, linger: float) -> None:
        """The application gave a flow up. The far end is not told: there is no message for that (unicast.md 6.8)."""
        there = self._flows.get(flow.id)
        if there is None:
            return
        try:
            await asyncio.sleep(linger)
        finally:
            self._forget(flow.id)
            unsent = await self.transfer.remove(there.port, DRAIN)
            if unsent:
                _log.warning("Flow %d: %d packets written last were not sent.", flow.id, unsent)

    def _marked(self, port: int, ece: int) -> None:
        """Packets of a flow were marked on their way: its sender is to know."""
        flow = self._by_port.get(port)
        if flow is not None:
            self.allocator.update(flow.peer, flow.remote, ece)
            self._run()

    # ------------------------------------------------------------ the allocator's messages

    def _received(self, data: bytes) -> None:
        self.allocator.take(data, self._loop.time())
        self._run()

    def _run(self) -> None:
        """After everything that happened to the allocator: do what it wants."""
        if self._stopped:
            return
        while True:
            for peer, message in self.allocator.datagrams_to_send(self._loop.time()):
                _log.log(PP, "%d bytes for the flow allocator of %s", len(message), address_text(peer))
                if not self._component.send(peer, message):
                    self.allocator.unreachable(peer, FlowDown(f"there is no route to {address_text(peer)} now"))
            events = self.allocator.events()
            if not events:
                break
            for event in events:
                self._event(event)
        self._timer.arm()

    def _event(self, event: object) -> None:
        if isinstance(event, Arrived):
            self._ctx.spawn(self._answer(event.request), f"flow request of {address_text(event.request.peer)}")
        elif isinstance(event, Answered):
            self._answered(event)
        elif isinstance(event, Refused):
            self._refused(event)
        elif isinstance(event, Undelivered):
            self._undelivered(event)
        elif isinstance(event, Withdrawn):
            if (offer := self._offers.get(event.request.key)) is not None:
                offer.cancel()
        elif isinstance(event, Capable):
            for asking in self._asking.pop(event.peer, ()):
                if not asking.done():
                    asking.set_result(event.capabilities)

    # ------------------------------------------------------------ looking inside

    def _publish(self, policies: Policies) -> None:
        rib = self._ctx.rib
        names = {
            "routing": policies.routing.name, "pff": policies.pff.name, "directory": policies.directory.name,
            "addr_auth": policies.authority.name, "congestion": policies.congestion.name,
        }  # fmt: skip
        unicast = self.layer.unicast
        assert unicast is not None
        rib.publish("member", {
            "address": address_text(self.address), "number": self.address, "max_ttl": unicast.max_ttl,
            "policies": names,
        })  # fmt: skip
        rib.publish("member/neighbours", self.transfer.neighbours)
        rib.publish("member/management", self.routing.connections)
        rib.publish("member/table", self.transfer.table)
        rib.publish("member/components", self.transfer.components)
        rib.publish("member/links", self._links)
        rib.publish("member/packets", self.transfer.forwarder.counters)
        rib.publish("member/connections", lambda: dict(self._connections.counters))
        rib.publish("member/allocator", self._allocator_view)
        rib.publish("member/carrier", self.allocator.carrier_view)

    def _links(self) -> Mapping[str, Sequence[str]]:
        links: dict[str, list[str]] = {}
        for source, destination in sorted(self.routing.policy.links()):
            links.setdefault(address_text(source), []).append(address_text(destination))
        return links

    def _allocator_view(self) -> Mapping[str, Any]:
        a = self.allocator
        return {**a.view(), "updates_sent": a.updates_sent, "updates_received": a.updates_received}

    def _flow_view(self, flow: _Flow) -> Mapping[str, Any]:
        try:
            counters = self.transfer.forwarder.flow_counters(flow.port)
        except KeyError:  # on its way out
            counters = {}
        return {
            "eid": f"{flow.eid:#x}", "peer": address_text(flow.peer), "peer_eid": f"{flow.remote:#x}",
            "packets": counters,
        }  # fmt: skip


class _At:
    """A node of the RIB below the member's."""

    def __init__(self, ctx: IpcpContext, name: str) -> None:
        self._rib, self._name = ctx.rib, f"member/{name}"

    def publish(self, path: str, source: object) -> None:
        self._rib.publish(f"{self._name}/{path}", source)

    def withdraw(self, path: str) -> None:
        self._rib.withdraw(f"{self._name}/{path}")

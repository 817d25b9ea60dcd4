"""The broker: in the IRM. Makes pools, flows and event sets, and cleans up behind clients that left or died.

Theory of operation. A flow has two sides; a side is *gone* when its client left, when it closed its end, or when the
flow was destroyed before it attached. Blocks that wait in the rings of a flow belong to nobody's process any more
(their owner words hold the tag of the ring), so they are freed when both sides are gone, never earlier: a reader may
still take them. Nobody tells the broker that an end was closed; it looks at the flows that it destroyed whenever it is
called.
"""

import grp
import os
import socket
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Final

from attrs import define, field

from ouro_core.contracts import packets
from ouro_core.contracts.packets import ClientRef, Domain, Geometry, Grant, State
from ouro_core.model.errors import OutOfMemory, PacketsError

from . import _kernel
from ._grant import ADMIT, CLIENT, FLOW, SHORT, WHOLE, GrantData
from .view import PoolView, Ring

__all__ = ["SsmBroker", "SsmFlow"]

_LAST_TAG: Final = 0x7FFFFFFE
_RING: Final = 0x80000000
_GROUP: Final = "ouroboros"
_SWEEP: Final = 8
"""Ending flows that are looked at whenever the broker does something."""
# plain numbers: each operation with an enumeration takes a microsecond
_CLOSED: Final = int(State.CLOSED)
_DEAD: Final = int(State.DEAD)
_ENDED: Final = int(State.CLOSED | State.DEAD)
_OVER: Final = int(State.DOWN | State.CLOSED)
_MAX_ENDING: Final = 4096
"""Destroyed flows of one user whose ends are still open. Each costs us a mapping, of which a process has 65530."""


@define(kw_only=True)
class _Access:
    """Owner and mode of all segments of a trust domain."""

    uid: int
    gid: int
    mode: int

    @classmethod
    def of(cls, domain: Domain) -> "_Access":
        if domain.uid:
            return cls(uid=domain.uid, gid=os.getegid(), mode=0o600)
        try:
            gid = grp.getgrnam(_GROUP).gr_gid
        except KeyError:
            return cls(uid=os.geteuid(), gid=os.getegid(), mode=0o600)
        if os.geteuid() and gid not in (os.getegid(), *os.getgroups()):
            return cls(uid=os.geteuid(), gid=os.getegid(), mode=0o600)
        return cls(uid=os.geteuid(), gid=gid, mode=0o660)


@define(kw_only=True, eq=False)
class _Domain:
    """A trust domain: its pool, and how many clients and flows use that."""

    domain: Domain
    access: _Access
    fd: int
    pool: _kernel.Pool
    users: int = 0

    @classmethod
    def create(cls, domain: Domain, geometry: Geometry) -> "_Domain":
        access = _Access.of(domain)
        fd = _kernel.create_pool(domain.uid, geometry, access.uid, access.gid, access.mode)
        try:
            pool = _kernel.Pool(fd, domain.uid, access.uid)
        except BaseException:
            os.close(fd)
            raise
        return cls(domain=domain, access=access, fd=fd, pool=pool)


@define(kw_only=True, eq=False)
class _Set:
    """The event set of one client in one domain; the bits that are free, and the descriptors to hand out: `own` to the
    client, `other` to those at the other ends of its flows.
    """

    number: int
    own: tuple[int, ...]
    other: tuple[int, ...]
    events: _kernel.Events
    used: set[int] = field(factory=set)
    next_bit: int = 0

    @classmethod
    def create(cls, number: int, access: _Access) -> "_Set":
        memory = _kernel.create_events(number, access.uid, access.gid, access.mode)
        bells: list[int] = []
        ears: list[int] = []
        try:
            for _ in range(2):
                pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
                bells.append(pair[0].detach())
                ears.append(pair[1].detach())
            events = _kernel.Events(memory, number, access.uid, bells)
        except BaseException as e:
            _close([memory, *bells, *ears])
            if isinstance(e, OSError):
                raise PacketsError(f"no descriptor for an event set: {e.strerror}") from e
            raise
        return cls(number=number, own=(memory, *bells, *ears), other=(memory, *bells), events=events)

    def close(self) -> None:
        """The bells go with `events`."""
        memory, _, _, *ears = self.own
        _close([memory, *ears])

    def take_bit(self) -> int:
        """Round-robin, so that a bit that was just given back is not the next one."""
        for _ in range(_kernel.FLOW_BITS):
            bit, self.next_bit = self.next_bit, (self.next_bit + 1) % _kernel.FLOW_BITS
            if bit not in self.used:
                self.used.add(bit)
                return bit
        raise OutOfMemory(f"a client has {_kernel.FLOW_BITS} flows in one trust domain; deallocate some")


@define(kw_only=True, eq=False)
class _Client:
    ref: ClientRef
    sets: dict[int, _Set] = field(factory=dict)
    flows: "set[SsmFlow]" = field(factory=set)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


@define(kw_only=True, eq=False)
class _Side:
    client: _Client
    events: _Set
    bit: int
    gone: bool = False


@define(kw_only=True, eq=False)
class SsmFlow(packets.BrokerFlow):
    """One flow, as the broker sees it."""

    flow_id: int
    _broker: "SsmBroker"
    _domain: _Domain
    _sides: tuple[_Side, _Side]
    _tag: int
    _fd: int
    _segment: _kernel.FlowSegment
    _destroyed: bool = False
    _reaped: bool = False

    def grant(self, end: int, flow_id: int | None = None) -> Grant:
        own, other = self._sides[end], self._sides[1 - end]
        if self._destroyed or own.gone:
            raise PacketsError(f"flow {self.flow_id} was destroyed, or its client left; allocate another one")
        short = self._domain.domain == own.client.ref.domain
        data = GrantData(
            kind=FLOW, places=SHORT if short else WHOLE, side=end, client=own.client.ref.id, flow=self.flow_id,
            tag=self._tag, pool_uid=self._domain.domain.uid, owner=self._domain.access.uid, own_set=own.events.number,
            own_bit=own.bit, other_set=other.events.number, other_bit=other.bit,
            shown=self.flow_id if flow_id is None else flow_id,
        )  # fmt: skip
        has = () if short else (self._domain.fd, *own.events.own)
        return Grant(data.encode(), (self._fd, *has, *other.events.other))

    def down(self, state: State = State.DOWN) -> None:
        if state & _DEAD and self._ended():
            return
        if state == _CLOSED and self._segment.state() & _CLOSED:
            return  # by the end that closed, and it woke everybody
        if not self._reaped:
            self._mark(state, 0)

    def _ended(self) -> bool:
        """Whether an end was closed, or died: how a flow ended first is how it ended."""
        return bool(self._segment.state() & _ENDED)

    def up(self) -> None:
        if self._destroyed or self._ended():
            raise PacketsError(
                f"flow {self.flow_id} is {State(self._segment.state())!r}; it is never revived, allocate a new one"
            )
        self._mark(0, State.DOWN)

    def destroy(self) -> None:
        if self._destroyed:
            return
        self._destroyed = True
        self._segment.revoke()
        if not (self._side_gone(0) and self._side_gone(1)):
            self._mark(_OVER, 0)
        os.close(self._fd)
        self._broker._destroyed(self)

    def _mark(self, on: int, off: int) -> None:
        self._segment.mark(on, off)
        self._domain.pool.wake()
        for side in self._sides:
            side.events.events.wake(side.bit)

    def _leave(self, client: _Client, died: bool) -> None:
        for side in self._sides:
            if side.client is client:
                side.gone = True
        how = State.DEAD | State.DOWN if died and not self._ended() else State.CLOSED
        self._mark(how, 0)
        self._reap()

    def _side_gone(self, end: int) -> bool:
        attached = self._segment.attached(end)
        return self._sides[end].gone or attached == 2 or (attached == 0 and self._destroyed)

    def _reap(self) -> bool:
        """Whether the flow is over and nothing of it is left."""
        if not self._reaped and self._side_gone(0) and self._side_gone(1):
            self._reaped = True
            self._domain.pool.reap((_RING | self._tag, _RING | self._tag | 1))
        return self._reaped and self._destroyed


class SsmBroker(packets.PacketBroker):
    """PacketBroker of `ssm`. One thread."""

    def __init__(self, shared: Geometry, user: Geometry) -> None:
        """PacketsError: pools that cannot be; said now, and not when the first user comes."""
        for whose, geometry in (("shared", shared), ("a user's", user)):
            try:
                _kernel.pool_size(geometry)
            except PacketsError as e:
                raise PacketsError(f"{whose} pool: {e}") from None
        self._shared = shared
        self._user = user
        self._domains: dict[int, _Domain] = {}
        self._clients: dict[int, _Client] = {}
        self._flows: dict[int, SsmFlow] = {}
        # Destroyed, or a client left: blocks may be in their rings. Looked at longest ago first.
        self._ending: OrderedDict[SsmFlow, None] = OrderedDict()
        self._ending_of: Counter[int] = Counter()  # by uid of the domain
        self._next_set = 1
        self._next_tag = 2

    def admit(self, ref: ClientRef) -> Grant:
        self._sweep()
        if not 0 < ref.id < 1 << 31:
            raise PacketsError(f"client id {ref.id} is not in 1..2**31-1")
        if ref.id in self._clients:
            raise PacketsError(f"client {ref.id} was admitted already")
        domain = self._domain(ref.domain)
        client = _Client(ref=ref)
        events = self._set(client, domain)
        self._clients[ref.id] = client
        domain.users += 1
        data = GrantData(
            kind=ADMIT, places=CLIENT, client=ref.id, pool_uid=ref.domain.uid, owner=domain.access.uid,
            own_set=events.number,
        )  # fmt: skip
        return Grant(data.encode(), (domain.fd, *events.own))

    def create_flow(self, flow_id: int, a: ClientRef, b: ClientRef) -> SsmFlow:
        self._sweep()
        if not 0 <= flow_id < 1 << 32:
            raise PacketsError(f"flow id {flow_id} is not in 0..2**32-1")
        if flow_id in self._flows:
            raise PacketsError(f"flow {flow_id} exists; destroy it before its id is used again")
        poorer = a.domain.poorer(b.domain)
        if poorer.uid and self._ending_of[poorer.uid] >= _MAX_ENDING:
            raise OutOfMemory(f"user {poorer.uid} has {_MAX_ENDING} deallocated flows with open ends; close them")
        clients = (self._client(a), self._client(b))
        domain = self._domain(poorer)
        access = domain.access
        sets = [self._set(client, domain) for client in clients]
        if any(len(events.used) == _kernel.FLOW_BITS for events in sets):
            self._sweep_all()
        bits: list[int] = []
        fd = -1
        try:
            bits.extend(events.take_bit() for events in sets)
            fd = _kernel.create_flow_memory(flow_id, access.uid, access.gid, access.mode)
            segment = _kernel.FlowSegment(fd, flow_id, access.uid)
        except BaseException:
            for events, bit in zip(sets, bits, strict=False):
                events.used.discard(bit)
            if fd >= 0:
                os.close(fd)
            raise
        sides = [
            _Side(client=client, events=events, bit=bit)
            for client, events, bit in zip(clients, sets, bits, strict=True)
        ]
        flow = SsmFlow(
            flow_id=flow_id, broker=self, domain=domain, sides=(sides[0], sides[1]), tag=self._new_tag(), fd=fd,
            segment=segment,
        )  # fmt: skip
        self._flows[flow_id] = flow
        domain.users += 1
        for client in clients:
            client.flows.add(flow)
        return flow

    def leave(self, ref: ClientRef, died: bool) -> Sequence[int]:
        client = self._clients.pop(ref.id, None)
        if client is None:
            return ()
        for domain in self._domains.values():
            domain.pool.reap((ref.id,))
        ids = [flow.flow_id for flow in client.flows if not flow._destroyed]
        for flow in client.flows:
            flow._leave(client, died)
        for flow in client.flows:
            self._end(flow)
        self._close_unused(client)
        self._less_used(self._domains[ref.domain.uid])
        self._sweep()
        return ids

    def counters(self) -> dict[str, int]:
        self._sweep_all()
        counts = {"clients": len(self._clients), "flows": len(self._flows)}
        for uid, domain in self._domains.items():
            for payload, total, used, failed in domain.pool.usage():
                name = f"pool.{uid}.{payload}"
                counts |= {f"{name}.total": total, f"{name}.used": used, f"{name}.failed": failed}
        return counts

    def view(self) -> dict[str, PoolView]:
        self._sweep_all()
        rings: dict[int, Ring] = {}
        for flow in (*self._flows.values(), *self._ending):
            for end, side in enumerate(flow._sides):
                rings[_RING | flow._tag | end] = Ring(flow=flow.flow_id, writer=side.client.ref.id)
        return {str(uid): PoolView.of(domain.pool, rings) for uid, domain in self._domains.items()}

    def close(self) -> None:
        for flow in list(self._flows.values()):
            flow.destroy()
        for flow in list(self._ending):
            self._forget(flow)
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            self._close_unused(client)
        for domain in self._domains.values():
            os.close(domain.fd)
        self._domains.clear()

    # -------------------------------------------------------- what there is

    def _client(self, ref: ClientRef) -> _Client:
        try:
            return self._clients[ref.id]
        except KeyError:
            raise PacketsError(f"client {ref.id} is not here; admit it first") from None

    def _domain(self, domain: Domain) -> _Domain:
        known = self._domains.get(domain.uid)
        if known is None:
            known = _Domain.create(domain, self._user if domain.uid else self._shared)
            self._domains[domain.uid] = known
        return known

    def _set(self, client: _Client, domain: _Domain) -> _Set:
        """The client's event set in this domain, made when it is first needed."""
        uid = domain.domain.uid
        if uid not in client.sets:
            client.sets[uid] = _Set.create(self._next_set, domain.access)
            self._next_set += 1
        return client.sets[uid]

    def _new_tag(self) -> int:
        if self._next_tag > _LAST_TAG:
            raise PacketsError("two thousand million flows were made; restart the IRMd")
        tag, self._next_tag = self._next_tag, self._next_tag + 2
        return tag

    # -------------------------------------------------------- what goes

    def _destroyed(self, flow: SsmFlow) -> None:
        del self._flows[flow.flow_id]
        self._end(flow)
        self._sweep()

    def _end(self, flow: SsmFlow) -> None:
        if flow not in self._ending:
            self._ending[flow] = None
            self._ending_of[flow._domain.domain.uid] += 1

    def _sweep(self, most: int = _SWEEP) -> None:
        """Looks at so many ending flows, and forgets destroyed ones that both sides have left."""
        for _ in range(min(most, len(self._ending))):
            flow = next(iter(self._ending))
            if flow._reap():
                self._forget(flow)
            else:
                self._ending.move_to_end(flow)

    def _sweep_all(self) -> None:
        self._sweep(len(self._ending))

    def _forget(self, flow: SsmFlow) -> None:
        del self._ending[flow]
        self._ending_of[flow._domain.domain.uid] -= 1
        for side in flow._sides:
            side.events.used.discard(side.bit)
            side.client.flows.discard(flow)
            self._close_unused(side.client)
        self._less_used(flow._domain)

    def _close_unused(self, client: _Client) -> None:
        """Its event sets, once nobody needs them: the client left, and so did its flows."""
        if client.ref.id not in self._clients and not client.flows:
            for events in client.sets.values():
                events.close()
            client.sets.clear()

    def _less_used(self, domain: _Domain) -> None:
        """What a user did to his memory ends with his last process, and so does its use of pages."""
        domain.users -= 1
        uid = domain.domain.uid
        if domain.users or not uid:
            return
        domain.pool.renew()
        for client in self._clients.values():
            if uid in client.sets:
                client.sets[uid].events.renew()

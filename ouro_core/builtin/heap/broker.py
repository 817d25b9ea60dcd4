"""The broker, the clients and the system of `heap`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypeVar
from weakref import WeakSet

from ouro_core.builtin.movers import PythonForwarder, PythonPump, PythonRelay
from ouro_core.contracts.packets import (
    BrokerFlow,
    ClientRef,
    Domain,
    End,
    EventSet,
    FlowEnd,
    Forwarder,
    Geometry,
    Grant,
    Mover,
    Options,
    PacketBroker,
    PacketClient,
    PacketSystem,
    Pump,
    State,
)
from ouro_core.contracts.programs import ForwardProgram, PumpProgram
from ouro_core.model.errors import BadDescriptor, PacketsError

from .end import HeapEnd
from .events import HeapEventSet
from .flow import Flow, Seat, Side
from .pool import Guard, Pool

_DEFAULT = Options()

_M = TypeVar("_M", bound=Mover)

_grants: dict[bytes, Seat | Side] = {}
"""What the tokens of this process stand for."""


def _granted(data: bytes, fds: Sequence[int]) -> Seat | Side | None:
    for fd in fds:  # taken over, as the contract says; a token needs none
        os.close(fd)
    return _grants.get(bytes(data))


class HeapClient(PacketClient):
    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._guard = seat.pool.guard
        self._sets: WeakSet[HeapEventSet] = WeakSet()
        self._movers: WeakSet[Mover] = WeakSet()
        self._closed = False
        self.ref = seat.ref

    def _open(self) -> None:
        if self._closed or self._seat.left:
            raise BadDescriptor(f"client {self.ref.id} is closed; ask the broker for another one")

    def attach(self, data: bytes, fds: Sequence[int], options: Options = _DEFAULT) -> FlowEnd:
        side = _granted(data, fds)
        with self._guard:
            self._open()
            if not isinstance(side, Side) or side.seat is not self._seat:
                raise PacketsError(
                    f"{bytes(data).hex()} is no grant of a flow to client {self.ref.id}, or the flow is gone"
                )
            if side.attached:
                raise PacketsError(f"this end of flow {side.shown} is attached already; use that one")
            side.attached = True
            side.options = options
            return HeapEnd(side)

    def pair(self) -> tuple[FlowEnd, FlowEnd]:
        """`flow_id` is negative: the flow has none outside this client."""
        with self._guard:
            self._open()
            self._seat.pairs += 1
            a, b = Flow(-self._seat.pairs, self._seat.pool, self._seat, self._seat).sides
            a.attached = b.attached = True
            return HeapEnd(a), HeapEnd(b)

    def event_set(self) -> EventSet:
        with self._guard:
            self._open()
            made = HeapEventSet(self._seat, self._guard)
            self._sets.add(made)
            return made

    def _started(self, mover: _M) -> _M:
        self._movers.add(mover)
        return mover

    def pump(self, program: PumpProgram, fd: int) -> Pump:
        self._open()
        return self._started(PythonPump(self, program, fd))

    def forwarder(self, program: ForwardProgram) -> Forwarder:
        self._open()
        return self._started(PythonForwarder(self, program))

    def relay(self, a: End, b: End, batch: int = 32) -> Mover:
        self._open()
        return self._started(PythonRelay(a, b, batch))

    def counters(self) -> Mapping[str, int]:
        with self._guard:
            pools = {side.flow.pool for side in self._seat.sides} | {self._seat.pool}
            return {name: n for pool in pools for name, n in pool.counters().items()}

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for mover in list(self._movers):
            mover.stop()
        for events in list(self._sets):
            events.close()
        with self._guard:
            self._seat.give_back(State.CLOSED)


class HeapBrokerFlow(BrokerFlow):
    def __init__(self, broker: HeapBroker, flow: Flow) -> None:
        self._broker = broker
        self._flow = flow

    def grant(self, end: int, flow_id: int | None = None) -> Grant:
        side = self._flow.sides[end]
        if self._flow.destroyed or side.seat.left:
            raise PacketsError(f"flow {self._flow.id} was destroyed, or its client left; create another one")
        side.shown = self._flow.id if flow_id is None else flow_id
        return Grant(side.token)

    def down(self, state: State = State.DOWN) -> None:
        """DOWN, or DEAD or CLOSED for good."""
        with self._broker.guard:
            if state & State.DEAD and self._flow.ended:
                return
            self._flow.final |= state & ~State.DOWN
            if state & State.DOWN:
                self._flow.set_down(True)
            self._flow.changed()

    def up(self) -> None:
        with self._broker.guard:
            if self._flow.ended:
                raise PacketsError(f"flow {self._flow.id} has lost an end and stays down; create another one")
            self._flow.set_down(False)

    def destroy(self) -> None:
        with self._broker.guard:
            self._broker.forget(self._flow)
            self._flow.destroy()


class HeapBroker(PacketBroker):
    def __init__(self, shared: Geometry, user: Geometry) -> None:
        self.guard = Guard()
        self._shared = shared
        self._user = user
        self._pools: dict[int, Pool] = {}
        self._seats: dict[int, Seat] = {}
        self._flows: dict[int, Flow] = {}

    def _pool(self, domain: Domain) -> Pool:
        if domain.uid not in self._pools:
            geometry = self._user if domain.uid else self._shared
            self._pools[domain.uid] = Pool(geometry, domain.uid, self.guard)
        return self._pools[domain.uid]

    def admit(self, ref: ClientRef) -> Grant:
        with self.guard:
            if ref.id in self._seats:
                raise PacketsError(f"client {ref.id} was admitted before; every client needs an id of its own")
            seat = Seat(ref, self._pool(ref.domain))
            self._seats[ref.id] = seat
            _grants[seat.token] = seat
            return Grant(seat.token)

    def _seat(self, ref: ClientRef) -> Seat:
        seat = self._seats.get(ref.id)
        if seat is None:
            raise PacketsError(f"client {ref.id} is not here; admit it first")
        return seat

    def create_flow(self, flow_id: int, a: ClientRef, b: ClientRef) -> BrokerFlow:
        with self.guard:
            if flow_id in self._flows:
                raise PacketsError(f"flow {flow_id} exists; destroy it before its id is used again")
            flow = Flow(flow_id, self._pool(a.domain.poorer(b.domain)), self._seat(a), self._seat(b))
            self._flows[flow_id] = flow
            _grants.update({side.token: side for side in flow.sides})
            return HeapBrokerFlow(self, flow)

    def forget(self, flow: Flow) -> None:
        if self._flows.get(flow.id) is flow:
            del self._flows[flow.id]
        for side in flow.sides:
            _grants.pop(side.token, None)

    def leave(self, ref: ClientRef, died: bool) -> Sequence[int]:
        with self.guard:
            seat = self._seats.pop(ref.id, None)
            if seat is None:
                return ()
            seat.left = True
            _grants.pop(seat.token, None)
            seat.give_back(State.DEAD if died else State.CLOSED)
            return [flow.id for flow in self._flows.values() if any(side.seat is seat for side in flow.sides)]

    def counters(self) -> Mapping[str, int]:
        with self.guard:
            found = {name: n for pool in self._pools.values() for name, n in pool.counters().items()}
            found["clients"] = len(self._seats)
            found["flows"] = len(self._flows)
            return found

    def close(self) -> None:
        with self.guard:
            for flow in list(self._flows.values()):
                self.forget(flow)
                flow.destroy()
            for seat in self._seats.values():
                _grants.pop(seat.token, None)


class HeapPacketSystem(PacketSystem):
    name = "heap"

    in_process = True

    @classmethod
    def usable(cls) -> str | None:
        return None

    @classmethod
    def broker(cls, shared: Geometry, user: Geometry) -> PacketBroker:
        return HeapBroker(shared, user)

    @classmethod
    def client(cls, data: bytes, fds: Sequence[int]) -> PacketClient:
        seat = _granted(data, fds)
        if not isinstance(seat, Seat):
            raise PacketsError(f"{bytes(data).hex()} is no grant of a client here; heap works within one process only")
        return HeapClient(seat)

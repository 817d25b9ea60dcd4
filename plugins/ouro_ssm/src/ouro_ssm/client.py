"""The client: in every process that reads or writes packets. Maps what grants name, once each, and hands out ends."""

import os
import threading
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet, WeakValueDictionary

from ouro_core.contracts import packets
from ouro_core.contracts.packets import ClientRef, Domain, End, FlowEnd, Forwarder, Mover, Options, Pump
from ouro_core.contracts.programs import ForwardProgram, PumpProgram
from ouro_core.model.errors import BadDescriptor, PacketsError

from . import _kernel
from ._grant import ADMIT, FLOW, GrantData

if TYPE_CHECKING:
    from .movers import NativeMover

__all__ = ["SsmClient"]

Inode = tuple[int, int]
_M = TypeVar("_M", bound=Mover)


class _Descriptors:
    """The descriptors of one grant: those that nobody kept are closed at the end, whatever happened."""

    def __init__(self, fds: Sequence[int]) -> None:
        self._fds = list(fds)
        self._kept: set[int] = set()

    def __enter__(self) -> "_Descriptors":
        return self

    def __exit__(self, *exc: object) -> None:
        for fd in set(self._fds) - self._kept:
            with suppress(OSError):
                os.close(fd)

    def __getitem__(self, place: int) -> int:
        return self._fds[place]

    def keep(self, *fds: int) -> None:
        self._kept.update(fds)

    def inode(self, place: int) -> Inode:
        try:
            st = os.fstat(self._fds[place])
        except OSError as e:
            raise PacketsError(f"descriptor {self._fds[place]} of a grant: {e.strerror}") from e
        return st.st_dev, st.st_ino


class SsmClient(packets.PacketClient):
    """PacketClient of `ssm`."""

    def __init__(self, data: bytes, fds: Sequence[int]) -> None:
        """From the grant of `admit`; takes the descriptors over. PacketsError: it is not one."""
        self._pools: dict[Inode, _kernel.Pool] = {}
        self._own_sets: dict[Inode, _kernel.Events] = {}
        self._other_sets: WeakValueDictionary[Inode, _kernel.Events] = WeakValueDictionary()
        self._mapping = threading.Lock()  # a segment is mapped once, also when two threads attach
        self._loop = _kernel.Loop()
        self._ends: WeakSet[FlowEnd] = WeakSet()
        self._event_sets: WeakSet[packets.EventSet] = WeakSet()
        self._movers: WeakSet[Mover] = WeakSet()
        self._native: NativeMover[Any] | None = None
        self._pairs = count(1)
        self._generation = _kernel.generation()
        self._closed = False
        with _Descriptors(fds) as granted:
            grant = GrantData.decode(data, ADMIT, len(fds))
            self.ref = ClientRef(grant.client, Domain(grant.pool_uid))
            self._pool, self._set = self._map_domain(granted, grant)

    def attach(self, data: bytes, fds: Sequence[int], options: Options = Options()) -> FlowEnd:  # noqa: B008
        with _Descriptors(fds) as granted:
            self._open()
            grant = GrantData.decode(data, FLOW, len(fds))
            if grant.client != self.ref.id:
                raise PacketsError(f"the grant is for client {grant.client}, this is client {self.ref.id}")
            with self._mapping:
                pool, own = self._own_domain(grant) if grant.short else self._map_domain(granted, grant)
                other = self._map_other_set(granted, grant)
            end = _kernel.attach_end(
                self, granted[grant.places[0]], grant.owner, grant.flow, grant.side, pool, grant.tag,
                own, grant.own_bit, other, grant.other_bit, options, grant.shown,
            )  # fmt: skip
            self._ends.add(end)
            return end

    def pair(self) -> tuple[FlowEnd, FlowEnd]:
        self._open()
        ends = _kernel.pair_ends(self, next(self._pairs), self._pool, self._set, Options())
        self._ends.update(ends)
        return ends

    def event_set(self) -> packets.EventSet:
        self._open()
        made = _kernel.EventSet(self._loop)
        self._event_sets.add(made)
        return made

    def pump(self, program: PumpProgram, fd: int) -> Pump:
        self._open()
        from .movers import NativePump

        if self._has_native_mover():
            from ouro_core.builtin.movers import PythonPump

            return self._started(PythonPump(self, program, fd))
        self._native = pump = NativePump(program, fd, self._pool)
        return self._started(pump)

    def forwarder(self, program: ForwardProgram) -> Forwarder:
        self._open()
        from .movers import NativeForwarder

        if self._has_native_mover():
            from ouro_core.builtin.movers import PythonForwarder

            return self._started(PythonForwarder(self, program))
        self._native = forwarder = NativeForwarder(program)
        return self._started(forwarder)

    def relay(self, a: End, b: End, batch: int = 32) -> Mover:
        self._open()
        from ouro_core.builtin.movers import PythonRelay

        return self._started(PythonRelay(a, b, batch))

    def counters(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for pool in self._pools.values():
            for payload, _, used, failed in pool.usage():
                counts |= {f"pool.{pool.uid}.{payload}.used": used, f"pool.{pool.uid}.{payload}.failed": failed}
        return counts

    def close(self) -> None:
        if self._closed or _kernel.generation() != self._generation:
            return
        self._closed = True
        for mover in list(self._movers):
            mover.stop()
        self._native = None
        for made in list(self._event_sets):
            made.close()
        for end in list(self._ends):
            end.close()
        self._pools.clear()
        self._own_sets.clear()
        self._loop = _kernel.Loop()

    def _has_native_mover(self) -> bool:
        """Lane *bulk* of our event sets has one reader. A second mover of a client is one in Python, which reads lane
        *loop*.
        """
        return self._native is not None and not self._native.stopped

    def _started(self, mover: _M) -> _M:
        self._movers.add(mover)
        return mover

    def _open(self) -> None:
        if _kernel.generation() != self._generation:
            raise PacketsError("this client belongs to the parent process; a child gets its own from the IRM")
        if self._closed:
            raise BadDescriptor(f"client {self.ref.id} is closed")

    # -------------------------------------------------------- mappings

    def _own_domain(self, grant: GrantData) -> tuple[_kernel.Pool, _kernel.Events]:
        """What we have had since we were admitted."""
        if self._pool.uid != grant.pool_uid or self._set.number != grant.own_set:
            raise PacketsError(
                f"the grant is for the pool of uid {grant.pool_uid} and event set {grant.own_set}; "
                f"this client has {self._pool.uid} and {self._set.number}"
            )
        return self._pool, self._set

    def _map_domain(self, granted: _Descriptors, grant: GrantData) -> tuple[_kernel.Pool, _kernel.Events]:
        return self._map_pool(granted, grant), self._map_own_set(granted, grant)

    def _map_pool(self, granted: _Descriptors, grant: GrantData) -> _kernel.Pool:
        place = grant.places[1]
        inode = granted.inode(place)
        pool = self._pools.get(inode)
        if pool is None:
            pool = _kernel.Pool(granted[place], grant.pool_uid, grant.owner, self.ref.id)
        elif pool.uid != grant.pool_uid:
            raise PacketsError(f"the pool is that of uid {pool.uid}, the grant says {grant.pool_uid}")
        self._pools[inode] = pool
        return pool

    def _map_own_set(self, granted: _Descriptors, grant: GrantData) -> _kernel.Events:
        events = self._map_set(self._own_sets, granted, grant.places[2:7], grant.own_set, grant.owner)
        _kernel.watch(self._loop, events)
        return events

    def _map_other_set(self, granted: _Descriptors, grant: GrantData) -> _kernel.Events:
        return self._map_set(self._other_sets, granted, grant.places[7:10], grant.other_set, grant.owner)

    @staticmethod
    def _map_set(
        known: MutableMapping[Inode, _kernel.Events], granted: _Descriptors, places: bytes, number: int, owner: int
    ) -> _kernel.Events:
        inode = granted.inode(places[0])
        events = known.get(inode)
        if events is None:
            fd, *lanes = (granted[place] for place in places)
            events = _kernel.Events(fd, number, owner, lanes[:2], lanes[2:])
            granted.keep(*lanes)
            known[inode] = events
        elif events.number != number:
            raise PacketsError(f"the event set is number {events.number}, the grant says {number}")
        return events

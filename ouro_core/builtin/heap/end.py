"""`HeapEnd`: a handle on one side of a flow."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from threading import Condition

from ouro_core.contracts.packets import Buffer, FlowEnd, Options, Packet, State
from ouro_core.model.errors import (
    BadDescriptor,
    FlowDown,
    FlowPeer,
    FlowTimeout,
    InvalidArgument,
    NotAllocated,
    PacketsError,
    TooLong,
    WouldBlock,
)

from .flow import RING, Seat, Side
from .pool import Block, HeapPacket

_NO_WAY = State.DOWN | State.CLOSED | State.DEAD


def _block_size(data: Buffer) -> int | None:
    """Empty packets take no block."""
    return memoryview(data).nbytes or None


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


class HeapEnd(FlowEnd):
    """`origin` is the end of which this is the view of its owner."""

    def __init__(self, side: Side, owner: str | None = None, origin: HeapEnd | None = None) -> None:
        self._side = side
        self._guard = side.flow.guard
        self._key = None if origin is None else object()
        self._origin = origin or self
        self.owner = owner
        self.flow_id = side.shown

    # ---- checks

    def _alive(self) -> None:
        if self._side.gone:
            raise BadDescriptor(f"this end of flow {self.flow_id} is closed; allocate a new flow")

    def _usable(self) -> None:
        """Reads and writes only: whoever holds the side's key may."""
        self._alive()
        if self._side.key is self._key:
            return
        if self._key is not None:
            raise BadDescriptor(f"the end of flow {self.flow_id} was given back; use the end itself")
        raise PacketsError(f"the end of flow {self.flow_id} belongs to {self.owner}; unbind it there first")

    def _writable(self) -> None:
        self._usable()
        state = self._side.state
        if state & _NO_WAY:
            raise FlowDown(f"flow {self.flow_id} is {state}; nothing can be sent")
        if state & State.READ_ONLY:
            raise NotAllocated(f"the other end of flow {self.flow_id} does not read; it takes no packets")

    def _sleep(self, condition: Condition, deadline: float | None) -> None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise FlowTimeout(f"the time for this call on flow {self.flow_id} is over")
        self._side.count["sleeps"] += 1
        condition.wait(left)

    # ---- reading

    def _await_packet(self) -> None:
        side = self._side
        deadline = _deadline(side.options.read_timeout)
        while True:
            self._usable()
            if side.has_packet():
                return
            if side.state & _NO_WAY:
                raise FlowDown(f"flow {self.flow_id} is {side.state}, and nothing is queued")
            if side.state & State.PEER:
                raise FlowPeer(f"the peer of flow {self.flow_id} timed out and nothing is queued")
            if not side.options.read_blocking:
                raise WouldBlock(f"no packet is queued on flow {self.flow_id}")
            side.readers += 1
            try:
                self._sleep(side.readable, deadline)
            finally:
                side.readers -= 1

    def _await_whole_packet(self) -> None:
        if self._side.rest == b"":  # the mark that a partial read left at the end of its packet
            self._side.rest = None
        self._await_packet()

    def _take(self) -> bytes:
        side = self._side
        if side.rest is not None:
            rest, side.rest = side.rest, None
            return rest
        block = side.take()
        if block is None:
            return b""
        data = bytes(memoryview(block.buffer)[block.start : block.end])
        block.free()
        return data

    def read(self) -> bytes:
        with self._guard:
            self._await_whole_packet()
            return self._take()

    def read_many(self, most: int = 32) -> list[bytes]:
        if most <= 0:
            if most < 0:
                raise InvalidArgument(f"cannot read {most} packets; ask for 1 or more")
            self._usable()
            return []
        with self._guard:
            self._await_whole_packet()
            packets = [self._take()]
            while len(packets) < most and self._side.has_packet():
                packets.append(self._take())
            return packets

    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer).cast("B")
        with self._guard:
            self._await_packet()
            ended = self._side.rest == b""
            data = self._take()
            if ended or len(data) < len(target):
                target[: len(data)] = data
                return len(data)
            if self._side.options.partial_read:
                self._side.rest = data[len(target) :]
            elif len(data) > len(target):
                raise TooLong(f"a packet of {len(data)} bytes was dropped: the buffer has {len(target)} bytes")
            target[:] = data[: len(target)]
            return len(target)

    def recv(self) -> Packet:
        with self._guard:
            side = self._side
            self._await_whole_packet()
            if side.rest is None and side.queue[0] is not None:
                block = side.take()
                assert block is not None
            else:
                block = Block(side.flow.pool, 0, counted=False)
                block.fill(self._take())
            return HeapPacket(block, side.seat, self._guard, block.size)

    # ---- writing

    def _grab(self, n: int | None, behind: int | None = 0) -> Block | Condition | None:
        """A block for `n` bytes (None: no block is needed), if there is a slot behind that many packets (None: no slot
        is needed). Otherwise the condition to wait for.
        """
        side = self._side
        if behind is not None and len(side.other.queue) + behind >= RING:
            return side.writable
        if n is None:
            return None
        block = side.flow.pool.take(n, receiver=self._key is not None)
        return side.flow.pool.freed if block is None else block

    def _await_room(self, n: int | None, behind: int | None = 0) -> Block | None:
        side = self._side
        deadline = _deadline(side.options.write_timeout)
        while True:
            self._writable()
            got = self._grab(n, behind)
            if not isinstance(got, Condition):
                return got
            if not side.options.write_blocking:
                side.want_space(block=got is not side.writable)
                what = f"no block for {n} bytes is free" if got is not side.writable else f"its {RING} slots are full"
                raise WouldBlock(f"flow {self.flow_id} takes no packet now: {what}")
            side.writers += 1
            try:
                self._sleep(got, deadline)
            finally:
                side.writers -= 1

    def write(self, data: Buffer) -> None:
        with self._guard:
            block = self._await_room(_block_size(data))
            if block is not None:
                block.fill(data)
            self._side.other.deliver([block])

    def write_many(self, packets: Iterable[Buffer]) -> int:
        """Waits for room for the first packet only, as `read_many` does."""
        blocks: list[Block | None] = []
        with self._guard:
            try:
                for data in packets:
                    block = self._more_room(_block_size(data), len(blocks))
                    if isinstance(block, Condition):
                        break
                    blocks.append(block)
                    if block is not None:
                        block.fill(data)
            finally:  # also when the next packet cannot be had
                if blocks:
                    self._side.other.deliver(blocks)
        return len(blocks)

    def _more_room(self, n: int | None, behind: int) -> Block | Condition | None:
        """A block for the first packet; for one more only if there is room now, else the condition to wait for."""
        if not behind:
            return self._await_room(n)
        try:
            got = self._grab(n, behind)
        except TooLong:
            return self._side.writable  # the next call raises it
        if isinstance(got, Condition):
            self._side.want_space(block=got is not self._side.writable)
        return got

    def alloc(self, n: int) -> Packet:
        with self._guard:
            block = self._await_room(n, behind=None)
            assert block is not None
            return HeapPacket(block, self._side.seat, self._guard, n)

    def send(self, packet: Packet) -> None:
        if not isinstance(packet, HeapPacket):
            raise PacketsError(f"cannot send a {type(packet).__name__}; send a packet of this system")
        with self._guard:
            if packet.payload and packet.fits(self._side.flow.pool):
                self._await_room(None)
                self._side.other.deliver([packet.hand_over()])
            else:
                self.write(packet.payload)
                packet.release()

    def keepalive(self) -> None:
        with self._guard:
            self._writable()
            if self._grab(None) is None:
                self._side.other.deliver([None])

    # ---- state

    @property
    def state(self) -> State:
        with self._guard:
            self._alive()
            return self._side.state

    def set_options(self, options: Options) -> None:
        with self._guard:
            self._alive()
            if self._key is None and self._side.key is not None:
                self._side.lent_options = options
            else:
                self._side.options = options

    def queued(self) -> tuple[int, int]:
        with self._guard:
            self._alive()
            return len(self._side.queue), len(self._side.other.queue)

    def sequence(self) -> tuple[int, int]:
        with self._guard:
            self._alive()
            return self._side.other.arrived & 0xFFFFFFFF, self._side.arrived & 0xFFFFFFFF

    def mark(self, set: State = State.UP, clear: State = State.UP) -> None:
        markable = State.DOWN | State.READ_ONLY | State.PEER
        if (set | clear) & ~markable:
            raise InvalidArgument(f"cannot mark {set | clear!r}; only DOWN, READ_ONLY and PEER; close the end instead")
        with self._guard:
            self._alive()
            side = self._side
            side.local = (side.local | (set & State.PEER)) & ~(clear & State.PEER)
            if (set | clear) & State.READ_ONLY:
                side.refuses = bool(set & State.READ_ONLY)
            if (set | clear) & State.DOWN:
                side.flow.set_down(bool(set & State.DOWN))
                side.reported = (side.reported & ~State.DOWN) | (side.state & State.DOWN)  # the other end's event
            side.flow.changed()

    def counters(self) -> Mapping[str, int]:
        with self._guard:
            return dict(self._side.count)

    # ---- ownership

    def watchable(self, seat: Seat) -> Side:
        """The side, for an event set of this client."""
        self._usable()
        if self._side.seat is not seat:
            raise PacketsError(f"the end of flow {self.flow_id} is of another client; use an event set of that one")
        if self._side.set is not None:
            raise PacketsError(f"the end of flow {self.flow_id} is in an event set already; remove it there first")
        return self._side

    def claim(self, owner: str) -> FlowEnd:
        """The view has options of its own; those of the end hold again when it is given back."""
        with self._guard:
            self._alive()
            side = self._side
            if side.key is not None:
                raise PacketsError(f"the end of flow {self.flow_id} belongs to {self.owner} already; unbind it there")
            if side.set is not None:
                raise PacketsError(f"the end of flow {self.flow_id} is in an event set; remove it there first")
            view = HeapEnd(side, owner, self)
            side.key = view._key
            side.lent_options = side.options
            self.owner = owner
            side.wake_all()
            return view

    def unclaim(self) -> None:
        with self._guard:
            side = self._side
            if side.key is not None and self._key in (None, side.key):
                side.key = None
                side.options = side.lent_options or side.options
                if side.set is not None:
                    side.set.forget(side)
                self._origin.owner = self.owner = None
                side.wake_all()

    def close(self) -> None:
        with self._guard:
            self._side.leave(State.CLOSED)
            self.owner = None

"""Blocks: counted by size class, held by a client or by the queue of a flow."""

from __future__ import annotations

import os
from threading import Condition, RLock
from typing import TYPE_CHECKING

from ouro_core.contracts.packets import Buffer, Geometry, Packet
from ouro_core.model.errors import BadDescriptor, PacketsError, TooLong

if TYPE_CHECKING:
    from .flow import Seat, Side


class Guard:
    """The lock of one broker. Refuses a forked child, to which another thread's state was copied."""

    def __init__(self) -> None:
        self.lock = RLock()
        self._process = os.getpid()

    def __enter__(self) -> None:
        if os.getpid() != self._process:
            raise PacketsError("this object belongs to the parent process; attach again in the child")
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def condition(self) -> Condition:
        return Condition(self.lock)


class Block:
    """Memory of one size class. `holder` is the client that has it in its hand, None while it lies in a queue.

    One that is not `counted` carries what never was in a block: an empty packet, or the rest of one read in part.
    """

    __slots__ = ("buffer", "counted", "end", "freed", "holder", "index", "pool", "start")

    def __init__(self, pool: Pool, index: int, counted: bool = True) -> None:
        self.pool = pool
        self.index = index
        self.counted = counted
        self.freed = False
        self.buffer: bytes | bytearray = b""
        self.start = 0
        self.end = 0
        self.holder: Seat | None = None

    @property
    def size(self) -> int:
        return self.end - self.start

    def fill(self, data: Buffer) -> None:
        """For a packet that nobody edits before it is queued: no room around it yet."""
        self.buffer = bytes(data)
        self.start, self.end = 0, len(self.buffer)

    def spread(self, payload: int) -> memoryview:
        """All of the block, writable: head room, then `payload` bytes or what was filled in, then tail room."""
        if not isinstance(self.buffer, bytearray):
            geometry = self.pool.geometry
            old = self.buffer
            longest = max(self.pool.classes[self.index].payload, payload)
            self.buffer = bytearray(geometry.head_room + longest + geometry.tail_room)
            self.start = geometry.head_room
            self.end = self.start + payload
            self.buffer[self.start : self.start + len(old)] = old
        return memoryview(self.buffer)

    def hold(self, seat: Seat | None) -> None:
        if self.holder is not None:
            self.holder.hand.discard(self)
        self.holder = seat
        if seat is not None:
            seat.hand.add(self)

    def free(self) -> None:
        if not self.freed:
            self.freed = True
            self.hold(None)
            if self.counted:
                self.pool.give(self.index)


class Pool:
    """One pool of a trust domain. All methods are called with the broker's lock held."""

    def __init__(self, geometry: Geometry, uid: int, guard: Guard) -> None:
        self.geometry = geometry
        self.uid = uid
        self.guard = guard
        self.classes = sorted((c for c in geometry.classes if c.blocks > 0), key=lambda c: c.payload)
        self.used = [0] * len(self.classes)
        self.failed = [0] * len(self.classes)
        self.freed = guard.condition()
        self.hungry: set[Side] = set()  # sides whose non-blocking writer found no block and wants the event SPACE

    def take(self, n: int, receiver: bool) -> Block | None:
        """A block for `n` bytes from the smallest class that has one; None when all are used. TooLong."""
        first = next((i for i, c in enumerate(self.classes) if n <= c.payload), None)
        if first is None:
            longest = self.classes[-1].payload if self.classes else 0
            raise TooLong(f"{n} bytes do not fit a packet: the largest block holds {longest}; send smaller packets")
        kept = 0.0 if receiver else self.geometry.receive_share
        for index in range(first, len(self.classes)):
            if self.used[index] < self.classes[index].blocks - int(self.classes[index].blocks * kept):
                self.used[index] += 1
                return Block(self, index)
        self.failed[first] += 1
        return None

    def give(self, index: int) -> None:
        self.used[index] -= 1
        self.freed.notify_all()
        if self.hungry:
            hungry, self.hungry = self.hungry, set()
            for side in hungry:
                side.space_again()

    def counters(self) -> dict[str, int]:
        return {
            f"pool.{self.uid}.{c.payload}.{what}": values[i]
            for i, c in enumerate(self.classes)
            for what, values in (("used", self.used), ("failed", self.failed))
        }


class HeapPacket(Packet):
    """A block in the hand of a client."""

    _block: Block | None = None

    def __init__(self, block: Block, seat: Seat, guard: Guard, payload: int) -> None:
        self._guard = guard
        self._memory = block.spread(payload)
        self._block = block
        block.hold(seat)

    def _held(self) -> Block:
        if self._block is None or self._block.freed:
            raise BadDescriptor("the packet was sent or released; alloc another one")
        return self._block

    @property
    def payload(self) -> memoryview:
        block = self._held()
        return self._memory[block.start : block.end]

    def __len__(self) -> int:
        return self._held().size

    def __buffer__(self, flags: int) -> memoryview:
        return self.payload

    def push(self, n: int) -> memoryview:
        block = self._held()
        if not 0 <= n <= block.start:
            raise TooLong(f"cannot push {n} bytes: {block.start} bytes of head room are left")
        block.start -= n
        return self._memory[block.start : block.start + n]

    def pull(self, n: int) -> memoryview:
        block = self._held()
        self._check_payload(block, n)
        block.start += n
        return self._memory[block.start - n : block.start]

    def append(self, n: int) -> memoryview:
        block = self._held()
        left = len(self._memory) - block.end
        if not 0 <= n <= left:
            raise TooLong(f"cannot append {n} bytes: {left} bytes of tail room are left")
        block.end += n
        return self._memory[block.end - n : block.end]

    def trim(self, n: int) -> None:
        block = self._held()
        self._check_payload(block, n)
        block.end -= n

    @staticmethod
    def _check_payload(block: Block, n: int) -> None:
        if not 0 <= n <= block.size:
            raise TooLong(f"cannot take {n} bytes off a packet of {block.size} bytes")

    def release(self) -> None:
        if self._block is not None:
            with self._guard:
                self._block.free()
            self._block = None

    def fits(self, pool: Pool) -> bool:
        """Whether the block itself can go into a ring of this pool."""
        block = self._held()
        return block.pool is pool and block.counted

    def hand_over(self) -> Block:
        """The block, which this object does not hold any more."""
        block = self._held()
        self._block = None
        block.hold(None)
        return block

    def __del__(self) -> None:
        try:
            self.release()
        except PacketsError:
            pass  # a forked child drops its copy

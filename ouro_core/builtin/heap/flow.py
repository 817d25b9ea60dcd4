"""A flow: two sides, each with the queue of what it receives and its half of the state. Called with the lock held."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from ouro_core.contracts.packets import ClientRef, Event, Options, State

from .pool import Block, Guard, Pool

if TYPE_CHECKING:
    from .events import HeapEventSet

__all__ = ["HALF", "RING", "Flow", "Seat", "Side"]

RING = 1024
HALF = RING // 2
_GONE = State.CLOSED | State.DEAD


class Seat:
    """One client as the broker knows it: what it holds, to be given back when it leaves."""

    def __init__(self, ref: ClientRef, pool: Pool) -> None:
        self.ref = ref
        self.pool = pool
        self.token = os.urandom(8)
        self.left = False
        self.hand: set[Block] = set()
        self.sides: set[Side] = set()
        self.pairs = 0

    def give_back(self, how: State) -> None:
        """The client is closed or dead: so are its ends, and its packets are nobody's."""
        for side in list(self.sides):
            side.leave(how)
        for block in list(self.hand):
            block.free()


class Side:
    """One end of a flow. `queue` is its receive ring; None in it is an empty packet, which takes no block."""

    def __init__(self, flow: Flow, seat: Seat) -> None:
        self.flow = flow
        self.shown = flow.id  # the number that its client knows
        self.seat = seat
        self.other: Side = self  # set by Flow
        self.queue: deque[Block | None] = deque()
        self.arrived = 0
        self.readable = flow.guard.condition()
        self.writable = flow.guard.condition()  # our writers wait here for the other queue
        self.options = Options()
        self.lent_options: Options | None = None  # of the end itself, while its owner has options of its own
        self.token = os.urandom(8)
        self.attached = False
        self.gone = State.UP  # CLOSED or DEAD: we are
        self.local = State.UP  # PEER: set on our side only
        self.refuses = False  # our receive ring is READ_ONLY for the other end
        self.rest: bytes | None = None  # of a packet that was read in part
        self.key: object = None  # the handle that may read and write has this one
        self.set: HeapEventSet | None = None
        self.reported = State.UP
        self.wants_space = False
        self.space = False
        self.writers = 0  # sleeping
        self.readers = 0
        self.count = dict.fromkeys(("tx", "tx_bytes", "rx", "rx_bytes", "rejected", "sleeps", "wakes"), 0)

    @property
    def state(self) -> State:
        state = self.other.gone | self.local | self.flow.final
        if self.flow.down:
            state |= State.DOWN
        if self.other.refuses:
            state |= State.READ_ONLY
        return state

    # ---- moving packets

    def deliver(self, blocks: list[Block | None]) -> None:
        """Queue what the other end sent; one wake-up."""
        self.queue.extend(blocks)
        self.arrived += len(blocks)
        sent = self.other.count
        sent["tx"] += len(blocks)
        sent["tx_bytes"] += sum(b.size for b in blocks if b is not None)
        if self.readers:
            sent["wakes"] += 1
            self.readable.notify(len(blocks))
        self.poke()

    def take(self) -> Block | None:
        """The first packet of a queue that has one."""
        block = self.queue.popleft()
        self.count["rx"] += 1
        self.count["rx_bytes"] += 0 if block is None else block.size
        self._slot_free()
        return block

    def has_packet(self) -> bool:
        """Whether a read gives something. Keep-alives that nobody wants to see are thrown away here."""
        while not self.options.deliver_empty and self.queue and self.queue[0] is None:
            self.take()
        return bool(self.queue) or self.rest is not None

    def drop_queue(self) -> None:
        while self.queue:
            block = self.queue.popleft()
            if block is not None:
                block.free()
        self._slot_free()

    def _slot_free(self) -> None:
        writer = self.other
        if len(self.queue) > HALF:
            return
        if writer.writers:
            self.count["wakes"] += 1
            writer.writable.notify_all()
        if writer.wants_space:
            writer.space_again()

    def want_space(self, block: bool) -> None:
        """A writer that does not wait found no slot, or no `block`: an event SPACE once there is room."""
        if block:
            self.flow.pool.hungry.add(self)
        else:
            self.wants_space = True

    def space_again(self) -> None:
        self.wants_space = False
        self.space = True
        self.poke()

    # ---- state and events

    def poke(self) -> None:
        if self.set is not None:
            self.set.poke(self)

    def wake_all(self) -> None:
        """After a change of state: sleepers look at it again."""
        self.readable.notify_all()
        self.writable.notify_all()
        self.flow.pool.freed.notify_all()
        self.poke()

    def leave(self, how: State) -> None:
        """We are closed or dead: what we did not read is dropped, what we wrote stays for the other end."""
        if self.gone:
            return
        if self.flow.ended:
            how = State.CLOSED  # how a flow ended first is how it ended
        self.gone = how
        if self.set is not None:
            self.set.forget(self)
        self.flow.pool.hungry.discard(self)
        self.drop_queue()
        self.seat.sides.discard(self)
        if how & State.DEAD:
            self.flow.down = True
        self.flow.changed()

    def may_have_event(self) -> bool:
        return self.has_packet() or bool((self.state ^ self.reported) & ~State.READ_ONLY) or self.space

    def events(self) -> Event:
        """PACKET as long as there is one; the others once for each change since they were last reported."""
        found = Event.PACKET if self.has_packet() else Event(0)
        now, before = self.state, self.reported
        self.reported = now
        new, old = now & ~before, before & ~now
        if new & State.DOWN:
            found |= Event.DOWN
        if old & State.DOWN:
            found |= Event.UP
        if new & _GONE:
            found |= Event.DEALLOC
        if new & State.PEER:
            found |= Event.PEER
        if self.space:
            self.space = False
            found |= Event.SPACE
        return found


class Flow:
    def __init__(self, flow_id: int, pool: Pool, a: Seat, b: Seat) -> None:
        self.id = flow_id
        self.pool = pool
        self.guard: Guard = pool.guard
        self.down = False
        self.destroyed = False
        self.final = State.UP  # CLOSED or DEAD by the broker
        one, two = Side(self, a), Side(self, b)
        one.other, two.other = two, one
        self.sides = (one, two)
        a.sides.add(one)
        b.sides.add(two)

    @property
    def ended(self) -> bool:
        """Destroyed, or an end is closed or dead: such a flow does not come up again."""
        return bool(self.final) or any(side.gone for side in self.sides)

    def set_down(self, down: bool) -> None:
        if down != self.down and (down or not self.ended):
            self.down = down
            self.changed()

    def destroy(self) -> None:
        """What is queued stays readable until its reader closes; an end that nobody attached is closed now."""
        self.down = self.destroyed = True
        self.final |= State.CLOSED
        for side in self.sides:
            if not side.attached:
                side.leave(State.CLOSED)
        self.changed()

    def changed(self) -> None:
        for side in self.sides:
            side.wake_all()

"""`FrctPipeline`: a pipeline with FRCT on top of its stages, for flows that ask for packets in order.

Theory of operation. FRCT itself has no ring, no lock and no clock (`frct.frct`); this class gives it all three. What it
sends goes down through the stages at the moment it is sent, so packets sent again are sealed anew. Above the locks
of the two directions there is a third one around the state of FRCT, which both share; it is never held over a call of
the end. Order: reading, writing, state.

Packets of FRCT's own are sent by whoever finds them: a reader, a writer, or who drives the clock. To send one needs the
turn to write, and nobody waits for that: who has it is told by `_owed`, and looks at it when he has let go. They
never wait for room either, and what the ring does not take is lost like any packet. So writing to the end never blocks,
except while a writer waits for room in the ring.

What a packet costs is what is done for each: so a reader asks only now and then whether there is something to say, for
whole batches go from the ring to the receiver at once, and a writer looks at the ring every 32 packets.

A writer before a shut window needs what the peer says, so he reads the ring, if it is nobody else's turn.

The clock: `tick` does what is due, looks at the ring when no reader does, and says when to come next. While packets
move that is every 10 ms; on a quiet flow the pauses double up to 2 s. `alarm` is called, in any thread, when the next
tick turns out to be too late: a quiet flow is in use again. Who is told of packets in the ring by other means says so
with `set_on_events`, and then a quiet flow needs no ticks at all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from math import inf
from time import monotonic
from typing import Final

import attrs

from ouro_core.contracts.packets import Buffer, FlowEnd, Options, State
from ouro_core.model.errors import FlowDown, FlowTimeout, OuroError, PeerReset, WouldBlock
from ouro_core.model.irm_requests import Allocation

from .frct import Frct
from .pipeline import Pipeline
from .stage import Stage

__all__ = ["LINGER", "TICK", "FrctPipeline", "above"]

TICK: Final = 0.010
"""Seconds between two looks at a flow in use."""
LINGER: Final = 30.0
"""Longest time that the end of a flow waits for acknowledgements, seconds."""

_BATCH: Final = 64
_SELDOM: Final = 15
"""Packets taken between two looks whether the peer must be told of it; one less than a power of two."""
_ROUNDS: Final = 32
_LATE: Final = 2 * TICK
_IDLE: Final = 2.0
_SHORT: Final = 0.020
_LONG: Final = 0.100
_SHUT: Final = 1.0
_OVER: Final = State.DOWN | State.CLOSED | State.DEAD | State.PEER


def above(
    end: FlowEnd, stages: Sequence[Stage], allocation: Allocation, options: Options | None = None
) -> FlowEnd | Pipeline:
    """What a new flow needs above its end: nothing, a pipeline with `stages`, or one with FRCT. `options`: those that
    the end has.
    """
    qos = allocation.qos
    options = options or Options()
    if qos.needs_frct:
        frct = Frct(qos.loss == 0, allocation.mpl / 1000, lambda: int.from_bytes(os.urandom(4)))
        return FrctPipeline(end, stages, frct, options)
    return Pipeline(end, stages, options) if stages else end


class FrctPipeline(Pipeline):
    """PeerReset: the window is shut for longer than a second, time is up, and the peer does not answer."""

    def __init__(self, end: FlowEnd, stages: Sequence[Stage], frct: Frct, options: Options) -> None:
        self.frct = frct
        self._ready = frct.receiver.ready
        self._taken = 0  # by `read`
        self.alarm: Callable[[], None] | None = None
        """Called when a tick is needed within `TICK`."""
        self._state = threading.RLock()
        self._opened = threading.Condition(self._state)
        self._wait: float | None = None  # seconds that a look at the ring takes; None: as the options say
        self._writes = False  # somebody waits for room in the ring
        self._owed = False  # somebody had a packet to send, and found the turn taken
        self._waiting = 0
        self._on_events = False
        self._comes = inf  # the next tick
        self._pause = TICK
        self._moved = False
        super().__init__(end, stages, options)

    # ---- the end's options

    def set_options(self, options: Options) -> None:
        """Takes effect with the next call."""
        self._options = options
        self._calm = attrs.evolve(options, write_blocking=False)
        self._look = attrs.evolve(self._calm, read_blocking=False)
        self._apply()

    def _apply(self) -> None:
        options = self._options if self._writes else self._calm
        if self._wait == 0 and not self._writes:
            options = self._look
        elif self._wait is not None:
            options = attrs.evolve(options, read_blocking=self._wait > 0, read_timeout=self._wait)
        self._end.set_options(options)

    # ---- reading

    def read(self) -> bytes:
        """The next packet in order, or the rest of one that `readinto` read in part."""
        with self._reading:
            if self._rest is not None:
                return self._whole(1)[0]
            ready = self._ready
            while True:
                now = None if ready else self._await_order()
                try:
                    packet = ready.popleft()
                    break
                except IndexError:  # the handler of a signal was faster
                    pass
            self.frct.receiver.changed = True  # afterwards: a writer may be in `say`
            self._taken += 1
            if not self._taken & _SELDOM:
                self._follow(now or monotonic())
            elif now is not None:
                if self.frct.pressing(now):
                    self._flush(now)
                if now + _LATE < self._comes:
                    self._call(now)
            return packet

    def _received(self, most: int) -> list[bytes]:
        found: list[bytes] = []
        while not found and most:  # twice when the handler of a signal was faster
            now = monotonic() if self._ready else self._await_order()
            found = self.frct.take_many(most)
            self._follow(now)
        return found

    def _await_order(self) -> float:
        """Read until something can be taken; the time."""
        options, ready = self._options, self._ready
        now = self._digest(self._end.read_many(_BATCH))
        rounds = 1
        deadline = inf if options.read_timeout is None else now + options.read_timeout
        while not ready:
            self._follow(now)
            if not options.read_blocking:
                if rounds >= _ROUNDS:
                    raise WouldBlock(f"flow {self._end.flow_id}: only control packets came; look again later")
            elif now >= deadline and rounds > 1:
                raise FlowTimeout(f"nothing in order came on flow {self._end.flow_id} in {options.read_timeout} s")
            rounds += 1
            now = self._digest(self._end.read_many(_BATCH))
        return now

    def _digest(self, packets: list[bytes]) -> float:
        """Packets of the ring; the time."""
        if self._stages:
            unsealed = self._open
            packets = [plain for packet in packets if packet and (plain := unsealed(packet))]
        now = monotonic()
        with self._state:
            self.frct.receive_many(packets, now)
            if self._waiting:
                self._opened.notify_all()
        self._moved = True
        return now

    def pump(self) -> None:
        """Take what is in the ring, unless somebody reads it already. Never waits."""
        if not self._reading.acquire(blocking=False):
            return
        try:
            for _ in range(_ROUNDS):
                if not self._listen(0):
                    break
                self._follow(monotonic())
        except OuroError:
            pass  # down, and nothing is left: a reader is told
        finally:
            self._reading.release()

    def _listen(self, wait: float) -> bool:
        """Digest what is in the ring; wait for it so many seconds. Whether there was anything. In the turn of reading.
        FlowDown, FlowPeer, BadDescriptor.
        """
        if not wait and not self._end.queued()[0]:
            return False
        as_it_is = not wait and not self._options.read_blocking
        try:
            if not as_it_is:
                self._wait = wait
                self._apply()
            self._digest(self._end.read_many(_BATCH))
            return True
        except (WouldBlock, FlowTimeout):
            return False
        finally:
            if not as_it_is:
                self._wait = None
                self._apply()

    @property
    def has_rest(self) -> bool:
        """Whether a read gives something without looking at the ring."""
        return self._rest is not None or bool(self._ready)

    # ---- writing

    def write(self, data: Buffer) -> None:
        """One packet. Waits for the window, then for room in the ring. An empty one goes out as it is."""
        packet = data if type(data) is bytes else memoryview(data).tobytes()
        if not packet:
            with self._writing:
                self._put(packet)
            return
        deadline: float | None = None
        while not self._sent(packet):
            deadline = self._await_room(deadline)

    def _sent(self, packet: bytes) -> bool:
        frct = self.frct
        with self._writing:
            now = monotonic()
            with self._state:
                framed = frct.send(packet, now)
            if framed is None:
                return False
            packet = self._seal(framed) if self._stages else framed
            try:
                try:
                    self._end.write(packet)
                except WouldBlock:
                    self._put(packet)
            except BaseException:
                with self._state:
                    frct.take_back(1)
                raise
        self._wrote(now, 1)
        return True

    def _put(self, packet: bytes) -> None:
        """Into the ring, which may have to be waited for."""
        try:
            self._end.write(packet)
        except WouldBlock:
            if not self._options.write_blocking:
                raise
            self._writes = True
            self._apply()
            try:
                self._end.write(packet)
            finally:
                self._writes = False
                self._apply()

    def write_many(self, packets: Iterable[Buffer]) -> int:
        """How many were accepted: as many as window and ring have room for. Waits only for the first."""
        if not isinstance(packets, list | tuple) or not all(packets):  # empty ones have no numbers
            return self._one_by_one(packets)
        if not packets:
            return 0
        with self._writing:
            now = monotonic()
            done = self._send_many(packets, now)
        if not done:
            self.write(packets[0])
            return 1
        self._wrote(now, done)
        return done

    def _one_by_one(self, packets: Iterable[Buffer]) -> int:
        done = 0
        for packet in packets:
            if not done:
                self.write(packet)
            elif not self._at_once(packet):
                break
            done += 1
        return done

    def _at_once(self, packet: Buffer) -> bool:
        """Whether the packet could be sent without waiting."""
        try:
            with self._writing:
                if packet:
                    return bool(self._send_many((packet,), monotonic()))
                self._end.write(b"")
                return True
        except OuroError:
            return False  # the next call says it

    def _send_many(self, packets: Sequence[Buffer], now: float) -> int:
        """How many the ring took; 0: the window is shut, or the ring full and may be waited for."""
        frct = self.frct
        with self._state:
            admitted = packets[: frct.room(now)]
            if not admitted:
                return 0
            framed = frct.send_many([p if type(p) is bytes else memoryview(p).tobytes() for p in admitted], now)
        done = 0
        try:
            done = self._end.write_many(map(self._seal, framed) if self._stages else framed)
        except WouldBlock:
            if not self._options.write_blocking:
                raise
        finally:
            if done < len(framed):
                with self._state:
                    frct.take_back(len(framed) - done)
        return done

    def _await_room(self, deadline: float | None) -> float | None:
        """Wait until the window may be open; the deadline of this write."""
        options, frct = self._options, self.frct
        self.pump()
        now = monotonic()
        with self._state:
            if frct.room(now):
                return deadline
        if self._end.state & _OVER:
            raise FlowDown(f"flow {self._end.flow_id} is {self._end.state}; nothing can be sent")
        if not options.write_blocking:
            self._follow(now)
            raise WouldBlock(f"the peer of flow {self._end.flow_id} takes no packet now: its window is shut")
        if deadline is None:
            deadline = inf if options.write_timeout is None else now + options.write_timeout
        if now >= deadline:
            raise self._no_room(now)
        self._await_news(min(deadline - now, _LONG))
        return deadline

    def _no_room(self, now: float) -> OuroError:
        shut = self.frct.sender.shut_since
        which = f"the window of flow {self._end.flow_id} was shut"
        if shut is not None and now - shut > _SHUT and now - self.frct.heard > _SHUT:
            return PeerReset(f"{which} for {now - shut:.1f} s and its peer says nothing; deallocate the flow")
        return FlowTimeout(f"{which} for {self._options.write_timeout} s: its peer does not read")

    def _await_news(self, wait: float) -> None:
        """Wait until the peer said something, so many seconds at most; and do what is due."""
        if self._reading.acquire(blocking=False):
            try:
                self._listen(wait)
            finally:
                self._reading.release()
        else:  # whoever reads tells us
            with self._opened:
                self._waiting += 1
                try:
                    self._opened.wait(min(wait, _SHORT))
                finally:
                    self._waiting -= 1
        self._serve(monotonic())

    # ---- packets of FRCT's own

    def _wrote(self, now: float, count: int) -> None:
        self._moved = True
        if now + _LATE < self._comes:
            self._call(now)
        if self._owed:
            self._flush(now)
        if self.frct.sender.seqno & 31 < count:  # now and then, for acknowledgements
            self.pump()

    def _follow(self, now: float) -> None:
        if self.frct.pending(now):
            self._flush(now)
        if now + _LATE < self._comes:
            self._call(now)

    def _call(self, now: float) -> None:
        if self.alarm is not None:
            self._comes = now + TICK
            self._pause = TICK
            self.alarm()

    def _flush(self, now: float) -> None:
        self._owed = True  # before: whoever has the turn may be about to let go
        if self._writing.acquire(blocking=False):
            try:
                self._emit(now)
            finally:
                self._writing.release()

    def _emit(self, now: float) -> None:
        self._owed = False
        with self._state:
            packets = self.frct.outgoing(now)
        for packet in packets:
            try:
                self._end.write(self._seal(packet))
            except OuroError:
                return  # no room, or down: lost like any other

    def _serve(self, now: float) -> None:
        with self._state:
            self.frct.handle_timeout(now)
        if self.frct.expired:
            self._end.mark(set=State.DOWN)
        if self.frct.pending(now) or self.frct.next_timeout() <= now:
            self._flush(now)

    # ---- the clock

    def set_on_events(self, on_events: bool) -> None:
        """Whether somebody calls `pump` when packets are in the ring; if not, ticks do."""
        self._on_events = on_events
        if not on_events and self.alarm is not None:
            self.alarm()

    def tick(self, now: float) -> float | None:
        """Do what is due. When to come next; None: not before `alarm`. BadDescriptor: the flow was closed."""
        if self._end.state & (State.CLOSED | State.DEAD):
            self._comes = inf
            return None
        self._comes = now  # nobody needs to call us
        if not self._on_events:
            self.pump()
        self._serve(now)
        self._pause = TICK if self._moved else min(2 * self._pause, _IDLE)
        self._moved = False
        if self.frct.unacknowledged:
            self._pause = min(self._pause, max(TICK, self.frct.sender.round_trip.srtt * 1e-9 / 8))
        due = self.frct.next_timeout()
        if not self._on_events or self._pause <= _LATE:
            due = min(due, now + self._pause)
        self._comes = max(due, now + TICK / 2)
        return None if self._comes == inf else self._comes

    # ---- end

    def farewell(self) -> float:
        """Say what is left to say. How many seconds to linger: to call `lingers` again and again."""
        with self._writing:
            packet = self.frct.last_words(monotonic())
            if packet is not None:
                try:
                    self._end.write(self._seal(packet))
                except OuroError:
                    pass
        return LINGER if self.frct.linger else 0.0

    def lingers(self) -> bool:
        """Whether the peer has yet to acknowledge something, and may."""
        self.pump()
        self._serve(monotonic())
        return bool(self.frct.unacknowledged) and not self.frct.expired and not self._end.state & _OVER

    def finish(self) -> None:
        """The orderly end: what was written is acknowledged, or the deadline is reached, or the flow is down."""
        deadline = monotonic() + self.farewell()
        try:
            while (left := deadline - monotonic()) > 0 and self.lingers():
                self._await_news(min(left, self._next_in(_SHORT)))
        except OuroError:
            pass  # down

    def _next_in(self, most: float) -> float:
        return min(max(self.frct.next_timeout() - monotonic(), 0.001), most)

    @property
    def quarantine(self) -> float:
        """Seconds for which the layer must not use this end of the flow for another one."""
        return self.frct.quarantine(monotonic())

    @property
    def counters(self) -> dict[str, int]:
        """Those of the stages, and FRCT's."""
        return super().counters | self.frct.counters()

"""`Sender`: the half of FRCT that numbers packets, keeps them until they are acknowledged, and minds the window.

Theory of operation. Sequence numbers count packets; here they grow without end, and only their low 32 bits travel. A
*run* begins with a random number and the flag DRF, and ends when nothing was sent for so long that no packet and no
acknowledgement of it can be anywhere (delta-t: three packet lifetimes, plus what acknowledgements and retransmissions
may take). What a peer says of numbers that were never sent is not believed: acknowledgements count only between `lwe`,
the oldest packet without one, and `seqno`, the next; a window only if it ends within 2**23 after `lwe`, and it never
moves back, for then the message was overtaken.

On a reliable flow packets wait in `_flight`; `_times` has when each was sent last. What was sent more than once is in
`_repeated`, too, so that the others cost nothing. A packet is sent again

* when its time-out ends, if it is the oldest: of the others nobody knows, for acknowledgements say only where the first
  hole is;
* when the peer repeats an acknowledgement three times: packets arrive behind the hole;
* when an acknowledgement covers a packet that was sent again, and stops at one that is older: that is the next hole.
  So a hole costs a round trip. If the next one is missing right behind, perhaps everything was lost: then two are sent
  again, four the next time, up to 32.

As long as the peer is silent every time-out doubles the wait. The wait covers the time for which the peer may hold an
acknowledgement back. Round trips are measured with acknowledgements that cover no packet that was sent again (Karn). A
packet that is 120 s old is the end of the flow.

When the window is shut and somebody wants to write, the peer is asked for news every 100 ms (rendez-vous). A peer who
answers nothing may never have seen the run begin: on an unreliable flow, where nothing is sent again, one packet a
second is let out all the same, and begins it once more.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from math import inf
from typing import Final

from ouro_core.wire.frct import Flags

from .rtt import RoundTrip

__all__ = ["ACK_DELAY", "QUEUE", "START_WINDOW", "A", "R", "Sender"]

A: Final = 10.0
"""Longest time an acknowledgement is held back, seconds, as delta-t has it."""
R: Final = 120.0
"""Longest time a packet is sent again, seconds."""
ACK_DELAY: Final = 0.010
"""Seconds that acknowledgements are held back in truth."""
START_WINDOW: Final = 64
"""Packets that a run may begin with before the peer says anything."""
QUEUE: Final = 256
"""Packets that a receiver has room for."""

_PEER_DELAY: Final = ACK_DELAY + 0.005
"""Seconds: a prototype's acknowledgement, with a tick of its timers."""
_LONGEST_WAIT: Final = 1.0
_BURST: Final = 32
_PAUSE: Final = 0.005
_SELDOM: Final = 0.001
"""Seconds between two measurements of the round trip."""
_UNSURE: Final = 300_000_000
"""Nanoseconds that the first measured round trip counts at most if it is one of a packet that was sent again. The
answer to that one may have been lost, and what came be the peer's next: the time-out must not become longer than it
began.
"""
_REPEATS: Final = 3
_RENDEZVOUS: Final = 0.100
_GIVE_UP: Final = 1.0
_FURTHEST: Final = 1 << 23
_DATA: Final = int(Flags.DATA)
_FIRST: Final = int(Flags.DATA | Flags.DRF)


class Sender:
    """`mpl`: maximum packet lifetime, seconds. `random`: gives the 32 bits that a run begins with."""

    def __init__(self, reliable: bool, mpl: float, random: Callable[[], int]) -> None:
        self.reliable = reliable
        self.round_trip = RoundTrip()
        self.lwe = self.rwe = self.seqno = 0
        self.expired = False
        """A packet was not acknowledged within 120 s: the flow does not work any more."""
        self.shut_since: float | None = None
        self.retransmitted = self.rendezvous = self.strange = 0
        self._random = random
        self._flow_control = True
        self._limit = 0  # the first number that may not be sent, when `_admit` looked last
        self._inactivity = 3 * mpl + A + R + 2  # not below the whole seconds that a prototype's receiver counts
        self._until = -inf  # end of the run
        self._flight: deque[bytes] = deque()  # payloads, from `lwe` on
        self._times: deque[float] = deque()
        self._repeated: dict[int, float] = {}  # number, when first sent
        self._first = 0  # the last number with DRF
        self._started = 0  # the first number of the run
        self._again: deque[int] = deque()
        self._expires = inf
        self._doubled = self._repeats = 0
        self._burst = 1  # packets that are sent again for one hole
        self._wait = self._next_wait()
        self._timed = -inf  # packets sent later are good for another round trip
        self._silent = True  # no acknowledgement since the last time-out
        self._told = -inf  # the last window
        self._ask = inf  # next rendez-vous
        self._wanted = -inf  # somebody wants to write, until then

    # ---- sending

    @property
    def flow_control(self) -> bool:
        """Whether the peer's window is respected."""
        return self._flow_control

    @flow_control.setter
    def flow_control(self, respected: bool) -> None:
        self._flow_control = respected
        self._admit()

    def _admit(self) -> None:
        """Find the limit, which otherwise is only looked for when it is reached: it moves on, not back."""
        limit = self.rwe if self._flow_control else self.rwe + _FURTHEST
        self._limit = min(limit, self.lwe + QUEUE) if self.reliable else limit
        if self._limit > self.seqno:
            self.shut_since = None

    def room(self, now: float) -> int:
        """How many packets may be sent now. 0: the window is shut, and the peer will be asked as long as this is."""
        if now > self._until:
            self.expired = self.expired or bool(self._flight)  # the clock jumped, or nobody looked at it
            return 0 if self.expired else START_WINDOW
        self._admit()
        room = self._limit - self.seqno
        if room > 0:
            return room
        if self.shut_since is None:
            self.shut_since = now
            self._ask = now + _RENDEZVOUS
        elif self._ask == inf:
            self._ask = now
        self._wanted = now + _GIVE_UP
        return 0

    def next(self, payload: bytes, now: float) -> tuple[int, int] | None:
        """(flags, number) of a packet that is sent now. None: the window is shut, as `room` has it."""
        if now > self._until:
            if not self.room(now):
                return None
            self._begin()
        seqno = self.seqno
        if seqno >= self._limit and not self.room(now):
            return None
        self._until = now + self._inactivity
        self.seqno = seqno + 1
        if not self.reliable:
            self.lwe = seqno + 1
            return _FIRST, seqno
        flags = _DATA
        if not self._flight:
            flags = _FIRST
            self._first = seqno
            self._expires = now + self._wait
        self._flight.append(payload)
        self._times.append(now)
        return flags, seqno

    def more(self, payloads: Sequence[bytes], now: float) -> int:
        """How many of these are sent right after `next`, with its flags but DRF if the flow is reliable."""
        self._admit()
        count = min(self._limit - self.seqno, len(payloads))
        self.seqno += count
        if not self.reliable:
            self.lwe = self.seqno
            return count
        self._flight.extend(payloads if count == len(payloads) else payloads[:count])
        self._times.extend(repeat(now, count))
        return count

    def _begin(self) -> None:
        self.seqno = self.lwe = self._started = self._random()
        self.rwe = self.seqno + START_WINDOW
        self._admit()
        self.shut_since = None
        self._flight.clear()
        self._times.clear()
        self._repeated.clear()
        self._again.clear()
        self._expires = self._ask = inf

    def take_back(self, count: int) -> None:
        """The last `count` packets were not sent after all."""
        if not self.reliable:
            self.seqno -= count
            self.lwe = self.seqno
            return
        count = min(count, len(self._flight))  # a peer may have acknowledged what it cannot have got
        self.seqno -= count
        for _ in range(count):
            self._flight.pop()
            self._times.pop()
        if not self._flight:
            self._expires = inf

    def repeat_beginning(self, now: float) -> float | None:
        """If the first packet of the run is not acknowledged, send it again, but not too soon: when that may be. None:
        it is acknowledged.

        A prototype that lost it believes that a control packet begins the run, and never takes our data any more
        (flows.md 7.6 b). So what there is to say goes with the beginning.
        """
        if self.lwe != self._started or not self._flight:
            return None
        if self._times[0] + ACK_DELAY <= now:
            self._send_again(self.lwe)
        return self._times[0] + ACK_DELAY

    # ---- what the peer says

    def acknowledge(self, ackno: int, now: float, alone: bool) -> None:
        """All before `ackno`, 32 bits, was received. `alone`: without data, so it may say that a packet is missing."""
        count = ackno - self.lwe & 0xFFFFFFFF
        times = self._times
        self._silent = False
        if not count:
            self._repeat(now, alone)
            return
        if count > len(times):
            self.strange += 1
            return
        sent = times[count - 1]
        again = self._newest_again(count) if self._repeated else -inf
        self.lwe += count
        if self._doubled or self._repeats:
            self._doubled = self._repeats = 0
            self._wait = self._next_wait()
        if (sent >= self._timed and again == -inf) or not self.round_trip.samples:
            measured = int((now - max(sent, again)) * 1e9)
            self.round_trip.sample(measured if again == -inf else min(measured, _UNSURE))
            self._timed = now + _SELDOM
            self._wait = self._next_wait()
        if count == len(times):
            self._flight.clear()
            times.clear()
            self._expires = inf
            return
        for _ in range(count):
            self._flight.popleft()
            times.popleft()
        if times[0] < again:
            self._next_hole(again, sent == again)
        self._expires = now + self._wait

    def _newest_again(self, count: int) -> float:
        """When the last of the next `count` packets was sent that were sent more than once; -infinity: none was."""
        numbers = [n for n in range(count) if self._repeated.pop(self.lwe + n, None) is not None]
        return max((self._times[n] for n in numbers), default=-inf)

    def _next_hole(self, newest: float, at_once: bool) -> None:
        """The oldest packet is missing, for one that was sent later, at `newest`, was received. `at_once`: the one
        before it had been missing, too.
        """
        self._burst = min(2 * self._burst, _BURST) if at_once else 1
        for n in range(min(self._burst, len(self._times))):
            if self._times[n] < newest:
                self._send_again(self.lwe + n)

    def _repeat(self, now: float, alone: bool) -> None:
        if not alone or not self._flight:
            return
        self._repeats += 1
        if self._repeats >= _REPEATS and (
            self.lwe not in self._repeated or now >= self._times[0] + self.round_trip.srtt * 1e-9 + _PAUSE
        ):
            self._repeats = 0
            self._send_again(self.lwe)

    def window(self, low: int, now: float) -> None:
        """The first number not admitted, of which `low` are the low 24 bits."""
        ahead = low - self.lwe & 0xFFFFFF
        if now > self._until or ahead >= _FURTHEST:
            self.strange += 1
            return
        self._told = now
        if self.lwe + ahead > self.rwe:
            self.rwe = self.lwe + ahead

    # ---- time

    def _next_wait(self) -> float:
        """Seconds until a packet that is sent now is sent again."""
        wait = self.round_trip.rto * 1e-9 + _PEER_DELAY
        return wait if not self._doubled else max(wait, min(wait * (1 << self._doubled), _LONGEST_WAIT))

    def _send_again(self, seqno: int) -> None:
        if seqno not in self._again:
            self._again.append(seqno)

    def next_timeout(self) -> float:
        """When `handle_timeout` has something to do; infinity: never."""
        return min(self._expires, self._ask)

    def handle_timeout(self, now: float) -> None:
        """Choose what is to be sent again."""
        if now >= self._expires and self._flight:
            self._expire(now)

    def _expire(self, now: float) -> None:
        times = self._times
        if now > self._repeated.get(self.lwe, times[0]) + R:
            self.expired = True
            self._expires = inf
            return
        if now < times[0] + self._wait:  # it was sent again since
            self._expires = times[0] + self._wait
            return
        self._burst = min(2 * self._burst, _BURST) if self.lwe in self._repeated else 1
        for n in range(min(self._burst, len(times))):
            if times[n] + self._wait <= now:
                self._send_again(self.lwe + n)
        self._doubled = min(self._doubled + 1, 10) if self._silent else 0
        self._silent = True
        self._wait = self._next_wait()
        self._expires = now + self._wait

    def again(self, now: float) -> list[tuple[int, int, bytes]]:
        """(flags, number, payload) of packets to be sent again now."""
        found = []
        while self._again:
            n = self._again.popleft() - self.lwe
            if 0 <= n < len(self._flight):
                seqno = self.lwe + n
                self._repeated.setdefault(seqno, self._times[n])
                self._times[n] = now
                self.retransmitted += 1
                found.append((_FIRST if seqno == self._first else _DATA, seqno, self._flight[n]))
        return found

    def asks(self, now: float) -> bool:
        """Whether the peer is to be asked for its window now."""
        if now < self._ask:
            return False
        self._admit()
        if self.shut_since is None or now > self._wanted:
            self._ask = inf
            return False
        self._ask = now + _RENDEZVOUS
        self.rendezvous += 1
        if not self.reliable and now > self.shut_since + _GIVE_UP and self._told < self.shut_since:
            self.rwe = self.seqno + 1
        return True

    @property
    def has_more(self) -> bool:
        """Whether `again` has something to give."""
        return bool(self._again)

    @property
    def unacknowledged(self) -> int:
        """Packets in flight."""
        return len(self._flight)

    def quarantine(self, now: float) -> float:
        """Seconds for which the run may still matter to the peer."""
        return max(self._until - now, 0.0)

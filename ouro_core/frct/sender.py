"""`Sender`: the half of FRCT that numbers packets, keeps them until they are acknowledged, and minds the window.

Theory of operation. Sequence numbers count packets; here they grow without end, and only their low 32 bits travel. A
*run* begins with a random number and the flag DRF, and ends when nothing was sent for so long that no packet and no
acknowledgement of it can be anywhere (delta-t: three packet lifetimes, plus what acknowledgements and retransmissions
may take). What a peer says of numbers that were never sent is not believed: acknowledgements count only between `lwe`,
the oldest packet without one, and `seqno`, the next; a window only if it ends within 2**23 after `lwe`, and it never
moves back, for then the message was overtaken.

On a reliable flow each packet waits in `_flight`. It is sent again

* when its time-out ends; at most 32 at once, the oldest first, for as a rule only the first few are missing;
* when the peer repeats an acknowledgement three times: packets arrive behind a hole;
* when an acknowledgement ends right behind a packet that was sent again: the next one is missing as well, since it has
  been away for longer.

As long as the peer is silent every time-out doubles the wait. The wait covers the time for which the peer may hold an
acknowledgement back. Round trips are measured with acknowledgements that cover no packet that was sent again (Karn). A
packet that is 120 s old is the end of the flow.

When the window is shut and somebody wants to write, the peer is asked for news every 100 ms (rendez-vous). A peer who
answers nothing may never have seen the run begin: on an unreliable flow, where nothing is sent again, one packet a
second is let out all the same, and begins it once more.
"""

from collections import deque
from collections.abc import Callable
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
_LONGEST_WAIT: Final = 5.0
_BURST: Final = 32
_PAUSE: Final = 0.005
_SELDOM: Final = 0.001
"""Seconds between two measurements of the round trip."""
_REPEATS: Final = 3
_RENDEZVOUS: Final = 0.100
_GIVE_UP: Final = 1.0
_FURTHEST: Final = 1 << 23
_DATA: Final = int(Flags.DATA)
_FIRST: Final = int(Flags.DATA | Flags.DRF)


class _Sent:
    """A packet in flight. Times in seconds."""

    __slots__ = ("again", "first", "flags", "last", "payload")

    def __init__(self, payload: bytes, flags: int, now: float) -> None:
        self.payload = payload
        self.flags = flags
        self.first = self.last = now
        self.again = False


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
        self._limit = 0  # the first number that may not be sent
        self._inactivity = 3 * mpl + A + R + 2  # not below the whole seconds that a prototype's receiver counts
        self._until = -inf  # end of the run
        self._flight: deque[_Sent] = deque()
        self._again: deque[int] = deque()
        self._expires = inf
        self._doubled = self._repeats = 0
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
        """Window or flight have changed."""
        limit = self.rwe if self._flow_control else self.rwe + _FURTHEST
        self._limit = min(limit, self.lwe + QUEUE) if self.reliable else limit
        if self._limit > self.seqno:
            self.shut_since = None

    def room(self, now: float) -> int:
        """How many packets may be sent now. 0: the window is shut, and the peer will be asked as long as this is."""
        if now > self._until:
            return START_WINDOW
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
            self._begin()
        elif self.seqno >= self._limit:
            self.room(now)
            return None
        self._until = now + self._inactivity
        seqno = self.seqno
        self.seqno = seqno + 1
        if not self.reliable:
            self.lwe = seqno + 1
            return _FIRST, seqno
        if self._flight:
            flags = _DATA
        else:
            flags = _FIRST
            self._expires = now + self._wait()
        self._flight.append(_Sent(payload, flags, now))
        return flags, seqno

    def _begin(self) -> None:
        self.seqno = self.lwe = self._random()
        self.rwe = self.seqno + START_WINDOW
        self._admit()
        self.shut_since = None
        self._flight.clear()
        self._again.clear()
        self._expires = self._ask = inf

    def take_back(self, count: int) -> None:
        """The last `count` packets were not sent after all."""
        self.seqno -= count
        if not self.reliable:
            self.lwe = self.seqno
            return
        for _ in range(count):
            self._flight.pop()
        if not self._flight:
            self._expires = inf

    # ---- what the peer says

    def acknowledge(self, ackno: int, now: float, alone: bool) -> None:
        """All before `ackno`, 32 bits, was received. `alone`: without data, so it may say that a packet is missing."""
        count = ackno - self.lwe & 0xFFFFFFFF
        self._silent = False
        if not count:
            self._repeat(now, alone)
        elif count <= len(self._flight):
            last = self._flight.popleft()
            unclear = last.again
            for _ in range(count - 1):
                last = self._flight.popleft()
                unclear = unclear or last.again
            self.lwe += count
            self._doubled = self._repeats = 0
            self._admit()
            if last.last >= self._timed and not unclear:
                self.round_trip.sample(int((now - last.last) * 1e9))
                self._timed = now + _SELDOM
            if not self._flight:
                self._expires = inf
                return
            oldest = self._flight[0]
            if last.again and not oldest.again:
                self._send_again(self.lwe)
            self._expires = now + self._wait()
        else:
            self.strange += 1

    def _repeat(self, now: float, alone: bool) -> None:
        if not alone or not self._flight:
            return
        self._repeats += 1
        oldest = self._flight[0]
        if self._repeats >= _REPEATS and (
            not oldest.again or now >= oldest.last + self.round_trip.srtt * 1e-9 + _PAUSE
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
            self._admit()

    # ---- time

    def _wait(self) -> float:
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
        if now > self._flight[0].first + R:
            self.expired = True
            self._expires = inf
            return
        wait = self._wait()
        due = [n for n, sent in enumerate(self._flight) if sent.last + wait <= now]
        for n in due[:_BURST]:
            self._send_again(self.lwe + n)
        if due and due[0] == 0:
            self._doubled = min(self._doubled + 1, 10) if self._silent else 0
            self._silent = True
        if len(due) > _BURST:
            self._expires = now + max(self.round_trip.srtt * 1e-9, _PAUSE)
        else:
            kept = set(due)
            oldest = min((sent.last for n, sent in enumerate(self._flight) if n not in kept), default=now)
            self._expires = max(min(oldest, now) + self._wait(), now + _PAUSE)

    def again(self, now: float) -> list[tuple[int, int, bytes]]:
        """(flags, number, payload) of packets to be sent again now."""
        found = []
        while self._again:
            n = self._again.popleft() - self.lwe
            if 0 <= n < len(self._flight):
                sent = self._flight[n]
                sent.last, sent.again = now, True
                self.retransmitted += 1
                found.append((sent.flags, self.lwe + n, sent.payload))
        return found

    def asks(self, now: float) -> bool:
        """Whether the peer is to be asked for its window now."""
        if now < self._ask:
            return False
        if self.shut_since is None or now > self._wanted or self._limit > self.seqno:
            self._ask = inf
            return False
        self._ask = now + _RENDEZVOUS
        self.rendezvous += 1
        if not self.reliable and now > self.shut_since + _GIVE_UP and self._told < self.shut_since:
            self.rwe = self.seqno + 1
            self._admit()
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

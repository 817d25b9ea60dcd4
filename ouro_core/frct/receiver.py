"""`Receiver`: the half of FRCT that puts packets in order, and says what was received and how much more may come.

Theory of operation. A run begins with a packet that has DRF, when nothing was received for two packet lifetimes plus
what the sender's retransmissions and our acknowledgements may take; before that nothing is delivered, acknowledged or
admitted. (The prototype says a window of zero then, and its peer never writes again: flows.md 7.6.) Only packets that
belong to the run keep it alive.

On a reliable flow packets that come early wait in `_early`; with the missing one they move on to `_ready`, from where
the application takes them. What is in `_ready` is acknowledged: it is in order and will be delivered. On the others
`_next` jumps over what is missing, and late packets are dropped. In both cases the window ends as many packets after
`_next` as there is room in `_ready`, so losses do not shrink it.

What there is to say goes with the data of our own, or 10 ms later alone, or at once when 32 packets wait for an
answer, when a reader made room for a peer that may be waiting for it, for duplicates (our answer was lost), and for the
first packets behind a hole and the one that fills it.
"""

from collections import deque
from math import inf
from typing import Final

from ouro_core.wire.frct import Flags

from .sender import ACK_DELAY, QUEUE, START_WINDOW, A, R

__all__ = ["Receiver"]

_AT_ONCE: Final = 32
"""Packets without an answer that are too many."""
_ROOM: Final = 64
"""Packets of room that are worth a message."""
_LOW: Final = QUEUE // 2
"""Packets that the peer may send: with more it does not need to know of room."""
_REPEATS: Final = 6
"""Messages about one hole; the sender wants three, some may be lost."""
_FC: Final = int(Flags.FC) << 24
_ACK_FC: Final = int(Flags.ACK | Flags.FC) << 24


class Receiver:
    """`mpl`: maximum packet lifetime, seconds."""

    def __init__(self, reliable: bool, mpl: float) -> None:
        self.reliable = reliable
        self.due = inf
        """When there is something to say at the latest; after `settle`."""
        self.changed = False
        """Packets came or went since."""
        self.duplicates = self.out_of_window = self.lost = 0
        self._inactivity = 2 * mpl + A + R
        self._until = -inf  # end of the run
        self._next = 0
        self.ready: deque[bytes] = deque()
        """In order, to be taken."""
        self._early: dict[int, bytes] = {}
        self._said = self._admitted = 0  # the last acknowledgement and window that the peer was told
        self._repeats = 0  # messages about the hole at `_next`

    # ---- packets

    def data(self, seqno: int, begins: int, payload: bytes, now: float) -> None:
        """A packet with DATA. `seqno`: 32 bits; `begins`: not 0, it has DRF."""
        self.changed = True
        if (
            seqno == self._next & 0xFFFFFFFF and now <= self._until and not self._early and len(self.ready) < QUEUE
        ):  # nearly always
            self.ready.append(payload)
            self._next += 1
            self._until = now + self._inactivity
            return
        if now > self._until:
            if not begins:
                self.out_of_window += 1
                return
            self._next = self._said = seqno
            self._admitted = seqno + START_WINDOW
            self._early.clear()
            self._repeats = 0
        ahead = (seqno - self._next + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        if ahead < 0:
            self.duplicates += 1
            if self.reliable:
                self.due = now
        elif self.reliable:
            self._ordered(ahead, payload, now)
        else:
            self._latest(ahead, payload, now)

    def _ordered(self, ahead: int, payload: bytes, now: float) -> None:
        if ahead >= QUEUE - len(self.ready):
            self.out_of_window += 1
            self.due = now
            return
        self._until = now + self._inactivity
        if ahead:
            if self._next + ahead in self._early:
                self.duplicates += 1
                return
            self._early[self._next + ahead] = payload
            if self._repeats < _REPEATS:
                self.due = now
            return
        self.ready.append(payload)
        self._next += 1
        if self._early:
            while (early := self._early.pop(self._next, None)) is not None:
                self.ready.append(early)
                self._next += 1
            self._repeats = 0
            self.due = now

    def _latest(self, ahead: int, payload: bytes, now: float) -> None:
        self._until = now + self._inactivity
        self.lost += ahead
        self._next += ahead + 1
        if len(self.ready) < QUEUE:
            self.ready.append(payload)
        else:
            self.out_of_window += 1

    def settle(self, now: float) -> None:
        """Find out when there is something to say."""
        self.changed = False
        if now > self._until:
            return
        waiting = self._next - self._said
        left = self._admitted - self._next
        room = QUEUE - len(self.ready) - left
        if waiting >= _AT_ONCE or (room >= _ROOM and left <= _LOW and not waiting):
            self.due = now
        elif self.due == inf and ((waiting and self.reliable) or (room > 0 and left <= _LOW)):
            self.due = (self._until - self._inactivity if waiting else now) + ACK_DELAY

    def take(self) -> bytes | None:
        """The next packet in order, if there is one."""
        if not self.ready:
            return None
        payload = self.ready.popleft()
        self.changed = True  # afterwards: another thread may be in `say`
        return payload

    def take_many(self, most: int) -> list[bytes]:
        """Up to `most` packets."""
        ready = self.ready
        if most >= len(ready):
            payloads = list(ready)
            ready.clear()
        else:
            payloads = [ready.popleft() for _ in range(most)]
        self.changed = True
        return payloads

    # ---- what the peer is told

    def say(self, now: float) -> tuple[int, int]:
        """(flags and window, acknowledgement) for a packet that is sent now; 0, 0 before the run."""
        self.due = inf
        self.changed = False
        if now > self._until:
            return 0, 0
        if self._early:
            self._repeats += 1
        self._said = self._next
        self._admitted = self._next + QUEUE - len(self.ready)
        if self.reliable:
            return _ACK_FC | self._admitted & 0xFFFFFF, self._next & 0xFFFFFFFF
        return _FC | self._admitted & 0xFFFFFF, 0

    def last_words(self, now: float) -> int | None:
        """What is to be acknowledged before the flow ends, if anything is."""
        if now > self._until or self._next == self._said:
            return None
        self._said = self._next
        return self._next & 0xFFFFFFFF

    def quarantine(self, now: float) -> float:
        """Seconds for which the run goes on if nothing more is received."""
        return max(self._until - now, 0.0)

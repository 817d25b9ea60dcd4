"""Congestion avoidance mb-ecn by the numbers of a `Window` (unicast.md 7.2 - 7.6). Times: ns of a monotonic clock."""

from __future__ import annotations

from ouro_core.contracts.programs import Window

__all__ = ["Receiver", "Sender"]

_LONGEST_WAIT = 1_000_000_000


class Sender:
    """Counts the bytes of a slot of 2**`shift` ns against `limit`; a slot is lengthened or shortened until it holds a
    sensible number of packets.
    """

    def __init__(self, window: Window, now: int) -> None:
        self._window = window
        self.shift = window.slot_shift
        self.limit = window.limit
        self.increment = window.increment
        self.slot = now >> self.shift
        self.ece = 0  # what the receiver reported last
        self.since_report = 0  # packets
        self.reported = False  # ever: the slow start is over
        self.bytes = 0  # in this slot
        self.packets = 0

    def feedback(self, ece: int) -> None:
        self.ece = ece & 0xFFFF
        self.since_report = 0
        self.reported = True

    def packet(self, size: int, now: int) -> int:
        """A packet of `size` payload bytes is to be sent: how long it must wait (ns, at most a second)."""
        slot = now >> self.shift
        self.since_report += 1
        self.packets += 1
        self.bytes += size
        if self.since_report > self._window.stale:
            self.ece = 0
        if slot > self.slot:
            self.slot = slot
            self._adjust()
        if self.bytes <= self.limit:
            return 0
        return min(max(((self.slot + 1) << self.shift) - now, 0), _LONGEST_WAIT)

    def pace(self, now: int) -> int:
        """For the packet that was counted last, where it need not wait for the next slot: how long it must wait (ns)
        lest the slot goes out in one burst.
        """
        burst = self._window.burst
        if not burst or self.packets <= burst or not self.limit:
            return 0
        half = (1 << self.shift) / 2
        due = (self.slot << self.shift) + int(self.bytes / self.limit * half)
        early = int(burst * self.bytes / self.packets / self.limit * half)
        return min(due - now, _LONGEST_WAIT) if now < due - early else 0

    def _adjust(self) -> None:
        """A slot is over. The packet that opens the new one is counted in the old one."""
        if not self.reported:
            if self.bytes > self.limit:
                self.limit <<= 1
        elif self.ece:
            self.limit -= min((self.limit * self.ece) >> self._window.decrease_shift, self.limit)
        else:
            self.limit = self.bytes + self.increment
        if not self._rescale():
            self.bytes = self.packets = 0

    def _rescale(self) -> bool:
        """Whether what was counted is carried into the new, longer slot."""
        carry = False
        by = 0
        if self.packets < self._window.min_packets:
            while self.packets << by < self._window.min_packets:
                by += 1
            self.shift += by
            self.slot >>= by
            if self.slot & ((1 << by) - 1) == 0:
                carry = True
                self.slot += 1
            self.limit <<= by
            self.increment <<= by
        elif self.packets > self._window.max_packets:
            while self.packets >> by > self._window.max_packets:
                by += 1
            self.shift -= by
            self.slot <<= by
            self.limit >>= by
            self.increment >>= by
        return carry


class Receiver:
    """Averages the marks of received packets and says when the sender is to hear of it."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.ece = 0
        self._packets = 0

    def packet(self, ecn: int) -> int | None:
        """The ECN byte of a packet: the ece to report now, or None."""
        if ecn == 0:
            if self.ece == 0:
                return None
            self.ece >>= self._window.end_decay
            return None if self.ece else 0
        if self.ece == 0:
            self.ece = ecn
            self._packets = 0
            return ecn
        self.ece = (self.ece - (self.ece >> self._window.report_decay) + ecn) & 0xFFFF
        due = self._packets % self._window.report_every == 1
        self._packets += 1
        return self.ece if due else None

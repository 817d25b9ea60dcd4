"""Keep-alives and the time-out of a peer (flows.md 3.8; the data plane's design, section 5.8).

No clock stands on the data path: the counters of the flow's rings are the record. This object looks at them every
sixteenth of the flow's time-out. A counter that moved since the last look moved at some time in between: for what we
sent the earlier end of that span is taken, for what arrived the later, so that keep-alives are never too late and a
peer is never given up too early; it is given up late by one look at most.
"""

from enum import Enum

__all__ = ["Liveness", "LivenessAction"]

_LOOKS = 16
_KEEPALIVE = 4
_MIN_INTERVAL = 0.005


class LivenessAction(Enum):
    """What to do with the flow now."""

    NONE = "none"
    KEEPALIVE = "keepalive"
    """Send an empty packet."""
    PEER_TIMED_OUT = "peer timed out"
    """Mark the flow PEER. Told once: it is final."""


class Liveness:
    """The liveness of one end of one flow. `timeout`: seconds, the QoS's; 0 switches everything off.

    Call `sample` when the flow is there, and then whenever `next_timeout` is reached. Times are of one monotonic clock.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._interval = max(timeout / _LOOKS, _MIN_INTERVAL)
        self._sequence: tuple[int, int] | None = None
        self._looked = self._sent = self._arrived = 0.0
        self._over = timeout <= 0

    def sample(self, sequence: tuple[int, int], now: float) -> LivenessAction:
        """`sequence`: packets ever sent and packets ever arrived, as `FlowEnd.sequence` gives them; only differences
        count, so they may wrap.
        """
        if self._over:
            return LivenessAction.NONE
        if self._sequence is None:
            self._sent = self._arrived = now
        else:
            if sequence[0] != self._sequence[0]:
                self._sent = self._looked
            if sequence[1] != self._sequence[1]:
                self._arrived = now
        self._sequence, self._looked = sequence, now
        if now >= self._arrived + self._timeout:
            self._over = True
            return LivenessAction.PEER_TIMED_OUT
        if now >= self._sent + self._timeout / _KEEPALIVE:
            self._sent = now
            return LivenessAction.KEEPALIVE
        return LivenessAction.NONE

    def next_timeout(self) -> float | None:
        """When to sample next; a time in the past before the first sample; None: never again."""
        if self._over:
            return None
        if self._sequence is None:
            return float("-inf")
        return min(
            self._looked + self._interval,
            self._sent + self._timeout / _KEEPALIVE,
            self._arrived + self._timeout,
        )

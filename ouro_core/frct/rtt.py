"""The round-trip time of a flow and the retransmission time-out that follows (flows.md 7.10). Integers, nanoseconds."""

from typing import Final

__all__ = ["RTO_MIN", "RoundTrip"]

RTO_MIN: Final = 250_000
_SRTT_MIN: Final = 1000
_MDEV_MIN: Final = 100


class RoundTrip:
    """`srtt`, smoothed; `mdev`, mean deviation; `rto`. Before the first sample: 0, 10 ms, 1 s."""

    def __init__(self) -> None:
        self.srtt = 0
        self.mdev = 10_000_000
        self.rto = 1_000_000_000
        self.samples = 0

    def sample(self, measured: int) -> None:
        """One round trip. A time below nothing, of a clock that jumped, counts as none."""
        measured = max(measured, 0)
        if not self.samples:
            srtt, var = measured, measured >> 1
        else:
            difference = measured - self.srtt
            srtt = self.srtt + (difference >> 3)
            error = (abs(difference) - self.mdev) >> 2
            var = self.mdev + (error >> 3 if error < 0 else error)
        self.samples += 1
        self.srtt = max(_SRTT_MIN, srtt)
        self.mdev = max(_MDEV_MIN, var)
        self.rto = max(RTO_MIN, self.srtt + (self.mdev << 2))

"""Round-trip times, in one pass (spec: tools.md 1.3)."""

from math import ceil, inf, sqrt

__all__ = ["Statistics", "shown"]


def shown(ms: float) -> str:
    """A time with its unit: `0.123 ms`, and `98.000 µs` below a tenth of a millisecond."""
    return f"{ms * 1000:.3f} µs" if ms < 0.1 else f"{ms:.3f} ms"


class Statistics:
    """Times in ms. The deviation is that of a sample, by Welford's update."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.out_of_order = 0
        self.lowest = inf
        self.highest = 0.0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, ms: float) -> None:
        """One more reply."""
        self.received += 1
        if ms < self.lowest:
            self.lowest = ms
        if ms > self.highest:
            self.highest = ms
        delta = ms - self.mean
        self.mean += delta / self.received
        self._squares += delta * (ms - self.mean)

    @property
    def deviation(self) -> float | None:
        """None: of one time there is none."""
        return sqrt(self._squares / (self.received - 1)) if self.received > 1 else None

    @property
    def loss(self) -> int:
        """Packets without a reply, in percent, rounded up."""
        return ceil(100 - 100 * self.received / self.sent) if self.sent else 0

    def summary(self, name: str, elapsed: float) -> str:
        """The lines at the end of a test that took `elapsed` ms."""
        lines = [
            "",
            f"--- {name} ping statistics ---",
            f"{self.sent} packets transmitted, {self.received} received, {self.out_of_order} out-of-order, "
            f"{self.loss}% packet loss, time: {elapsed:.3f} ms",
        ]
        if self.received:
            unit, scale = ("µs", 1000) if self.mean < 0.1 else ("ms", 1)
            deviation = "NaN" if self.deviation is None else f"{self.deviation * scale:.3f}"
            times = "/".join(f"{ms * scale:.3f}" for ms in (self.lowest, self.mean, self.highest))
            lines.append(f"rtt min/avg/max/mdev = {times}/{deviation} {unit}")
        return "\n".join(lines)

"""What comes out of measurements: samples, targets, rows. Values only, no measuring."""

import math
import statistics
from collections.abc import Sequence

from attrs import field, frozen

__all__ = ["Figure", "Row", "Samples", "Target", "at_least", "at_least_ours", "at_most", "at_most_ours", "shown"]


@frozen
class Samples:
    """What several runs gave."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


@frozen
class Target:
    """A bound on the ratio ours / prototype, or on our figure itself."""

    limit: float
    least: bool
    """Whether `limit` is the least that will do; else the most."""
    ratio: bool = True

    def met(self, ours: float, ratio: float | None) -> bool | None:
        """None: that cannot be said without the prototype."""
        value = ratio if self.ratio else ours
        if value is None:
            return None
        return value >= self.limit if self.least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.limit:g}{'×' if self.ratio else ''}"


def at_least(ratio: float) -> Target:
    """So many times the prototype's figure, or more."""
    return Target(ratio, True)


def at_most(ratio: float) -> Target:
    """So many times the prototype's figure, or less."""
    return Target(ratio, False)


def at_least_ours(limit: float) -> Target:
    """Our figure, whatever the prototype's is."""
    return Target(limit, True, ratio=False)


def at_most_ours(limit: float) -> Target:
    """Our figure, whatever the prototype's is."""
    return Target(limit, False, ratio=False)


@frozen
class Figure:
    """One thing to know. `target` None: there is none, the figure is only shown."""

    title: str
    unit: str
    target: Target | None = None


@frozen
class Row:
    """A figure with what was measured. A side without samples could not be measured; `remarks` say why."""

    case: str
    figure: Figure
    ours: Samples
    prototype: Samples
    load: float
    """Highest load average of one minute while measuring."""
    remarks: Sequence[str] = field(factory=tuple)

    @property
    def ratio(self) -> float | None:
        """Ours / the prototype's, of medians. None: one is missing, or the prototype's is 0."""
        if not self.ours.n or not self.prototype.n or not self.prototype.median:
            return None
        return self.ours.median / self.prototype.median

    @property
    def met(self) -> bool | None:
        """Whether the target is met. None: there is none, or nothing to judge by."""
        if self.figure.target is None or not self.ours.n:
            return None
        return self.figure.target.met(self.ours.median, self.ratio)


_PREFIXES = ((1e6, "M"), (1e3, "k"), (1.0, ""))


def shown(value: float) -> str:
    """Three digits that count, thousands as k and M: 5.71M, 42.1, 0.310."""
    if value == 0:
        return "0"
    # rounded first: 999.9 is 1.00k
    rounded = float(f"{value:.3g}")
    scale, prefix = next((p for p in _PREFIXES if abs(rounded) >= p[0]), _PREFIXES[-1])
    scaled = rounded / scale
    digits = max(0, 2 - math.floor(math.log10(abs(scaled))))
    return f"{scaled:.{min(digits, 4)}f}{prefix}"

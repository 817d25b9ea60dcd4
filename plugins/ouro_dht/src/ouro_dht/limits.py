"""How many messages, or other things, one member may ask for in a time."""

from collections import OrderedDict

__all__ = ["Limiter"]


class Limiter:
    """A bucket of tokens for each source: `rate` a second, `burst` at once, for at most `sources` of them.

    The source that was not heard of for longest is forgotten, and has a full bucket when it comes back.
    """

    def __init__(self, rate: float, burst: float, sources: int = 4096) -> None:
        self._rate, self._burst, self._sources = rate, burst, sources
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def allows(self, source: int, now: float) -> bool:
        """Take one token of a source. False: it has none."""
        tokens, since = self._buckets.pop(source, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        allowed = tokens >= 1.0
        self._buckets[source] = (tokens - 1.0 if allowed else tokens, now)
        if len(self._buckets) > self._sources:
            self._buckets.popitem(last=False)
        return allowed

    def __len__(self) -> int:
        return len(self._buckets)

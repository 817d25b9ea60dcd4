"""Queries of this member, and lookups on behalf of nodes of the prototype (spec: dht.md 5, 13.4).

Theory of operation. A query is answered from the values held here if we are among the `k` closest to the key, from the
cache, or by a lookup that all queries for the key share. What comes of it stays in the cache for a minute at most, and
nothing for a second; late responses still get into it. Addresses are in order: the one published last first, but those
without a route, and those that an allocation was refused at, come after all others.

A node of the prototype asks three members and takes what they have. When one of them is we, and have nothing, we answer
with contacts, look the key up, and answer once more: its request is still open.
"""

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Final

from ouro_core.contracts.directory import DirectoryAnswer

from .exchange import Exchange
from .limits import Limiter
from .lookup import Lookup
from .member import Member
from .table import number_of
from .wire import Request, Value, address_of

__all__ = ["Queries"]

CACHED: Final = 60.0
"""Seconds for which what was found is answered from the cache, at most."""
CACHED_NOTHING: Final = 1.0
"""Seconds for which it is known that nothing was found."""
MAX_CACHED: Final = 1024
_REFUSED: Final = 60.0
"""Seconds for which an address comes after others for a name it refused a flow for."""
_PROXY_LIFE: Final = 1.5
"""Seconds for which a node of the prototype is answered after it asked; its own request lives for two."""
_MAX_PROXIED: Final = 16
"""Nodes of the prototype that wait for one key."""
_MAX_PROXIED_KEYS: Final = 64
"""Keys that are looked up for them at once: each lookup may ask `lookup.MAX_ASKED` members."""


class _Cached:
    __slots__ = ("until", "values")

    def __init__(self, values: list[Value], until: float) -> None:
        self.values, self.until = values, until


class Queries:
    """`names`: the keys registered here. `give(request, values, now)` sends what was found for another."""

    def __init__(
        self,
        member: Member,
        exchange: Exchange,
        names: Container[bytes],
        give: Callable[[Request, Sequence[Value], float], None],
    ) -> None:
        self._member, self._exchange = member, exchange
        self._names, self._give = names, give
        self._last = 0
        self._waiting: dict[bytes, list[int]] = {}
        self._running: set[bytes] = set()
        self._cache: OrderedDict[bytes, _Cached] = OrderedDict()
        self._refused: OrderedDict[tuple[bytes, int], float] = OrderedDict()
        self._proxied: dict[bytes, list[tuple[Request, float]]] = {}
        self._proxy_limit = Limiter(rate=20.0, burst=40.0, sources=1024)
        self._all_proxies = Limiter(rate=50.0, burst=200.0, sources=1)
        """For all of them together, as sources can be invented."""

    # ------------------------------------------------------------ asking

    def query(self, key: bytes, now: float) -> int:
        """Begin; the number stands in the answer."""
        member = self._member
        self._last += 1
        member.counters.queries += 1
        held = member.store.values(key, member.unix_time(now))
        cached = self._cached(key, now)
        if self._good(key, held, now) and self._is_ours_to_hold(key):
            member.counters.from_store += 1
            self._answer(self._last, key, held, now)
        elif cached is not None and (not cached or self._good(key, cached, now)):
            member.counters.from_cache += 1
            self._answer(self._last, key, cached, now)
        elif all(entry.down for entry in member.table):
            self._answer(self._last, key, held, now)
        else:
            self._waiting.setdefault(key, []).append(self._last)
            self._look_up(key, now)
        return self._last

    def _is_ours_to_hold(self, key: bytes) -> bool:
        """Whether what we hold is what everybody would find: values that were left elsewhere may be old."""
        k = self._member.config.dht_k
        return self._member.table.rank(number_of(key), k) < k

    def cancel(self, query: int) -> None:
        """Nobody waits for it any more; the lookup goes on for the cache."""
        for numbers in self._waiting.values():
            if query in numbers:
                numbers.remove(query)

    def refused(self, key: bytes, address: int, now: float) -> None:
        """No flow could be had there."""
        self._member.counters.refused += 1
        self._refused[key, address] = now + _REFUSED
        if len(self._refused) > MAX_CACHED:
            self._refused.popitem(last=False)
        self._cache.pop(key, None)

    def _cached(self, key: bytes, now: float) -> list[Value] | None:
        cached = self._cache.get(key)
        if cached is None or now >= cached.until:
            self._cache.pop(key, None)
            return None
        return cached.values

    def _look_up(self, key: bytes, now: float) -> None:
        if key not in self._running:
            self._running.add(key)
            self._exchange.lookup(key, now, self._looked_up, for_value=True)

    # ------------------------------------------------------------ answering

    def _looked_up(self, lookup: Lookup, now: float) -> None:
        key = lookup.key
        self._running.discard(key)
        for value in self._member.store.values(key, self._member.unix_time(now)):
            lookup.add(value)
        values = self._keep(lookup, now)
        for number in self._waiting.pop(key, ()):
            self._answer(number, key, values, now)
        self._answer_proxied(key, values, now)

    def late(self, lookup: Lookup, now: float) -> None:
        """A response came after the end of a lookup for values."""
        if lookup.for_value and lookup.values and lookup.finished is not None:
            values = self._keep(lookup, now)
            self._answer_proxied(lookup.key, values, now)

    def _keep(self, lookup: Lookup, now: float) -> list[Value]:
        """Put what a lookup found into the cache."""
        unix = self._member.unix_time(now)
        alive = [v for v in lookup.values.values() if not v.expiry or v.expiry >= unix]
        values = sorted(alive, key=lambda v: -v.published)
        life = CACHED_NOTHING
        if values:
            ends = [v.expiry - unix for v in values if v.expiry]
            life = min([CACHED, *ends])
        self._cache[lookup.key] = _Cached(values, now + life)
        self._cache.move_to_end(lookup.key)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return values

    def _answer(self, number: int, key: bytes, values: Iterable[Value], now: float) -> None:
        addresses = self.addresses(key, values, now)
        self._member.counters.found += bool(addresses)
        self._member.answer(DirectoryAnswer(number, tuple(addresses), key in self._names))

    def addresses(self, key: bytes, values: Iterable[Value], now: float) -> list[int]:
        """Addresses of other members, the best first."""
        found = dict.fromkeys(address_of(v.data) for v in values)
        found.pop(0, None)
        found.pop(self._member.own.address, None)
        return sorted(found, key=lambda a: self._is_doubtful(key, a, now))  # otherwise they stay in order

    def _good(self, key: bytes, values: Iterable[Value], now: float) -> bool:
        """Whether there is an address that nothing speaks against."""
        return any(not self._is_doubtful(key, a, now) for a in self.addresses(key, values, now))

    def _is_doubtful(self, key: bytes, address: int, now: float) -> bool:
        return address in self._member.down or now < self._refused.get((key, address), 0.0)

    # ------------------------------------------------------------ for the prototype

    def proxy(self, request: Request, now: float) -> None:
        """Look something up for a node of the prototype, which was answered with contacts."""
        if not self._proxy_limit.allows(request.source.address, now):
            return
        values = self._cached(request.key, now)
        if values is None and request.key not in self._proxied and not self._may_look_up_more(now):
            return
        waiting = self._proxied.setdefault(request.key, [])
        if len(waiting) < _MAX_PROXIED:
            waiting.append((request, now + _PROXY_LIFE))
        if values is not None:
            self._answer_proxied(request.key, values, now)
        else:
            self._look_up(request.key, now)

    def _may_look_up_more(self, now: float) -> bool:
        return len(self._proxied) < _MAX_PROXIED_KEYS and self._all_proxies.allows(0, now)

    def _answer_proxied(self, key: bytes, values: list[Value], now: float) -> None:
        for request, until in self._proxied.pop(key, ()):
            if values and now < until:
                self._member.counters.proxied += 1
                self._give(request, values, now)

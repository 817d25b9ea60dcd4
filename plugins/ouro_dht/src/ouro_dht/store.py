"""What a member holds: values of other members, and the names registered here (spec: dht.md 6).

Theory of operation. A value lives until its expiry, which later messages extend and never shorten, up to the layer's
`t_expire` from now. `published` is when the value's owner last said that it is there; values of a key are in that
order, the latest first, so that the address a server has now comes before the one it had. The prototype does not tell
it: a message of the owner itself is of now, and any other was published `t_expire` before it expires.

A value that its owner withdrew leaves a tombstone, which refuses older copies that others still have. Everything is
bounded: keys, values, values of a key, values from one source, tombstones. When a key is full, a newcomer that comes
from its owner takes the place of a value that did not, or of the one that was not heard of for longest: were it
refused, a few that are forged, or were a server's before it restarted, would keep the name away until they end. When
the store is full, a newcomer takes the place of a value from somebody who has many more here: a few that fill the store
would keep out everybody's names for a day. Otherwise it is refused.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Final

from .table import number_of
from .timers import Deadlines
from .wire import ADDRESS_SIZE, Contact, Value, address_of

__all__ = ["FULL", "MAX_PER_KEY", "Item", "Outcome", "ValueStore"]

MAX_PER_KEY: Final = 16
MAX_VALUES: Final = 131072
MAX_PER_SOURCE: Final = 16384
MAX_TOMBSTONES: Final = 4096
_LOOKED_AT: Final = 16
"""How many values are looked at for one that has to make room for another source's."""
CLOCK_SLACK: Final = 60.0
"""Seconds by which the clock of another member may be ahead."""

Outcome = str
"""What became of a value, by the word it is counted by."""
FULL: Final = {
    "source_full": "The directory keeps %d values, and no more of member %s, which has as many as one may.",
    "store_full": "The directory is full with %d values: one of member %s was refused. Others have as many as it.",
}
"""Outcomes that an operator should hear of: with the number of values, and who stored."""


class Item:
    """A value that is held. `stored` is when a message last brought it, on the monotonic clock; the rest as in
    `Value`. `owned`: it came from its owner itself. `adopt`: somebody left it here who does not look for the closest.
    """

    __slots__ = ("adopt", "expiry", "owned", "published", "source", "stored", "value")

    def __init__(self, value: bytes, source: int) -> None:
        self.value, self.source = value, source
        self.published = 0.0
        self.expiry = 0.0
        self.stored = 0.0
        self.owned = False
        self.adopt = False


class Key:
    """A key and its values."""

    __slots__ = ("items", "number")

    def __init__(self, key: bytes) -> None:
        self.number = number_of(key)
        self.items: dict[bytes, Item] = {}


class ValueStore:
    """Values of others. Times of `expiry` and `published` are seconds since 1970: `unix`."""

    def __init__(self, t_expire: int) -> None:
        self._t_expire = t_expire
        self.keys: dict[bytes, Key] = {}
        self.count = 0
        self._per_source: Counter[int] = Counter()
        self._ends = Deadlines(self._ends_then)
        self._tombstones: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()

    def __iter__(self) -> Iterator[tuple[bytes, Item]]:
        for key, held in self.keys.items():
            for item in held.items.values():
                yield key, item

    def put(
        self, key: bytes, value: bytes, source: Contact, expiry: float, published: float, now: float, unix: float
    ) -> tuple[Outcome, Item | None]:
        """Keep a value. `published` 0: the sender did not say."""
        if len(value) != ADDRESS_SIZE or not address_of(value):
            return "value", None
        if expiry < unix:
            return "expired", None
        owned = address_of(value) == source.address
        latest = unix + self._t_expire
        expiry = min(expiry, latest)
        if not published:
            published = unix if owned else expiry - self._t_expire
        published = min(published, unix + CLOCK_SLACK)
        withdrawn = self._tombstones.get((key, value))
        if withdrawn is not None:
            if published <= withdrawn:
                return "withdrawn", None
            del self._tombstones[key, value]
        held = self.keys.get(key)
        item = held.items.get(value) if held else None
        outcome = "renewed"
        if item is None:
            refusal = self._room(key, held, source.address, owned)
            if refusal:
                return refusal, None
            held = self.keys.setdefault(key, held or Key(key))
            item = held.items[value] = Item(value, source.address)
            self.count += 1
            self._per_source[source.address] += 1
            outcome = "stored"
        item.owned |= owned
        item.stored = now
        item.published = max(item.published, published)
        if expiry > item.expiry:
            item.expiry = expiry
            self._ends.add(expiry, key, value)
        return outcome, item

    def _room(self, key: bytes, held: Key | None, source: int, owned: bool) -> str:
        """Why a new value cannot be kept; empty: it can, if need be in the place of another."""
        if self._per_source[source] >= MAX_PER_SOURCE:
            return "source_full"
        if held is not None and len(held.items) >= MAX_PER_KEY:
            if not owned:
                return "key_full"
            others = [i for i in held.items.values() if not i.owned]
            oldest = min(others or held.items.values(), key=lambda i: i.published if others else i.stored)
            self._remove(key, oldest.value)
        if self.count >= MAX_VALUES and not self._make_room(self._per_source[source]):
            return "store_full"
        return ""

    def _make_room(self, few: int) -> bool:
        """Drop a value of somebody who has more here than a source that has `few` will have. False: there was none."""
        held = [(key, item) for _, key, value in self._ends.some(_LOOKED_AT) if (item := self.item(key, value))]
        if not held:
            return False
        key, item = max(held, key=lambda found: self._per_source[found[1].source])
        if self._per_source[item.source] <= few + 1:
            return False
        self._remove(key, item.value)
        return True

    def withdraw(self, key: bytes, value: bytes, published: float, unix: float) -> bool:
        """The owner of a value takes it back. Returns whether it was here."""
        self._tombstones[key, value] = min(published, unix + CLOCK_SLACK)
        self._tombstones.move_to_end((key, value))
        if len(self._tombstones) > MAX_TOMBSTONES:
            self._tombstones.popitem(last=False)
        held = self.keys.get(key)
        if held is None or value not in held.items:
            return False
        self._remove(key, value)
        return True

    def _remove(self, key: bytes, value: bytes) -> None:
        held = self.keys[key]
        item = held.items.pop(value)
        if not held.items:
            del self.keys[key]
        self.count -= 1
        self._per_source[item.source] -= 1
        if not self._per_source[item.source]:
            del self._per_source[item.source]

    def values(self, key: bytes, unix: float) -> list[Value]:
        """The values of a key, the latest first."""
        held = self.keys.get(key)
        if held is None:
            return []
        items = sorted((i for i in held.items.values() if i.expiry >= unix), key=lambda i: -i.published)
        return [Value(i.value, int(i.published), int(i.expiry)) for i in items]

    def item(self, key: bytes, value: bytes) -> Item | None:
        """One value of a key."""
        held = self.keys.get(key)
        return held.items.get(value) if held else None

    def _ends_then(self, expiry: float, key: bytes, value: bytes) -> bool:
        item = self.item(key, value)
        return item is not None and item.expiry == expiry

    def next_end(self) -> float | None:
        """When the next value may expire."""
        return self._ends.next()

    def expire(self, unix: float) -> int:
        """Drop what is over. Returns how many."""
        dropped = 0
        while (end := self._ends.next()) is not None and end < unix:
            expiry, key, value = self._ends.pop()
            item = self.item(key, value)
            if item is not None and item.expiry <= expiry:
                self._remove(key, value)
                dropped += 1
        return dropped

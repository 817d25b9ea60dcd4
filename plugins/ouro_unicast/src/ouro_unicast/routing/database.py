"""The link-state database: which links are advertised, and which were withdrawn (unicast.md 8.2, 8.5).

Every record lives for `lifetime` seconds after it was last refreshed. As all live equally long, the order of refreshing
is the order of ageing, and the oldest record is the first of its dictionary. A withdrawn link is remembered so that
copies of older updates, which may be anywhere, do not bring it back.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

from attrs import define

from .wire import LinkStateUpdate

__all__ = ["CAPACITY", "Database", "Key", "Record"]

Key: TypeAlias = tuple[int, int]
"""(source, destination) of a link."""

CAPACITY: Final = 16384
"""Links, and as many withdrawn ones; further ones are not taken in."""


@define
class Record:
    """`heard`: when it was last refreshed, seconds."""

    seqno: int
    heard: float


class Database:
    """Links by key. The caller decides what is newer; here is only where it is kept."""

    def __init__(self, lifetime: float) -> None:
        self.links: dict[Key, Record] = {}
        self.withdrawn: dict[Key, Record] = {}
        self._lifetime = lifetime

    def put(self, key: Key, seqno: int, now: float) -> None:
        """The link is advertised with this number."""
        self.withdrawn.pop(key, None)
        self.links.pop(key, None)
        self.links[key] = Record(seqno, now)

    def withdraw(self, key: Key, seqno: int, now: float) -> None:
        """The link is withdrawn, and was so with this number."""
        self.links.pop(key, None)
        self.withdrawn.pop(key, None)
        self.withdrawn[key] = Record(seqno, now)

    def has_room(self, key: Key, withdrawn: bool) -> bool:
        """Whether a record can be kept."""
        records = self.withdrawn if withdrawn else self.links
        return key in records or len(records) < CAPACITY

    def update(self, key: Key) -> LinkStateUpdate | None:
        """What there is to tell of a link; None: nothing any more."""
        for records, withdrawn in ((self.links, False), (self.withdrawn, True)):
            if (record := records.get(key)) is not None:
                return LinkStateUpdate(*key, record.seqno, withdrawn)
        return None

    def in_order(self) -> Iterable[Key]:
        """The links in the order in which a new neighbour is told of them: by destination, then source."""
        return sorted(self.links, key=lambda key: key[::-1])

    def next_expiry(self) -> float | None:
        """When the oldest record is too old."""
        oldest = [next(iter(records.values())).heard for records in (self.links, self.withdrawn) if records]
        return min(oldest) + self._lifetime if oldest else None

    def expire(self, now: float) -> list[Key]:
        """Drop what is too old. Returns the links among it."""
        aged = self._expired(self.links, now)
        self._expired(self.withdrawn, now)
        return aged

    def _expired(self, records: dict[Key, Record], now: float) -> list[Key]:
        old = []
        for key, record in records.items():
            if now < record.heard + self._lifetime:
                break
            old.append(key)
        for key in old:
            del records[key]
        return old

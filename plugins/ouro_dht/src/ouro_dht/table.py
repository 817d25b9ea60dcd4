"""Contacts: which members are known, by distance from ourselves (spec: dht.md 4, 13.4).

Theory of operation. The distance of two ids is the XOR of their first eight bytes. Bucket i has the contacts that share
exactly i leading bits with our own id; the last bucket has all that share more, and is split when it overflows. So half
of the members compete for the k places of the first bucket, a quarter for those of the second, and our neighbourhood is
known completely. A bucket keeps who has been there longest: whoever finds it full waits in its replacement cache and
takes the place of one that fails.

What is known of a contact grows: it was named by another (LEARNT), a message came from it (HEARD), it answered us
(ANSWERED). Only the last two are named to others, and they displace those that are merely learnt. Two requests in a row
that were not answered, or the loss of its route, make a contact bad: it is neither asked first nor named to others, and
is replaced when somebody waits. An address has one contact, and one member can fill but half of a bucket by naming
others. Contacts that were dropped are remembered for a while, so that the halves of a layer that was split find each
other again.
"""

from collections import OrderedDict
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from .wire import Contact

__all__ = ["BAD_AFTER", "Bucket", "Entry", "Standing", "Table", "number_of"]

BAD_AFTER: Final = 2
"""Requests in a row without an answer that make a contact bad."""
_DROP_AFTER: Final = 5
_BITS: Final = 64
_LOST: Final = 32
_KEEP: Final = 60.0
"""Seconds for which an id stays with the address it was heard from, whoever else claims it."""


def number_of(id: bytes) -> int:
    """What distances are made of: the first eight bytes of an id or key."""
    return int.from_bytes(id[:8], "big")


class Standing(IntEnum):
    """What is known of a contact."""

    LEARNT = 0
    HEARD = 1
    ANSWERED = 2


class Entry:
    """A contact and what is known of it. `rtt` in seconds; None: not measured."""

    __slots__ = ("blamed", "contact", "down", "fails", "number", "ouro", "rtt", "seen", "standing", "via")

    def __init__(self, contact: Contact, standing: Standing, now: float, via: int = 0) -> None:
        self.contact = contact
        self.number = number_of(contact.id)
        self.standing = standing
        self.seen = now
        self.via = via  # address of who named it
        self.fails = 0
        self.blamed = float("-inf")  # when it last failed
        self.rtt: float | None = None
        self.ouro = False
        self.down = False

    @property
    def bad(self) -> bool:
        """Neither asked first nor named to others."""
        return self.down or self.fails >= BAD_AFTER

    @property
    def answered(self) -> bool:
        """Whether it answered us once."""
        return self.standing is Standing.ANSWERED

    @property
    def shown(self) -> bool:
        """Whether it is named to others."""
        return self.standing > Standing.LEARNT and not self.bad


class Bucket:
    """`entries`: longest known first. `spare`: the replacement cache, last heard of last. `touched`: when somebody last
    looked for a key of its range.
    """

    __slots__ = ("entries", "spare", "touched")

    def __init__(self, now: float) -> None:
        self.entries: list[Entry] = []
        self.spare: list[Entry] = []
        self.touched = now


class Table:
    """The contacts of the member `own`, at most `k` in a bucket."""

    def __init__(self, own: Contact, k: int) -> None:
        self.own, self.k = own, k
        self.number = number_of(own.id)
        self.buckets = [Bucket(0.0)]
        self.lost: OrderedDict[Contact, None] = OrderedDict()
        """Those dropped last, the latest at the end."""
        self._by_address: dict[int, Entry] = {}

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Entry]:
        """All in the buckets, nearest bucket last."""
        for bucket in self.buckets:
            yield from bucket.entries

    def get(self, address: int) -> Entry | None:
        """Who is in a bucket or waits for a place in one."""
        return self._by_address.get(address)

    def usable(self) -> int:
        """How many contacts are not bad."""
        return sum(1 for entry in self if not entry.bad)

    def index(self, number: int) -> int:
        """The bucket that a number belongs to."""
        return min(_BITS - (number ^ self.number).bit_length(), len(self.buckets) - 1)

    # ------------------------------------------------------------ getting to know

    def heard(self, contact: Contact, now: float, *, ouro: bool, answered: bool = False) -> tuple[Entry | None, bool]:
        """A message came from a contact; `answered`: to a request of ours. Returns its entry, and whether it is new in
        a bucket.
        """
        if contact.address == self.own.address or contact.id == self.own.id:
            return None, False
        known = self._by_address.get(contact.address)
        if known is not None and known.contact.id != contact.id:
            if not answered and not known.bad and known.standing is Standing.ANSWERED and now - known.seen < _KEEP:
                return None, False  # somebody borrows an address that is somebody else's
            self._remove(known)
            known = None
        if known is None and not self._may_move(contact, now):
            return None, False
        entry = known or Entry(contact, Standing.HEARD, now)
        back = entry.bad
        entry.seen, entry.fails, entry.down, entry.ouro = now, 0, False, ouro
        entry.standing = max(entry.standing, Standing.ANSWERED if answered else Standing.HEARD)
        bucket = self.buckets[self.index(entry.number)]
        if known is not None and known in bucket.entries:
            bucket.entries.remove(known)
            bucket.entries.append(known)
            return entry, back
        self.lost.pop(contact, None)
        return entry, self._place(entry)

    def _may_move(self, contact: Contact, now: float) -> bool:
        """An id that is heard from another address moves there, unless the old one still speaks."""
        bucket = self.buckets[self.index(number_of(contact.id))]
        for entry in (*bucket.entries, *bucket.spare):
            if entry.contact.id == contact.id:
                if not entry.bad and now - entry.seen < _KEEP:
                    return False
                self._remove(entry)
                break
        return True

    def learnt(self, contact: Contact, via: int, now: float) -> None:
        """A contact was named by the member at `via`."""
        if contact.address in self._by_address or contact.address == self.own.address or contact.id == self.own.id:
            return
        bucket = self.buckets[self.index(number_of(contact.id))]
        if any(entry.contact.id == contact.id for entry in bucket.entries):
            return
        here = sum(1 for e in bucket.entries if e.via == via and e.standing is Standing.LEARNT)
        if here >= max(1, self.k // 2):
            return
        self._place(Entry(contact, Standing.LEARNT, now, via))

    def _place(self, entry: Entry) -> bool:
        """Put it into its bucket, or where it waits. Returns whether it is in the bucket now."""
        self._by_address[entry.contact.address] = entry
        while True:
            index = self.index(entry.number)
            bucket = self.buckets[index]
            if entry in bucket.spare:
                bucket.spare.remove(entry)
            if len(bucket.entries) < self.k:
                bucket.entries.append(entry)
                return True
            if index < len(self.buckets) - 1 or len(self.buckets) == _BITS:
                break
            self._split()
        worst = next((e for e in bucket.entries if e.bad), None)
        if worst is None and entry.standing > Standing.LEARNT:
            worst = next((e for e in bucket.entries if e.standing is Standing.LEARNT), None)
        if worst is not None:
            bucket.entries.remove(worst)
            bucket.entries.append(entry)
            self._wait(bucket, worst)
            return True
        self._wait(bucket, entry)
        return False

    def _wait(self, bucket: Bucket, entry: Entry) -> None:
        if entry.bad:
            self._forget(entry)
            return
        if entry.standing is Standing.LEARNT and len(bucket.spare) >= self.k:
            del self._by_address[entry.contact.address]
            return
        bucket.spare.append(entry)
        if len(bucket.spare) > self.k:
            oldest = bucket.spare.pop(0)
            del self._by_address[oldest.contact.address]

    def _split(self) -> None:
        """Divide the last bucket."""
        last = self.buckets[-1]
        depth = len(self.buckets) - 1
        near = Bucket(last.touched)
        far = Bucket(last.touched)
        for source, pick in ((last.entries, "entries"), (last.spare, "spare")):
            for entry in source:
                shared = _BITS - (entry.number ^ self.number).bit_length()
                getattr(near if shared > depth else far, pick).append(entry)
        self.buckets[-1:] = [far, near]
        self._promote(far)
        self._promote(near)

    # ------------------------------------------------------------ losing sight

    def failed(self, address: int, sent: float, now: float) -> None:
        """A contact did not answer a request in time. Of requests that were under way together, one counts."""
        entry = self._by_address.get(address)
        if entry is None or sent < max(entry.blamed, entry.seen):
            return
        entry.fails += 1
        entry.blamed = now
        if entry.bad:
            self._replace(entry, entry.fails >= _DROP_AFTER or entry.standing is Standing.LEARNT)

    def unreachable(self, address: int) -> None:
        """A contact has no route."""
        entry = self._by_address.get(address)
        if entry is not None:
            entry.down = True
            self._replace(entry, False)

    def reachable(self, address: int) -> None:
        """It has one again."""
        entry = self._by_address.get(address)
        if entry is not None:
            entry.down = False

    def _replace(self, entry: Entry, drop: bool) -> None:
        bucket = self.buckets[self.index(entry.number)]
        if entry in bucket.spare:
            bucket.spare.remove(entry)
            self._forget(entry)
        elif entry in bucket.entries and (drop or bucket.spare):
            bucket.entries.remove(entry)
            self._forget(entry)
            self._promote(bucket)

    def _promote(self, bucket: Bucket) -> None:
        while bucket.spare and len(bucket.entries) < self.k:
            bucket.entries.append(bucket.spare.pop())

    def _forget(self, entry: Entry) -> None:
        """It is in no list any more."""
        self._by_address.pop(entry.contact.address, None)
        if entry.standing > Standing.LEARNT:
            self.lost[entry.contact] = None
            self.lost.move_to_end(entry.contact)
            if len(self.lost) > _LOST:
                self.lost.popitem(last=False)

    def _remove(self, entry: Entry) -> None:
        """Another contact has its address, or its id another address."""
        bucket = self.buckets[self.index(entry.number)]
        for entries in (bucket.entries, bucket.spare):
            if entry in entries:
                entries.remove(entry)
        self._by_address.pop(entry.contact.address, None)
        self._promote(bucket)

    # ------------------------------------------------------------ finding

    def closest(self, number: int, count: int, shown: bool = False) -> list[Entry]:
        """The contacts closest to a number, closest first: those that are not bad, or those that are `shown`.

        The bucket of the number is nearest to it, then come all deeper ones together, then the others by and by.
        """
        own = self.index(number)
        groups = [self.buckets[own].entries, [e for b in self.buckets[own + 1 :] for e in b.entries]]
        groups += [self.buckets[i].entries for i in range(own - 1, -1, -1)]
        found: list[Entry] = []
        for group in groups:
            fit = [e for e in group if not e.down and e.fails < BAD_AFTER and (e.standing or not shown)]
            if len(fit) > 1:
                fit.sort(key=lambda e: e.number ^ number)
            found += fit
            if len(found) >= count:
                break
        return found[:count]

    def lowest(self, count: int) -> list[Entry]:
        """Of the prototype's, those with the lowest ids, which others of its kind ask most."""
        return sorted((e for e in self if e.shown and not e.ouro), key=lambda e: e.number)[:count]

    def rank(self, number: int, limit: int) -> int:
        """How many contacts are closer to a number than we are; not counted beyond `limit`."""
        distance = number ^ self.number
        nearer = 0
        for entry in self.closest(number, limit):
            nearer += entry.number ^ number < distance
        return nearer

    def random_number(self, index: int, bits: int) -> int:
        """A number in the range of bucket `index`, from random bits."""
        if index == len(self.buckets) - 1:
            mask = (1 << (_BITS - index)) - 1
            return (self.number & ~mask) | (bits & mask)
        flipped = self.number ^ (1 << (_BITS - 1 - index))
        mask = (1 << (_BITS - 1 - index)) - 1
        return (flipped & ~mask) | (bits & mask)

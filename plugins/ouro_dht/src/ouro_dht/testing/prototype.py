"""An emulation of the prototype's DHT, faults included (spec: dht.md 3 to 8; numbers of defects are those of 13.1).

It does what the specification says of the prototype, on the same messages: lookups of one round (1), contacts in order
of children instead of distance (2), the wrong byte at splits (3), no failure detection (4), STOREs to alpha contacts
(5), replication of one key (6), queries that fail when one has no route (8). The one thing it does not do is to flood
(10), to stop (11) and to crash (14).
"""

from collections.abc import Callable, Sequence
from math import gcd
from typing import Final

from attrs import define, field

from ouro_core.contracts.directory import DirectoryAnswer, DirectoryReport, DirectorySend, DirectorySetup

from ..config import DhtConfig
from ..wire import Contact, Malformed, Message, Request, Response, Store, Value, address_of, decode, encode, value_of

__all__ = ["Prototype"]

T_RESPONSE: Final = 2.0
MAX_REQUESTS: Final = 128
MAX_VALUES: Final = 8


@define(eq=False)
class _Bucket:
    """Children are made on demand; one that is absent is empty."""

    depth: int
    mask: int
    parent: "_Bucket | None"
    refresh: float
    contacts: list[tuple[Contact, float]] = field(factory=list)
    alts: list[Contact] = field(factory=list)
    children: "dict[int, _Bucket] | None" = None

    def has(self, id: bytes) -> bool:
        """Defect 3: byte `depth` where the search for leaves used the one before."""
        return self.depth == 0 or id[self.depth] == self.mask


@define
class _Request:
    until: float
    peers: list[tuple[int, int, int]] = field(factory=list)  # cookie, address, code
    values: list[bytes] = field(factory=list)
    waiting: list[int] = field(factory=list)


class Prototype:
    """One member. `unreachable`: whether an address has no route."""

    def __init__(self, setup: DirectorySetup, unreachable: Callable[[int], bool] = lambda address: False) -> None:
        self._unreachable = unreachable
        self._config: DhtConfig = setup.config
        self._rng, self._unix, self._size = setup.rng, setup.unix_time, setup.hash.size
        self.own = Contact(self._rng.randbytes(self._size), setup.address)
        self._magic = self._rng.getrandbits(64) or 1
        self._root = _Bucket(0, 0, None, 0.0)
        self._requests: dict[bytes, _Request] = {}
        self.local: dict[bytes, float] = {}
        self.foreign: dict[bytes, dict[bytes, float]] = {}
        self._replicated: dict[tuple[bytes, bytes], float] = {}
        self._out: list[DirectorySend | DirectoryAnswer | DirectoryReport] = []
        self._last = 0
        self._peer = 0
        self._task = 0
        self._next: float | None = None
        c = self._config
        steps = gcd(c.dht_t_expire, abs(c.dht_t_expire - 5 * c.dht_t_replicate), c.dht_t_replicate, c.dht_t_refresh)
        self._interval = max(1, steps // 2 // 5)
        self._touch(self.own, 0.0)

    # ------------------------------------------------------------ contacts

    def _leaf(self, id: bytes) -> _Bucket:
        bucket = self._root
        while bucket.children is not None:
            number = id[bucket.depth]
            if number not in bucket.children:
                bucket.children[number] = _Bucket(bucket.depth + 1, number, bucket, bucket.refresh)
            bucket = bucket.children[number]
        return bucket

    def _touch(self, contact: Contact, now: float) -> None:
        leaf = self._leaf(contact.id)
        leaf.contacts = [c for c in leaf.contacts if c[0].address != contact.address]
        k = self._config.dht_k
        if len(leaf.contacts) < k:
            leaf.contacts.append((contact, now))
        elif leaf.has(self.own.id):
            leaf.contacts.append((contact, now))
            self._split(leaf)
        else:
            leaf.alts = [*leaf.alts, contact][-k:]

    def _split(self, bucket: _Bucket) -> None:
        children = bucket.children = {}
        for contact, seen in bucket.contacts:
            number = contact.id[bucket.depth + 1]
            child = children.setdefault(number, _Bucket(bucket.depth + 1, number, bucket, bucket.refresh))
            child.contacts.append((contact, seen))
        bucket.contacts = []
        if len(children) == 1:
            self._split(next(iter(children.values())))

    def contacts(self) -> list[Contact]:
        """All contacts, in whatever bucket."""
        found, buckets = [], [self._root]
        while buckets:
            bucket = buckets.pop()
            found += [contact for contact, _ in bucket.contacts]
            buckets += (bucket.children or {}).values()
        return found

    def contact_list(self, key: bytes, wanted: int, now: float) -> list[Contact]:
        """The contacts for a key, as the prototype selects them (4.5)."""
        k = self._config.dht_k
        wanted = min(wanted, k)
        leaf = self._leaf(key)
        leaf.refresh = now + self._config.dht_t_refresh
        found: list[Contact] = []
        if len(leaf.contacts) >= k or leaf.parent is None:
            siblings = [leaf]
        else:
            assert leaf.parent.children is not None
            siblings = [leaf.parent.children[i] for i in sorted(leaf.parent.children)]
        for bucket in siblings:
            for contact, _ in bucket.contacts:
                if contact.address != self.own.address:
                    found.append(contact)
                    if len(found) == wanted:
                        break
            if len(found) >= (wanted if siblings == [leaf] else k):
                break
        return found

    # ------------------------------------------------------------ requests

    def _send(self, to: Contact, message: Message) -> None:
        if to.address != self.own.address:  # there is no way to ourselves
            self._out.append(DirectorySend(to.address, encode(message)))

    def _ask(self, key: bytes, for_value: bool, now: float, peers: Sequence[Contact] | None = None) -> bool:
        """Send to `alpha` contacts that were not asked. False: there is nobody, or no room, or no route to one of them
        (8).
        """
        record = self._requests.get(key)
        if record is None:
            if len(self._requests) >= MAX_REQUESTS:
                return False
            record = self._requests[key] = _Request(now + T_RESPONSE)
        record.until = now + T_RESPONSE
        chosen = self.would_ask(key, now)
        if not chosen:
            return False
        code = 3 if for_value else 1
        for contact in chosen:
            if record.values or any(a == contact.address and c >= code for _, a, c in record.peers):
                continue
            cookie = self._rng.getrandbits(64) or 1
            record.peers.append((cookie, contact.address, code))
            self._send(contact, Request(self.own, key, cookie, for_value))
        return not any(self._unreachable(contact.address) for contact in chosen)

    def _response(self, response: Response, now: float) -> None:
        record = self._requests.get(response.key)
        if record is None or all(cookie != response.cookie for cookie, _, _ in record.peers):
            return
        for contact in response.contacts:
            if contact.address != self.own.address:
                self._touch(contact, now)
        if response.values:
            record.values += [v.data for v in response.values]
            for number in record.waiting:
                self._answer(number, record.values)
            record.waiting = []
            return
        # Defect 1: contacts are entered as asked here, and then left out because they are.
        asked = {address for _, address, _ in record.peers}
        fresh = [c for c in response.contacts if c.address not in asked and c.address != self.own.address]
        for_value = response.values is not None
        if fresh:
            for contact in fresh:
                record.peers.append((self._rng.getrandbits(64) or 1, contact.address, 3 if for_value else 1))
        else:
            self._ask(response.key, for_value, now)

    # ------------------------------------------------------------ commands

    def start(self, peers: Sequence[int], now: float) -> None:
        self._next = now + self._interval
        if peers:
            self._peer = peers[0]
            self._bootstrap(now)
            self._bootstrap(now)
            self._task = 1

    def _bootstrap(self, now: float) -> None:
        record = self._requests.setdefault(self.own.id, _Request(now + T_RESPONSE))
        record.until = now + T_RESPONSE
        record.peers.append((self._magic, self._peer, 1))
        self._send(Contact(self.own.id, self._peer), Request(self.own, self.own.id, self._magic))

    def register(self, hash: bytes, now: float) -> None:
        if hash in self.local:
            return
        expiry = self.local[hash] = self._unix(now) + self._config.dht_t_expire
        self._store(hash, value_of(self.own.address), expiry, now)

    def unregister(self, hash: bytes, now: float) -> None:
        self.local.pop(hash, None)

    def _store(self, key: bytes, value: bytes, expiry: float, now: float) -> None:
        for contact in self.would_ask(key, now):
            self._send(contact, Store(self.own, key, value, int(expiry)))

    def query(self, hash: bytes, now: float) -> int:
        self._last += 1
        values = self._values(hash)
        if values:
            self._answer(self._last, values)
            return self._last
        record = self._requests.get(hash)
        if record is not None and record.values:
            record.until = now + T_RESPONSE
            self._answer(self._last, record.values)
        elif self._ask(hash, True, now):
            self._requests[hash].waiting.append(self._last)
        else:
            self._answer(self._last, [])
        return self._last

    def _answer(self, number: int, values: Sequence[bytes]) -> None:
        """The first value, or the second when the first is our own."""
        addresses = [address_of(v) for v in values[:2]]
        found = [a for a in addresses if a != self.own.address][:1]
        self._out.append(DirectoryAnswer(number, tuple(a for a in found if a)))

    def has(self, key: bytes) -> bool:
        """Whether it would answer with a value."""
        return bool(self._values(key))

    def would_ask(self, key: bytes, now: float) -> list[Contact]:
        """Whom a query would be sent to, if it had to be."""
        return self.contact_list(key, self._config.dht_alpha, now)[: self._config.dht_alpha]

    def _values(self, key: bytes) -> list[bytes]:
        values = list(self.foreign.get(key, ()))
        if key in self.local:
            values.append(value_of(self.own.address))
        return values[:MAX_VALUES]

    # ------------------------------------------------------------ messages

    def receive(self, data: bytes, now: float) -> None:
        try:
            message = decode(data, self._size, bytes)
        except Malformed:
            return
        self._touch(message.source, now)
        if isinstance(message, Response):
            self._response(message, now)
        elif isinstance(message, Request):
            contacts = tuple(self.contact_list(message.key, self._config.dht_k, now)[: self._config.dht_k])
            values = tuple(map(Value, self._values(message.key))) if message.for_value else None
            self._send(message.source, Response(self.own, message.key, message.cookie, contacts, values))
        elif message.expiry >= self._unix(now) and not (
            message.value == value_of(self.own.address) and message.key in self.local
        ):
            held = self.foreign.setdefault(message.key, {})
            held[message.value] = max(message.expiry, held.get(message.value, 0))

    # ------------------------------------------------------------ time

    def next_timeout(self) -> float | None:
        waiting = [r.until for r in self._requests.values() if r.waiting]
        times = [*waiting, *([self._next] if self._next is not None else [])]
        return min(times) if times else None

    def handle_timeout(self, now: float) -> None:
        for key, record in list(self._requests.items()):
            if record.waiting and now >= record.until:
                for number in record.waiting:
                    self._answer(number, [])
                del self._requests[key]
        if self._next is not None and now >= self._next:
            self._next = now + self._interval
            task, self._task = self._task, (self._task + 1) % 5
            (self._check, self._expire, self._sweep, self._replicate, self._refresh)[task](now)

    def _check(self, now: float) -> None:
        if self._peer and not self.contact_list(self.own.id, 1, now):
            self._bootstrap(now)

    def _expire(self, now: float) -> None:
        unix = self._unix(now)
        for key in list(self.foreign):
            self.foreign[key] = {v: e for v, e in self.foreign[key].items() if e >= unix}
            if not self.foreign[key]:
                del self.foreign[key]

    def _sweep(self, now: float) -> None:
        self._requests = {k: r for k, r in self._requests.items() if now <= r.until or r.waiting}

    def _replicate(self, now: float) -> None:
        """Defect 6: the last key alone."""
        keys = sorted({*self.local, *self.foreign}, key=lambda k: int.from_bytes(k[:8], "big") ^ self._number)
        if not keys:
            return
        key, unix, pause = keys[-1], self._unix(now), self._config.dht_t_replicate
        for value, expiry in self.foreign.get(key, {}).items():
            if now > self._replicated.get((key, value), -pause) + pause and expiry >= unix:
                self._replicated[key, value] = now
                self._store(key, value, expiry, now)
        own = value_of(self.own.address)
        last = self._replicated.get((key, own), -pause)
        if key in self.local and self.local[key] - unix < 5 * pause and now > last + pause:
            self._replicated[key, own] = now
            self.local[key] = unix + self._config.dht_t_expire
            self._store(key, own, self.local[key], now)

    @property
    def _number(self) -> int:
        return int.from_bytes(self.own.id[:8], "big")

    def _refresh(self, now: float) -> None:
        self._refresh_bucket(self._root, now)

    def _refresh_bucket(self, bucket: _Bucket, now: float) -> None:
        if now <= bucket.refresh:
            return
        for child in list((bucket.children or {}).values()):
            self._refresh_bucket(child, now)
        if bucket.contacts and now - bucket.contacts[0][1] > self._config.dht_t_refresh:
            self._ask(bucket.contacts[0][0].id, False, now)

    def output(self) -> list[DirectorySend | DirectoryAnswer | DirectoryReport]:
        out, self._out = self._out, []
        return out

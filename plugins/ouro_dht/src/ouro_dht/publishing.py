"""Names registered here, and values of others: published, passed on, withdrawn (spec: dht.md 6, 13.4).

Theory of operation. A name that is registered goes at once, for a minute, to the `alpha` closest contacts we know, and
a moment later, after a lookup, to the `k` closest members. There it lives for a lease, three times `t_replicate`, and
is published again after each `t_replicate`, so the address of a server that died is forgotten within the hour, not
within the day. While there are fewer than `k` members it is published more often: there may soon be more. A fixed
number of publications is under way at once; the others wait in line.

Who holds a value of another leaves publishing to its owner: only when nobody brought it for longer than the owner would
take, and we are among the `k` closest, we store it at the others. The first to do so spares the rest the work. Nodes of
the prototype publish once a day and to whom they happen to know, so what comes from them is soon passed on to the `k`
closest, and to those of their kind whom others of it ask. A member that moves in closer than others is given what it
should hold by the two closest that have it.

A name that is unregistered is withdrawn from Ouro members that were given it; the prototype has no message for that.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final

from .exchange import Exchange
from .lookup import Lookup
from .member import Member
from .store import Item
from .table import Entry, number_of
from .timers import Deadlines, Timer
from .wire import Contact, Store, Value, value_of

__all__ = ["Publishing"]

MAX_RUNNING: Final = 12
_SOON: Final = 0.05
_AT_ONCE: Final = 60
"""Seconds for which a name lives where it is sent before the closest are known."""
_AGAIN: Final = 2.5
"""Half of the seconds until a name that fewer than `k` took is published again; then twice as many, and so on."""
_LOW_IDS: Final = 8
_SLICE: Final = 256
_NEWCOMERS: Final = 64
_MAX_WITHDRAWN: Final = 4096


class _Own:
    """A name registered here. `published`: as told last, seconds since 1970; `holders`: who was given it the last time;
    `earlier`: who was given it before, and until when it is theirs; `pause`: half of the time to the next publication
    while too few hold it.
    """

    __slots__ = ("earlier", "expiry", "holders", "pause", "published", "queued", "timer")

    def __init__(self, published: int) -> None:
        self.published = published
        self.expiry = 0
        self.pause = _AGAIN
        self.holders: dict[Contact, None] = {}
        self.earlier: dict[Contact, int] = {}
        self.queued = False
        self.timer: Timer | None = None

    def begin(self, unix: int) -> None:
        """It is published anew."""
        self.earlier = {holder: end for holder, end in self.earlier.items() if end >= unix}
        self.earlier.update(dict.fromkeys(self.holders, self.expiry))
        self.holders = {}


class Publishing:
    """`names` are those registered here."""

    def __init__(self, member: Member, exchange: Exchange) -> None:
        self._member, self._exchange = member, exchange
        self.names: dict[bytes, _Own] = {}
        self._value = value_of(member.own.address)
        self._withdrawn: OrderedDict[bytes, int] = OrderedDict()
        self._line: deque[bytes] = deque()
        self._coming = 0  # registered, and not in line yet
        self._running = 0
        self._due = Deadlines(lambda due, key, value: member.store.item(key, value) is not None)
        self._due_timer: Timer | None = None
        self._newcomers: deque[tuple[Entry, list[bytes]]] = deque()
        self._end_timer: Timer | None = None

    # ------------------------------------------------------------ own names

    def register(self, key: bytes, now: float) -> None:
        """Publish a name of ours, now and from time to time."""
        if key in self.names:
            return
        member = self._member
        unix = int(member.unix_time(now))
        own = self.names[key] = _Own(max(unix, self._withdrawn.pop(key, 0) + 1) if key in self._withdrawn else unix)
        if len(self._line) + self._coming < MAX_RUNNING:
            self._lease(own, min(_AT_ONCE, member.config.lease), now)
            for entry in member.table.closest(number_of(key), member.config.dht_alpha):
                self._store(key, own, entry.contact)
        self._coming += 1
        member.timers.at(now + member.jitter(_SOON, 0.5), lambda now: self._come(key, now))

    def _come(self, key: bytes, now: float) -> None:
        self._coming -= 1
        self._enqueue(key, now)

    def unregister(self, key: bytes) -> None:
        """Publish it no more, and take it back where that is possible. Names that are not here are ignored."""
        own = self.names.pop(key, None)
        if own is None:
            return
        member = self._member
        member.timers.cancel(own.timer)
        self._withdrawn[key] = own.published
        if len(self._withdrawn) > _MAX_WITHDRAWN:
            self._withdrawn.popitem(last=False)
        member.counters.withdrawn += 1
        for holder in {**own.earlier, **own.holders}:
            self._withdraw(key, holder, own.published)

    def _withdraw(self, key: bytes, holder: Contact, published: int) -> None:
        member = self._member
        entry = member.table.get(holder.address)
        if entry is not None and entry.ouro:
            member.counters.stores_sent += 1
            member.send(holder, Store(member.own, key, self._value, 0, published, withdraw=True, ouro=True))

    def is_own(self, value: bytes) -> bool:
        """Whether a value is our address."""
        return value == self._value

    def own_value(self, key: bytes) -> Value | None:
        """What we answer for a name that is registered here."""
        own = self.names.get(key)
        return None if own is None else Value(self._value, own.published, own.expiry)

    def disown(self, key: bytes, holder: Contact) -> None:
        """Somebody passes on a name that is not here any more."""
        published = self._withdrawn.get(key)
        if published is not None:
            self._withdraw(key, holder, published)

    def publish_all(self, now: float) -> None:
        """Contacts are there, at last or again: what nobody was given, or nobody that is alive, goes out."""
        for key, own in self.names.items():
            if not any(self._alive(holder) for holder in own.holders):
                self._enqueue(key, now)

    def _alive(self, holder: Contact) -> bool:
        entry = self._member.table.get(holder.address)
        return entry is not None and not entry.bad

    def _enqueue(self, key: bytes, now: float) -> None:
        own = self.names.get(key)
        if own is None or own.queued:
            return
        own.queued = True
        self._member.timers.cancel(own.timer)
        self._line.append(key)
        self._start(now)

    def _start(self, now: float) -> None:
        while self._line and self._running < MAX_RUNNING:
            key = self._line.popleft()
            own = self.names.get(key)
            if own is not None:
                self._running += 1
                self._exchange.lookup(key, now, self._publish)

    def _publish(self, lookup: Lookup, now: float) -> None:
        self._running -= 1
        own = self.names.get(lookup.key)
        if own is not None:
            own.queued = False
            self._place(lookup, own, now)
        if self._line:
            self._member.timers.at(now, self._start)

    def _place(self, lookup: Lookup, own: _Own, now: float) -> None:
        member = self._member
        closest = lookup.closest()[: member.config.dht_k]
        own.begin(int(member.unix_time(now)))
        self._lease(own, member.config.lease, now)
        for contact in self._targets(closest, now):
            self._store(lookup.key, own, contact)
        member.counters.published += bool(closest)
        pause = float(member.config.dht_t_replicate)
        if len(closest) < member.config.dht_k:  # the layer may be young
            own.pause = min(2 * own.pause, pause)
            pause = own.pause
        key = lookup.key
        own.timer = member.timers.at(now + member.jitter(pause), lambda now: self._enqueue(key, now))

    def _targets(self, closest: Iterable[Contact], now: float) -> list[Contact]:
        """The closest, and while nodes of the prototype are known, those of them with the lowest ids, whom others of
        their kind ask.
        """
        targets = dict.fromkeys(closest)
        if self._member.helping(now):
            targets.update(dict.fromkeys(e.contact for e in self._member.table.lowest(_LOW_IDS)))
        return list(targets)

    def _lease(self, own: _Own, seconds: int, now: float) -> None:
        unix = int(self._member.unix_time(now))
        own.published = max(own.published, unix)
        own.expiry = unix + seconds

    def _store(self, key: bytes, own: _Own, to: Contact) -> None:
        own.holders[to] = None
        self._member.counters.stores_sent += 1
        self._member.send(to, Store(self._member.own, key, self._value, own.expiry, own.published, ouro=True))

    # ------------------------------------------------------------ values of others

    def stored(self, key: bytes, item: Item, new: bool, from_prototype: bool, now: float) -> None:
        """A message brought a value."""
        self._watch_end(now)
        if not new:
            return
        member = self._member
        item.adopt = from_prototype
        pause = member.jitter(3.0, 0.9) if item.adopt else self._patience()
        self._due.add(now + pause, key, item.value)
        self._watch_due()

    def _patience(self) -> float:
        """Longer than an owner takes to publish again."""
        return self._member.config.dht_t_replicate * self._member.rng.uniform(1.25, 1.6)

    def _watch_due(self) -> None:
        timers, due = self._member.timers, self._due.next()
        if due is not None and (self._due_timer is None or self._due_timer.time > due):
            timers.cancel(self._due_timer)
            self._due_timer = timers.at(due, self._replicate)

    def _replicate(self, now: float) -> None:
        member = self._member
        self._due_timer = None
        while self._is_due(now) and self._running < MAX_RUNNING:
            _, key, value = self._due.pop()
            item = member.store.item(key, value)
            if item is None:
                continue
            quiet = now - item.stored >= 1.2 * member.config.dht_t_replicate
            k = member.config.dht_k
            if item.adopt or (quiet and member.table.rank(number_of(key), k) < k):
                self._pass_on(key, item, now)
            later = max(now + 1.0, (now if item.adopt or quiet else item.stored) + self._patience())
            item.adopt = False
            self._due.add(later, key, value)
        if self._is_due(now):
            self._due_timer = member.timers.at(now + 0.1, self._replicate)
        else:
            self._watch_due()

    def _is_due(self, now: float) -> bool:
        due = self._due.next()
        return due is not None and due <= now

    def _pass_on(self, key: bytes, item: Item, now: float) -> None:
        self._running += 1

        def place(lookup: Lookup, now: float) -> None:
            self._running -= 1
            member = self._member
            if member.store.item(key, item.value) is item:
                member.counters.replicated += 1
                for contact in self._targets(lookup.closest()[: member.config.dht_k], now):
                    self._copy(key, item, contact)
            if self._line:
                member.timers.at(now, self._start)

        self._exchange.lookup(key, now, place)

    def _copy(self, key: bytes, item: Item, to: Contact) -> None:
        member = self._member
        member.counters.stores_sent += 1
        member.send(
            to, Store(member.own, key, item.value, int(item.expiry), max(0, int(item.published)), ouro=True)
        )  # fmt: skip

    def newcomer(self, entry: Entry, now: float) -> None:
        """A contact that was not known: it may be closer to what we hold than others."""
        if not self._member.store.count or len(self._newcomers) >= _NEWCOMERS:
            return
        if not self._newcomers:
            self._member.timers.at(now + self._member.jitter(1.0, 0.5), self._hand_over)
        self._newcomers.append((entry, list(self._member.store.keys)))

    def _hand_over(self, now: float) -> None:
        member = self._member
        entry, keys = self._newcomers[0]
        for _ in range(min(_SLICE, len(keys))):
            key = keys.pop()
            held = member.store.keys.get(key)
            if held is not None and self._is_mine_to_give(held.number, entry):
                for item in held.items.values():
                    self._copy(key, item, entry.contact)
        if not keys:
            self._newcomers.popleft()
        if self._newcomers:
            member.timers.at(now + 0.05, self._hand_over)

    def _is_mine_to_give(self, number: int, newcomer: Entry) -> bool:
        """Whether the newcomer is among the `k` closest to a key, and of the others we are one of the two closest: the
        closest may be as new, and have nothing yet.
        """
        table, k = self._member.table, self._member.config.dht_k
        nearest = [e for e in table.closest(number, 3) if e is not newcomer]
        if len(nearest) > 1 and nearest[1].number ^ number < table.number ^ number:
            return False
        return newcomer in table.closest(number, k)

    # ------------------------------------------------------------ ends

    def _watch_end(self, now: float) -> None:
        end = self._member.store.next_end()
        if end is not None and self._end_timer is None:
            wait = end - self._member.unix_time(now)
            self._end_timer = self._member.timers.at(now + min(max(wait, 1.0), 3600.0) + 1.0, self._expire)

    def _expire(self, now: float) -> None:
        self._end_timer = None
        self._member.counters.expired += self._member.store.expire(self._member.unix_time(now))
        self._watch_end(now)

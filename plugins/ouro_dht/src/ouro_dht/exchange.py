"""Requests that are under way: cookies, who was asked, when it is too late; and the lookups they belong to.

Theory of operation. Every request has a random cookie of its own, and is remembered under it for `GIVE_UP` seconds. A
response counts once, and only when cookie, key, kind and the address of the member asked all fit; this is also the only
moment at which we know that a contact is what it says. A request without response counts against the contact. The one
exception is the enrolment peer, of which only the address is known: all requests to it carry the same (magic) cookie.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Final

from .lookup import Lookup, Peer
from .member import Member
from .table import Entry, Standing
from .timers import Timer
from .wire import Contact, Request, Response

__all__ = ["GIVE_UP", "Exchange"]

GIVE_UP: Final = 2.0
"""Seconds for which a response is waited for; as long as the prototype remembers its requests."""
_MAX_MAGIC: Final = 1024


class _Pending:
    __slots__ = ("address", "cookie", "for_value", "key", "lookup", "over", "peer", "sent")

    def __init__(self, cookie: int, address: int, key: bytes, for_value: bool, sent: float) -> None:
        self.cookie, self.address, self.key, self.for_value, self.sent = cookie, address, key, for_value, sent
        self.lookup: Lookup | None = None
        self.peer: Peer | None = None
        self.over = False


class Exchange:
    """`on_contact` is told of entries that are new in the table or back, `on_silence` that somebody did not answer."""

    def __init__(
        self,
        member: Member,
        on_contact: Callable[[Entry, float], None],
        on_silence: Callable[[float], None],
    ) -> None:
        self._member = member
        self._on_contact, self._on_silence = on_contact, on_silence
        self._magic = member.cookie()
        self._magic_asked: OrderedDict[int, bool] = OrderedDict()
        """Addresses asked with it, the latest at the end; whether they answered."""
        self._pending: dict[int, _Pending] = {}
        self._order: deque[_Pending] = deque()
        self._expiry: Timer | None = None
        self._timers: dict[Lookup, Timer] = {}

    @property
    def running(self) -> int:
        """Lookups under way."""
        return len(self._timers)

    # ------------------------------------------------------------ asking

    def lookup(self, key: bytes, now: float, done: Callable[[Lookup, float], None], *, for_value: bool = False) -> None:
        """Begin a lookup; `done(lookup, now)` is called when it is over, which may be within this call."""
        member = self._member
        k, alpha = member.config.width, member.config.dht_alpha
        thorough = for_value and member.helping(now)
        lookup = Lookup(
            key, member.own.address, for_value=for_value, k=k, alpha=alpha, now=now, done=done, thorough=thorough,
            reserve=lambda: self._reserve(lookup, now),
        )  # fmt: skip
        seeds = member.table.closest(lookup.number, len(member.table) if thorough else max(k, 2 * alpha))
        lookup.seed(seeds or (e for e in member.table if not e.down), member.patience)
        member.table.buckets[member.table.index(lookup.number)].touched = now
        member.counters.lookups += 1
        self._step(lookup, now)

    def _reserve(self, lookup: Lookup, now: float) -> list[Entry]:
        """Whom else to ask before a lookup fails: those that answered us before, and then the prototype's."""
        member = self._member
        known = [e for e in member.table.closest(lookup.number, len(member.table)) if e.answered]
        if member.helping(now):
            others = (c for c in member.others.values() if c.address not in member.down)
            known += [Entry(contact, Standing.LEARNT, now) for contact in others]
        return known

    def ask(self, contact: Contact, key: bytes, now: float) -> None:
        """One request, to learn contacts and whether this one is alive."""
        self._send(contact, key, False, now)

    def ask_magic(self, address: int, now: float) -> None:
        """Ask a member of which only the address is known for contacts near ourselves."""
        member = self._member
        self._magic_asked.setdefault(address, False)
        self._magic_asked.move_to_end(address)
        if len(self._magic_asked) > _MAX_MAGIC:
            self._magic_asked.popitem(last=False)
        member.counters.requests_sent += 1
        member.send(Contact(member.own.id, address), Request(member.own, member.own.id, self._magic, ouro=True))

    def _send(self, contact: Contact, key: bytes, for_value: bool, now: float) -> _Pending:
        member = self._member
        pending = _Pending(member.cookie(), contact.address, key, for_value, now)
        self._pending[pending.cookie] = pending
        self._order.append(pending)
        if self._expiry is None:
            self._expiry = member.timers.at(now + GIVE_UP, self._expire)
        member.counters.requests_sent += 1
        member.send(contact, Request(member.own, key, pending.cookie, for_value, ouro=True))
        return pending

    def _step(self, lookup: Lookup, now: float) -> None:
        member = self._member
        member.timers.cancel(self._timers.pop(lookup, None))
        for peer in lookup.step(now):
            pending = self._send(peer.contact, lookup.key, lookup.for_value, now)
            pending.lookup, pending.peer = lookup, peer
            member.counters.lookup_requests += 1
        due = lookup.next_timeout()
        if due is not None:
            self._timers[lookup] = member.timers.at(due, lambda now: self._step(lookup, now))
        elif lookup.done is not None:
            done, lookup.done = lookup.done, None
            if lookup.for_value:
                member.counters.lookup_rounds += lookup.rounds
            done(lookup, now)

    # ------------------------------------------------------------ answers

    def response(self, response: Response, now: float) -> Lookup | None:
        """Returns the lookup that a response belongs to."""
        member = self._member
        source = response.source
        if response.cookie == self._magic:
            self._magic_response(response, now)
            return None
        pending = self._pending.get(response.cookie)
        if pending is None:
            member.counters.unexpected += 1
            return None
        if (
            pending.address != source.address
            or pending.key != response.key
            or pending.for_value != (response.values is not None)
        ):
            member.counters.impostors += 1
            return None
        del self._pending[response.cookie]
        pending.over = True
        entry, new = member.table.heard(source, now, ouro=response.ouro, answered=True)
        member.measured(entry, now - pending.sent)
        self._learn(response, now)
        if entry is not None and new:
            self._on_contact(entry, now)
        if pending.lookup is not None and pending.peer is not None:
            self._continue(pending.lookup, pending.peer, response, now)
        return pending.lookup

    def _magic_response(self, response: Response, now: float) -> None:
        if response.source.address not in self._magic_asked or response.key != self._member.own.id:
            self._member.counters.impostors += 1
            return
        self._magic_asked[response.source.address] = True
        entry, new = self._member.table.heard(response.source, now, ouro=response.ouro, answered=True)
        self._learn(response, now)
        if entry is not None and new:
            self._on_contact(entry, now)

    def has_answered(self, addresses: Iterable[int]) -> bool:
        """Whether one of the members that were asked by address alone did answer."""
        return any(self._magic_asked.get(address, False) for address in addresses)

    def _learn(self, response: Response, now: float) -> None:
        member = self._member
        for contact in response.contacts[: 4 * member.config.width]:
            if contact.address not in member.down:
                member.remember(contact)
                member.table.learnt(contact, response.source.address, now)

    def _continue(self, lookup: Lookup, peer: Peer, response: Response, now: float) -> None:
        values = response.values or ()
        lookup.answered(peer, response.contacts[: 4 * lookup.k], values[: 4 * lookup.k], now, self._about)
        if lookup.finished is None:
            self._step(lookup, now)

    def _about(self, contact: Contact) -> tuple[float | None, float] | None:
        member = self._member
        if contact.address in member.down:
            return None
        entry = member.table.get(contact.address)
        if entry is not None and entry.bad:
            return None
        return (entry.rtt if entry else None), member.patience(entry)

    # ------------------------------------------------------------ time

    def _expire(self, now: float) -> None:
        failed = False
        while self._order and (self._order[0].over or now >= self._order[0].sent + GIVE_UP):
            pending = self._order.popleft()
            if not pending.over:
                del self._pending[pending.cookie]
                self._member.counters.timeouts += 1
                self._member.table.failed(pending.address, pending.sent, now)
                self._member.others.pop(pending.address, None)
                failed = True
        self._expiry = None
        if self._order:
            self._expiry = self._member.timers.at(self._order[0].sent + GIVE_UP, self._expire)
        if failed:
            self._on_silence(now)

"""Getting to know members and staying in touch (spec: dht.md 7, 4.6).

Theory of operation. Whoever enrolled us is asked for contacts near ourselves, again and again until it answers, even
when others have found us meanwhile: they may have been cut off with us. With the first contact a lookup for our own id
begins; what answers it is our neighbourhood, and knows us from then on. After it each farther bucket that has room is
given one request. From then on, once in `t_refresh`: a lookup for our own id, and in each bucket in whose range nobody
looked for anything, one request to the contact that was not heard of for longest, which shows whether it is alive and
brings others.

When hardly anybody answers any more, whoever may be in reach is asked: the enrolment peers, members that routing knows,
those that were lost from the table. The last are also tried once in `t_refresh`, so that two halves of a layer that
lost each other meet again.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from .debug import show_address
from .exchange import Exchange
from .lookup import Lookup
from .member import Member
from .table import Entry, Standing
from .timers import Timer

__all__ = ["Membership"]

_FIRST_RETRY: Final = 0.2
_LAST_RETRY: Final = 5.0
_REACHABLE: Final = 256
_ASKED_AT_ONCE: Final = 3
_LOST_TRIED: Final = 3
_NOBODY: Final = (
    "No member of the layer answers, asked last: %s. Until one does, names of others are not found. Look at the IPCP's "
    "connections (ouro ipcp show), and connect it to a member."
)


class Membership:
    """`joined` is called when our neighbourhood has been found, and whenever contacts are there again."""

    def __init__(self, member: Member, exchange: Exchange, joined: Callable[[float], None]) -> None:
        self._member, self._exchange, self._joined = member, exchange, joined
        self._peers: list[int] = []
        self._reachable: OrderedDict[int, None] = OrderedDict()
        self._retry = _FIRST_RETRY
        self._retry_timer: Timer | None = None
        self._looking = False
        self._again = False
        self.started = False

    def start(self, peers: Sequence[int], now: float) -> None:
        """Begin with the addresses of some members, or none."""
        member = self._member
        self.started = True
        self._peers = [a for a in dict.fromkeys(peers) if a and a != member.own.address]
        if not self._peers:
            member.log.debug("No-one to contact.")
        self._seek(now)
        member.timers.at(now + member.jitter(member.config.dht_t_refresh), self._refresh)

    def peer_up(self, address: int, now: float) -> None:
        """A member has a route."""
        member = self._member
        member.route(address, True)
        member.table.reachable(address)
        self._reachable[address] = None
        self._reachable.move_to_end(address)
        if len(self._reachable) > _REACHABLE:
            self._reachable.popitem(last=False)
        lost = next((c for c in member.table.lost if c.address == address), None)
        if lost is not None:
            self._exchange.ask(lost, member.own.id, now)
        elif self.started and member.table.get(address) is None and self._few(member.config.width):
            self._exchange.ask_magic(address, now)

    def peer_down(self, address: int, now: float) -> None:
        """A member has none."""
        member = self._member
        self._reachable.pop(address, None)
        member.route(address, False)
        member.table.unreachable(address)
        self.check(now)

    def check(self, now: float) -> None:
        """When nobody is left, look for somebody."""
        if self.started and self._few(1):
            self._seek(now)

    def contact(self, entry: Entry, now: float) -> None:
        """A contact is new, or back."""
        if self.started and self._few(self._member.config.width):
            self._look_around(now)

    # ------------------------------------------------------------ low on contacts

    def _few(self, enough: int) -> bool:
        usable = (entry for entry in self._member.table if not entry.bad)
        return next(islice(usable, enough - 1, None), None) is None

    def _seek(self, now: float) -> None:
        """Ask until somebody answers."""
        if self._retry_timer is not None:
            return
        member = self._member
        candidates = [a for a in dict.fromkeys((*self._peers, *reversed(self._reachable))) if a not in member.down]
        candidates = candidates[:_ASKED_AT_ONCE]
        lost = [c for c in reversed(member.table.lost) if c.address not in member.down]
        for address in candidates:
            member.log.debug("Pinging emergency peer %s.", show_address(address))
            self._exchange.ask_magic(address, now)
            if address in self._reachable:
                self._reachable.move_to_end(address, last=False)  # others have their turn
        for contact in lost[:_LOST_TRIED]:
            self._exchange.ask(contact, member.own.id, now)
        self._retry_timer = member.timers.at(now + member.jitter(self._retry), self._seek_again)
        if self._retry == _LAST_RETRY and candidates and self._few(1):
            member.warn(now, _NOBODY, ", ".join(map(show_address, candidates)))
        self._retry = min(2 * self._retry, _LAST_RETRY)

    def _seek_again(self, now: float) -> None:
        self._retry_timer = None
        if self._few(1) or self._alone():
            self._seek(now)
        else:
            self._retry = _FIRST_RETRY

    def _alone(self) -> bool:
        """Whether no enrolment peer has answered yet. Others may have found us, and be as lost as we are."""
        return bool(self._peers) and not self._exchange.has_answered(self._peers)

    # ------------------------------------------------------------ neighbourhood

    def _look_around(self, now: float) -> None:
        """A lookup for our own id; one at a time, and one more when something happened meanwhile."""
        if self._looking:
            self._again = True
            return
        self._looking = True
        self._exchange.lookup(self._member.own.id, now, self._looked_around)

    def _looked_around(self, lookup: Lookup, now: float) -> None:
        self._looking = False
        self._joined(now)
        if self._again:
            self._again = False
            self._member.timers.at(now + self._member.jitter(0.5, 0.5), self._look_around)
            return
        self._fill(now)

    def _fill(self, now: float) -> None:
        """One request into each bucket that has room or contacts we only heard of from others."""
        member = self._member
        for index, bucket in enumerate(member.table.buckets[:-1]):
            known = [e for e in bucket.entries if e.shown]
            if len(known) < member.config.width:
                candidates = [e for e in bucket.entries if not e.bad]
                if candidates:
                    self._probe(index, member.rng.choice(candidates), now)

    def _probe(self, index: int, entry: Entry, now: float) -> None:
        member = self._member
        number = member.table.random_number(index, member.rng.getrandbits(64))
        key = number.to_bytes(8, "big") + member.rng.randbytes(member.size - 8)
        member.table.buckets[index].touched = now
        self._exchange.ask(entry.contact, key, now)

    # ------------------------------------------------------------ once in t_refresh

    def _refresh(self, now: float) -> None:
        member = self._member
        period = member.config.dht_t_refresh
        member.timers.at(now + member.jitter(period), self._refresh)
        if self._few(1):
            self._seek(now)
            return
        for index, bucket in enumerate(member.table.buckets[:-1]):
            if bucket.entries and now - bucket.touched >= period / 2:
                oldest = min(bucket.entries, key=lambda e: (e.standing is not Standing.LEARNT, e.seen))
                self._probe(index, oldest, now)
        lost = [c for c in member.table.lost if c.address not in member.down]
        for contact in member.rng.sample(lost, min(len(lost), _LOST_TRIED)):
            self._exchange.ask(contact, member.own.id, now)
        for address in self._peers:
            if member.table.get(address) is None and address not in member.down:
                self._exchange.ask_magic(address, now)
        self._look_around(now)

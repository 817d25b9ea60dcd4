"""The policy: one member of the DHT, sans-IO (spec: dht.md).

Theory of operation. `Member` is what all share: identity, contacts (`table`), values (`store`), timers, counters and
what is to be sent. `Exchange` asks and takes answers, and runs lookups; `Membership` knows members and keeps knowing
them; `Publishing` stores names at others; `Queries` finds them. This class receives: it checks, answers requests, keeps
what is stored here, and hands responses on.

Everything here is a hint. No message is authenticated; a member can say whatever it likes, under any id and address.
How much of tables and stores one can fill is bounded (README, "What an attacker can do"); that a flow is had at a wrong
address is found out by the flow's own authentication.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ouro_core.contracts.directory import (
    DirectoryAnswer,
    DirectoryPolicy,
    DirectoryReport,
    DirectorySend,
    DirectorySetup,
)
from ouro_core.model.errors import ConfigError
from ouro_core.model.log import PP

from . import texts
from .config import DhtConfig, decode_config, encode_config
from .counters import Counters
from .debug import describe, show_address, show_key
from .exchange import Exchange
from .limits import Limiter
from .member import Member
from .membership import Membership
from .publishing import Publishing
from .queries import Queries
from .questions import Questions
from .store import FULL
from .table import Entry, number_of
from .wire import MAX_SIZE, MAX_VALUES, Contact, Malformed, Request, Response, Store, Value, address_of, decode

__all__ = ["Dht"]

_MIN_ID: Final = 8
_RATE: Final = 1000.0
_BURST: Final = 2000.0
"""Messages a second, and at once, that one source may send."""
_REST: Final = 64
_PER_VALUE: Final = 20
_PER_CONTACT: Final = 16
"""Bytes of a response, at most: what it has beside two ids; a value with its times; a contact beside its id."""
_TOO_MUCH: Final = "Member %s sends more than %d messages a second. What is more is dropped; see the counter `limited`."


class Dht(DirectoryPolicy):
    """Kademlia, message-compatible with the prototype's DHT."""

    name = "dht"
    code = 0
    Config = DhtConfig

    @classmethod
    def encode_config(cls, config: DhtConfig, peer: int) -> bytes:
        return encode_config(config, peer)

    @classmethod
    def decode_config(cls, data: bytes) -> tuple[DhtConfig, int]:
        return decode_config(data)

    def __init__(self, setup: DirectorySetup) -> None:
        if setup.hash.size < _MIN_ID:
            raise ConfigError(
                f"the DHT needs hashes of at least {_MIN_ID} bytes; {setup.hash.name} has {setup.hash.size}"
            )
        if not 0 < setup.address < 1 << 64:
            raise ConfigError(f"{setup.address} is no address of a member")
        member = self._member = Member(setup)
        self._exchange = Exchange(member, self._on_contact, lambda now: self._membership.check(now))
        self._publishing = Publishing(member, self._exchange)
        self._membership = Membership(member, self._exchange, self._publishing.publish_all)
        self._queries = Queries(member, self._exchange, self._publishing.names, self._give)
        self._questions = Questions(member, self._exchange, self._publishing, self._show)
        self._limiter = Limiter(_RATE, _BURST)
        self._created = 0.0
        self._now = 0.0
        self._publish(setup)
        self._say_hello()

    @property
    def counters(self) -> Counters:
        """What was counted so far."""
        return self._member.counters

    # ------------------------------------------------------------ commands

    def start(self, peers: Sequence[int], now: float) -> None:
        self._now = now
        self._created = self._member.unix_time(now)
        self._membership.start(peers, now)

    def peer_up(self, address: int, now: float) -> None:
        if address != self._member.own.address:
            self._membership.peer_up(address, now)

    def peer_down(self, address: int, now: float) -> None:
        if address != self._member.own.address:
            self._membership.peer_down(address, now)

    def register(self, hash: bytes, now: float) -> None:
        self._publishing.register(self._member.checked(hash), now)

    def unregister(self, hash: bytes, now: float) -> None:
        self._publishing.unregister(hash)

    def query(self, hash: bytes, now: float) -> int:
        return self._queries.query(self._member.checked(hash), now)

    def cancel(self, query: int) -> None:
        self._queries.cancel(query)

    def refused(self, hash: bytes, address: int, now: float) -> None:
        self._queries.refused(hash, address, now)

    def ask(self, words: Sequence[str], now: float) -> int:
        return self._questions.ask(words, now)

    # ------------------------------------------------------------ sans-IO

    def next_timeout(self) -> float | None:
        return self._member.timers.next()

    def handle_timeout(self, now: float) -> None:
        self._now = now
        self._member.timers.run(now)

    def output(self) -> list[DirectorySend | DirectoryAnswer | DirectoryReport]:
        return self._member.output()

    def receive(self, data: bytes, now: float) -> None:
        self._now = now
        member, counters = self._member, self._member.counters
        counters.received += 1
        counters.received_bytes += len(data)
        try:
            message = decode(data, member.size)
        except Malformed as e:
            counters.malformed_because(e.reason)
            member.log.debug("Dropped a message: %s.", e)
            return
        source = message.source
        if source.address == member.own.address:
            counters.malformed_because("own_address")
            return
        if not self._limiter.allows(source.address, now):
            counters.limited += 1
            member.warn(now, _TOO_MUCH, show_address(source.address), _RATE)
            return
        if member.log.isEnabledFor(PP):
            member.log.log(PP, "%s", describe(message, "<--", source))
        member.route(source.address, True)
        member.saw(source, message.ouro, now)
        if isinstance(message, Response):
            self._take_response(message, now)
            return
        entry, new = member.table.heard(source, now, ouro=message.ouro)
        if isinstance(message, Request):
            self._answer(message, now)
        else:
            self._take_store(message, now)
        if entry is not None and new:
            self._on_contact(entry, now)

    # ------------------------------------------------------------ messages

    def _take_response(self, response: Response, now: float) -> None:
        self._member.counters.responses_received += 1
        lookup = self._exchange.response(response, now)
        if lookup is not None:
            self._queries.late(lookup, now)

    def _answer(self, request: Request, now: float) -> None:
        member = self._member
        member.counters.requests_received += 1
        values: list[Value] = self._values(request, now) if request.for_value else []
        self._respond(request, values, now)
        if request.for_value and not values and not request.ouro and member.helping(now):
            self._queries.proxy(request, now)

    def _values(self, request: Request, now: float) -> list[Value]:
        member = self._member
        values = member.store.values(request.key, member.unix_time(now))
        own = self._publishing.own_value(request.key)
        return values if own is None else [own, *values]

    def _give(self, request: Request, values: Sequence[Value], now: float) -> None:
        """What a node of the prototype asked for, and we had to look up: it has it now, and so have we."""
        self._respond(request, values, now)
        member, key = self._member, request.key
        unix = member.unix_time(now)
        for value in values:
            if not self._publishing.is_own(value.data) and member.store.item(key, value.data) is None:
                life = value.expiry or unix + member.config.dht_t_replicate
                outcome, item = member.store.put(key, value.data, member.own, life, value.published, now, unix)
                if item is not None:
                    self._publishing.stored(key, item, outcome == "stored", False, now)

    def _respond(self, request: Request, values: Sequence[Value], now: float) -> None:
        """Contacts always, as the prototype's need at least one; values in the order they should be tried in."""
        member = self._member
        source = request.source
        found = None
        if request.for_value:
            found = tuple(sorted(values, key=lambda v: self._is_no_use(v, source))[:MAX_VALUES])
        room = MAX_SIZE - 2 * member.size - _REST - _PER_VALUE * len(found or ())
        count = max(1, min(member.config.width, room // (member.size + _PER_CONTACT)))
        entries = member.table.closest(number_of(request.key), count, shown=True)
        contacts = tuple(e.contact for e in entries) or (source,)
        member.counters.responses_sent += 1
        member.send(source, Response(member.own, request.key, request.cookie, contacts, found, ouro=True))

    def _is_no_use(self, value: Value, requester: Contact) -> bool:
        """Whether a value is the address of the requester itself, or of a member without a route."""
        address = address_of(value.data)
        return address == requester.address or address in self._member.down

    def _take_store(self, store: Store, now: float) -> None:
        member = self._member
        member.counters.stores_received += 1
        unix = member.unix_time(now)
        if store.withdraw:
            if address_of(store.value) == store.source.address:
                member.store.withdraw(store.key, store.value, float(store.published), unix)
                member.counters.stored("taken_back")
            else:
                member.counters.stored("not_the_owner")
            return
        if self._publishing.is_own(store.value):
            if store.key not in self._publishing.names:
                member.counters.stored("ghost")
                self._publishing.disown(store.key, store.source)
            return
        outcome, item = member.store.put(
            store.key, store.value, store.source, float(store.expiry), float(store.published), now, unix
        )
        member.counters.stored(outcome)
        if outcome in FULL:
            member.warn(now, FULL[outcome], member.store.count, show_address(store.source.address))
        if item is not None:
            self._publishing.stored(store.key, item, outcome == "stored", not store.ouro, now)

    def _on_contact(self, entry: Entry, now: float) -> None:
        self._membership.contact(entry, now)
        self._publishing.newcomer(entry, now)

    # ------------------------------------------------------------ looking inside

    def _publish(self, setup: DirectorySetup) -> None:
        rib, member = setup.rib, self._member
        rib.publish("dht/stats", lambda: texts.stats(member, self._created, len(self._publishing.names)))
        rib.publish("dht/database", self._database)
        rib.publish("dht/contacts", lambda: [_contact(e, self._now) for e in member.table])
        rib.publish("dht/counters", member.counters)
        rib.publish("dht/state", self._state)

    def _database(self) -> str:
        unix = self._member.unix_time(self._now)
        return texts.database(self._member, self._publishing.names, self._publishing.own_value, unix)

    def _state(self) -> Mapping[str, Any]:
        member = self._member
        return {
            "id": member.own.id.hex(),
            "address": member.own.address,
            "contacts": sum(1 for _ in member.table),
            "usable": member.table.usable(),
            "buckets": len(member.table.buckets),
            "keys": len(member.store.keys),
            "values": member.store.count,
            "names": len(self._publishing.names),
            "lookups": self._exchange.running,
            "helping": member.helping(self._now),
        }

    def _show(self) -> Mapping[str, Any]:
        return {
            "state": self._state(),
            "contacts": [_contact(e, self._now) for e in self._member.table],
            "names": [key.hex() for key in self._publishing.names],
            "counters": self._member.counters,
        }

    def _say_hello(self) -> None:
        member, c = self._member, self._member.config
        member.log.info("DHT initialized.")
        member.log.info(
            "  parameters: alpha=%d, k=%d, t_exp=%d, t_refr=%d, t_replicate=%d.",
            c.dht_alpha, c.dht_k, c.dht_t_expire, c.dht_t_refresh, c.dht_t_replicate,
        )  # fmt: skip
        member.log.debug("  ID: %s [%d bytes].", show_key(member.own.id), member.size)
        member.log.debug("  address: %s.", show_address(member.own.address))


def _contact(entry: Entry, now: float) -> Mapping[str, Any]:
    return {
        "id": entry.contact.id[:8].hex(),
        "address": entry.contact.address,
        "standing": entry.standing.name.lower(),
        "ouro": entry.ouro,
        "rtt": None if entry.rtt is None else round(entry.rtt, 6),
        "seen": round(now - entry.seen, 3),
        "fails": entry.fails,
        "down": entry.down,
    }

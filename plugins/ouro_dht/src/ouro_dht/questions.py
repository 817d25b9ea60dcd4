"""What an administrator may ask: `show`, `lookup KEY`, `put KEY ADDRESS [SECONDS]`; keys in hexadecimal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ouro_core.contracts.directory import DirectoryReport
from ouro_core.model.errors import InvalidArgument

from .exchange import Exchange
from .lookup import Lookup
from .member import Member
from .publishing import Publishing
from .wire import Store, Value, address_of, value_of

__all__ = ["Questions"]

_WORDS: Final = "show; lookup KEY; put KEY ADDRESS [SECONDS]"


class Questions:
    """`show()` gives the state."""

    def __init__(
        self, member: Member, exchange: Exchange, publishing: Publishing, show: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._member, self._exchange, self._publishing, self._show = member, exchange, publishing, show
        self._last = 0

    def ask(self, words: Sequence[str], now: float) -> int:
        """Begin; the number stands in the report. InvalidArgument."""
        self._last += 1
        number = self._last
        match list(words):
            case ["show"]:
                self._member.answer(DirectoryReport(number, self._show()))
            case ["lookup", key]:
                self._lookup(number, self._key(key), now)
            case ["put", key, address, *lifetime] if len(lifetime) < 2:
                member = self._member
                most = member.config.dht_t_expire
                seconds = _number("a lifetime in seconds", lifetime[0], most) if lifetime else member.config.lease
                self._put(number, self._key(key), _number("an address", address, (1 << 64) - 1), seconds, now)
            case _:
                raise InvalidArgument(f'the directory dht does not know "{" ".join(words)}"; it knows: {_WORDS}')
        return number

    def _key(self, text: str) -> bytes:
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != self._member.size:
            raise InvalidArgument(
                f'"{text}" is no hash of this layer; it needs {2 * self._member.size} hexadecimal digits'
            )
        return key

    def _lookup(self, number: int, key: bytes, now: float) -> None:
        member = self._member
        here = member.store.values(key, member.unix_time(now))

        def done(lookup: Lookup, now: float) -> None:
            values = sorted(lookup.values.values(), key=lambda v: -v.published)
            report = {
                "key": key.hex(),
                "registered_here": key in self._publishing.names,
                "held_here": [_value(v) for v in here],
                "values": [_value(v) for v in values],
                "rounds": lookup.rounds,
                "asked": lookup.asked,
                "answers": lookup.answers,
                "seconds": round(now - lookup.started, 6),
                "closest": [{"id": c.id[:8].hex(), "address": c.address} for c in lookup.closest()],
            }
            member.answer(DirectoryReport(number, report))

        self._exchange.lookup(key, now, done, for_value=True)

    def _put(self, number: int, key: bytes, address: int, seconds: int, now: float) -> None:
        member = self._member
        expiry = int(member.unix_time(now)) + seconds

        def done(lookup: Lookup, now: float) -> None:
            closest = lookup.closest()[: member.config.dht_k]
            for contact in closest:
                member.counters.stores_sent += 1
                published = int(member.unix_time(now))
                member.send(contact, Store(member.own, key, value_of(address), expiry, published, ouro=True))
            error = (
                "" if closest else "no other member answered, so it is stored nowhere; see the contacts: ouro dht show"
            )
            report = {"key": key.hex(), "address": address, "expiry": expiry, "stored": [c.address for c in closest]}
            member.answer(DirectoryReport(number, report, error))

        self._exchange.lookup(key, now, done)


def _value(value: Value) -> Mapping[str, Any]:
    return {"address": address_of(value.data), "published": value.published, "expiry": value.expiry}


def _number(what: str, text: str, most: int) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = 0
    if not 1 <= number <= most:
        raise InvalidArgument(f'"{text}" is not {what}, which is a whole number from 1 to {most}')
    return number

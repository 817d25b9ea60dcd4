"""What all components of one member's directory share."""

import logging
from collections import OrderedDict
from typing import Final

from attrs import evolve

from ouro_core.contracts.directory import DirectoryAnswer, DirectoryReport, DirectorySend, DirectorySetup
from ouro_core.model.errors import InvalidArgument
from ouro_core.model.log import PP, logger

from .config import DhtConfig
from .counters import Counters
from .debug import describe, show_peer
from .ids import is_ours, random_id, shown
from .store import ValueStore
from .table import Entry, Table
from .timers import Timers
from .wire import Contact, Message, Response, encode

__all__ = ["Member"]

_DEFAULT_PATIENCE: Final = 0.1
_MAX_PATIENCE: Final = 0.5
_MIN_PATIENCE: Final = 0.02
_MAX_OTHERS: Final = 1024
_MAX_DOWN: Final = 65536
_QUIET: Final = 60.0
"""Seconds between two warnings of one kind."""


def _shown(contact: Contact) -> Contact:
    return Contact(shown(contact.id), contact.address)


class Member:
    """Identity, contacts, values, timers, and what is to go out."""

    def __init__(self, setup: DirectorySetup) -> None:
        self.config: DhtConfig = setup.config
        self.rng = setup.rng
        self.unix_time = setup.unix_time
        self.size = setup.hash.size
        self.own = Contact(random_id(self.rng, self.size), setup.address)
        self.table = Table(self.own, self.config.width)
        self.store = ValueStore(self.config.dht_t_expire)
        self.counters = Counters()
        self.timers = Timers()
        self.log: logging.Logger = logger("dht")
        self.down: OrderedDict[int, None] = OrderedDict()
        """Addresses that have no route, the latest at the end."""
        self.others: OrderedDict[int, Contact] = OrderedDict()
        """Nodes of the prototype by address, more than fit into buckets: names may be anywhere among them."""
        self._out: list[DirectorySend | DirectoryAnswer | DirectoryReport] = []
        self._prototype_seen: float | None = None
        self._warned: dict[str, float] = {}
        self._rtt: float | None = None

    def warn(self, now: float, text: str, *values: object) -> None:
        """Tell the operator, of each kind (`text`) once a minute at most."""
        if now >= self._warned.get(text, float("-inf")) + _QUIET:
            self._warned[text] = now
            self.log.warning(text, *values)

    # ------------------------------------------------------------ routes

    def route(self, address: int, exists: bool) -> None:
        """Whether there is a way to an address, as routing says, or a message from there."""
        self.down.pop(address, None)
        if not exists:
            self.down[address] = None
            if len(self.down) > _MAX_DOWN:
                self.down.popitem(last=False)

    # ------------------------------------------------------------ output

    def send(self, to: Contact, message: Message) -> None:
        """Put a message on its way."""
        data = encode(self._shown(message) if self._shows_low_ids(to) else message)
        counters = self.counters
        counters.sent += 1
        counters.sent_bytes += len(data)
        if not isinstance(message, Response) and self.log.isEnabledFor(PP):
            self.log.log(PP, "%s", describe(message, "-->", to))
        self._out.append(DirectorySend(to.address, data))

    def _shows_low_ids(self, to: Contact) -> bool:
        """Whether somebody is, or may be, a node of the prototype, and such are to be helped."""
        word = self.config.dht_prototype
        if word == "off" or (word == "auto" and self._prototype_seen is None):
            return False
        entry = self.table.get(to.address)
        return entry is None or not entry.ouro

    @staticmethod
    def _shown(message: Message) -> Message:
        message = evolve(message, source=_shown(message.source))
        if isinstance(message, Response):
            message = evolve(message, contacts=tuple(map(_shown, message.contacts)))
        return message

    def answer(self, answer: DirectoryAnswer | DirectoryReport) -> None:
        """The end of a query or question."""
        self._out.append(answer)

    def output(self) -> list[DirectorySend | DirectoryAnswer | DirectoryReport]:
        """Everything since the last call."""
        out, self._out = self._out, []
        return out

    def checked(self, key: bytes) -> bytes:
        """A key of this layer. InvalidArgument."""
        if len(key) != self.size:
            raise InvalidArgument(f"a hash of {len(key)} bytes; in this layer they have {self.size}")
        return key

    # ------------------------------------------------------------ chance and time

    def cookie(self) -> int:
        """A random number that is not 0."""
        return self.rng.getrandbits(64) or 1

    def jitter(self, seconds: float, share: float = 0.1) -> float:
        """A time about as long, so that members do not act in step."""
        return seconds * self.rng.uniform(1.0 - share, 1.0 + share)

    def measured(self, entry: Entry | None, rtt: float) -> None:
        """A request took this long."""
        self._rtt = rtt if self._rtt is None else self._rtt + (rtt - self._rtt) / 8
        if entry is not None:
            entry.rtt = rtt if entry.rtt is None else entry.rtt + (rtt - entry.rtt) / 4

    def patience(self, entry: Entry | None) -> float:
        """Seconds to wait for a contact before asking another in its place."""
        rtt = entry.rtt if entry is not None and entry.rtt is not None else self._rtt
        if rtt is None:
            return _DEFAULT_PATIENCE
        return min(_MAX_PATIENCE, max(_MIN_PATIENCE, 3.0 * rtt))

    # ------------------------------------------------------------ nodes of the prototype

    def saw(self, source: Contact, ouro: bool, now: float) -> None:
        """A message came from such a node, or from one like us."""
        if not ouro:
            if self._prototype_seen is None and self.config.dht_prototype == "auto":
                self.log.info("%s is a node of the prototype: while one is known, they are helped.", show_peer(source))
            self._prototype_seen = now
            self.remember(source)

    def remember(self, contact: Contact) -> None:
        """Somebody spoke, or was named. Ours are told by their ids."""
        if not is_ours(contact.id):
            self.others[contact.address] = contact
            if len(self.others) > _MAX_OTHERS:
                self.others.popitem(last=False)

    def helping(self, now: float) -> bool:
        """Whether to do what helps nodes of the prototype."""
        word = self.config.dht_prototype
        if word != "auto":
            return word == "on"
        return self._prototype_seen is not None and now - self._prototype_seen < 2 * self.config.dht_t_refresh

"""Link-state routing (unicast.md 8): `link_state`, `lfa` and `ecmp`.

Theory of operation. Every member advertises its own links, and again every `ls_t_update` seconds with the next number.
Members keep what they hear (`Database`), tell their other neighbours (`Flooding`), and forget a link that was not heard
of for `ls_t_timeo` seconds. A new management neighbour is told everything. From the links that both ends advertise
(`Graph`) each computes its table.

What differs from the prototype, and why its members notice nothing wrong:

* *Tables follow the graph.* They are computed at once when the set of usable links changes, whatever changed it, and
  `FIRST_PAUSE` later when it goes on changing. While more than `FEW` changes come in a pause the next one is twice as
  long, up to `ls_t_recalc`. So a storm costs little, and some links that come and go every second delay nobody.
* *A link that fails is withdrawn*, and advertised again when it works: in the prototype it stays for `ls_t_timeo`, and
  packets for what lies behind it go to and fro. Instead of the updates that the prototype goes on to send for it there
  is one withdrawal. Prototypes drop that message; to them the link ages, as ever.
* *No ghosts.* An update about a link of our own that is not there is refused; if the link was withdrawn, whoever sent
  the update is told so. If ours is there, we jump past the higher number. A link that is made again goes on counting.
* *Prototypes that have to be woken.* When a connection is made anew, they keep sending over the old one, as nothing
  has changed in their graph. So the neighbour is sent a link between nobody and nobody, which makes it compute; after
  `ls_t_timeo` it is forgotten. Our members drop it as bogus, as everything about address 0.
* *Fewer messages*: see `flooding`. All that neighbours can make us keep, compute and send is bounded.
"""

import random
from collections.abc import Iterable
from typing import ClassVar, Final

from attrs import define, frozen

from ouro_core.contracts.ipcp import Publisher
from ouro_core.model.config import integer, option
from ouro_core.model.errors import ConfigError, WireError
from ouro_core.model.log import PP, logger

from ..addresses import address_text
from ..contracts import RoutingPolicy
from .database import Database, Key
from .flooding import Flooding
from .graph import Graph, Table, ecmp, lfa, simple
from .wire import LinkStateUpdate

__all__ = ["EcmpRouting", "LfaRouting", "LinkStateConfig", "LinkStateCounters", "LinkStateRouting", "LinkView"]

FIRST_PAUSE: Final = 0.010
"""Seconds from one computation of the tables to the next, while changes are few."""
FEW: Final = 8
"""Changes between two computations that are no storm."""
HIGHEST_SEQNO: Final = 1 << 63
"""Numbers above are refused, so that nobody can give a link one that its owner cannot exceed."""

_log = logger("link-state-routing")


def _seconds(default: int, help: str) -> int:
    value: int = option(default, parse=integer(1, (1 << 31) - 1), unit="s", help=help)
    return value


@frozen
class LinkStateConfig:
    """The timers; every member of a layer has the same."""

    ls_t_recalc: int = _seconds(4, "longest pause between two computations of the tables")
    ls_t_update: int = _seconds(15, "time after which a link is advertised again")
    ls_t_timeo: int = _seconds(60, "time after which a link that is not advertised any more is dropped")

    def __attrs_post_init__(self) -> None:
        for name in ("ls_t_recalc", "ls_t_update", "ls_t_timeo"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it needs 1 second at least")
        if self.ls_t_update >= self.ls_t_timeo:
            raise ConfigError(
                f"links would be dropped before they are advertised again: ls_t_update is {self.ls_t_update}, "
                f"ls_t_timeo {self.ls_t_timeo}; it must be longer"
            )


@define
class LinkStateCounters:
    """What happened, in messages unless said otherwise. What is not in `sent` or `received` was dropped."""

    sent: int = 0
    received: int = 0
    malformed: int = 0
    """No LSU."""
    bogus: int = 0
    """Address 0, a link of a member with itself, or an absurd number."""
    strangers: int = 0
    """Over a connection that is none."""
    stale: int = 0
    """About a link that was withdrawn since."""
    refused: int = 0
    """About a link of our own that is not there."""
    conflicts: int = 0
    """Of those, about one that never was: somebody else has our address."""
    full: int = 0
    """No room for another link."""
    aged: int = 0
    """Links that were not heard of any more."""
    computations: int = 0
    """Of the tables."""


@frozen
class LinkView:
    """A link in the RIB. `updated`: second of the monotonic clock when it was last heard of. `usable`: both ends
    advertise it.
    """

    src: str
    dst: str
    seqno: int
    updated: float
    usable: bool


@define
class _Own:
    """A link of ours. `due`: when it is to be advertised again."""

    seqno: int
    due: float


class LinkStateRouting(RoutingPolicy):
    """One shortest path to every member."""

    name = "link_state"
    title: ClassVar[str] = "Link State Routing"
    pff = "simple"
    Config = LinkStateConfig

    def __init__(self, address: int, config: LinkStateConfig, rng: random.Random, rib: Publisher) -> None:
        super().__init__(address, config, rng, rib)
        self.counters = LinkStateCounters()
        self._database = Database(config.ls_t_timeo)
        self._graph = Graph()
        self._flooding = Flooding(rng)
        self._managers: dict[int, int] = {}  # connection -> address
        self._ports: dict[int, int] = {}  # port -> address
        self._own: dict[int, _Own] = {}  # by neighbour, the first due first
        self._past: dict[int, tuple[int, float]] = {}  # neighbour -> last number of a link that was ours, and since
        self._led: dict[int, int] = {}  # neighbour, past or present -> the last port to it
        self._changes = 0  # of what is usable, since the last computation
        self._computed = -FIRST_PAUSE  # when
        self._pause = FIRST_PAUSE
        _log.debug("Using %s policy.", self.title)
        for what, seconds in (
            ("update interval", config.ls_t_update), ("link timeout   ", config.ls_t_timeo),
            ("recalc interval", config.ls_t_recalc),
        ):  # fmt: skip
            _log.debug("LS %s: %d seconds.", what, seconds)
        rib.publish("lsdb", self._view)
        rib.publish("", self._state)

    def table(self, graph: Graph) -> Table:
        """The table that follows from the graph. All that a policy with another algorithm has to replace."""
        return simple(graph, self.address)

    # ---- connections

    def management_up(self, connection: int, address: int, now: float) -> None:
        self._managers[connection] = address
        self._flooding.open(connection, now)
        for key in self._database.in_order():
            self._flooding.tell(key, (connection,))
        _log.debug("Type mgmt neighbor %s added.", address_text(address))
        self._act(now)

    def management_down(self, connection: int, now: float) -> None:
        address = self._managers.pop(connection, None)
        self._flooding.close(connection)
        if address is not None:
            _log.debug("Type mgmt neighbor %s deleted.", address_text(address))

    def neighbour_up(self, port: int, address: int, now: float) -> None:
        if port in self._ports and self._ports[port] != address:
            self.neighbour_down(port, now)
        self._ports[port] = address
        if address not in (0, self.address):
            if self._led.get(address, port) != port:
                self._wake(address)
            self._led[address] = port
            if address not in self._own:
                seqno, _ = self._past.pop(address, (-1, 0.0))
                self._advertise(address, seqno + 1, now)
                self._note(self._graph.add(self.address, address))
                _log.debug("Type dt neighbor %s added.", address_text(address))
        self._act(now)

    def neighbour_down(self, port: int, now: float) -> None:
        address = self._ports.pop(port, None)
        if address in self._own and address not in self._ports.values():
            seqno = self._own.pop(address).seqno
            self._past[address] = seqno, now
            self._drop((self.address, address), seqno, now)
            _log.debug("Type dt neighbor %s deleted.", address_text(address))
        self._act(now)

    def _advertise(self, neighbour: int, seqno: int, now: float) -> None:
        """A link of ours, with a new number, to everybody."""
        self._own.pop(neighbour, None)
        self._own[neighbour] = _Own(seqno, now + self.config.ls_t_update)
        key = (self.address, neighbour)
        self._database.put(key, seqno, now)
        self._flooding.tell(key, self._managers)

    def _wake(self, neighbour: int) -> None:
        """A prototype is to compute its tables."""
        nobody = LinkStateUpdate(self._rng.randrange(1, 1 << 32), 0, 0)
        for connection, address in self._managers.items():
            if address == neighbour:
                self.counters.sent += 1
                self.send(connection, nobody.encode())

    def _drop(self, key: Key, seqno: int, now: float, told_by: int | None = None) -> None:
        """A link is withdrawn: everybody else is to know."""
        if key in self._database.links:
            self._note(self._graph.remove(*key))
        self._database.withdraw(key, seqno, now)
        self._flooding.tell(key, self._others(told_by))

    def _others(self, connection: int | None) -> list[int]:
        return [other for other in self._managers if other != connection]

    # ---- updates

    def receive(self, connection: int, data: bytes, now: float) -> None:
        self.counters.received += 1
        if connection not in self._managers:
            self.counters.strangers += 1
            return
        try:
            update = LinkStateUpdate.decode(data)
        except WireError as e:
            self.counters.malformed += 1
            _log.log(PP, "%s", e)
            return
        if _log.isEnabledFor(PP):
            _log.log(PP, "%s <-- %s", update, address_text(self._managers[connection]))
        ends = {update.source, update.destination}
        if 0 in ends or len(ends) < 2 or update.seqno >= HIGHEST_SEQNO:
            self.counters.bogus += 1
        elif update.source == self.address:
            self._about_us(update, connection, now)
        elif update.withdrawn:
            self._withdrawn(update, connection, now)
        else:
            self._advertised(update, connection, now)
        self._act(now)

    def _advertised(self, update: LinkStateUpdate, connection: int, now: float) -> None:
        key = (update.source, update.destination)
        gone = self._database.withdrawn.get(key)
        known = self._database.links.get(key)
        if gone is not None and update.seqno <= gone.seqno:
            self.counters.stale += 1
            self._flooding.tell(key, (connection,))
        elif known is None and not self._database.has_room(key, withdrawn=False):
            self.counters.full += 1
        elif known is None:
            self._database.put(key, update.seqno, now)
            self._note(self._graph.add(*key))
            self._flooding.tell(key, self._others(connection))
        elif update.seqno > known.seqno:
            self._database.put(key, update.seqno, now)
            self._flooding.refresh(key, connection, now)
        elif update.seqno == known.seqno:
            self._flooding.knows(key, connection)

    def _withdrawn(self, update: LinkStateUpdate, connection: int, now: float) -> None:
        key = (update.source, update.destination)
        gone = self._database.withdrawn.get(key)
        known = self._database.links.get(key)
        if known is not None and update.seqno < known.seqno:
            self._flooding.tell(key, (connection,))  # it was made again since
        elif gone is not None and update.seqno <= gone.seqno:
            self._flooding.knows(key, connection)
        elif self._database.has_room(key, withdrawn=True):
            self._drop(key, update.seqno, now, connection)
        else:
            self.counters.full += 1

    def _about_us(self, update: LinkStateUpdate, connection: int, now: float) -> None:
        """An update about a link of ours, which only we may speak of."""
        key = (self.address, update.destination)
        own = self._own.get(update.destination)
        if own is not None:
            if update.seqno > own.seqno or (update.withdrawn and update.seqno == own.seqno):
                self._advertise(update.destination, update.seqno + 1, now)
            elif update.seqno == own.seqno:
                self._flooding.knows(key, connection)
        elif update.withdrawn:
            self._flooding.knows(key, connection)
        elif update.destination in self._past:
            self.counters.refused += 1
            seqno, since = self._past[update.destination]
            if update.seqno > seqno or key not in self._database.withdrawn:
                seqno = max(seqno, update.seqno)
                self._past[update.destination] = seqno, since
                self._drop(key, seqno, now)
            else:
                self._flooding.tell(key, (connection,))
        else:
            self.counters.refused += 1
            self._conflict(update)

    def _conflict(self, update: LinkStateUpdate) -> None:
        self.counters.conflicts += 1
        if self.counters.conflicts == 1:
            _log.error(
                "another member of the layer has our address %s, with a link to %s: destroy this IPCP and enroll again",
                address_text(self.address), address_text(update.destination),
            )  # fmt: skip

    # ---- time

    def next_timeout(self) -> float | None:
        times = [self._database.next_expiry(), self._flooding.next_timeout()]
        if self._own:
            times.append(next(iter(self._own.values())).due)
        if self._changes:
            times.append(self._computed + self._pause)
        return min((time for time in times if time is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        for neighbour, own in list(self._own.items()):
            if own.due <= now:
                self._advertise(neighbour, own.seqno + 1, now)
        for key in self._database.expire(now):
            self.counters.aged += 1
            self._note(self._graph.remove(*key))
            _log.debug("%s--%s timed out.", *map(address_text, key))
        remembered = now - 2 * (self.config.ls_t_timeo + self.config.ls_t_update)
        for neighbour in [n for n, (_, since) in self._past.items() if since < remembered]:
            del self._past[neighbour], self._led[neighbour]
        self._act(now)

    def _note(self, change: bool) -> None:
        self._changes += change

    def _act(self, now: float) -> None:
        """Send what is due, and compute the table if it is time to."""
        for connection, key in self._flooding.take(now):
            if (update := self._database.update(key)) is not None:
                self.counters.sent += 1
                self.send(connection, update.encode())
                if _log.isEnabledFor(PP):
                    _log.log(PP, "%s --> %s", update, address_text(self._managers[connection]))
        if self._changes and now >= self._computed + self._pause:
            storm = self._changes > FEW
            self._pause = min(2 * self._pause, float(self.config.ls_t_recalc)) if storm else FIRST_PAUSE
            self._computed = now
            self._changes = 0
            self.counters.computations += 1
            self.publish(self.table(self._graph))

    # ---- what there is to see

    def links(self) -> Iterable[tuple[int, int]]:
        return list(self._database.links)

    def _view(self) -> dict[str, LinkView]:
        """The database, `<source>--<destination>`."""
        usable = self._database.links.keys() & {key[::-1] for key in self._database.links}
        return {
            f"{address_text(key[0])}--{address_text(key[1])}": LinkView(
                address_text(key[0]), address_text(key[1]), record.seqno, record.heard, key in usable
            )
            for key, record in sorted(self._database.links.items())
        }

    def _state(self) -> dict[str, object]:
        return {
            "policy": self.name,
            "address": address_text(self.address),
            "neighbours": sorted({address_text(address) for address in self._own}),
            "management": sorted({address_text(address) for address in self._managers.values()}),
            "counters": self.counters,
        }


class LfaRouting(LinkStateRouting):
    """Shortest paths, and neighbours that may stand in at once when the first hop fails."""

    name = "lfa"
    title = "Loop-Free Alternates"
    pff = "alternate"

    def table(self, graph: Graph) -> Table:
        return lfa(graph, self.address)


class EcmpRouting(LinkStateRouting):
    """All shortest paths, in turn."""

    name = "ecmp"
    title = "Equal-Cost Multipath"
    pff = "multipath"

    def table(self, graph: Graph) -> Table:
        return ecmp(graph, self.address)

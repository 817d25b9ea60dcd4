"""Flooding of a broadcast layer, sans-IO: who gets a packet (unicast.md 11.4).

Theory of operation. A packet of one neighbour (another member, or an application that joined) goes to all others, as it
is: there is no header, so nothing in a packet tells that it was here before. The connections of a layer must therefore
be a tree. `tree` sees to that among members that know how; this is the guard for those that do not. In a tree a packet
comes from one side only; in a loop it comes from two, again and again. When too many packets of a second come from a
neighbour that another one sent before, the neighbour is `looping`, and to be cut off.
"""

import hashlib
from collections import OrderedDict
from typing import Final

from attrs import define, field

__all__ = ["LOOP", "WINDOW", "Flood"]

WINDOW: Final = 1.0
"""Seconds for which it is remembered who sent a packet first."""
LOOP: Final = 200
"""Packets in `WINDOW` seconds that somebody else sent before: more than two that say the same would."""
MEMORY: Final = 8192
"""Packets that are remembered at most."""


@define(eq=False)
class _Neighbour:
    member: bool
    since: float = 0.0
    again: int = 0
    counters: dict[str, int] = field(factory=lambda: dict.fromkeys(("received", "sent", "again", "dropped"), 0))


class Flood:
    """The neighbours of one member. They are told by numbers; `now` are seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._neighbours: dict[int, _Neighbour] = {}
        self._first: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def add(self, neighbour: int, member: bool) -> None:
        """Packets go to this one from now on. `member`: not an application. ValueError: it is known already."""
        if neighbour in self._neighbours:
            raise ValueError(f"Already know neighbor {neighbour}.")
        self._neighbours[neighbour] = _Neighbour(member)

    def remove(self, neighbour: int) -> None:
        """The reverse. Unknown ones are ignored."""
        self._neighbours.pop(neighbour, None)

    def receive(self, source: int, packet: bytes, now: float) -> tuple[int, ...]:
        """Who gets a packet of `source`: all others. Nobody, for an empty one, which is a keep-alive."""
        sender = self._neighbours.get(source)
        if sender is None or not packet:
            return ()
        sender.counters["received"] += 1
        self._remember(source, sender, packet, now)
        return tuple(number for number in self._neighbours if number != source)

    def _remember(self, source: int, sender: _Neighbour, packet: bytes, now: float) -> None:
        digest = hashlib.blake2b(packet, digest_size=16).digest()
        while self._first and next(iter(self._first.values()))[1] + WINDOW < now:
            self._first.popitem(last=False)
        first = self._first.setdefault(digest, (source, now))
        if len(self._first) > MEMORY:
            self._first.popitem(last=False)
        if first[0] != source:
            if now >= sender.since + WINDOW:
                sender.since, sender.again = now, 0
            sender.again += 1
            sender.counters["again"] += 1

    def looping(self, neighbour: int) -> bool:
        """Whether a member is to be cut off."""
        known = self._neighbours.get(neighbour)
        return known is not None and known.member and known.again > LOOP

    def count(self, neighbour: int, what: str) -> None:
        """What became of a packet for a neighbour: "sent" or "dropped"."""
        known = self._neighbours.get(neighbour)
        if known is not None:
            known.counters[what] += 1

    def view(self) -> dict[str, dict[str, object]]:
        """For the RIB."""
        return {
            str(number): {"kind": "member" if n.member else "application", **n.counters}
            for number, n in self._neighbours.items()
        }

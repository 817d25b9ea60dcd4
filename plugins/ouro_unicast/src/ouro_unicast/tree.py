"""Keeps the connections of a broadcast layer a tree, sans-IO. Ours; the prototype leaves it to the operator.

Theory of operation. Every member draws an id, and beside each data connection runs a channel to the same neighbour, on
which each tells the other which members are *behind* it: itself, and whoever its other neighbours told of. Before two
members connect, each compares what the other has behind it with what it can reach itself: a member in both, and the
connection would close a loop, or double one that there is. Then it is refused, with that member's id.

Two connections made far apart at one time can still close a loop. Then somebody hears of itself, or of one member by
two neighbours, and breaks the connection that it heard it on; who wants it makes it again later, and is refused.

A channel is a connection of the component "Tree", protocol "OBT", whose address is the member's id, over a reliable
flow. A member of the prototype has no such component, and says so; its connections are guarded by `flood` alone.

    | offset | size  | field | meaning                                                                    |
    |--------|-------|-------|----------------------------------------------------------------------------|
    | 0      | 1     | kind  | 1 BEHIND, 2 MORE, 3 JOIN, 4 JOINED, 5 REFUSED, 6 LEFT                      |
    | 1      | 8 * n | ids   | BEHIND: all members behind the sender, or the first of them; MORE: further |
    |        |       |       | ones, until one with less than 150; REFUSED: one that both can reach       |
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final

from attrs import define, field, frozen

from ouro_core.model.errors import WireError

from .wire.ocep import Identity

__all__ = ["TREE", "Accepted", "Broken", "Ready", "Refused", "Tree"]

TREE: Final = Identity("Tree", "OBT", 1, 2)
IDS: Final = 150
"""Ids in a message: 1201 bytes."""
MOST: Final = 100_000
"""Members of a layer."""
_ID: Final = Struct(">Q")
BEHIND, MORE, JOIN, JOINED, REFUSED, LEFT = range(1, 7)


@frozen
class Ready:
    """The other side told what is behind it: `join` can be called."""

    channel: int


@frozen
class Accepted:
    """The connection can be made."""

    channel: int


@frozen
class Refused:
    """The connection would close a loop: both sides can reach this member."""

    channel: int
    member: int


@frozen
class Broken:
    """The connection beside this channel is to be broken: it closed a loop, the other side left, or made no sense."""

    channel: int
    why: str


@define(eq=False)
class _Channel:
    peer: int
    heard: bool = False
    behind: frozenset[int] = frozenset()
    coming: set[int] = field(factory=set)
    joined: bool = False


class Tree:
    """One member's. Channels have numbers of the caller's. Take `output()` and `events()` after each call."""

    def __init__(self, id: int) -> None:
        if not 0 < id < 1 << 64:
            raise ValueError(f"{id} is no id: it needs 1 to 2**64-1")
        self.id = id
        self._channels: dict[int, _Channel] = {}
        self._output: list[tuple[int, bytes]] = []
        self._events: list[Ready | Accepted | Refused | Broken] = []

    # ---- commands

    def up(self, channel: int, peer: int) -> None:
        """There is a channel to the member with this id."""
        self._channels[channel] = _Channel(peer)
        self._tell(channel)

    def down(self, channel: int) -> None:
        """It is gone. Unknown ones are ignored."""
        gone = self._channels.pop(channel, None)
        if gone is not None and gone.joined:
            self._tell_others(channel)

    def join(self, channel: int) -> None:
        """Ask to be connected. `Accepted` or `Refused` follows."""
        common = self._common(channel)
        if common is not None:
            self._events.append(Refused(channel, common))
        else:
            self._send(channel, JOIN)

    def leave(self, channel: int) -> None:
        """The connection is broken."""
        known = self._channels.get(channel)
        if known is not None:
            self._send(channel, LEFT)
            self._left(channel, known)

    # ---- what happens

    def receive(self, channel: int, data: bytes) -> None:
        """A message: any bytes."""
        known = self._channels.get(channel)
        if known is None or not data:
            return
        try:
            self._handle(channel, known, data[0], _ids(data[1:]))
        except WireError as e:
            self._break(channel, known, str(e))

    def _handle(self, channel: int, known: _Channel, kind: int, ids: list[int]) -> None:
        if kind in (BEHIND, MORE):
            self._told(channel, known, kind, ids)
        elif kind == JOIN:
            self._asked(channel, known)
        elif kind == JOINED:
            known.joined = True
            self._events.append(Accepted(channel))
            self._tell_others(channel)
        elif kind == REFUSED:
            self._events.append(Refused(channel, ids[0] if ids else 0))
        elif kind == LEFT:
            self._break(channel, known, "the other side left")
        else:
            raise WireError(f"a message of the unknown kind {kind}")

    def _told(self, channel: int, known: _Channel, kind: int, ids: list[int]) -> None:
        if kind == BEHIND:
            known.coming = set()
        known.coming.update(ids)
        if len(known.coming) > MOST:
            raise WireError(f"more than {MOST} members")
        if len(ids) == IDS:
            return  # there is more to come
        changed, known.behind, known.coming = known.behind != known.coming, frozenset(known.coming), set()
        if not known.heard:
            known.heard = True
            self._events.append(Ready(channel))
        if known.joined:
            common = self._common(channel)
            if common is not None:
                self._send(channel, LEFT)
                self._break(channel, known, f"it closed a loop: member {common:016x} was in reach already")
            elif changed:
                self._tell_others(channel)

    def _asked(self, channel: int, known: _Channel) -> None:
        common = self._common(channel)
        if common is not None or not known.heard:
            self._send(channel, REFUSED, [common or self.id])
            return
        known.joined = True
        self._send(channel, JOINED)
        self._tell_others(channel)

    def _break(self, channel: int, known: _Channel, why: str) -> None:
        self._events.append(Broken(channel, why))
        self._left(channel, known)

    def _left(self, channel: int, known: _Channel) -> None:
        if known.joined:
            known.joined = False
            self._tell_others(channel)

    # ---- who is where

    def _behind(self, without: int) -> set[int]:
        """Members that are not behind this channel."""
        found = {self.id}
        for number, other in self._channels.items():
            if number != without and other.joined:
                found |= other.behind
                found.add(other.peer)
        return found

    def _common(self, channel: int) -> int | None:
        """A member that is on both sides of a channel."""
        known = self._channels[channel]
        common = self._behind(channel) & (known.behind | {known.peer})
        return min(common) if common else None

    def _tell(self, channel: int) -> None:
        ids = sorted(self._behind(channel))
        kind = BEHIND
        for at in range(0, len(ids) + 1, IDS):  # the last one is never full
            self._send(channel, kind, ids[at : at + IDS])
            kind = MORE

    def _tell_others(self, channel: int) -> None:
        for number in self._channels:
            if number != channel:
                self._tell(number)

    def _send(self, channel: int, kind: int, ids: Iterable[int] = ()) -> None:
        self._output.append((channel, bytes((kind,)) + b"".join(map(_ID.pack, ids))))

    # ---- for the caller

    def output(self) -> list[tuple[int, bytes]]:
        """(channel, message), each given once, in order."""
        output, self._output = self._output, []
        return output

    def events(self) -> list[Ready | Accepted | Refused | Broken]:
        """What happened, each given once."""
        events, self._events = self._events, []
        return events

    def view(self) -> dict[str, object]:
        """For the RIB."""
        return {
            "id": f"{self.id:016x}",
            "channels": {
                f"{c.peer:016x}": {"joined": c.joined, "behind": len(c.behind)} for c in self._channels.values()
            },
        }


def _ids(data: bytes) -> list[int]:
    if len(data) % _ID.size or len(data) > IDS * _ID.size:
        raise WireError(f"{len(data)} bytes of ids")
    return [id for (id,) in _ID.iter_unpack(data)]

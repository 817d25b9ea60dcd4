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
    | 0      | 1     | kind  | 1 PLUS, 2 MINUS, 3 TOLD, 4 JOIN, 5 JOINED, 6 REFUSED, 7 LEFT               |
    | 1      | 8 * n | ids   | PLUS, MINUS: members that are, or are no more, behind the sender, 150 at   |
    |        |       |       | most; REFUSED: one that both can reach                                     |

TOLD ends what a sender says first: all that is behind it. Afterwards it says only what changes.
"""

from collections.abc import Iterable, Sequence
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
PLUS, MINUS, TOLD, JOIN, JOINED, REFUSED, LEFT = range(1, 8)


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
    joined: bool = False
    behind: set[int] = field(factory=set)


class Tree:
    """One member's. Channels have numbers of the caller's. Take `output()` and `events()` after each call."""

    def __init__(self, id: int) -> None:
        if not 0 < id < 1 << 64:
            raise ValueError(f"{id} is no id: it needs 1 to 2**64-1")
        self.id = id
        self._channels: dict[int, _Channel] = {}
        self._where: dict[int, int] = {}  # channel that leads to a member, of those that are joined
        self._output: list[tuple[int, bytes]] = []
        self._events: list[Ready | Accepted | Refused | Broken] = []

    # ---- commands

    def up(self, channel: int, peer: int) -> None:
        """There is a channel to the member with this id."""
        self._channels[channel] = _Channel(peer, behind={peer})
        self._send(channel, PLUS, [self.id, *self._where])
        self._send(channel, TOLD)

    def down(self, channel: int) -> None:
        """It is gone. Unknown ones are ignored."""
        gone = self._channels.pop(channel, None)
        if gone is not None:
            self._left(channel, gone)

    def join(self, channel: int) -> None:
        """Ask to be connected. `Accepted` or `Refused` follows."""
        common = self._common(self._channels[channel].behind)
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
        if kind == PLUS:
            self._more(channel, known, set(ids) - known.behind)
        elif kind == MINUS:
            self._less(channel, known, set(ids) & known.behind)
        elif kind == TOLD:
            known.heard = True
            self._events.append(Ready(channel))
        elif kind == JOIN:
            self._asked(channel, known)
        elif kind == JOINED:
            self._joined(channel, known)
        elif kind == REFUSED:
            self._events.append(Refused(channel, ids[0] if ids else 0))
        elif kind == LEFT:
            self._break(channel, known, "the other side left")
        else:
            raise WireError(f"a message of the unknown kind {kind}")

    def _more(self, channel: int, known: _Channel, new: set[int]) -> None:
        known.behind |= new
        if len(known.behind) > MOST:
            raise WireError(f"more than {MOST} members")
        if known.joined:
            common = self._common(new)
            if common is not None:
                self._close(channel, known, common)
            else:
                self._lead(channel, new)

    def _less(self, channel: int, known: _Channel, gone: set[int]) -> None:
        known.behind -= gone
        if known.joined:
            self._lead_no_more(channel, gone)

    def _asked(self, channel: int, known: _Channel) -> None:
        common = self._common(known.behind)
        if common is not None or not known.heard:
            self._send(channel, REFUSED, [common or self.id])
        elif not known.joined:
            self._send(channel, JOINED)
            known.joined = True
            self._lead(channel, known.behind)

    def _joined(self, channel: int, known: _Channel) -> None:
        if known.joined:
            return
        common = self._common(known.behind)
        if common is not None:  # meanwhile
            self._send(channel, LEFT)
            self._events.append(Refused(channel, common))
            return
        known.joined = True
        self._events.append(Accepted(channel))
        self._lead(channel, known.behind)

    def _close(self, channel: int, known: _Channel, common: int) -> None:
        self._send(channel, LEFT)
        self._break(channel, known, f"it closed a loop: member {common:016x} was in reach already")

    def _break(self, channel: int, known: _Channel, why: str) -> None:
        self._events.append(Broken(channel, why))
        self._left(channel, known)

    def _left(self, channel: int, known: _Channel) -> None:
        if known.joined:
            known.joined = False
            self._lead_no_more(channel, known.behind)

    # ---- who is where

    def _common(self, members: Iterable[int]) -> int | None:
        """One of these that can be reached already, or is this very member."""
        return next((m for m in members if m == self.id or m in self._where), None)

    def _lead(self, channel: int, members: Iterable[int]) -> None:
        """These can be reached through the channel from now on."""
        members = list(members)
        self._where.update(dict.fromkeys(members, channel))
        self._tell_others(channel, PLUS, members)

    def _lead_no_more(self, channel: int, members: Iterable[int]) -> None:
        gone = [m for m in members if self._where.get(m) == channel]
        for member in gone:
            del self._where[member]
        self._tell_others(channel, MINUS, gone)

    def _tell_others(self, channel: int, kind: int, members: list[int]) -> None:
        for other in self._channels if members else ():
            if other != channel:
                self._send(other, kind, members)

    def _send(self, channel: int, kind: int, ids: Sequence[int] = ()) -> None:
        for at in range(0, max(len(ids), 1), IDS):
            packed = b"".join(map(_ID.pack, ids[at : at + IDS]))
            self._output.append((channel, bytes((kind,)) + packed))

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

"""Ids of members: random, and how those of ours are shown to nodes of the prototype.

Theory of operation. Whatever a node of the prototype looks for, it asks those of its contacts whose ids have the lowest
first byte, or the lowest second one when they were moved at a split (spec: dht.md 13.1, items 2 and 3). So that it asks
members of ours, who look things up for it, these show it another id: the upper bits of both bytes are 0, and stand at
the end instead. Among each other they use their own. Were that low too, whoever has any other would be closer to most
keys, and a few could keep names from being found.

Nodes of the prototype pass on what they were shown, so it must be known for what it is. The ids of ours end in a mark:

    0          size - 3     size - 1   size
    | random ... | mark: 2 bytes | moved bits: 0 in the id itself |

It makes no difference to distances, for which the first eight bytes count.
"""

from random import Random
from typing import Final

__all__ = ["is_ours", "original", "random_id", "shown"]

_MARK: Final = b"\x4f\x75"
_MOVED: Final = 3
"""How many bits of each of the two bytes. With more, ours are asked before all others, and so are those of ours that
are gone, as the prototype forgets nobody.
"""
_KEPT: Final = 8 - _MOVED


def random_id(rng: Random, size: int) -> bytes:
    """An id of ours, of `size` bytes."""
    return rng.randbytes(size - 3) + _MARK + b"\0"


def is_ours(id: bytes) -> bool:
    """Whether an id has the mark."""
    return id[-3:-1] == _MARK


def shown(id: bytes) -> bytes:
    """What nodes of the prototype see in the place of an id; ids that are not ours stay as they are."""
    if not is_ours(id) or id[-1]:
        return id
    moved = id[0] >> _KEPT << _MOVED | id[1] >> _KEPT
    keep = (1 << _KEPT) - 1
    return bytes((id[0] & keep, id[1] & keep)) + id[2:-1] + bytes((moved,))


def original(id: bytes) -> bytes:
    """The reverse; any other id stays as it is."""
    moved = id[-1]
    if not moved or not is_ours(id) or moved >> 2 * _MOVED or (id[0] | id[1]) >> _KEPT:
        return id
    first, second = moved >> _MOVED, moved & (1 << _MOVED) - 1
    return bytes((id[0] | first << _KEPT, id[1] | second << _KEPT)) + id[2:-1] + b"\0"

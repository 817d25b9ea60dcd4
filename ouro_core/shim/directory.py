"""Where the names of a layer are: what was learnt from the medium, or from a name service (spec: shims.md 2)."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Final, Generic, TypeVar

__all__ = ["Directory"]

A = TypeVar("A", bound=Hashable)

MAX_HASHES: Final = 4096
MAX_ADDRESSES: Final = 8
"""Of one hash."""


class Directory(Generic[A]):
    """Pairs of hash and address. What was learnt last is found first.

    Bounded, for others may fill it: beyond the bounds what was learnt or found longest ago goes.
    """

    def __init__(self) -> None:
        self._addresses: OrderedDict[bytes, list[A]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._addresses)

    def learn(self, hash: bytes, address: A) -> None:
        """`hash` is at `address`. Known already: it is the newest again."""
        known = self._addresses.setdefault(hash, [])
        if address in known:
            known.remove(address)
        known.insert(0, address)
        del known[MAX_ADDRESSES:]
        self._addresses.move_to_end(hash)
        if len(self._addresses) > MAX_HASHES:
            self._addresses.popitem(last=False)

    def find(self, hash: bytes) -> A | None:
        """The newest address. None: the hash is not known."""
        known = self._addresses.get(hash)
        if not known:
            return None
        self._addresses.move_to_end(hash)
        return known[0]

    def forget(self, hash: bytes, address: A) -> bool:
        """`hash` is not at `address`, or nobody knows any more. False: that pair was not known."""
        known = self._addresses.get(hash, [])
        if address not in known:
            return False
        known.remove(address)
        if not known:
            del self._addresses[hash]
        return True

    def entries(self) -> Mapping[bytes, tuple[A, ...]]:
        """All there is, newest addresses first."""
        return {hash: tuple(known) for hash, known in self._addresses.items()}

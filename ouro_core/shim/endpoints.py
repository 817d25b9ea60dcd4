"""Numbers of endpoints: EIDs, SAPs."""

from random import Random

from ..model.errors import OutOfMemory

__all__ = ["Endpoints"]


class Endpoints:
    """Numbers from `first` to `last`, both included, each given to one flow at a time.

    They go round: a number that was freed comes again only after all others had their turn, so that packets of a flow
    that has ended do not end up in another one. `start` is the first to be given. With `rng` they are drawn, so that
    nobody can guess them, which has the same effect where they are many.
    """

    def __init__(self, first: int, last: int, start: int | None = None, rng: Random | None = None) -> None:
        self._rng = rng
        if not 0 < first <= (first if start is None else start) <= last:
            raise ValueError(f"endpoints {first} to {last}, beginning with {start}")
        self._first, self._last = first, last
        self._next = first if start is None else start
        self._taken: set[int] = set()

    def __len__(self) -> int:
        """How many are in use."""
        return len(self._taken)

    @property
    def most(self) -> int:
        """How many there are."""
        return self._last - self._first + 1

    def take(self) -> int:
        """The next one that is free. OutOfMemory: none is."""
        if len(self._taken) == self.most:
            raise OutOfMemory(f"all {self.most} endpoints of the layer are in use; deallocate a flow")
        if self._rng is not None:
            self._next = self._rng.randint(self._first, self._last)
        while self._next in self._taken:
            self._advance()
        number = self._next
        self._taken.add(number)
        self._advance()
        return number

    def _advance(self) -> None:
        self._next = self._next + 1 if self._next < self._last else self._first

    def free(self, number: int) -> None:
        """The reverse of `take`, when nothing is received for it any more. Twice is harmless."""
        self._taken.discard(number)

"""What a measurement is, and how measurements of two sides are interleaved."""

import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field, frozen

from ouro_core.model.errors import OuroError

from .figures import Figure, Row, Samples
from .sides import Side, Unable

__all__ = ["MAX_FAILURES", "Case", "run"]

MAX_FAILURES: Final = 3
"""Runs of one side that may fail before it is given up."""
_FAILURES: Final = (Unable, OuroError, OSError, AssertionError, subprocess.SubprocessError)


@frozen
class Case:
    """Something that can be done on either side and gives one or more figures.

    `measure` returns a value for each of `figures`, None for one that this side does not have. It leaves nothing
    behind and ends within seconds, or raises. `layer`: our flows go over a layer; the prototype's are always direct
    between processes of one host.
    """

    name: str
    figures: tuple[Figure, ...]
    measure: Callable[[Side], Sequence[float | None]]
    runs: int
    layer: bool = False
    over: str = ""
    """Type of the layer between two hosts of a side; empty: the side is one host."""


@define
class _Taker:
    """Takes samples of one side. After a failure the side begins anew."""

    side: Side
    values: list[Sequence[float | None]] = field(factory=list)
    remarks: list[str] = field(factory=list)
    _running: bool = False

    def take(self, case: Case, number: int) -> None:
        if len(self.remarks) >= MAX_FAILURES:
            return
        try:
            if not self._running:
                self.side.start()
                self._running = True
            self.values.append(case.measure(self.side))
        except _FAILURES as e:
            self.remarks.append(f"{self.side.label} failed in run {number}: {_line(str(e) or repr(e))}")
            self.stop()

    def stop(self) -> None:
        self.side.stop()
        self._running = False

    def samples(self, index: int) -> Samples:
        return Samples(tuple(value for values in self.values if (value := values[index]) is not None))


def _line(text: str) -> str:
    """The first line of a text and, when it has more, the last, which is what matters of a log."""
    first, *rest = text.strip().splitlines()
    return f"{first} ... {rest[-1]}" if rest else first


def run(case: Case, sides: Sequence[Side], say: Callable[[str], None]) -> list[Row]:
    """A row for every figure, after runs of all sides in turn: ours, the prototype, ours, the prototype ...

    `sides` begin with ours; there may be no other. `say` is told how it goes.
    """
    takers = [_Taker(side) for side in sides]
    load = 0.0
    try:
        for number in range(1, case.runs + 1):
            load = max(load, os.getloadavg()[0])
            for taker in takers:
                say(f"{case.name}: run {number} of {case.runs}, {taker.side.label}")
                taker.take(case, number)
    finally:
        for taker in takers:
            taker.stop()
    remarks = tuple(remark for taker in takers for remark in taker.remarks)
    rows = []
    for i, figure in enumerate(case.figures):
        ours, *theirs = (taker.samples(i) for taker in takers)
        rows.append(Row(case.name, figure, ours, theirs[0] if theirs else Samples(()), load, remarks))
    return rows

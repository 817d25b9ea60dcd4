"""Interleaving, and what happens when a side fails."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.bench.cases import MAX_FAILURES, Case, run
from tests.bench.figures import Figure
from tests.bench.sides import Program, Side, Unable

FIGURES = (Figure("first", "ms"), Figure("second", "ms"))


class Recorder(Side):
    """A side that does nothing but write down what it is asked for."""

    help = ()

    def __init__(self, label: str, log: list[str]) -> None:
        super().__init__()
        self.label = label
        self.log = log

    @property
    def security(self) -> Path:
        raise Unable("not to be encrypted")

    def start_daemon(self) -> None:
        self.log.append(f"{self.label} start")

    def stop(self) -> None:
        self.log.append(f"{self.label} stop")

    def make_ipcp(self, layer: str) -> None:
        pass

    def pids(self) -> dict[str, int]:
        raise NotImplementedError

    def destroy_ipcp(self, layer: str) -> None:
        raise NotImplementedError

    def bind(self, pid: int, name: str) -> None:
        raise NotImplementedError

    def spawn(self, words: Sequence[str]) -> Program:
        raise NotImplementedError

    def execute(self, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        raise NotImplementedError


def quiet(_text: str) -> None:
    pass


def measure(side: Side) -> Sequence[float | None]:
    assert isinstance(side, Recorder)
    side.log.append(side.label)
    return (float(len(side.log)), None if side.label == "theirs" else 1.0)


def test_sides_take_turns() -> None:
    log: list[str] = []
    first, second = run(Case("c", FIGURES, measure, 2), [Recorder("ours", log), Recorder("theirs", log)], quiet)
    assert log == [
        "ours start", "ours", "theirs start", "theirs", "ours", "theirs", "ours stop", "theirs stop",
    ]  # fmt: skip
    assert (first.ours.values, first.prototype.values) == ((2.0, 5.0), (4.0, 6.0))
    assert (second.ours.n, second.prototype.n) == (2, 0)


def test_one_side_alone() -> None:
    row, _ = run(Case("c", FIGURES, measure, 3), [Recorder("ours", [])], quiet)
    assert (row.ours.n, row.prototype.n, row.ratio) == (3, 0, None)


def test_a_side_that_failed_begins_anew() -> None:
    log: list[str] = []
    left = [Unable("stalled; log:\nmany\nlines"), subprocess.TimeoutExpired("oping", 1.0)]

    def fails_twice(side: Side) -> Sequence[float]:
        if left:
            raise left.pop(0)
        return (1.0, 2.0)

    row, _ = run(Case("c", FIGURES, fails_twice, 4), [Recorder("ours", log)], quiet)
    assert row.ours.n == 2
    assert log == ["ours start", "ours stop"] * 3
    assert row.remarks[0] == "ours failed in run 1: stalled; log: ... lines"
    assert "timed out" in row.remarks[1]


def test_a_side_that_fails_always_is_given_up() -> None:
    log: list[str] = []

    def fails(side: Side) -> Sequence[float]:
        raise OSError("no")

    row, _ = run(Case("c", FIGURES, fails, 10), [Recorder("ours", log)], quiet)
    assert (row.ours.n, len(row.remarks), log.count("ours start")) == (0, MAX_FAILURES, MAX_FAILURES)


def test_a_defect_of_the_benchmark_is_no_failure_of_a_side() -> None:
    log: list[str] = []

    def defect(side: Side) -> Sequence[float]:
        raise TypeError("a bug")

    with pytest.raises(TypeError):
        run(Case("c", FIGURES, defect, 1), [Recorder("ours", log)], quiet)
    assert log == ["ours start", "ours stop"]

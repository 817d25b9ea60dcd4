"""The command line, from outside."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def bench(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.bench", "--ours", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)


def test_cases_are_chosen_by_the_beginning_of_their_names() -> None:
    assert bench("--list", "--only", "rtt-i1", "--only", "idle").stdout.split() == ["rtt-i1", "rtt-i1-layer", "idle"]


def test_a_name_that_nothing_has() -> None:
    done = bench("--only", "nothing")
    assert done.returncode == 2
    assert "nothing" in done.stderr


@pytest.mark.parametrize("case", ["stream-64x32", "frct-rtt", "allocation-pair-layer", "start-ipcp"])
def test_a_measurement(case: str) -> None:
    done = bench("--quick", "--runs", "1", "--json", "--only", case)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["figures"]
    assert {figure["case"] for figure in figures} <= {case, f"{case}-command"}
    for figure in figures:
        assert not figure["remarks"]
        assert figure["ours"]["median"] > 0


def test_idle_processes_all_have_a_figure() -> None:
    done = bench("--quick", "--runs", "1", "--json", "--only", "idle")
    figures = json.loads(done.stdout)["figures"]
    assert len(figures) == 12
    assert all(figure["ours"] for figure in figures), done.stdout

"""The table and the JSON."""

import json

from tests.bench.figures import Figure, Row, Samples, at_least
from tests.bench.report import machine, table, to_json

ROWS = [
    Row("fast", Figure("fast thing", "packets/s", at_least(3)), Samples((4e6, 6e6, 5e6)), Samples((1e6,)), 0.5),
    Row("alone", Figure("lonely thing", "ms"), Samples((2.0,)), Samples(()), 0.5, ("prototype failed in run 1: no",)),
]


def test_a_line_for_every_figure() -> None:
    head, fast, alone, *_ = table(ROWS).splitlines()
    assert head.split() == [
        "unit", "ours", "(range)", "n", "prototype", "(range)", "n", "ratio", "target", "load",
    ]  # fmt: skip
    words = " ".join(fast.split())
    assert words == "fast thing packets/s 5.00M 4.00M–6.00M 3 1.00M 1.00M–1.00M 1 5.00× ≥ 3× met 0.5"
    assert " ".join(alone.split()) == "lonely thing ms 2.00 2.00–2.00 1 - 0.5"


def test_columns_stand_below_each_other() -> None:
    head, fast, alone, *_ = table(ROWS).splitlines()
    assert head.index("load") == fast.index("0.5") - 1 == alone.index("0.5") - 1


def test_a_remark_is_written_once_a_case() -> None:
    assert table([ROWS[1], ROWS[1]]).splitlines()[3:] == ["alone: prototype failed in run 1: no"]


def test_json_has_every_run() -> None:
    found = json.loads(to_json(ROWS, machine()))
    assert found["about"]["processors"] >= 1
    fast, alone = found["figures"]
    assert fast["ours"]["runs"] == [4e6, 6e6, 5e6]
    assert (fast["ratio"], fast["target"], fast["met"]) == (5.0, "≥ 3×", True)
    assert (alone["prototype"], alone["ratio"], alone["met"]) == (None, None, None)
    assert alone["remarks"] == ["prototype failed in run 1: no"]

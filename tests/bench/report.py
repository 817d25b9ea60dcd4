"""Rows as a table for people and as JSON for programs."""

import json
import os
import platform
from collections.abc import Sequence
from typing import Any

from .figures import Row, Samples, shown

__all__ = ["machine", "table", "to_json"]

_HEAD = ("", "unit", "ours", "(range)", "n", "prototype", "(range)", "n", "ratio", "target", "", "load")
_LEFT = (0, 1, 10)
"""Columns of words; all others are of numbers."""
_VERDICT = {True: "met", False: "missed", None: ""}


def table(rows: Sequence[Row]) -> str:
    """One line a figure: medians, the range of the runs, how many there were; remarks below."""
    lines = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEAD))]
    text = [
        "  ".join(c.ljust(w) if i in _LEFT else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    remarks = dict.fromkeys(f"{row.case}: {remark}" for row in rows for remark in row.remarks)
    return "\n".join(line.rstrip() for line in [*text, *remarks])


def _cells(row: Row) -> tuple[str, ...]:
    figure = row.figure
    return (
        figure.title, figure.unit, *_samples(row.ours), *_samples(row.prototype),
        "" if row.ratio is None else f"{shown(row.ratio)}×",
        "" if figure.target is None else str(figure.target), _VERDICT[row.met], f"{row.load:.1f}",
    )  # fmt: skip


def _samples(samples: Samples) -> tuple[str, str, str]:
    if not samples.n:
        return "-", "", ""
    return shown(samples.median), f"{shown(samples.low)}–{shown(samples.high)}", str(samples.n)


def to_json(rows: Sequence[Row], about: dict[str, Any]) -> str:
    """Everything, every run included."""
    return json.dumps({"about": about, "figures": [_object(row) for row in rows]}, indent=1, ensure_ascii=False)


def _object(row: Row) -> dict[str, Any]:
    return {
        "case": row.case,
        "title": row.figure.title,
        "unit": row.figure.unit,
        "ours": _numbers(row.ours),
        "prototype": _numbers(row.prototype),
        "ratio": row.ratio,
        "target": None if row.figure.target is None else str(row.figure.target),
        "met": row.met,
        "load": row.load,
        "remarks": list(row.remarks),
    }


def _numbers(samples: Samples) -> dict[str, Any] | None:
    if not samples.n:
        return None
    return {"median": samples.median, "low": samples.low, "high": samples.high, "runs": list(samples.values)}


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }

"""What the kernel says about a process: how often it was woken, how long it ran (proc(5))."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

__all__ = ["Activity", "activity", "since", "switches", "ticks"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@frozen
class Activity:
    """Of a thread since it began, or of a process in a time."""

    switches: int
    """Context switches, voluntary or not: whoever runs again after one was woken or given its turn."""
    cpu: float
    """Seconds of processor time."""


def activity(pid: int) -> dict[int, Activity]:
    """The threads of a process, by their ids. OSError when it is gone."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            found[int(task.name)] = Activity(switches((task / "status").read_text()), _cpu(task))
    return found


def _cpu(task: Path) -> float:
    """In nanoseconds where the kernel counts so, else in its ticks, usually of 10 ms."""
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:
        return ticks((task / "stat").read_text()) / _TICKS


def since(before: Mapping[int, Activity], after: Mapping[int, Activity]) -> Activity:
    """What the process did in between. Threads that ended meanwhile are not counted."""
    nothing = Activity(0, 0.0)
    return Activity(
        sum(now.switches - before.get(thread, nothing).switches for thread, now in after.items()),
        sum(now.cpu - before.get(thread, nothing).cpu for thread, now in after.items()),
    )


def switches(status: str) -> int:
    """Context switches in the text of a `status` file."""
    return sum(int(line.split(":")[1]) for line in status.splitlines() if "ctxt_switches" in line)


def ticks(stat: str) -> int:
    """Clock ticks in user and kernel mode in the text of a `stat` file. The name in it may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])

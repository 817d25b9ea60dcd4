"""What the kernel says about a process: how often it was woken, how long it ran (proc(5))."""

import os
from pathlib import Path

from attrs import frozen

__all__ = ["Activity", "activity", "switches", "ticks"]

_TICKS = os.sysconf("SC_CLK_TCK")


@frozen
class Activity:
    """Sums over all threads of a process since each began."""

    switches: int
    """Context switches, voluntary or not: a thread that runs again after one was woken or given its turn."""
    cpu: float
    """Seconds of processor time."""

    def since(self, before: "Activity") -> "Activity":
        """What happened after `before`."""
        return Activity(self.switches - before.switches, self.cpu - before.cpu)


def activity(pid: int) -> Activity:
    """Of a process. OSError when it is gone.

    The time is in nanoseconds where the kernel counts so (`schedstat`), else in its ticks, usually of 10 ms.
    """
    root = Path(f"/proc/{pid}")
    tasks = list((root / "task").iterdir())
    count = sum(switches((task / "status").read_text()) for task in tasks)
    try:
        cpu = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except FileNotFoundError:
        cpu = ticks((root / "stat").read_text()) / _TICKS
    return Activity(count, cpu)


def switches(status: str) -> int:
    """Context switches in the text of a `status` file."""
    return sum(int(line.split(":")[1]) for line in status.splitlines() if "ctxt_switches" in line)


def ticks(stat: str) -> int:
    """Clock ticks in user and kernel mode in the text of a `stat` file. The name in it may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])

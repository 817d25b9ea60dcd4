"""What processes do that have nothing to do: wake-ups and processor time a second.

A server with a flow that nobody uses waits in accept, a reader waits for a packet that never comes, another one does so
in asyncio; the daemon, the IPCP and the zygote have nobody who asks them for anything.
"""

import contextlib
import time
from collections.abc import Sequence
from typing import Final

from .cases import Case
from .figures import Figure, at_most_ours
from .proc import activity, since
from .sides import Ours, Program, Side, Unable, terminate

__all__ = ["cases"]

_WHO: Final = ("daemon", "IPCP", "zygote", "acceptor", "reader", "reader in asyncio")
_SETTLE: Final = 1.0


def cases(runs: int, quick: bool) -> list[Case]:
    """One case for all: they wait at the same time."""
    seconds = 1.0 if quick else 5.0

    def measure(side: Side) -> Sequence[float | None]:
        return idle(side, seconds)

    nothing = at_most_ours(0)
    figures = [Figure(f"idle {who}", "wake-ups/s", nothing) for who in _WHO]
    figures += [Figure(f"idle {who}", "ms CPU/s", nothing) for who in _WHO]
    return [Case("idle", tuple(figures), measure, min(runs, 3))]


def idle(side: Side, seconds: float) -> list[float | None]:
    """Wake-ups a second of all, then their processor time in ms a second."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(side.serve(("peer", "accept", "keep")))
        pids = {**side.pids(), "acceptor": server.program.pid, "reader": _holds(stack, side, "hold", server.name)}
        if isinstance(side, Ours):
            pids["reader in asyncio"] = _holds(stack, side, "ahold", server.name)
        time.sleep(_SETTLE)
        before = {who: activity(pid) for who, pid in pids.items()}
        time.sleep(seconds)
        done = {who: since(before[who], activity(pid)) for who, pid in pids.items()}
    wakes = [done[who].switches / seconds if who in done else None for who in _WHO]
    return wakes + [done[who].cpu * 1000 / seconds if who in done else None for who in _WHO]


def _holds(stack: contextlib.ExitStack, side: Side, what: str, name: str) -> int:
    program: Program = side.spawn(("peer", what, name))
    stack.callback(terminate, program)
    assert program.stdout is not None
    line = program.stdout.readline()
    if line != "holds\n":
        raise Unable(f"a reader said {line!r}")
    return program.pid

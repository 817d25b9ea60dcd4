"""oping: is a name reachable, and how long does a packet take there and back (spec: tools.md 1)."""

import sys
from collections.abc import Sequence

from ..options import BadOption, UnknownUnit
from ..process import announced, ended, say

__all__ = ["main", "run"]


def main() -> None:
    """The command `oping`."""
    status = run(sys.argv[1:])
    ended()
    sys.exit(status)


def run(words: Sequence[str]) -> int:
    """Carry out a command line; returns the exit status."""
    from .settings import USAGE, parse

    if "--help" in words or "-h" in words:  # without a daemon, too
        say(USAGE)
        return 1
    if not announced():
        return 1
    try:
        settings = parse(words)
    except UnknownUnit as e:
        say(e)
        return 1
    except BadOption as e:
        say(f"{e}\n{USAGE}")
        return 1
    for remark in settings.remarks:
        say(remark)
    if settings.hint:
        say(settings.hint, error=True)
    if settings.listen:
        from .server import serve

        return serve(settings)
    from .client import ping

    return ping(settings)

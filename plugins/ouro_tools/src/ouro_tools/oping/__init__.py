"""oping: is a name reachable, and how long does a packet take there and back (spec: tools.md 1)."""

import sys
from collections.abc import Sequence

from ..options import BadOption, UnknownUnit
from ..process import announced

__all__ = ["main", "run"]


def main() -> None:
    """The command `oping`."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Carry out a command line; returns the exit status."""
    if not announced():
        return 1
    from .settings import USAGE, parse

    try:
        settings = parse(words)
    except UnknownUnit as e:
        print(e)
        return 1
    except BadOption as e:
        print(e, USAGE, sep="\n")
        return 1
    for remark in settings.remarks:
        print(remark)
    if settings.listen:
        from .server import serve

        return serve(settings)
    from .client import ping

    return ping(settings)

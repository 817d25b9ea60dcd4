"""How long it takes until something is there: an IPCP, a daemon, a command."""

import time
from collections.abc import Callable, Sequence
from itertools import count

from .cases import Case
from .figures import Figure, Target, at_most_ours
from .sides import LAYER, Side

__all__ = ["cases"]

_numbers = count()


def cases(runs: int, quick: bool) -> list[Case]:
    """Figures in ms."""

    def case(name: str, title: str, do: Callable[[Side], float], target: Target | None = None) -> Case:
        def measure(side: Side) -> Sequence[float]:
            return [do(side) * 1000]

        return Case(f"start-{name}", (Figure(title, "ms", target),), measure, runs)

    return [
        case("ipcp", "IPCP, created and bootstrapped", ipcp, at_most_ours(10)),
        case("ipcp-command", "the same as a command", ipcp_command),
        case("daemon", "daemon, until it answers", daemon),
        case("help", "ouro --help (irm help)", usage),
        case("oping", "oping without arguments: announced, usage printed", oping),
    ]


def ipcp(side: Side) -> float:
    """The prototype's only way is the command, which takes about 1 ms of it."""
    layer = f"bench{next(_numbers)}"
    seconds = _timed(lambda: side.make_ipcp(layer))
    side.destroy_ipcp(layer)
    return seconds


def ipcp_command(side: Side) -> float:
    layer = f"bench{next(_numbers)}"
    words = ("irm", "ipcp", "bootstrap", "type", "local", "name", layer, "layer", layer)
    seconds = _timed(lambda: side.run(words))
    side.destroy_ipcp(layer)
    return seconds


def daemon(side: Side) -> float:
    side.stop()
    seconds = _timed(side.start_daemon)
    side.make_ipcp(LAYER)
    return seconds


def usage(side: Side) -> float:
    return _timed(lambda: side.run(side.help))


def oping(side: Side) -> float:
    return _timed(lambda: side.execute(("oping",)))


def _timed(do: Callable[[], object]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start

"""Round-trip times as each side's own oping says, client and server: the average of a run."""

import re
from collections.abc import Sequence

from .cases import Case
from .figures import Figure, Target, at_most
from .sides import Side, Unable

__all__ = ["average", "cases"]

_RTT = re.compile(r"^rtt min/avg/max/mdev = [0-9.]+/([0-9.]+)/[0-9.]+/\S+ (µs|ms)$", re.MULTILINE)


def cases(runs: int, quick: bool) -> list[Case]:
    """The three ways of the targets, our flows direct and over a layer; and both ends polling."""
    few = 5 if quick else 1

    def case(name: str, ways: str, count: int, target: Target | None, layer: bool, server: str = "") -> Case:
        def measure(side: Side) -> Sequence[float]:
            with side.serve(["oping", "-l", "-Q", *server.split()]) as served:
                return [average(side.run(["oping", "-n", served.name, "-Q", "-c", str(count // few), *ways.split()]))]

        title = (
            f"oping {ways}{', server ' + server if server else ''}, our flow {'over a layer' if layer else 'direct'}"
        )
        return Case(f"rtt-{name}{'-layer' if layer else ''}", (Figure(title, "µs", target),), measure, runs, layer)

    found = []
    for layer in (False, True):
        found += [
            case("i0", "-i 0", 5000, at_most(0.3), layer),
            case("i1", "-i 1", 1000, at_most(0.3), layer),
            case("f", "-f", 20000, at_most(0.3), layer),
        ]
    return [*found, case("busy", "-F", 20000, None, False, "--busy")]


def average(text: str) -> float:
    """Average in µs, from what oping printed at its end. Unable: it has no such line."""
    match = _RTT.search(text)
    if match is None:
        raise Unable(f"oping printed no round-trip times: {text[-200:]!r}")
    return float(match[1]) * (1000 if match[2] == "ms" else 1)

"""Flows a second, allocated by one process one after the other and accepted by another."""

from collections.abc import Sequence

from .cases import Case
from .figures import Figure, Target, at_least
from .sides import Side, Unable

__all__ = ["cases"]


def cases(runs: int, quick: bool) -> list[Case]:
    """Allocation alone: both ends keep their flows. With deallocation: both give them back at once."""
    count = 60 if quick else 200

    def case(name: str, title: str, what: str, target: Target | None, layer: bool, secret: bool = False) -> Case:
        def measure(side: Side) -> Sequence[float]:
            return [rate(side, count, what, secret)]

        where = "our flow over a layer" if layer else "our flow direct"
        figure = Figure(f"{title}, {where}", "flows/s", target)
        return Case(f"allocation-{name}{'-layer' if layer else ''}", (figure,), measure, runs, layer)

    return [
        case(name, title, what, target, layer)
        for layer in (False, True)
        for name, title, what, target in (
            ("alone", "flow allocation", "keep", at_least(1)),
            ("pair", "flow allocation and deallocation", "drop", at_least(5)),
        )
    ] + [case("encrypted", "flow allocation, X25519, and deallocation", "drop", None, layer=False, secret=True)]


def rate(side: Side, count: int, what: str, secret: bool) -> float:
    """Flows a second. `secret`: with a key exchange."""
    with side.serve(("peer", "accept", what)) as server:
        if secret:
            side.encrypt(server.name)
        text = side.run(("peer", "alloc", server.name, str(count), what))
    try:
        flows, seconds = text.split()
        return int(flows) / float(seconds)
    except ValueError:
        raise Unable(f"the requester said {text!r}") from None

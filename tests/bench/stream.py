"""Packets a second one way over a raw flow between two processes, as the reader counts them."""

from collections.abc import Sequence

from .cases import Case
from .figures import Figure, Target, at_least
from .sides import Side, Unable

__all__ = ["cases"]


def cases(runs: int, quick: bool) -> list[Case]:
    """64 and 1500 bytes, one packet a call and batches; the C API has no batches, its figure is one packet a call."""
    seconds = 0.3 if quick else 1.0

    def case(
        name: str, title: str, size: int, batch: int, target: Target | None, layer: bool = False, secret: bool = False
    ) -> Case:
        def measure(side: Side) -> Sequence[float]:
            return [rate(side, size, batch, seconds, secret)]

        return Case(f"stream-{name}", (Figure(title, "packets/s", target),), measure, runs, layer)

    return [
        case("64", "one way, 64 B, one a call", 64, 1, at_least(3)),
        case("64x32", "one way, 64 B, 32 a call", 64, 32, at_least(8)),
        case("1500", "one way, 1500 B, one a call", 1500, 1, at_least(3)),
        case("1500x32", "one way, 1500 B, 32 a call", 1500, 32, None),
        case("1500-encrypted", "one way, 1500 B, aes-256-gcm, one a call", 1500, 1, at_least(1.5), secret=True),
        case("1500x32-encrypted", "one way, 1500 B, aes-256-gcm, 32 a call", 1500, 32, None, secret=True),
        case("64-layer", "one way, 64 B, one a call, our flow over a layer", 64, 1, at_least(3), layer=True),
    ]


def rate(side: Side, size: int, batch: int, seconds: float, secret: bool) -> float:
    """Packets a second. `secret`: encrypted."""
    with side.serve(("peer", "read", str(batch))) as server:
        if secret:
            side.encrypt(server.name)
        side.run(("peer", "write", server.name, str(size), str(batch), str(seconds)))
        line = server.line()
    try:
        packets, elapsed = line.split()
        return int(packets) / float(elapsed)
    except ValueError:
        raise Unable(f"the reader said {line!r}") from None

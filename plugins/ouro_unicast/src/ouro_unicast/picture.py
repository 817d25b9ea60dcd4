"""A layer's graph in text: the tree of shortest ways from one member, and the links beside it."""

from collections import deque
from collections.abc import Mapping, Sequence

__all__ = ["edges", "picture"]


def edges(links: Mapping[str, Sequence[str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(links that both ends advertise, those that only the first does), in order."""
    known = {(a, b) for a, others in links.items() for b in others}
    both = sorted((a, b) for a, b in known if a < b and (b, a) in known)
    return both, sorted((a, b) for a, b in known if (b, a) not in known)


def picture(here: str, links: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines that show who can be reached from `here` and how; `links` as a member shows them in the RIB."""
    both, single = edges(links)
    neighbours: dict[str, list[str]] = {here: []}
    for a, b in both:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    children, used = _tree(here, neighbours)
    lines = [f"{here}  (here)", *_branches(here, children, "")]
    beside = [f"{a} -- {b}" for a, b in both if (a, b) not in used]
    if beside:
        lines += ["", "other links:", *(f"  {link}" for link in beside)]
    if single:
        lines += ["", "advertised by one end only:", *(f"  {a} -> {b}" for a, b in single)]
    return lines


def _tree(here: str, neighbours: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[str]], set[tuple[str, str]]]:
    """By member those reached through it, and the links that are used for that."""
    children: dict[str, list[str]] = {here: []}
    used = set()
    waiting = deque([here])
    while waiting:
        member = waiting.popleft()
        for other in sorted(neighbours[member]):
            if other not in children:
                children[other] = []
                children[member].append(other)
                used.add((min(member, other), max(member, other)))
                waiting.append(other)
    return children, used


def _branches(member: str, children: Mapping[str, Sequence[str]], margin: str) -> list[str]:
    lines: list[str] = []
    stack = [(child, margin, child == children[member][-1]) for child in reversed(children[member])]
    while stack:  # a line of a thousand members is deeper than Python's own stack
        name, indent, last = stack.pop()
        lines.append(f"{indent}{'└─' if last else '├─'} {name}")
        below = indent + ("   " if last else "│  ")
        stack += [(child, below, child == children[name][-1]) for child in reversed(children[name])]
    return lines

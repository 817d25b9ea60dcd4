"""A picture of a layer's graph in text, for people.

    01.02.03.04 (here)
    ├── 05.06.07.08
    │   └── 09.0a.0b.0c ~ 0d.0e.0f.10
    └── 0d.0e.0f.10

The tree is one of shortest paths from the member that is asked; links that are no branches stand behind the second of
their ends, after `~`, and links that one end alone advertises after `?`, as they carry nothing.
"""

from collections.abc import Iterable

__all__ = ["picture"]

_BRANCH, _LAST, _GOES_ON, _NOTHING = "├── ", "└── ", "│   ", "    "
_LEGEND = {" ~ ": "~ another link", " ? ": "? a link that one end alone advertises"}


def picture(links: Iterable[tuple[str, str]], here: str) -> str:
    """`links`: (from, to) for each adjacency, as members know them; `here`: the member that is asked, which need not be
    among them. Lines end with a newline.
    """
    known = set(links)
    around: dict[str, set[str]] = {here: set()}
    half: dict[str, set[str]] = {}
    for a, b in known:
        both = (b, a) in known
        for x, y in ((a, b), (b, a)):
            around.setdefault(x, set())
            (around if both else half).setdefault(x, set()).add(y)
    order: dict[str, int] = {}  # members in the order of lines
    lines = _tree(here, " (here)", around, half, order)
    alone = [root for root in sorted(around) if root not in order]
    if alone:
        lines.append("not reached from here:")
    for root in alone:
        if root not in order:
            lines += _tree(root, "", around, half, order)
    text = "".join(line + "\n" for line in lines)
    legend = [words for sign, words in _LEGEND.items() if sign in text]
    return text + "".join(f"{words}\n" for words in legend)


def _tree(
    root: str, remark: str, around: dict[str, set[str]], half: dict[str, set[str]], order: dict[str, int]
) -> list[str]:
    """The lines of what can be reached from `root`. No recursion: lines of members may be long."""
    below = _branches(root, around)
    parent = {child: node for node, children in below.items() for child in children}
    lines = []
    waiting = [(root, "", "")]
    while waiting:
        node, head, indent = waiting.pop()
        seen = [other for other in around[node] if other in order and other != parent.get(node)]
        text = node + (remark if node == root else "")
        text += "".join(f" ~ {other}" for other in sorted(seen))
        text += "".join(f" ? {other}" for other in sorted(half.get(node, ())) if other not in order)
        order[node] = len(order)
        lines.append(head + text)
        children = below[node]
        for child in reversed(children):
            last = child == children[-1]
            waiting.append((child, indent + (_LAST if last else _BRANCH), indent + (_NOTHING if last else _GOES_ON)))
    return lines


def _branches(root: str, around: dict[str, set[str]]) -> dict[str, list[str]]:
    """A tree of shortest paths: the children of each member."""
    below: dict[str, list[str]] = {root: []}
    level = [root]
    while level:
        found = []
        for node in level:
            for other in sorted(around[node]):
                if other not in below:
                    below[other] = []
                    below[node].append(other)
                    found.append(other)
        level = found
    return below

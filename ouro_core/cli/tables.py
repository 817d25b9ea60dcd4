"""Tables as the prototype prints them: columns to the right, at least so wide, longer values overflow."""

from collections.abc import Iterable, Sequence

__all__ = ["table"]


def table(columns: Sequence[tuple[str, int]], rows: Iterable[Sequence[object]]) -> str:
    """`columns` are titles and widths. No line end after the last line."""
    rule = "+" + "+".join("-" * (width + 2) for _, width in columns) + "+"
    lines = [[title for title, _ in columns], *rows]
    text = ["|" + "|".join(f" {cell!s:>{width}} " for cell, (_, width) in zip(line, columns, strict=True)) + "|"
            for line in lines]  # fmt: skip
    return "\n".join([rule, text[0], rule, *text[1:], rule])

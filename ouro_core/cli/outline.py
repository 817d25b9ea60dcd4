"""A subtree of the RIB for people: an outline of what there is, counters in lines."""

import json
import textwrap
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["outline"]

_WIDTH: Final = 110
_INDENT: Final = "    "


def outline(tree: Any, indent: str = "") -> Iterator[str]:
    """The lines. Of counters, a mapping with nothing but numbers, those that are zero are left out."""
    if not isinstance(tree, dict):
        yield indent + _text(tree)
        return
    width = max((len(key) for key, value in tree.items() if not isinstance(value, dict)), default=0)
    for key, value in tree.items():
        below = _lines(value)
        if below:
            yield indent + key
            yield from (f"{indent}{_INDENT}{line}".rstrip() for line in below)
        elif not isinstance(value, dict):
            yield f"{indent}{key:<{width}}  {_text(value)}".rstrip()
        elif _counts(value):
            shown = ", ".join(f"{name}\xa0{count}" for name, count in value.items() if count) or "nothing"
            yield indent + key
            yield from _wrapped(shown, indent + _INDENT)
        else:
            yield indent + key + ("" if value else ": none")
            yield from outline(value, indent + _INDENT)


def _lines(value: Any) -> list[str]:
    """What has lines of its own, below its key: a text of several lines, a list of mappings. Of others none."""
    if isinstance(value, str):
        return value.splitlines() if "\n" in value else []
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        return [_entry(entry) for entry in value]
    return []


def _entry(value: Any) -> str:
    if not isinstance(value, dict):
        return _text(value)
    return ", ".join(f"{key} {_text(part)}" for key, part in value.items())


def _counts(tree: dict[str, Any]) -> bool:
    return len(tree) > 2 and all(type(value) is int for value in tree.values())


def _wrapped(text: str, indent: str) -> Iterator[str]:
    lines = textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return (line.replace("\xa0", " ") for line in lines)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if value in ("", None):
        return "none"
    return value if isinstance(value, str) else json.dumps(value)

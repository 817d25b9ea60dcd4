"""Command lines of the tools (spec: tools.md, common facts).

Words are compared as they are: no `--option=value`, no combined short options, the last of several counts.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["BadOption", "UnknownUnit", "duration", "number", "split"]

_UNITS: Final = {"": 1, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
"""Milliseconds in a unit."""


class BadOption(Exception):
    """An option that does not exist, or whose value is missing or makes no sense: the usage is due."""


class UnknownUnit(Exception):
    """A time in a unit that does not exist; the text is the prototype's."""


def split(words: Sequence[str], flags: dict[str, str], values: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(name, value) of every option, a flag's value being empty. `flags` and `values` map spellings to names."""
    rest = iter(words)
    for word in rest:
        if word in flags:
            yield flags[word], ""
        elif word in values:
            value = next(rest, None)
            if value is None:
                raise BadOption(f"{word} needs a value")
            yield values[word], value
        else:
            raise BadOption(f"{word} is no option")


def number(text: str, name: str = "number") -> int:
    """A whole number that is not negative."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise BadOption(f'{name} "{text}" is no whole number')
    return int(text)


def duration(text: str) -> int:
    """Milliseconds; without a unit, or in ms, s, m, h or d."""
    digits, unit = re.fullmatch(r"([0-9]{0,18})(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    if unit not in _UNITS:
        raise UnknownUnit(f"Unknown time unit: {unit}.")
    if not digits:
        raise BadOption(f'"{text}" is no time')
    return int(digits) * _UNITS[unit]

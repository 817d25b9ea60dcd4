"""The grammar of `irm`: words that may be abbreviated, options as `key value` pairs (spec: irmd.md 11).

A word stands for the entry of a table that it is, or else for the first one that begins with it, so the order of a
table is part of the grammar.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

__all__ = ["Keyword", "Refused", "Values", "match", "meant", "parse"]


class Refused(Exception):
    """The command cannot be carried out: exit status 1.

    `lines` are the prototype's words for it, for standard output; `usage`: its usage follows. `why` explains more, on
    standard error.
    """

    def __init__(self, *lines: str, usage: bool = False, why: str = "") -> None:
        super().__init__(*lines)
        self.lines = lines
        self.usage = usage
        self.why = why


@frozen
class Keyword:
    """One key of a command."""

    word: str
    flag: bool = False
    """It stands alone; the others are followed by a value."""
    exact: bool = False
    """It may not be abbreviated."""


@frozen
class Values:
    """What was given: the values of each key in order (none for a flag), and the words after `--`."""

    given: dict[str, list[str]]
    rest: tuple[str, ...] = ()

    def __contains__(self, key: str) -> bool:
        return key in self.given

    def all(self, key: str) -> list[str]:
        """Every value of a key."""
        return self.given.get(key, [])

    def get(self, key: str) -> str | None:
        """The value of a key; the last one counts."""
        values = self.all(key)
        return values[-1] if values else None

    def need(self, key: str) -> str:
        """The value of a key without which there is no command."""
        value = self.get(key)
        if value is None:
            raise Refused(usage=True, why=f'"{key}" is missing.')
        return value


REST: Final = "--"


def match(word: str, table: Iterable[str]) -> str | None:
    """The entry `word`, or else the first of which it is a prefix. No word at all stands for nothing.

    In the prototype's tables no entry stands behind one that it abbreviates; those of plugins may: `dir`, `directory`.
    """
    entries = [entry for entry in table if word and entry.startswith(word)]
    return word if word in entries else next(iter(entries), None)


def meant(word: str, table: Iterable[str]) -> str:
    """The question whether the entry that `word` resembles was meant, with a blank in front; "" if there is none."""
    from difflib import get_close_matches  # needed for mistakes only

    found = get_close_matches(word, list(table), 1)
    return f' Did you mean "{found[0]}"?' if found else ""


def parse(words: Sequence[str], table: Sequence[Keyword], unknown: str, rest: bool = False) -> Values:
    """Read `key value` pairs. `unknown` is what to say about a word that is no key, with {} in its place.

    With `rest`, everything after `--` is kept as it is. Refused: an unknown key, or one without its value.
    """
    given: dict[str, list[str]] = {}
    found = iter(words)
    for word in found:
        if rest and word == REST:
            return Values(given, tuple(found))
        key = _key(word, table)
        if key is None:
            known = [k.word for k in table]
            why = f"Known: {', '.join(known) or 'nothing'}.{meant(word, known)}"
            raise Refused(unknown.format(word), why=why)
        values = given.setdefault(key.word, [])
        if not key.flag:
            value = next(found, None)
            if value is None:
                raise Refused(usage=True, why=f'"{word}" needs a value.')
            values.append(value)
    return Values(given)


def _key(word: str, table: Sequence[Keyword]) -> Keyword | None:
    """`match`, for keys."""
    name = match(word, [k.word for k in table if not k.exact or word == k.word])
    return next((k for k in table if k.word == name), None)

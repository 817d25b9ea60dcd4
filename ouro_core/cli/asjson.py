"""`--json`, anywhere in a command line but after `--`: one JSON value on standard output, whatever happens."""

import json
from collections.abc import Sequence
from typing import Final

__all__ = ["FLAG", "json_last", "print_failure", "print_json", "take_json"]

FLAG: Final = "--json"


def take_json(words: Sequence[str]) -> tuple[list[str], bool]:
    """The words without the flag, and whether it was there; what follows `--` is not ours."""
    end = words.index("--") if "--" in words else len(words)
    head = [word for word in words[:end] if word != FLAG]
    return [*head, *words[end:]], len(head) < end


def json_last(words: Sequence[str]) -> list[str]:
    """The words with the flag, if it was there, behind all others that are ours: where every parser finds it."""
    rest, found = take_json(words)
    end = rest.index("--") if "--" in rest else len(rest)
    return [*rest[:end], *([FLAG] if found else []), *rest[end:]]


def print_json(value: object) -> None:
    """`value` as JSON has it."""
    print(json.dumps(value, indent=2))


def print_failure(error: str, code: int = -1) -> None:
    """What went wrong. `code`: the negative number of an `OuroError`."""
    print_json({"error": error, "code": code})

"""The command `irm`: ipcp, bind, unbind and name, as the prototype has them, and status (spec: irmd.md 11)."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

from .asjson import json_last, print_failure, take_json
from .keywords import match, meant

if TYPE_CHECKING:
    from .session import Menu

__all__ = ["menu", "run"]

_MENUS: Final = {
    "ipcp": ("ipcp", "MENU"),
    "bind": ("bind", "BIND"),
    "unbind": ("bind", "UNBIND"),
    "name": ("name", "MENU"),
}
_WORDS: Final = (*_MENUS, "help", "status")
_USAGE: Final = """Usage: {prog} <command>

  {prog} ipcp ...      make, configure and list IPCPs
  {prog} bind ...      let programs, processes and IPCPs accept flows for names
  {prog} unbind ...    the reverse
  {prog} name ...      make, register and list names
  {prog} status        what the IRMd holds [--json]

Every word may be abbreviated. "{prog} <command> help" shows more."""


def menu(word: str) -> "Menu":
    """The sub-commands of "ipcp", "bind", "unbind" or "name"."""
    module, attribute = _MENUS[word]
    found: Menu = getattr(import_module(f".{module}", __package__), attribute)
    return found


def run(words: Sequence[str], prog: str = "irm") -> int:
    """Carry out `words`; returns the exit status: 0, 1, or 255 when there is no word."""
    if not take_json(words)[0]:
        print(_USAGE.format(prog=prog))
        return 255
    words = json_last(words)
    word = "help" if words[0] in ("-h", "--help") else match(words[0], _WORDS)
    if word is None:
        unknown = f'"{words[0]}" is unknown, try "{prog} help".{meant(words[0], _WORDS)}'
        print(unknown, file=sys.stderr)
        if take_json(words)[1]:
            print_failure(unknown)
        return 1
    if word == "help":
        print(_USAGE.format(prog=prog))
        return 0
    if word == "status":
        from .status import run as status

        return status(words[1:])
    from .session import run_menu

    return run_menu(menu(word), words[1:], prog)

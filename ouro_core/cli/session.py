"""One run of a command: where its words go, and how it reaches the IRMd.

Standard output has the prototype's words and nothing else; whatever we add to explain goes to standard error. With
`--json` standard output is one JSON value, and the words go to standard error as well.
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final, TypeAlias, TypeVar

from attrs import frozen

from ..model.errors import IrmdError, NotFound, OuroError
from ..model.irm_requests import ListIpcps, RibRead
from ..model.layer import IpcpInfo
from ..model.request import Request
from ..rpc.blocking import BlockingChannel, connect
from ..rpc.paths import irm_socket
from .asjson import print_failure, print_json, take_json
from .keywords import Refused, match, meant

__all__ = ["NO_IRMD", "Command", "Menu", "Run", "Session", "matches", "run_menu"]

R = TypeVar("R")
NO_IRMD: Final = "Failed to communicate with the Ouroboros IPC Resource Manager daemon."


class Session:
    """`prog` is the command the user typed ("irm" or "ouro"): messages name it."""

    def __init__(self, prog: str = "irm", as_json: bool = False) -> None:
        self.prog = prog
        self.json = as_json

    def say(self, line: str) -> None:
        """Words of the prototype."""
        print(line, file=sys.stderr if self.json else sys.stdout)

    def explain(self, line: str) -> None:
        """Words of ours."""
        print(line, file=sys.stderr)

    def nothing(self, why: str) -> None:
        """There is nothing to do: no error of `irm`, as in the prototype; one of `ouro`, for a word was misspelt."""
        if self.prog == "ouro":
            raise NotFound(why)
        self.explain(f"Nothing to do: {why}")

    def result(self, value: object) -> None:
        """The JSON value of this run."""
        from ..rib import to_plain

        print_json(to_plain(value))

    @cached_property
    def _channel(self) -> BlockingChannel:
        return BlockingChannel(connect(irm_socket()))

    def call(self, request: Request[R]) -> R:
        """Ask the IRMd. OuroError."""
        return self._channel.call(request)

    def ipcps(self, name: str | None = None) -> list[IpcpInfo]:
        """All IPCPs, or those with exactly this name."""
        return [i for i in self.call(ListIpcps()).ipcps if name is None or i.name == name]

    def rib(self, path: str) -> Any:
        """A subtree of the RIB. OuroError."""
        return json.loads(self.call(RibRead(path)).json)

    def close(self) -> None:
        """Hang up. The next request connects again."""
        channel = vars(self).pop("_channel", None)
        if channel is not None:
            channel.close()


Run: TypeAlias = Callable[[Session, list[str]], object]
"""Carries a command out; returns what `--json` shows."""


@frozen
class Command:
    """A sub-command. `run` gets the words from the sub-command itself on, since that may be the first key as well.

    Errors show the first line of `usage`, the help of the menu all of it and what `details` finds out.
    `names_irmd`: a missing IRMd is reported in the prototype's words.
    """

    word: str
    run: Run
    usage: str
    names_irmd: bool = False
    details: Callable[[], Sequence[str]] = tuple


@frozen
class Menu:
    """The sub-commands of `ipcp`, `bind`, `unbind` or `name`, in the order that abbreviations need."""

    word: str
    commands: tuple[Command, ...]

    def usage(self, prog: str) -> str:
        """What there is."""
        lines: list[str] = []
        for command in self.commands:
            first, *more = command.usage.splitlines()
            lines += [
                f"  {prog} {self.word} {first}",
                *(f"      {line.strip()}" for line in (*more, *command.details())),
            ]
        return "\n".join([f"Usage: {prog} {self.word} <command> [key value]... [--json]", "", *lines])


def run_menu(menu: Menu, words: Sequence[str], prog: str = "irm") -> int:
    """Carry out `words`; returns the exit status."""
    words, as_json = take_json(words)
    session = Session(prog, as_json)
    if not words:
        session.say(menu.usage(prog))
        return 1
    word = match(words[0], [*(c.word for c in menu.commands), "help"])
    if word == "help" or any(asked in ("-h", "--help") for asked in words[:2]):
        session.say(menu.usage(prog))
        return 0
    command = next((c for c in menu.commands if c.word == word), None)
    if command is None:
        unknown = f'"{words[0]}" is unknown, try "{prog} {menu.word} help".'
        unknown += meant(words[0], (c.word for c in menu.commands))
        session.explain(unknown)
        if as_json:
            print_failure(unknown)
        return 1
    try:
        return _run(session, menu, command, words)
    finally:
        session.close()


def _run(session: Session, menu: Menu, command: Command, words: list[str]) -> int:
    failure: dict[str, Any] = {"error": "", "code": -1}
    try:
        value = command.run(session, words)
    except Refused as e:
        for line in e.lines:
            session.say(line)
        if e.usage:
            session.say(f"Usage: {session.prog} {menu.word} {command.usage.splitlines()[0]}")
        if e.why:
            session.explain(e.why)
        failure["error"] = " ".join([*e.lines, e.why]).strip() or "usage"
    except OuroError as e:
        if command.names_irmd and isinstance(e, IrmdError):
            session.say(NO_IRMD)
        session.explain(str(e))
        failure = {"error": str(e), "code": e.code}
    else:
        if session.json:
            session.result({} if value is None else value)
        return 0
    if session.json:
        session.result(failure)
    return 1


def matches(pattern: str, text: str) -> bool:
    """Whether `text` as a whole is what `pattern` says; `*` stands for any characters, nothing else is special."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None

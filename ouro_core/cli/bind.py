"""`irm bind` and `irm unbind`: who accepts flows for a name (spec: irmd.md 11).

The word that says what is bound is also the key of its value: `irm bind program /bin/cat name cat`.
"""

import os
import shutil
from typing import Final

from ..model.errors import NotFound
from ..model.irm_requests import BindIpcp, BindProcess, BindProgram, UnbindIpcp, UnbindProcess, UnbindProgram
from .keywords import Keyword, Refused, Values, parse
from .session import Command, Menu, Session

__all__ = ["BIND", "UNBIND"]

_NAME: Final = Keyword("name")


def _parse(session: Session, menu: str, what: str, words: list[str], *more: Keyword, rest: bool = False) -> Values:
    unknown = f'"{{}}" is unknown, try "{session.prog} {menu} {what}".'
    # the first word was recognised by the menu, perhaps by fewer letters than would do here
    return parse([what, *words[1:]], (Keyword(what), _NAME, *more), unknown, rest)


def _find(path: str) -> str | None:
    """Where a program is: a path as it is, a plain word as the shell would find it. None: nowhere."""
    found = path if os.path.exists(path) or "/" in path else shutil.which(path, os.F_OK)
    return os.path.realpath(found) if found is not None and os.path.exists(found) else None


def _program(path: str) -> str:
    """Where a program is that can be started."""
    found = _find(path)
    if found is None:
        raise Refused(f"{path} does not exist.")
    if not os.path.isfile(found) or not os.access(found, os.X_OK):
        raise Refused(f"Cannot execute {path}, please check permissions.")
    return found


def _pid(word: str) -> int:
    """The id of a process that lives. Whether it may be bound is for the IRM to say."""
    try:
        pid = int(word)
        if pid > 0:
            os.kill(pid, 0)
            return pid
    except PermissionError:
        return pid
    except (ValueError, OverflowError, ProcessLookupError):
        pass
    raise Refused(f'"{word}" is not a valid process id.')


def _ipcp(session: Session, name: str) -> int:
    found = session.ipcps(name)
    if not found:
        raise NotFound(f'no IPCP is called "{name}"; see: {session.prog} ipcp list')
    return found[0].id


def _bind_program(session: Session, words: list[str]) -> object:
    given = _parse(session, "bind", "program", words, Keyword("auto", flag=True, exact=True), rest=True)
    path, name = given.need("program"), given.need("name")
    session.call(BindProgram(_program(path), name, given.rest, "auto" in given))
    return None


def _bind_process(session: Session, words: list[str]) -> object:
    given = _parse(session, "bind", "process", words)
    pid, name = given.need("process"), given.need("name")
    session.call(BindProcess(_pid(pid), name))
    return None


def _bind_ipcp(session: Session, words: list[str]) -> object:
    given = _parse(session, "bind", "ipcp", words)
    ipcp, name = given.need("ipcp"), given.need("name")
    session.call(BindIpcp(_ipcp(session, ipcp), name))
    return None


def _unbind_program(session: Session, words: list[str]) -> object:
    given = _parse(session, "unbind", "program", words)
    program, name = given.need("program"), given.get("name") or ""
    path = _find(program) or os.path.abspath(program)
    try:
        session.call(UnbindProgram(path, name))
    except NotFound:
        if "/" in program:
            raise
        session.call(UnbindProgram(program, name))  # by its base name, wherever it was found when it was bound
    return None


def _unbind_process(session: Session, words: list[str]) -> object:
    given = _parse(session, "unbind", "process", words)
    session.call(UnbindProcess(_pid(given.need("process")), given.get("name") or ""))
    return None


def _unbind_ipcp(session: Session, words: list[str]) -> object:
    given = _parse(session, "unbind", "ipcp", words)
    session.call(UnbindIpcp(_ipcp(session, given.need("ipcp")), given.get("name") or ""))
    return None


BIND: Final = Menu(
    "bind",
    (
        Command("program", _bind_program, "program PROGRAM name NAME [auto] [-- ARGUMENT...]", names_irmd=True),
        Command("process", _bind_process, "process PID name NAME", names_irmd=True),
        Command("ipcp", _bind_ipcp, "ipcp IPCP name NAME"),
    ),
)
UNBIND: Final = Menu(
    "unbind",
    (
        Command("program", _unbind_program, "program PROGRAM [name NAME]", names_irmd=True),
        Command("process", _unbind_process, "process PID [name NAME]", names_irmd=True),
        Command("ipcp", _unbind_ipcp, "ipcp IPCP [name NAME]"),
    ),
)

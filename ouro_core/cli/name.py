"""`irm name`: names of the registry, and in which layers they can be reached (spec: irmd.md 11)."""

import os
from typing import Any, Final

from ..model.irm_requests import CreateName, DestroyName, ListNames, RegName, UnregName
from ..model.layer import IpcpInfo
from ..model.names import LoadBalance, NameInfo
from ..rib import word as as_word
from .keywords import Keyword, Refused, Values, match, parse
from .session import Command, Menu, Session, matches
from .tables import table

__all__ = ["MENU"]

_BALANCE: Final = {balance.word: balance for balance in LoadBalance}
_FILES: Final = {
    "sencpath": "server_enc", "scrtpath": "server_crt", "skeypath": "server_key",
    "cencpath": "client_enc", "ccrtpath": "client_crt", "ckeypath": "client_key",
}  # fmt: skip
"""Keys, and the fields of `NameInfo` they set."""
_CREATE: Final = (Keyword("lb"), *map(Keyword, _FILES), Keyword("open", flag=True))
_LAYERS: Final = (Keyword("ipcp"), Keyword("layer"))
_LIST: Final = (Keyword("list"),)
_COLUMNS: Final = (("name", 50), ("load-balance policy", 20))


def _split(words: list[str]) -> tuple[str, list[str]]:
    """The name a command is about, and its keys."""
    if len(words) < 2:
        raise Refused(usage=True, why="The name is missing.")
    return words[1], words[2:]


def _unknown(session: Session, command: str) -> str:
    return f'"{{}}" is unknown, try "{session.prog} name {command}".'


def _create(session: Session, words: list[str]) -> object:
    name, words = _split(words)
    given = parse(words, _CREATE, _unknown(session, "create"))
    word = given.get("lb")
    balance = match(word, _BALANCE) if word is not None else LoadBalance.ROUND_ROBIN.word
    if balance is None:
        raise Refused(f'"{word}" is unknown, try "{session.prog} name create".', why=f"Known: {', '.join(_BALANCE)}.")
    files: dict[str, Any] = {
        field: _real_path(path) for key, field in _FILES.items() if (path := given.get(key)) is not None
    }
    session.call(CreateName(NameInfo(name, _BALANCE[balance], open="open" in given, **files)))
    return None


def _real_path(path: str) -> str:
    try:
        return os.path.realpath(path, strict=True)
    except OSError as e:
        raise Refused(f"Failed to check path {path}: {e.strerror}") from None


def _destroy(session: Session, words: list[str]) -> object:
    name, words = _split(words)
    parse(words, (), _unknown(session, "destroy"))
    session.call(DestroyName(name))
    return None


def _chosen(session: Session, given: Values) -> list[IpcpInfo]:
    """IPCPs that one of the patterns for names, or one for layers, stands for; each once."""
    if not given.given:
        raise Refused(usage=True, why="Say in which layers: with ipcp, layer or both.")
    ipcps = session.ipcps()
    if not ipcps:
        raise Refused("Failed to list IPCPs.", why="There are no IPCPs.")
    chosen = [
        ipcp
        for ipcp in ipcps
        if any(matches(p, ipcp.name) for p in given.all("ipcp"))
        or (ipcp.layer is not None and any(matches(p, ipcp.layer.name) for p in given.all("layer")))
    ]
    if not chosen:
        patterns = ", ".join(f'"{pattern}"' for pattern in (*given.all("ipcp"), *given.all("layer")))
        session.nothing(f"no IPCP or layer matches {patterns}; see: {session.prog} ipcp list")
    return chosen


def _register(session: Session, words: list[str]) -> object:
    name, words = _split(words)
    chosen = _chosen(session, parse(words, _LAYERS, _unknown(session, "register")))
    for ipcp in chosen:
        session.call(RegName(name, ipcp.id))
    return {"name": name, "ipcps": [ipcp.name for ipcp in chosen]}


def _unregister(session: Session, words: list[str]) -> object:
    name, words = _split(words)
    chosen = _chosen(session, parse(words, _LAYERS, _unknown(session, "unregister")))
    known = [ipcp.name for ipcp in chosen if name in session.rib(f"ipcps/{as_word(ipcp.name)}/registered")]
    for ipcp in chosen:
        session.call(UnregName(name, ipcp.id))
    if chosen and not known:
        session.nothing(f'"{name}" is not registered with {", ".join(ipcp.name for ipcp in chosen)}')
    return {"name": name, "ipcps": [ipcp.name for ipcp in chosen]}


def _list(session: Session, words: list[str]) -> object:
    prefix = parse(words[1:], _LIST, _unknown(session, "list")).get("list") or ""
    names = [info for info in session.call(ListNames()).names if info.name.startswith(prefix)]
    if session.json:
        return names
    if names:
        print(table(_COLUMNS, [(info.name, info.balance.word) for info in names]))
    else:
        print("No names in system.\n")
    return None


_SERVER, _CLIENT = (" ".join(f"[{key} PATH]" for key in _FILES if key[0] == side) for side in "sc")

MENU: Final = Menu(
    "name",
    (
        Command(
            "create", _create, f"create NAME [lb round-robin|spillover] [open]\n{_SERVER}\n{_CLIENT}", names_irmd=True
        ),
        Command("destroy", _destroy, "destroy NAME", names_irmd=True),
        Command("register", _register, "register NAME [ipcp PATTERN]... [layer PATTERN]..."),
        Command("unregister", _unregister, "unregister NAME [ipcp PATTERN]... [layer PATTERN]..."),
        Command("list", _list, "list [list PREFIX]", names_irmd=True),
    ),
)

"""`irm ipcp`: make, configure, connect and list IPCPs (spec: irmd.md 11, shims.md 6)."""

import contextlib
from collections.abc import Mapping
from typing import Final

from attrs import evolve

from ..model.errors import IpcpTypeError, NotFound, OuroError
from ..model.irm_requests import ConnectIpcp, CreateIpcp, DestroyIpcp, DisconnectIpcp, EnrollIpcp
from ..model.layer import IpcpInfo, IpcpState
from ..model.qos import QOS_BY_NAME, RAW, QosSpec
from ..rib import word as as_word
from .autobind import bind_names
from .keywords import Keyword, Refused, Values, parse
from .outline import outline
from .session import Command, Menu, Session, matches
from .tables import table

__all__ = ["MENU"]

MIN_TIMEOUT: Final = 100
MAX_TIMEOUT: Final = 2**32 // 1000 * 1000
"""Milliseconds."""
_COMPONENTS: Final = {"mgmt": "Management", "dt": "Data Transfer"}
_COLUMNS: Final = (("pid", 7), ("name", 20), ("type", 10), ("layer", 20))


def _parse(session: Session, command: str, words: list[str], *keys: Keyword) -> Values:
    return parse(words[1:], keys, f'"{{}}" is unknown, try "{session.prog} ipcp {command}".')


def _create(session: Session, words: list[str]) -> object:
    given = _parse(session, "create", words, Keyword("name"), Keyword("type"))
    name, type_name = given.need("name"), given.need("type")
    try:
        return session.call(CreateIpcp(type_name, name))
    except IpcpTypeError as e:
        raise Refused(f'IPCP type "{type_name}" is unknown.', usage=True, why=str(e)) from None


def _destroy(session: Session, words: list[str]) -> object:
    name = _parse(session, "destroy", words, Keyword("name")).need("name")
    ipcps = session.ipcps()
    if not ipcps:
        raise NotFound("there are no IPCPs")
    found = next((ipcp for ipcp in ipcps if ipcp.name == name), None)
    if found is None:
        session.nothing(f'no IPCP is called "{name}"; see: {session.prog} ipcp list')
        return None
    session.call(DestroyIpcp(found.id))
    return found


def _bootstrap(session: Session, words: list[str]) -> object:
    from .bootstrap import bootstrap  # the one command that has to load the plugins

    return bootstrap(session, words)


def _bootstrap_keys() -> list[str]:
    from .bootstrap import keys

    return keys()


def _enroll(session: Session, words: list[str]) -> object:
    keys = (Keyword("name"), Keyword("layer"), Keyword("dst"), Keyword("type"), Keyword("autobind", flag=True))
    given = _parse(session, "enroll", words, *keys)
    name, layer, type_name = given.need("name"), given.get("layer"), _member_type(given)
    dst = given.get("dst") or layer
    if dst is None:
        raise Refused(usage=True, why="Say where to enroll: with layer, dst or both.")
    ipcps = [ipcp for ipcp in session.ipcps(name) if type_name in (None, ipcp.type)]
    if ipcps:
        return [_enrolled(session, ipcp, dst, layer, "autobind" in given) for ipcp in ipcps]
    created = session.call(CreateIpcp(type_name or "unicast", name))
    try:
        return [_enrolled(session, created, dst, layer, "autobind" in given)]
    except (Refused, OuroError):
        with contextlib.suppress(OuroError):
            session.call(DestroyIpcp(created.id))
        raise


def _member_type(given: Values) -> str | None:
    word = given.get("type")
    if word is None:
        return None
    from .types import Types

    try:
        return Types().can_enroll(word).name
    except IpcpTypeError as e:
        raise Refused(usage=True, why=str(e)) from None


def _enrolled(session: Session, ipcp: IpcpInfo, dst: str, layer: str | None, autobind: bool) -> IpcpInfo:
    try:
        obtained = session.call(EnrollIpcp(ipcp.id, dst))
    except OuroError as e:
        raise Refused("Failed to enroll IPCP.", why=f"{ipcp.name} with {dst}: {e}") from None
    if layer is not None and obtained.name != layer:
        why = f'"{dst}" is a member of the layer "{obtained.name}", not of "{layer}".'
        raise Refused("Enrollment destination does not match requested layer.", why=why)
    if autobind:
        bind_names(session, ipcp, obtained.name)
    return evolve(ipcp, layer=obtained, state=IpcpState.OPERATIONAL)


def _components(given: Values) -> list[str]:
    """The components a pattern stands for, by their words, mgmt first."""
    pattern = given.get("component") or "*"
    found = [word for word in _COMPONENTS if matches(pattern, word)]
    if not found:
        raise Refused(usage=True, why=f'No component matches "{pattern}"; known: {", ".join(_COMPONENTS)}.')
    return found


def _one(session: Session, name: str) -> IpcpInfo:
    found = session.ipcps(name)
    if not found:
        raise NotFound(f'no IPCP is called "{name}"; see: {session.prog} ipcp list')
    return found[0]


def _qos(session: Session, word: str | None) -> QosSpec:
    if word is not None and word not in QOS_BY_NAME:
        session.say("Unknown QoS cube, defaulting to raw.")
        session.explain(f'qos "{word}" is not known; known: {", ".join(QOS_BY_NAME)}.')
    return QOS_BY_NAME.get(word or "raw", RAW)


def _timeout(word: str) -> int:
    """Seconds as milliseconds."""
    try:
        ms = round(float(word) * 1000)
    except (ValueError, OverflowError):
        ms = -1
    if not MIN_TIMEOUT <= ms <= MAX_TIMEOUT:
        raise Refused(
            f'Unknown parameter for timeout: "{word}".',
            why=f"timeout needs {MIN_TIMEOUT / 1000:g} to {MAX_TIMEOUT // 1000} seconds of a neighbour's silence.",
        )
    return ms


def _connect(session: Session, words: list[str]) -> object:
    keys = (Keyword("name"), Keyword("dst"), Keyword("component"), Keyword("qos"), Keyword("timeout"))
    given = _parse(session, "connect", words, *keys)
    name, dst, components = given.need("name"), given.need("dst"), _components(given)
    qos = _qos(session, given.get("qos"))
    if "timeout" in given:
        qos = evolve(qos, timeout=_timeout(given.need("timeout")))
    raw = evolve(RAW, timeout=qos.timeout)
    ipcp = _one(session, name)
    for word in components:
        session.call(ConnectIpcp(ipcp.id, dst, _COMPONENTS[word], qos if word == "dt" else raw))
    return {"ipcp": name, "dst": dst, "components": components}


def _disconnect(session: Session, words: list[str]) -> object:
    given = _parse(session, "disconnect", words, Keyword("name"), Keyword("dst"), Keyword("component"))
    name, dst, components = given.need("name"), given.need("dst"), _components(given)[::-1]
    ipcp = _one(session, name)
    made = session.rib(f"ipcps/{as_word(name)}/connected")
    for word in components:
        session.call(DisconnectIpcp(ipcp.id, dst, _COMPONENTS[word]))
    if not any(_COMPONENTS[word] in made.get(as_word(dst), ()) for word in components):
        why = f'{name} did not connect with "{dst}", but with: {", ".join(made) or "nobody"}'
        session.nothing(f"{why}. Who connected can disconnect")
    return {"ipcp": name, "dst": dst, "components": components}


def _list(session: Session, words: list[str]) -> object:
    given = _parse(session, "list", words, Keyword("type"), Keyword("name"), Keyword("layer"))
    wanted = {**given.given, **({"type": _without_aliases(given.all("type"))} if "type" in given else {})}
    everything = session.ipcps()
    ipcps = [ipcp for ipcp in everything if _is_wanted(ipcp, wanted)]
    if session.json:
        return ipcps
    if everything:
        print(table(_COLUMNS, [(ipcp.pid, ipcp.name, ipcp.type, ipcp.layer_name) for ipcp in ipcps]), end="\n\n")
    else:
        print("No IPCPs in system.\n")
    return None


def _without_aliases(words: list[str]) -> list[str]:
    from .types import Types

    types = Types()
    return [types.canonical(word) for word in words]


def _is_wanted(ipcp: IpcpInfo, wanted: Mapping[str, list[str]]) -> bool:
    shown = {"type": ipcp.type, "name": ipcp.name, "layer": ipcp.layer_name}
    return all(any(matches(pattern, shown[key]) for pattern in patterns) for key, patterns in wanted.items())


def _show(session: Session, words: list[str]) -> object:
    name = words[1] if len(words) == 2 else _parse(session, "show", words, Keyword("name")).need("name")
    tree = session.rib(f"ipcps/{as_word(_one(session, name).name)}")
    if not session.json:
        print(*outline(tree), sep="\n")
    return tree


MENU: Final = Menu(
    "ipcp",
    (
        Command("create", _create, "create name NAME type TYPE"),
        Command("destroy", _destroy, "destroy name NAME"),
        Command(
            "bootstrap",
            _bootstrap,
            "bootstrap name NAME layer LAYER [type TYPE] [hash SHA3_256] [KEY VALUE]...",
            details=_bootstrap_keys,
        ),
        Command("enroll", _enroll, "enroll name NAME [layer LAYER] [dst DST] [type unicast|broadcast] [autobind]"),
        Command(
            "connect",
            _connect,
            "connect name NAME dst DST [component PATTERN] [qos raw|best|video|voice|data] [timeout SECONDS]",
        ),
        Command("disconnect", _disconnect, "disconnect name NAME dst DST [component PATTERN]"),
        Command("list", _list, "list [type TYPE] [name NAME] [layer LAYER]", names_irmd=True),
        Command("show", _show, "show NAME"),
    ),
)

"""`irm ipcp bootstrap`: found a layer (spec: irmd.md 11, shims.md 6.2).

Its keys are those of the configuration classes of all installed types, the prototype's first and in its order. Keys of
other types than the one at hand do no harm.
"""

import contextlib
import ipaddress
import textwrap
from collections.abc import Sequence
from typing import Final

from attrs import evolve, frozen

from ..contracts.ipcp import Ipcp
from ..model.config import Option, options
from ..model.errors import IpcpTypeError, OuroError
from ..model.irm_requests import BootstrapIpcp, CreateIpcp, DestroyIpcp
from ..model.layer import IpcpInfo, IpcpState, LayerInfo
from ..model.names import MAX_NAME, HashAlgorithm
from ..plugins.kinds import IPCP_WORDS
from .autobind import bind_names, unbind_names
from .keywords import Keyword, Refused, Values, parse
from .session import Session
from .types import Types, has_members

__all__ = ["bootstrap", "keys"]

_ORDER: Final = (
    "type", "layer", "name", "hash", "ip", "dns", "device", "ethertype", "addr", "eid", "ttl", "port", "autobind",
    "addr_auth", "directory", "dht_alpha", "dht_k", "dht_t_expire", "dht_t_refresh", "dht_t_replicate", "routing",
    "ls_t_timeo", "ls_t_update", "ls_t_recalc", "congestion",
)  # fmt: skip
_HASHES: Final = tuple(h.name for h in HashAlgorithm if h.selectable)
_FAMILIES: Final = {"udp4": "IPv4", "udp6": "IPv6"}


@frozen
class _Plan:
    """Everything that is asked for, checked before anything is done."""

    ipcps: list[IpcpInfo]
    cls: type[Ipcp]
    options: dict[str, str]
    layer: LayerInfo
    autobind: bool


def bootstrap(session: Session, words: list[str]) -> object:
    """Bootstrap every IPCP of a name, or create one first."""
    types = Types()
    given = parse(words[1:], _table(types.all), 'Unknown option: "{}".')
    name, layer = given.need("name"), _layer(given)
    chosen = _type(types, given)
    ipcps = session.ipcps(name)
    if chosen is None:
        if not ipcps:
            raise Refused(f"No IPCPs matching {name} found.", why="Give a type, and it is created.")
        chosen = types.get(ipcps[0].type)
    if any(ipcp.type != chosen.name for ipcp in ipcps):
        raise Refused("Types do not match.", why=f"There is an IPCP {name} of type {ipcps[0].type}.")
    plan = _Plan(ipcps, chosen, _options(session, chosen, given), layer, _autobind(session, chosen, given))
    if ipcps:
        return [_found(session, plan, ipcp) for ipcp in ipcps]
    created = session.call(CreateIpcp(chosen.name, name))
    try:
        return [_found(session, plan, created)]
    except (Refused, OuroError):
        with contextlib.suppress(OuroError):
            session.call(DestroyIpcp(created.id))
        raise


def keys() -> list[str]:
    """What each installed type can be told, with its defaults."""
    try:
        types = Types().all
    except OuroError as e:
        return [f"The types cannot be shown: {e}"]
    width = max((len(cls.name) for cls in types), default=0)
    return [line for cls in types for line in _keys_of(cls, width)]


def _keys_of(cls: type[Ipcp], width: int) -> list[str]:
    words = [_shown(o) for o in options(cls.Config)] + ["[autobind]"] * has_members(cls)
    # blanks within a pair do not break it
    text = " ".join(word.replace(" ", "\xa0") for word in words) or "(no keys of its own)"
    lines = textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)
    return [
        f"{cls.name if not number else '':<{width}} {line}".replace("\xa0", " ") for number, line in enumerate(lines)
    ]


def _shown(o: Option) -> str:
    if o.required:
        return f"{o.keyword} {o.keyword.upper()}"
    default = "" if o.default is None else o.text(o.default)
    return f"[{o.keyword} {default or o.keyword.upper()}]"


def _table(types: Sequence[type[Ipcp]]) -> list[Keyword]:
    words = dict.fromkeys((*_ORDER, *(o.keyword for cls in types for o in options(cls.Config))))
    return [Keyword(word, flag=word == "autobind") for word in words]


def _layer(given: Values) -> LayerInfo:
    layer, word = given.need("layer"), given.get("hash") or HashAlgorithm.SHA3_256.name
    if len(layer.encode()) > MAX_NAME:
        raise Refused("Layer name too long.", usage=True)
    if word not in _HASHES:
        raise Refused(f'Unknown parameter for hash: "{word}".', why=f"Known: {', '.join(_HASHES)}.")
    return LayerInfo(layer, HashAlgorithm[word])


def _type(types: Types, given: Values) -> type[Ipcp] | None:
    word = given.get("type")
    if word is None:
        return None
    try:
        return types.abbreviated(word)
    except IpcpTypeError as e:
        raise Refused(usage=True, why=str(e)) from None


def _options(session: Session, cls: type[Ipcp], given: Values) -> dict[str, str]:
    """The texts for the type's configuration class, each checked by it."""
    found = {}
    declared = {o.keyword: o for o in options(cls.Config)}
    for key in given.given:
        if key not in declared and key not in IPCP_WORDS:
            session.explain(f'"{key}" is ignored: the type {cls.name} does not have it.')
    for key, o in declared.items():
        value = given.get(key)
        if value is None:
            if o.required:
                raise Refused(usage=True, why=f'"{key}" is missing: {o.help}.')
            continue
        try:
            o.parse(value)
        except ValueError as e:
            raise _refusal(cls.name, o, value, str(e)) from None
        found[o.name] = value
    return found


def _refusal(type_name: str, o: Option, value: str, why: str) -> Refused:
    """The prototype's words for a value that will not do."""
    key, family = o.keyword, _FAMILIES.get(type_name)
    why = f"{key} {why}" if why.endswith("?") else f"{key} {why}."
    if key == "ethertype":
        return Refused(f'Invalid Ethertype: "{value}".', "Recommended range: 0xA000-0xEFFF.", why=why)
    if key == "device" and len(value.encode()) > MAX_NAME:
        return Refused("Device name too long.", usage=True)
    if key == "dns" and family:
        return Refused(f'Invalid DNS {family} address: "{value}".', usage=True, why=why)
    if key == "ip" and family:
        fault = "Cannot use" if _unspecified(value) else "Invalid"
        return Refused(f'{fault} {family} address: "{value}".', usage=True, why=why)
    return Refused(f'Unknown parameter for {key}: "{value}".', why=why)


def _unspecified(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False


def _autobind(session: Session, cls: type[Ipcp], given: Values) -> bool:
    if "autobind" in given and not has_members(cls):
        session.say("Can not bind this IPCP type,autobind disabled.")
        return False
    return "autobind" in given


def _found(session: Session, plan: _Plan, ipcp: IpcpInfo) -> IpcpInfo:
    """Names are bound first, so that nobody asks for the layer in vain."""
    if plan.autobind:
        bind_names(session, ipcp, plan.layer.name)
    try:
        layer = session.call(BootstrapIpcp(ipcp.id, plan.layer, plan.options))
    except OuroError:
        if plan.autobind:
            unbind_names(session, ipcp, plan.layer.name)
        raise
    return evolve(ipcp, layer=layer, state=IpcpState.OPERATIONAL)

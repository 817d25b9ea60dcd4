"""The daemon's configuration file, in the prototype's TOML (spec: irmd.md 10), with a table `[irmd]` of our own.

Tables are applied in the order of the file, through the same requests that the command line makes, and stop at the
first failure. `[name.<name>]` makes a name; `[<type>.<name>]` an IPCP of any installed type, whose keys are those of
the type's configuration class, besides the common ones: bootstrap, enrol, autobind, reg, conn, hash.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen

from ..model.config import options, parse_config
from ..model.errors import ConfigError, IpcpTypeError, OuroError
from ..model.irm_requests import (
    BindIpcp,
    BindProgram,
    BootstrapIpcp,
    ConnectIpcp,
    CreateIpcp,
    CreateName,
    EnrollIpcp,
    RegName,
)
from ..model.layer import LayerInfo
from ..model.log import logger
from ..model.names import HashAlgorithm, LoadBalance, NameInfo
from ..model.request import AsyncCaller
from ..plugins import PluginHost
from ..plugins.kinds import IPCP_KEYS
from .settings import IrmSettings

__all__ = ["Configuration", "apply", "load_configuration"]

log = logger("irmd/configuration")
_BALANCE: Final = {"spill": LoadBalance.SPILLOVER, "round-robin": LoadBalance.ROUND_ROBIN}
_SECURITY: Final = {
    "server_enc_file": "server_enc",
    "server_crt_file": "server_crt",
    "server_key_file": "server_key",
    "client_enc_file": "client_enc",
    "client_crt_file": "client_crt",
    "client_key_file": "client_key",
}
_COMPONENTS: Final = ("Management", "Data Transfer")
_COMMON: Final = tuple(sorted(IPCP_KEYS))


@frozen
class Configuration:
    """A file that was read: our own settings, and the other tables as they stand."""

    settings: IrmSettings = field(factory=IrmSettings)
    tables: Mapping[str, Mapping[str, Any]] = field(factory=dict)


def load_configuration(path: Path) -> Configuration:
    """ConfigError: unreadable, not TOML, or wrong in table `[irmd]`."""
    try:
        with path.open("rb") as file:
            tables: dict[str, Any] = tomllib.load(file)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} is no TOML: {e}") from None
    own = tables.pop("irmd", {})
    for key, table in tables.items():
        if not isinstance(table, dict) or not all(isinstance(t, dict) for t in table.values()):
            raise ConfigError(f"{path}: {key} needs tables, as in [{key}.some_name]")
    if not isinstance(own, dict):
        raise ConfigError(f"{path}: irmd needs a table, [irmd]")
    try:
        return Configuration(parse_config(IrmSettings, _texts(IrmSettings, own)), tables)
    except ConfigError as e:
        raise ConfigError(f"{path}: [irmd]: {e}") from None


def _texts(cls: type, table: Mapping[str, Any], more: tuple[str, ...] = ()) -> dict[str, str]:
    """Values by field name as texts, from keys of a TOML table; `more` are keys that were taken out of it."""
    known = {o.key: o for o in options(cls)}
    found = {}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f'unknown key "{key}"; known: {", ".join(sorted((*known, *more)))}')
        found[known[key].name] = known[key].text(value)
    return found


async def apply(configuration: Configuration, irm: AsyncCaller, plugins: PluginHost) -> None:
    """Make what the tables say. The first failure ends it."""
    for key, table in configuration.tables.items():
        if key != "name":
            _check_type(plugins, key)
        for name, entry in table.items():
            try:
                if key == "name":
                    await _make_name(irm, name, dict(entry))
                else:
                    await _make_ipcp(irm, plugins.get("ipcp_types", key), name, dict(entry))
            except OuroError as e:
                raise ConfigError(f"[{key}.{name}]: {e}") from e


def _check_type(plugins: PluginHost, key: str) -> None:
    try:
        plugins.get("ipcp_types", key)
    except IpcpTypeError as e:
        raise ConfigError(f'unknown section "{key}"; known: [irmd], [name.NAME], [TYPE.IPCP]; {e}') from None


async def _make_name(irm: AsyncCaller, name: str, entry: dict[str, Any]) -> None:
    programs = _strings(entry.pop("prog", []), "prog")
    arguments = _strings(entry.pop("args", []), "args")
    balance = entry.pop("lb", "spill")
    if not isinstance(balance, str) or balance not in _BALANCE:
        raise ConfigError(f'unknown lb "{balance}"; known: {", ".join(_BALANCE)}')
    info = NameInfo(name, _BALANCE[balance])
    for key, attribute in _SECURITY.items():
        if key in entry:
            info = evolve(info, **{attribute: _existing(_text(entry.pop(key), key), key)})  # type: ignore[arg-type]
    _nothing_left(entry)
    await irm.call(CreateName(info))
    for number, program in enumerate(programs):
        automatic = number < len(arguments)
        words = tuple(arguments[number].split()) if automatic else ()
        await irm.call(BindProgram(program, name, words, automatic))
    log.info("Made name %s.", name)


async def _make_ipcp(irm: AsyncCaller, cls: type[Any], name: str, entry: dict[str, Any]) -> None:
    bootstrap, enrol = (_text(entry.pop(key), key) if key in entry else None for key in ("bootstrap", "enrol"))
    autobind = entry.pop("autobind", False)
    if not isinstance(autobind, bool):
        raise ConfigError(f"autobind is {autobind!r}; it needs true or false")
    names = _strings(entry.pop("reg", []), "reg")
    peers = _strings(entry.pop("conn", []), "conn")
    layer_hash = _hash(entry.pop("hash", "SHA3_256"))
    texts = _texts(cls.Config, entry, _COMMON)
    ipcp = (await irm.call(CreateIpcp(cls.name, name))).id
    if enrol is not None:
        if bootstrap is not None:
            log.warning("Ignoring bootstrap for IPCP %s.", name)
        layer = await irm.call(EnrollIpcp(ipcp, enrol))
    elif bootstrap is not None:
        layer = await irm.call(BootstrapIpcp(ipcp, LayerInfo(bootstrap, layer_hash), texts))
    else:
        return
    if autobind:
        for bound in dict.fromkeys((name, layer.name)):
            await irm.call(BindIpcp(ipcp, bound))
    for registered in names:
        await irm.call(RegName(registered, ipcp))
    if enrol is not None:
        for peer in peers:
            for component in _COMPONENTS:
                await irm.call(ConnectIpcp(ipcp, peer, component))
    log.info("Made IPCP %s in layer %s.", name, layer.name)


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{key} is {value!r}; it needs a text, in quotes")
    return value


def _existing(file: str, key: str) -> str:
    if not Path(file).exists():
        raise ConfigError(f"{key} {file} does not exist")
    return str(Path(file).resolve())


def _hash(word: Any) -> HashAlgorithm:
    known = {h.name: h for h in HashAlgorithm if h.selectable}
    if not isinstance(word, str) or word not in known:
        raise ConfigError(f'unknown hash "{word}"; known: {", ".join(known)}')
    return known[word]


def _strings(value: Any, key: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{key} needs a list of strings")
    return value


def _nothing_left(entry: Mapping[str, Any]) -> None:
    if entry:
        known = ", ".join(sorted(("prog", "args", "lb", *_SECURITY)))
        raise ConfigError(f'unknown key "{next(iter(entry))}"; known: {known}')

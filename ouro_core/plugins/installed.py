"""What is installed: entry points as records, found without importing any plugin."""

import importlib.metadata as metadata
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from attrs import define, field, frozen

from ..model.log import logger

__all__ = ["BUILTINS", "GROUP", "HOSTS", "Plugin", "PluginState", "PluginStatus", "builtins", "discover"]

PluginState: TypeAlias = Literal["loaded", "blocked", "broken", "waiting", "not loaded"]

GROUP: Final = "ouro"
HOSTS: Final = "ouro.hookspecs"

BUILTINS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "local": ("ouro_core.builtin.local", ("ipcp_types",)),
    "heap": ("ouro_core.builtin.heap", ("pool_allocators",)),
    "classic": (
        "ouro_core.builtin.classic.plugin",
        ("kex_suites", "cipher_suites", "kdfs", "digests", "authenticators"),
    ),
}
"""Plugins inside the core: name -> (module, the kinds it brings)."""

_log = logger("plugins")


@frozen
class PluginStatus:
    """One entry point, as `ouro plugins` shows it.

    `not loaded`: nobody asked for it yet, or it was not selected. `waiting`: works, but implements hooks (`waits_for`)
    whose host is not there.
    """

    name: str
    group: str
    distribution: str
    version: str
    state: PluginState
    error: str = ""
    registered: Mapping[str, tuple[str, ...]] = field(factory=dict)
    """Kind -> names; only kinds that were asked for."""
    hooks: tuple[str, ...] = ()
    """What it implements; what it specifies, for an entry point of the group `ouro.hookspecs`."""
    waits_for: tuple[str, ...] = ()
    traceback: str = ""


@define(eq=False)
class Plugin:
    """The record of one entry point. `PluginHost` moves it through its states."""

    entry: metadata.EntryPoint
    distribution: str
    version: str
    state: PluginState = "not loaded"
    error: str = ""
    traceback: str = ""
    object: Any = None
    hooks: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    registered: dict[str, dict[str, Any]] = field(factory=dict)
    """Kind -> what it registered; a kind without entries was asked for in vain."""

    @property
    def group(self) -> str:
        return self.entry.group

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def active(self) -> bool:
        return self.state in ("loaded", "waiting")

    def __str__(self) -> str:
        return f'plugin "{self.name}" ({self.distribution} {self.version})'

    def status(self) -> PluginStatus:
        registered = {kind: tuple(items) for kind, items in self.registered.items() if items}
        return PluginStatus(
            self.name, self.group, self.distribution, self.version, self.state, self.error, registered,
            self.hooks, self.waits_for, self.traceback,
        )  # fmt: skip


def builtins() -> list[Plugin]:
    from .. import __version__

    return [
        Plugin(metadata.EntryPoint(name, module, GROUP), "ouro-core", __version__)
        for name, (module, _) in BUILTINS.items()
    ]


def discover() -> list[Plugin]:
    """One record per entry point, by distribution. Of two distributions with one name the first on the path counts."""
    found: dict[str, list[Plugin]] = {}
    for distribution in metadata.distributions():
        try:
            if GROUP not in (distribution.read_text("entry_points.txt") or ""):
                continue
            name = _canonical(distribution.metadata["Name"])
            if name not in found:
                found[name] = _entry_points(metadata.distribution(name), name)
        except Exception as e:
            _log.warning("a distribution cannot be read and is left out: %s: %s", type(e).__name__, e)
    return [plugin for name in sorted(found) for plugin in found[name]]


def _entry_points(distribution: metadata.Distribution, name: str) -> list[Plugin]:
    version = distribution.version
    try:
        return [Plugin(e, name, version) for e in distribution.entry_points if e.group in (GROUP, HOSTS)]
    except Exception as e:
        unreadable = f"its entry_points.txt cannot be read: {type(e).__name__}: {e}"
        return [Plugin(metadata.EntryPoint(name, "", GROUP), name, version, "broken", unreadable)]


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()

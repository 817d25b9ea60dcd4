"""Real entry points: small distributions, written into a folder on the path as an installer would."""

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ouro_core.plugins import BUILTINS, PluginHost, PluginStatus

PREAMBLE = """
from attrs import make_class
from ouro_core.model.config import option
from ouro_core.contracts.crypto import Digest
from ouro_core.contracts.ipcp import Ipcp
from ouro_core.hookspecs import hookimpl, hookspec

def complete(base, **attributes):
    return type("Made", (base,), {**dict.fromkeys(base.__abstractmethods__, lambda *_: None), **attributes})

def ipcp(word):
    return complete(Ipcp, name=word)

def configured(word, **fields):
    return type("Made", (ipcp(word),), {"Config": make_class("Config", fields, frozen=True)})

def suite(base, name, nid=1, **attributes):
    return complete(base, name=name, nid=nid, rank=1, **attributes)()

def Sum(name, nid):
    return suite(Digest, name, nid, size=32)

"""
"""What the source of every plugin here begins with."""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`install("ouro-x", {"x": source}, {"x": source of hookspecs}, version="1.2")` installs a distribution.

    "=module:object" instead of a source names something that exists. `entry_points` replaces the whole file.
    """
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    modules: list[str] = []

    def entry(name: str, source: str) -> str:
        if source.startswith("="):
            return f"{name} {source}"
        module = f"made_for_test_{len(modules)}"
        modules.append(module)
        (site / f"{module}.py").write_text(PREAMBLE + textwrap.dedent(source))
        return f"{name} = {module}"

    def install(
        distribution: str,
        plugins: Mapping[str, str],
        hookspecs: Mapping[str, str] | None = None,
        *,
        version: str = "1.0",
        entry_points: bytes = b"",
    ) -> None:
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = ["[ouro]", *(entry(name, source) for name, source in plugins.items())]
        lines += ["[ouro.hookspecs]", *(entry(name, source) for name, source in (hookspecs or {}).items())]
        (info / "entry_points.txt").write_bytes(entry_points or "\n".join(lines).encode())
        importlib.invalidate_caches()

    yield install
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def make_host() -> Callable[..., PluginHost]:
    """`make_host("a", "b", strict=True)`: a host for these plugins alone, whatever else is installed."""

    def make(*names: str, **options: Any) -> PluginHost:
        return PluginHost(select=names, block={*BUILTINS, *options.pop("block", ())}, **options)

    return make


@pytest.fixture
def status() -> Callable[..., PluginStatus]:
    """`status(host, "x")`: the only entry point with this name."""

    def find(host: PluginHost, name: str, group: str = "ouro") -> PluginStatus:
        (found,) = [p for p in host.plugins() if p.name == name and p.group == group]
        return found

    return find

"""`ouro plugins`: what is installed, what it brings, and what is wrong with it."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout

import attrs
import click

from ..contracts.ipcp import NoConfig
from ..model.config import Option, options
from ..model.errors import NotFound
from ..model.log import logger
from ..plugins import HOSTS, PluginHost, PluginStatus
from .asjson import print_json
from .commands import Group, json_option

__all__ = ["plugins"]


@click.group(cls=Group)
def plugins() -> None:
    """What is installed, and what is wrong with it."""
    logger("plugins").addHandler(logging.NullHandler())  # what it would say is what these commands print


@plugins.command("list")
@json_option
@click.option("--no-load", is_flag=True, help="Import nothing: only what the distributions say of themselves.")
def list_(as_json: bool, no_load: bool) -> None:
    """Every plugin, its distribution and state, and what it registers."""
    found = _survey(load=not no_load).plugins()
    if as_json:
        print_json([attrs.asdict(p, filter=_not_traceback) for p in found])
        return
    rows = [("name", "distribution", "state", ""), *(_row(p) for p in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:3]
    for row in rows:
        print("  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])).rstrip())


@plugins.command()
@click.argument("name")
@json_option
def info(name: str, as_json: bool) -> None:
    """All there is to know about one plugin; for a broken one the traceback, too."""
    host = _survey()
    found = [p for p in host.plugins() if p.name == name]
    if not found:
        known = ", ".join(sorted({p.name for p in host.plugins()}))
        raise NotFound(f'no plugin is called "{name}"; installed: {known}')
    if as_json:
        print_json([{**attrs.asdict(p), "options": dict(_options(host, p))} for p in found])
    else:
        print("\n\n".join(_details(host, p) for p in found))


@plugins.command()
@click.option("--strict", is_flag=True, help="Plugins that wait and names that are not installed count as faults.")
@json_option
def check(strict: bool, as_json: bool) -> None:
    """Load everything; exit with 1 if a plugin is broken."""
    host = _survey()
    broken = [
        f'plugin "{p.name}" ({p.distribution} {p.version}): {p.error}' for p in host.plugins() if p.state == "broken"
    ]
    pending = [message for message in host.check_pending() if message not in broken]
    works = sum(p.state in ("loaded", "waiting") for p in host.plugins())
    failed = bool(broken or (strict and pending))
    if as_json:
        print_json({"broken": broken, "pending": pending, "works": works})
    else:
        for message in (*broken, *pending, *([] if failed else [f"{works} plugins work"])):
            print(message)
    if failed:
        sys.exit(1)


def _survey(load: bool = True) -> PluginHost:
    """A host that was asked for everything. OURO_STRICT is left out: the faults are what we are here for."""
    host = PluginHost.from_environment({k: v for k, v in os.environ.items() if k != "OURO_STRICT"})
    if load:
        with redirect_stdout(sys.stderr):  # a plugin that prints while it is imported must not end up in the JSON
            host.load()
            for kind in host.kinds():
                host.registry(kind)
    return host


def _not_traceback(attribute: "attrs.Attribute[object]", _: object) -> bool:
    return attribute.name != "traceback"


def _row(p: PluginStatus) -> tuple[str, str, str, str]:
    if p.state == "broken":
        what = p.error
    elif p.waits_for:
        what = f"waits for {', '.join(p.waits_for)}"
    elif p.group == HOSTS:
        what = f"specifies {', '.join(p.hooks)}" if p.hooks else "specifies hooks"
    else:
        what = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in p.registered.items())
    return p.name, f"{p.distribution} {p.version}", p.state, " ".join(what.split())


def _options(host: PluginHost, p: PluginStatus) -> Iterator[tuple[str, list[str]]]:
    """Each type of IPCP and each policy of a plugin, and its options, a line each."""
    for kind, names in p.registered.items():
        for name in names:
            config = getattr(host.get(kind, name), "Config", NoConfig)
            yield (
                name,
                [
                    f"{o.keyword} ({'required' if o.required else f'default {_default(o)}'}): {o.help}"
                    + (f", in {o.unit}" if o.unit else "")
                    for o in options(config)
                ],
            )


def _default(o: Option) -> str:
    return "none" if o.default is None else o.text(o.default) or "none"


def _details(host: PluginHost, p: PluginStatus) -> str:
    lines: Iterable[tuple[str, str]] = (
        ("name", p.name),
        ("entry point", p.group),
        ("distribution", f"{p.distribution} {p.version}"),
        ("state", p.state),
        ("error", p.error),
        ("waits for", ", ".join(p.waits_for)),
        ("specifies" if p.group == HOSTS else "implements", ", ".join(p.hooks)),
        *((kind, ", ".join(names)) for kind, names in p.registered.items()),
        *((f"{name} has", line) for name, lines in _options(host, p) for line in lines),
    )
    text = "\n".join(f"{what + ':':15} {value}" for what, value in lines if value)
    return f"{text}\n\n{p.traceback.rstrip()}" if p.traceback else text

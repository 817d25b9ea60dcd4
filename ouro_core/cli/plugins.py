"""`ouro plugins`: what is installed, what it brings, and what is wrong with it."""

import json
import logging
import os
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout

import attrs
import click

from ..model.log import logger
from ..plugins import HOSTS, PluginHost, PluginStatus

__all__ = ["plugins"]


@click.group()
def plugins() -> None:
    """What is installed, and what is wrong with it."""
    logger("plugins").addHandler(logging.NullHandler())  # what it would say is what these commands print


@plugins.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--no-load", is_flag=True, help="Import nothing: only what the distributions say of themselves.")
def list_(as_json: bool, no_load: bool) -> None:
    """Every plugin, its distribution and state, and what it registers."""
    found = _survey(load=not no_load).plugins()
    if as_json:
        print(json.dumps([attrs.asdict(p, filter=_not_traceback) for p in found], indent=2))
        return
    rows = [("name", "distribution", "state", ""), *(_row(p) for p in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:3]
    for row in rows:
        print("  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])).rstrip())


@plugins.command()
@click.argument("name")
def info(name: str) -> None:
    """All there is to know about one plugin; for a broken one the traceback, too."""
    host = _survey()
    found = [p for p in host.plugins() if p.name == name]
    if not found:
        known = ", ".join(sorted({p.name for p in host.plugins()}))
        raise click.ClickException(f'no plugin is called "{name}"; installed: {known}')
    print("\n\n".join(_details(p) for p in found))


@plugins.command()
@click.option("--strict", is_flag=True, help="Plugins that wait and names that are not installed count as faults.")
def check(strict: bool) -> None:
    """Load everything; exit with 1 if a plugin is broken."""
    host = _survey()
    broken = [
        f'plugin "{p.name}" ({p.distribution} {p.version}): {p.error}' for p in host.plugins() if p.state == "broken"
    ]
    pending = [message for message in host.check_pending() if message not in broken]
    for message in (*broken, *pending):
        print(message)
    if broken or (strict and pending):
        sys.exit(1)
    print(f"{sum(p.state in ('loaded', 'waiting') for p in host.plugins())} plugins work")


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


def _details(p: PluginStatus) -> str:
    lines: Iterable[tuple[str, str]] = (
        ("name", p.name),
        ("entry point", p.group),
        ("distribution", f"{p.distribution} {p.version}"),
        ("state", p.state),
        ("error", p.error),
        ("waits for", ", ".join(p.waits_for)),
        ("specifies" if p.group == HOSTS else "implements", ", ".join(p.hooks)),
        *((kind, ", ".join(names)) for kind, names in p.registered.items()),
    )
    text = "\n".join(f"{what + ':':15} {value}" for what, value in lines if value)
    return f"{text}\n\n{p.traceback.rstrip()}" if p.traceback else text

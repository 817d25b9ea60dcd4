"""`ouro crypto`: which algorithms this node has, and what is configured for a name."""

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Final

import attrs
import click

from ..plugins import PluginHost
from ..plugins.kinds import BROUGHT_BY
from .asjson import print_json
from .commands import Group, json_option
from .crypto_check import check

__all__ = ["crypto"]

_KINDS: Final = {
    "kex_suites": "kex",
    "cipher_suites": "cipher",
    "kdfs": "kdf",
    "digests": "digest",
    "authenticators": "authenticator",
}
"""Kinds of plugins, and what enc.conf calls them."""


@attrs.frozen
class _Entry:
    algorithm: str
    kind: str
    nid: int | None
    strength: int | None
    """Within the kind, 1 the weakest."""
    provider: str
    plugin: str
    available: bool
    why_not: str = ""
    note: str = ""
    """What other libraries are for, or why they are not used."""


@click.group(cls=Group)
def crypto() -> None:
    """Which algorithms there are for encryption and authentication, and what is configured for a name."""


crypto.add_command(check)


@crypto.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Every algorithm, weakest first of its kind: what does the work, and why it is not available."""
    with redirect_stdout(sys.stderr):  # what a provider prints while it is imported must not end up in the JSON
        found = list(_survey(PluginHost.from_environment()))
    if as_json:
        print_json([attrs.asdict(entry) for entry in found])
        return
    rows = [("algorithm", "kind", "NID", "strength", "provider", "available"), *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, kind, nid, strength, provider, available in rows:
        aligned = name.ljust(widths[0]), kind.ljust(widths[1]), nid.rjust(widths[2]), strength.rjust(widths[3])
        print("  ".join((*aligned, provider.ljust(widths[4]), available)))


def _survey(host: PluginHost) -> Iterator[_Entry]:
    for kind, label in _KINDS.items():
        suites = host.registry(kind)
        for suite in sorted(suites.values(), key=lambda suite: suite.rank):
            plugin = host.provider(kind, suite.name)
            why_not = suite.unavailable
            yield _Entry(
                suite.name, label, suite.nid, suite.rank, suite.provider or plugin, plugin,
                why_not is None, " ".join((why_not or "").split()), " ".join(suite.note.split()),
            )  # fmt: skip
        for name, distribution in BROUGHT_BY.get(kind, {}).items():
            if name not in suites:
                why_not = f"comes with the distribution {distribution}, which is not installed, or not loaded"
                yield _Entry(name, label, None, None, distribution, "", False, why_not)


def _row(entry: _Entry) -> tuple[str, ...]:
    numbers = ("-" if number is None else str(number) for number in (entry.nid, entry.strength))
    available = f"yes{f' ({entry.note})' if entry.note else ''}" if entry.available else f"no: {entry.why_not}"
    return (entry.algorithm, entry.kind, *numbers, entry.provider, available)

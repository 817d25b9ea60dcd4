"""`ouro crypto check NAME`: what the security files of a name say, what is wrong with them, what comes of it."""

import sys
from typing import Any

import attrs
import click

from ..irm.security import Side
from ..model.names import check_name
from .asjson import print_json
from .commands import json_option
from .inspection import Exchange, Inspector, SideReport, name_info, security_directory

__all__ = ["check"]


@click.command()
@click.argument("name")
@click.option("--directory", metavar="DIR", help="Directory of security files; else the IRMd's.")
@json_option
def check(name: str, directory: str | None, as_json: bool) -> None:
    """What would be negotiated for NAME on either side, from which files; exit status 1 if something is wrong.

    The last line is a real exchange between the client side and the server side of this host.
    """
    check_name(name)
    inspector = Inspector(security_directory(directory))
    info = name_info(name)
    sides = {side: inspector.side(side, name, info) for side in Side}
    exchange = inspector.exchange(name, sides[Side.CLIENT], sides[Side.SERVER])
    if as_json:
        plain: dict[str, Any] = {"name": name, "directory": inspector.directory}
        plain |= {side.value: _plain(report) for side, report in sides.items()}
        print_json(plain | {"exchange": attrs.asdict(exchange)})
    else:
        print("\n".join([*_lines(sides), "", f"Between both sides of this host: {_outcome(exchange)}"]))
    if any(report.problems or report.warnings for report in sides.values()) or exchange.error:
        sys.exit(1)


def _plain(report: SideReport) -> dict[str, Any]:
    """All but what is secret."""
    shown = attrs.asdict(report, filter=lambda attribute, _: attribute.name != "security")
    if report.encryption is not None:
        shown["encryption"]["kem_mode"] = report.encryption.kem_mode.value
    return shown


def _lines(sides: dict[Side, SideReport]) -> list[str]:
    lines = []
    for side, report in sides.items():
        lines.append(f"{side.value} side")
        for file in report.files:
            lines.append(f"  {file.path}: {(file.what or 'wrong, or not used') if file.found else 'missing'}")
        lines += [f"  {sentence}" for sentence in _policy(side, report)]
        lines += [f"  ! {text}" for text in (*report.problems, *report.warnings)]
    return lines


def _policy(side: Side, report: SideReport) -> list[str]:
    """In words, what this side does."""
    encryption, peer = report.encryption, "clients" if side is Side.SERVER else "the server"
    if report.problems:
        return ["All flows are refused until this is repaired."]
    if encryption is None:
        said = [
            "Flows are plain, unless the client asks for encryption." if side is Side.SERVER else "Flows are plain."
        ]
    elif side is Side.SERVER:
        said = [
            f"Plain flows are refused (-1008); encrypted ones have at least {encryption.kex}, {encryption.cipher}, "
            f"{encryption.kdf}."
        ]
    else:
        said = [
            f"Flows are encrypted: {encryption.kex}, {encryption.cipher}, {encryption.kdf}, or the server's, where "
            "stronger."
        ]
    shown = f'Shows {peer} a certificate of "{report.certificate}"' if report.certificate else "Shows no certificate"
    return [*said, f"{shown}; {peer} {'must' if report.require_peer else 'need not'} show one."]


def _outcome(exchange: Exchange) -> str:
    if exchange.error:
        return f"refused{f' ({exchange.code})' if exchange.code else ''}: {exchange.error}"
    flow = f"{exchange.kex}, {exchange.cipher}" if exchange.cipher else "a plain flow"
    known = [
        f'{who} authenticated as "{name}"'
        for who, name in (("server", exchange.server), ("client", exchange.client))
        if name
    ]
    return "; ".join([flow, *(known or ["nobody is authenticated"])])

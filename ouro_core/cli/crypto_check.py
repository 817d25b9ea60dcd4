"""`ouro crypto check NAME`: what the security files of a name say, what is wrong with them, what comes of it."""

import sys
from collections.abc import Mapping
from typing import Any, Final

import attrs
import click

from ..irm.security import Side
from ..model.errors import OuroError
from ..model.names import check_name
from ..oap import HYBRID, asks_peer, towards
from .asjson import print_json
from .commands import json_option
from .inspection import Exchange, Inspector, SideReport, name_info, peer_capabilities, security_directory

__all__ = ["check"]

_POLICY: Final[Mapping[Side, Mapping[str, list[str]]]] = {
    Side.SERVER: {
        "off": [
            "pqc = off: clients that ask for a post-quantum key exchange, or show such a certificate, are refused."
        ],
        "prefer": ["pqc = prefer: nothing that the lines above do not say; it is the client that asks."],
        "require": ["pqc = require: clients that ask for a classical key exchange are refused (-1008)."],
    },
    Side.CLIENT: {
        "off": ["pqc = off: a server with a post-quantum certificate is refused."],
        "prefer": [f"pqc = prefer: Ouro nodes that have it are asked for {HYBRID} instead of a classical one."],
        "require": [f"pqc = require: the same for {HYBRID}, and flows to nodes that do not answer are refused."],
    },
}


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
    peer = _peer(inspector, name, sides[Side.CLIENT])
    if as_json:
        plain: dict[str, Any] = {"name": name, "directory": inspector.directory}
        plain |= {side.value: _plain(report) for side, report in sides.items()}
        print_json(plain | {"exchange": attrs.asdict(exchange), "peer": peer and attrs.asdict(peer)})
    else:
        print("\n".join([*_lines(sides), *([_asked(peer)] if peer else [])]))
        print(f"\nBetween both sides of this host: {_outcome(exchange)}")
    if any(report.problems or report.warnings for report in sides.values()) or exchange.error or (peer and peer.error):
        sys.exit(1)


@attrs.frozen
class _Peer:
    """The node that a flow would lead to now, and what this host's policy makes of it."""

    capabilities: str
    kex: str = ""
    """What would be asked for."""
    error: str = ""


def _peer(inspector: Inspector, name: str, client: SideReport) -> _Peer | None:
    """None: it makes no difference what the peer can do, or there is nobody to ask."""
    security = client.security
    if security is None or not asks_peer(inspector.suites, security):
        return None
    found = peer_capabilities(name)
    if found is None:
        return None
    try:
        asked = towards(inspector.suites, security, found).encryption
    except OuroError as e:
        return _Peer(str(found), error=str(e))
    return _Peer(str(found), asked.kex if asked else "")


def _asked(peer: _Peer) -> str:
    result = f"refused: {peer.error}" if peer.error else f"asked for {peer.kex}"
    return f"  The node it leads to now has capabilities: {peer.capabilities}; {result}"


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
    if encryption is not None or report.pqc == "off":
        said += _POLICY[side].get(report.pqc, [])
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

"""`ouro dht`: look into the directory of a layer through one of its IPCPs on this host."""

import json
from typing import Any

import click

from ouro_core.cli.asjson import print_json
from ouro_core.cli.commands import Group, json_option
from ouro_core.cli.session import Session
from ouro_core.model.errors import InvalidArgument, NotFound, NotSupported
from ouro_core.model.irm_requests import AskIpcp
from ouro_core.model.layer import LayerInfo
from ouro_core.model.names import hash_name

from .debug import show_address, show_time

__all__ = ["dht"]


@click.group(cls=Group)
def dht() -> None:
    """Look into the directory of a layer, or put something in it.

    IPCP is the name of an IPCP of this host that is a member of the layer. NAME is a name, or the layer's hash of one
    as 0x and hexadecimal digits. ADDRESS is a member's, as `ouro layer graph` writes it, or as a number.
    """


def _ask(ipcp: str, word: str, name: str | None = None, *more: str) -> Any:
    """The answer of the directory of an IPCP to a question, which may be about a name."""
    session = Session("ouro")
    try:
        found = session.ipcps(ipcp)
        if not found:
            raise NotFound(f'no IPCP is called "{ipcp}"; see: ouro ipcp list')
        member, layer = found[0], found[0].layer
        if layer is None:
            raise NotFound(f"IPCP {ipcp} is in no layer; bootstrap or enroll it first")
        about = [] if name is None else [_key(name, layer)]
        return json.loads(session.call(AskIpcp(member.id, "directory", (word, *about, *more))).json)
    except NotSupported as e:
        raise NotSupported(f"{ipcp} has no directory to look into; name a member of a unicast layer: {e}") from None
    finally:
        session.close()


def _key(name: str, layer: LayerInfo) -> str:
    """The hash of a name, in hexadecimal."""
    return name[2:] if name.startswith("0x") else hash_name(name, layer.hash).hex()


def _shown(address: int) -> str:
    """As `ouro layer graph` writes it; one that does not fit there as a number."""
    return show_address(address) if address < 1 << 32 else str(address)


def _number(address: str) -> str:
    """The opposite of `_shown`. Whether a number is an address is seen where it goes. InvalidArgument."""
    octets = address.split(".")
    if len(octets) == 1:
        return address
    try:
        if [len(octet) for octet in octets] != [2] * 4:
            raise ValueError
        return str(int.from_bytes(bytes.fromhex("".join(octets)), "little"))
    except ValueError:
        raise InvalidArgument(
            f'"{address}" is not an address; it needs four times two hexadecimal digits with dots between them, as '
            "ouro layer graph writes it, or a whole number"
        ) from None


@dht.command()
@click.argument("ipcp")
@json_option
def show(ipcp: str, as_json: bool) -> None:
    """State, contacts, names and counters of the member IPCP."""
    tree = _ask(ipcp, "show")
    if as_json:
        print_json(tree)
        return
    for name, value in tree["state"].items():
        print(f"{name}: {_shown(value) if name == 'address' else value}")
    print("\nid                address      standing  seen (s)  rtt (ms)  fails")
    for c in tree["contacts"]:
        rtt = "-" if c["rtt"] is None else f"{c['rtt'] * 1000:.2f}"
        kind = "" if c["ouro"] else "  prototype"
        print(
            f"{c['id']}  {_shown(c['address']):<11}  {c['standing']:<8}  {c['seen']:>8.1f}  {rtt:>8}  {c['fails']:>5}"
            f"{'  down' if c['down'] else ''}{kind}"
        )
    print("\ncounters")
    for name, value in tree["counters"].items():
        if value:
            print(f"  {name}: {value if not isinstance(value, dict) else json.dumps(value)}")


@dht.command()
@click.argument("ipcp")
@click.argument("name")
@json_option
def lookup(ipcp: str, name: str, as_json: bool) -> None:
    """Look NAME up in the layer, whatever IPCP has in its cache. Fails when nobody has it."""
    report = _ask(ipcp, "lookup", name)
    if as_json:
        print_json(report)
    else:
        for value in report["values"] or report["held_here"]:
            expiry = show_time(value["expiry"]) if value["expiry"] else "unknown"
            print(f"{_shown(value['address'])}  expires {expiry}")
        if report["registered_here"]:
            print("registered at this member")
        print(f"rounds {report['rounds']}, members asked {report['asked']}, {report['seconds'] * 1000:.2f} ms")
    if not (report["values"] or report["held_here"] or report["registered_here"]):
        raise NotFound(f'nobody in the layer has "{name}"')


@dht.command()
@click.argument("ipcp")
@click.argument("name")
@click.argument("address")
@click.argument("seconds", default="")
@json_option
def put(ipcp: str, name: str, address: str, seconds: str, as_json: bool) -> None:
    """Say in the layer that NAME is at ADDRESS, for SECONDS (three times dht_t_replicate). It is not repeated."""
    report = _ask(ipcp, "put", name, _number(address), *([seconds] if seconds else []))
    if as_json:
        print_json(report)
    else:
        print(f"stored at {len(report['stored'])} members until {show_time(report['expiry'])}")

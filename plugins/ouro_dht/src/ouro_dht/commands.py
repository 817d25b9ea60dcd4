"""`ouro dht`: look into the directory of a layer through one of its IPCPs on this host."""

import json
from typing import Any

import click

from ouro_core.cli.asjson import print_json
from ouro_core.cli.commands import Group, json_option
from ouro_core.cli.session import Session
from ouro_core.model.errors import NotFound
from ouro_core.model.irm_requests import AskIpcp
from ouro_core.model.layer import IpcpInfo
from ouro_core.model.names import hash_name

__all__ = ["dht"]


@click.group(cls=Group)
def dht() -> None:
    """Look into the directory of a layer, or put something in it.

    IPCP is the name of an IPCP of this host that is a member of the layer. NAME is a name, or the layer's hash of one
    as 0x and hexadecimal digits.
    """


def _ask(ipcp: str, *words: str) -> Any:
    session = Session("ouro")
    try:
        return json.loads(session.call(AskIpcp(_member(session, ipcp).id, "directory", words)).json)
    finally:
        session.close()


def _member(session: Session, name: str) -> IpcpInfo:
    found = session.ipcps(name)
    if not found:
        raise NotFound(f'no IPCP is called "{name}"; see: ouro ipcp list')
    return found[0]


def _key(ipcp: str, name: str) -> str:
    """The hash of a name, in hexadecimal."""
    if name.startswith("0x"):
        return name[2:]
    session = Session("ouro")
    try:
        member = _member(session, ipcp)
    finally:
        session.close()
    if member.layer is None:
        raise NotFound(f"IPCP {ipcp} is in no layer; bootstrap or enroll it first")
    return hash_name(name, member.layer.hash).hex()


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
        print(f"{name}: {value}")
    print("\nid                address     standing  seen (s)  rtt (ms)  fails")
    for c in tree["contacts"]:
        rtt = "-" if c["rtt"] is None else f"{c['rtt'] * 1000:.2f}"
        kind = "" if c["ouro"] else "  prototype"
        print(
            f"{c['id']}  {c['address']:<10}  {c['standing']:<8}  {c['seen']:>8.1f}  {rtt:>8}  {c['fails']:>5}"
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
    report = _ask(ipcp, "lookup", _key(ipcp, name))
    if as_json:
        print_json(report)
    else:
        for value in report["values"] or report["held_here"]:
            print(f"{value['address']}  expires {value['expiry'] or 'unknown'}")
        if report["registered_here"]:
            print("registered at this member")
        print(f"{report['rounds']} rounds, {report['asked']} asked, {report['seconds'] * 1000:.2f} ms")
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
    report = _ask(ipcp, "put", _key(ipcp, name), address, *([seconds] if seconds else []))
    if as_json:
        print_json(report)
    else:
        print(f"stored at {len(report['stored'])} members until {report['expiry']}")

"""`ouro layer`: a layer as its members on this host see it."""

import json
from typing import Any

import click

from ouro_core.cli.asjson import print_json
from ouro_core.cli.commands import Group, json_option
from ouro_core.cli.session import Session
from ouro_core.model.errors import NotFound
from ouro_core.model.irm_requests import RibRead
from ouro_core.model.layer import IpcpInfo
from ouro_core.rib import word

from .picture import edges, picture

__all__ = ["layer"]


@click.group(cls=Group)
def layer() -> None:
    """Look at layers that IPCPs of this host are members of."""


@layer.command()
@click.argument("name")
@json_option
def graph(name: str, as_json: bool) -> None:
    """A picture of the layer NAME: its members by their addresses, and the links between them."""
    session = Session("ouro")
    try:
        ipcp, seen = _member(session, name)
    finally:
        session.close()
    if ipcp.type == "broadcast":
        _broadcast(ipcp, seen, as_json)
        return
    here, links = seen["address"], seen["links"]
    both, single = edges(links)
    members = sorted({here, *links, *(b for others in links.values() for b in others)})
    if as_json:
        print_json({"layer": name, "here": here, "members": members, "links": both, "one_way": single})
        return
    counts = f"{_many(len(members), 'member')}, {_many(len(both), 'link')}"
    print(f"Layer {name}, seen by {ipcp.name}: {counts}", "", *picture(here, links), sep="\n")


def _broadcast(ipcp: IpcpInfo, seen: Any, as_json: bool) -> None:
    tree = seen["tree"]
    if as_json:
        print_json({"layer": ipcp.layer_name, "here": tree["id"], "neighbours": tree["channels"]})
        return
    joined = {id: c["behind"] for id, c in tree["channels"].items() if c["joined"]}
    print(f"Layer {ipcp.layer_name}, seen by {ipcp.name}", "", f"{tree['id']}  (here)", sep="\n")
    for id, behind in sorted(joined.items()):
        more = f"  and {_many(behind - 1, 'member')} behind it" if behind > 1 else ""
        print(f"{'└─' if id == max(joined) else '├─'} {id}{more}")


def _member(session: Session, name: str) -> tuple[IpcpInfo, Any]:
    """A member of the layer on this host, and what it shows."""
    for ipcp in session.ipcps():
        if ipcp.layer is not None and ipcp.layer.name == name and ipcp.type in ("unicast", "broadcast"):
            return ipcp, json.loads(session.call(RibRead(f"ipcps/{word(ipcp.name)}/member")).json)
    raise NotFound(f'no IPCP of this host is a member of a unicast or broadcast layer "{name}"; see: ouro ipcp list')


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

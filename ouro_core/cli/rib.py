"""`ouro rib`: the tree of state and counters, read over the control socket."""

import json
from typing import Any

import click

from ..model.irm_requests import RibList, RibRead
from ..model.request import Request
from .asjson import print_json
from .commands import Group, json_option
from .session import Session

__all__ = ["rib"]


@click.group(cls=Group)
def rib() -> None:
    """Look into the state of the IRMd and its IPCPs.

    Paths are words joined by slashes; no path is the root.
    """


def _ask(request: Request[Any]) -> Any:
    session = Session("ouro")
    try:
        return session.call(request)
    finally:
        session.close()


@rib.command()
@click.argument("path", default="")
@json_option
def ls(path: str, as_json: bool) -> None:
    """What is below PATH; names that end in a slash have more below them."""
    names = _ask(RibList(path)).names
    if as_json:
        print_json(names)
    else:
        for name in names:
            print(name)


@rib.command()
@click.argument("path", default="")
@json_option
def cat(path: str, as_json: bool) -> None:
    """Everything at and below PATH."""
    tree = json.loads(_ask(RibRead(path)).json)
    if as_json:
        print_json(tree)
    else:
        for line in _lines(tree, ""):
            print(line)


def _lines(tree: Any, path: str) -> list[str]:
    """One line `path: value` for each scalar; lists are shown as JSON."""
    if isinstance(tree, dict):
        return [line for name, value in tree.items() for line in _lines(value, f"{path}/{name}" if path else name)]
    text = tree if isinstance(tree, str) else json.dumps(tree)
    return [f"{path}: {text}" if path else text]

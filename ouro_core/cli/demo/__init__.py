"""`ouro demo`: see a network work, without root, without configuration, and leave nothing behind.

A daemon, an IPCP, a server and a client, each a process; everything lives in a temporary directory. Where there is no
packet system for several processes, the same happens within this one, in a `Node`.
"""

import signal
import sys
import textwrap
import time
from typing import Final

import click

from ...model.errors import InvalidArgument, NotSupported
from ..asjson import print_json
from ..commands import json_option
from .figures import Result
from .view import Screen

__all__ = ["demo"]

_SECONDS: Final = 18.0
"""After which it has failed; two hosts have twice as long."""


@click.command()
@click.option("--udp", is_flag=True, help="Two hosts and a layer over UDP between them.")
@click.option("--network", is_flag=True, help="Three hosts in a line, and a layer that routes; a link is cut.")
@json_option
def demo(udp: bool, network: bool, as_json: bool) -> None:
    """Two processes, one layer, a flow: see it work.

    With --udp on two hosts, which are two daemons on this machine; needs ouro-udp. With --network on three hosts in a
    line, within this process; needs ouro-udp, ouro-unicast and ouro-dht.

    Needs no root and no configuration, takes a few seconds and leaves nothing behind. Exit status 0: every packet came
    back.
    """
    if udp and network:
        raise click.UsageError("--udp or --network, not both.")
    start = time.monotonic()
    screen = Screen(silent=as_json)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        if network:
            sys.exit(_run_network(screen, start, as_json))
        result = _run_over_udp(screen, start + 2 * _SECONDS) if udp else _run(screen, start + _SECONDS)
    except KeyboardInterrupt:
        click.echo("Interrupted; everything is cleaned up.", err=True)
        sys.exit(130)
    seconds = round(time.monotonic() - start, 1)
    if as_json:
        print_json({"ok": result.ok, "packets": result.packets, "seconds": seconds, **result.figures})
    else:
        screen.result(result)
        screen.say("Figures depend on what else runs on this machine.")
        screen.say(f"{'All packets arrived' if result.ok else 'PACKETS WERE LOST'}. {seconds} s; nothing is left.")
    sys.exit(0 if result.ok else 1)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _run(screen: Screen, deadline: float) -> Result:
    obstacle = _obstacle()
    if obstacle is None:
        from .processes import run_as_processes

        return Result("ssm", run_as_processes(screen, deadline))
    from .node import run_in_node

    why = f"Several processes need the packet system ssm, but {obstacle}."
    screen.say(textwrap.fill(why, 80, break_on_hyphens=False))
    screen.say("So everything happens in this one process, over heap: readable, not fast.")
    return Result("heap", run_in_node(screen, deadline))


def _run_over_udp(screen: Screen, deadline: float) -> Result:
    from ...plugins import PluginHost
    from .two_hosts import TYPE, run_over_udp

    PluginHost.from_environment().get("ipcp_types", TYPE)  # an error says where it comes from
    obstacle = _obstacle()
    if obstacle is not None:
        raise NotSupported(f"two hosts need the packet system ssm, but {obstacle}")
    return Result("ssm", run_over_udp(screen, deadline))


def _run_network(screen: Screen, start: float, as_json: bool) -> int:
    from ...plugins import PluginHost
    from .network import NEEDED, run_network

    plugins = PluginHost.from_environment()
    for kind, name in NEEDED:
        plugins.get(kind, name)  # an error says where it comes from
    figures = run_network(screen, start + 2 * _SECONDS)
    seconds = round(time.monotonic() - start, 1)
    ok = all(figures[trips]["returned"] for trips in ("round_trip", "round_trip_again"))
    if as_json:
        print_json({"ok": ok, "seconds": seconds, **figures})
    else:
        screen.say(f"\nFigures depend on what else runs on this machine. {seconds} s; nothing is left.")
    return 0 if ok else 1


def _obstacle() -> str | None:
    """Why there can be no flow between two processes here; None: there can."""
    from ...plugins import PluginHost

    try:
        why: str | None = PluginHost.from_environment().get("pool_allocators", "ssm").usable()
    except InvalidArgument as e:
        return str(e)
    return why

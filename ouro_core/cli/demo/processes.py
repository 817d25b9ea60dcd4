"""The demo with real processes: what a user would type, typed for him."""

from typing import Any

from .figures import SERVER
from .stage import Stage
from .view import IPCP, LAYER, Screen

__all__ = ["run_as_processes"]


def run_as_processes(screen: Screen, deadline: float) -> dict[str, Any]:
    """Build it, show it, measure it, take it down; the figures."""
    with Stage(screen, deadline) as stage:
        screen.step(f"A daemon of our own, in {stage.directory}")
        stage.start_daemon()
        screen.step("A layer, of the type for flows within one host; its IPCP is a process, too")
        stage.type(f"ipcp bootstrap name {IPCP} type local layer {LAYER}")
        stage.type("ipcp list")
        screen.step("A server, which the layer knows by name")
        server = stage.start_server()
        stage.type(f"bind process {server.pid} name {SERVER}")
        stage.type(f"name register {SERVER} layer {LAYER}")
        screen.step("A client, who knows but that name, allocates flows and measures them")
        client = stage.start_client()
        screen.picture(client.pid, server.pid, stage.ipcp_pid())
        return stage.figures(client)

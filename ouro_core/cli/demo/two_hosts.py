"""The demo with two hosts: two daemons on this machine, and a layer over UDP between them."""

import socket
from typing import Any, Final

from .figures import SERVER
from .peers import RELIABLE
from .stage import Stage
from .view import IPCP, LAYER, Screen

__all__ = ["TYPE", "run_over_udp"]

TYPE: Final = "udp4"
"""Of the IPCPs. It is a plugin's, which may not be installed."""
_HOSTS: Final = {"h1": "127.0.0.1", "h2": "127.0.0.2"}


def run_over_udp(screen: Screen, deadline: float) -> dict[str, Any]:
    """Build it, show it, measure it, take it down; the figures. Throughput is that of reliable flows."""
    ipcps: dict[str, int] = {}
    port = _free_port()
    with Stage(screen, deadline) as stage:
        screen.step(f"Two daemons of our own are two hosts, in {stage.directory}")
        for host in _HOSTS:
            stage.at(host)
            stage.start_daemon()
        screen.step("A layer over UDP, with a member on each; the first is told where the name will be")
        stage.at("h2")
        stage.type(f"ipcp bootstrap name {IPCP} type {TYPE} layer {LAYER} ip {_HOSTS['h2']} port {port}")
        ipcps["h2"] = stage.ipcp_pid()
        stage.at("h1")
        peers = f"{SERVER}={_HOSTS['h2']}"
        stage.type(f"ipcp bootstrap name {IPCP} type {TYPE} layer {LAYER} ip {_HOSTS['h1']} port {port} peers {peers}")
        ipcps["h1"] = stage.ipcp_pid()
        screen.step("A server on the second host")
        stage.at("h2")
        server = stage.start_server()
        stage.type(f"bind process {server.pid} name {SERVER}")
        stage.type(f"name register {SERVER} layer {LAYER}")
        screen.step("A client on the first, who knows but that name, allocates flows and measures them")
        stage.at("h1")
        client = stage.start_client(RELIABLE)
        screen.picture_of_two((client.pid, server.pid), (ipcps["h1"], ipcps["h2"]), tuple(_HOSTS.values()))
        return stage.figures(client)


def _free_port() -> int:
    """One that is free at both addresses."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as first, socket.socket(type=socket.SOCK_DGRAM) as second:
            first.bind((_HOSTS["h1"], 0))
            port: int = first.getsockname()[1]
            try:
                second.bind((_HOSTS["h2"], port))
            except OSError:
                continue
            return port

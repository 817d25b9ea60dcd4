"""The processes of the kill test: a zygote that forks victims, and bystanders. `python -m` runs one."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

from ouro_core.contracts.packets import Grant
from ouro_core.model.errors import OuroError

from ..system import SsmPacketSystem
from .roles import PATIENCE, VICTIMS, Bad, bystand

__all__ = ["Helper", "send"]


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    data, fds, _, _ = socket.recv_fds(control, 256, 16)
    return data, fds


def send(control: socket.socket, grant: Grant) -> None:
    socket.send_fds(control, [grant.data], list(grant.fds))


def say(control: socket.socket, **values: object) -> None:
    control.send(json.dumps(values).encode())


class Helper:
    """A process of this module with a socket to it."""

    def __init__(self, role: str) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(30.0)
        with theirs:
            command = [sys.executable, "-m", __name__, role, str(theirs.fileno())]
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    def hear(self) -> Any:
        return json.loads(self.control.recv(4096))

    def close(self) -> None:
        self.control.close()
        self.process.wait(30)


def _zygote(control: socket.socket) -> None:
    """Forks a victim for each order. Nothing is mapped here, so the children may."""
    while order := control.recv(256):
        role, size = json.loads(order)
        admitted, granted = receive(control), receive(control)
        pid = os.fork()
        if not pid:
            client = SsmPacketSystem.client(*admitted)
            end = client.attach(*granted, PATIENCE)
            say(control, pid=os.getpid())
            try:
                VICTIMS[role](client, end, size)
            except OuroError:
                signal.pause()  # to be killed
            except Bad as e:
                say(control, bad=str(e))
                signal.pause()
        for fd in (*admitted[1], *granted[1]):
            os.close(fd)
        os.waitpid(pid, 0)
        say(control, ended=pid)


def _bystander(control: socket.socket) -> None:
    """Two ends of one flow, until we hear something: how many packets, or what was wrong."""
    client = SsmPacketSystem.client(*receive(control))
    one, other = (client.attach(*receive(control), PATIENCE) for _ in range(2))
    stop = threading.Event()

    def listen() -> None:
        control.recv(1)
        stop.set()

    def stopped() -> bool:
        return stop.wait(0.001)

    threading.Thread(target=listen, daemon=True).start()
    say(control, ready=True)
    try:
        passed, fault = bystand(client, one, other, stopped), ""
    except (OuroError, Bad) as e:
        passed, fault = 0, f"{type(e).__name__}: {e}"
    client.close()
    say(control, passed=passed, fault=fault)


if __name__ == "__main__":
    {"zygote": _zygote, "bystander": _bystander}[sys.argv[1]](socket.socket(fileno=int(sys.argv[2])))

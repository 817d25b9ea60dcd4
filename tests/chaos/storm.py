"""The rounds: set up traffic, kill somebody in the middle of it, look what is left."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from types import TracebackType

from ouro_core.model.errors import OuroError
from ouro_core.model.irm_requests import BootstrapIpcp, CreateIpcp, CreateName, DestroyIpcp, ListIpcps, RegName
from ouro_core.model.layer import IpcpInfo, LayerInfo
from ouro_core.model.names import NameInfo
from ouro_core.testing.host import Host, end, eventually

NAME = "chaos"
SERVER = """
import os, sys, threading
from ouro_core import OuroError, flow_accept
from ouro_core.rpc.blocking import BlockingChannel, connect
from ouro_core.rpc.paths import irm_socket
from ouro_core.model.irm_requests import BindProcess
mode = sys.argv[1]
def serve():
    while True:
        try:
            flow = flow_accept()
        except OuroError:
            os._exit(3)
        try:
            with flow:
                while True:
                    packet = flow.read()
                    if mode == "echo":
                        flow.write(packet)
        except OuroError:
            pass
thread = threading.Thread(target=serve)
thread.start()
BlockingChannel(connect(irm_socket())).call(BindProcess(os.getpid(), "chaos"))
print("bound", flush=True)
"""
CLIENT = """
import sys
from ouro_core import OuroError, flow_alloc
mode = sys.argv[1]
print("started", flush=True)
try:
    while True:
        flow = flow_alloc("chaos", timeout=10)
        if mode != "alloc":
            print("allocated", flush=True)
        with flow:
            number = 0
            while mode != "alloc":
                flow.write(b"x" * 64)
                if mode == "echo":
                    flow.read()
except OuroError as e:
    print("ended", e.code, e, flush=True)
"""
WHO = ("server", "client", "ipcp", "zygote")
MODES = ("echo", "stream", "alloc")


class Storm:
    """Kills of server, client, IPCP and zygote on two hosts: flows direct on one, over a layer on the other."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.hosts = [Host(), Host(config="[irmd]\ndirect = false\n")]
        self.killed: Counter[str] = Counter()
        self.allocations = 0

    def __enter__(self) -> "Storm":
        for host in self.hosts:
            host.start()
            make_layer(host)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        for host in self.hosts:
            host.__exit__(kind, value, trace)

    def round(self, number: int) -> None:
        """One kill, and the proof that nothing is left and the next allocation works."""
        host = self.hosts[number % 2]
        who = WHO[number // 2 % len(WHO)]
        mode = MODES[number // 8 % len(MODES)]
        server, client = traffic(host, mode)
        time.sleep(self.rng.uniform(0, 0.05))
        victim = {"server": server.pid, "client": client.pid}.get(who)
        if who == "ipcp":
            victim = the_ipcp(host).pid
        elif who == "zygote":
            victim = zygote_of(host)
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        self.killed[who] += 1
        if who == "ipcp":
            eventually(lambda: not host.call(ListIpcps()).ipcps, what="the dead IPCP is gone from the list")
            make_layer(host)
        elif who == "zygote":
            info = host.call(CreateIpcp("local", "another"))
            host.call(DestroyIpcp(info.id))
        for program in (server, client):
            end(program)
        eventually(host.quiet, what=f"round {number} ({who}, {mode}): nothing is left: {host.status()}")
        self.check_works(host)
        eventually(host.quiet, what=f"round {number}: nothing is left of the check")

    def check_works(self, host: Host) -> None:
        """One echo over a new flow between new processes."""
        server, client = traffic(host, "echo")
        self.allocations += 1
        for program in (client, server):
            end(program)

    def summary(self) -> str:
        """What was done, and what is left."""
        kills = ", ".join(f"{who} {count}" for who, count in self.killed.items())
        left = [host.status() for host in self.hosts]
        processes = sum(len(host.descendants()) for host in self.hosts)
        return (
            f"{sum(self.killed.values())} rounds ({kills}); {self.allocations} allocations afterwards worked; left: "
            f"{sum(s.processes for s in left)} applications, {sum(s.flows for s in left)} flows, "
            f"{sum(s.blocks for s in left)} blocks; processes of both hosts: {processes} "
            "(2 daemons, 2 zygotes with a spare child each, 2 IPCPs)"
        )


class DaemonStorm:
    """Kills of the daemon, always in the same runtime directory."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.host = Host()
        self.rounds = 0

    def __enter__(self) -> "DaemonStorm":
        return self

    def __exit__(self, *why: object) -> None:
        self.host.__exit__(None, None, None)

    def round(self, number: int) -> None:
        """Kill it under traffic; IPCPs and zygote leave by themselves; a new one takes the same directory over."""
        host = self.host
        host.start()
        make_layer(host)
        server, client = traffic(host, MODES[number % len(MODES)])
        time.sleep(self.rng.uniform(0, 0.05))
        assert host.daemon is not None
        zygote, ipcp = zygote_of(host), the_ipcp(host).pid
        host.kill()
        eventually(lambda: not (alive(zygote) or alive(ipcp)), what=f"zygote {zygote} and IPCP {ipcp} left")
        for program in (server, client):
            end(program)
        self.rounds += 1
        host.start()
        make_layer(host)
        server, client = traffic(host, "echo")
        for program in (client, server):
            end(program)
        eventually(host.quiet, what="nothing is left after the restart")
        assert host.stop() == 0
        eventually(lambda: not host.descendants(), what="no process is left")

    def summary(self) -> str:
        """What was done."""
        return f"{self.rounds} rounds (daemon); left: {len(self.host.descendants())} processes"


def make_layer(host: Host) -> None:
    """IPCP `lo` in layer `lo` with the name registered."""
    info = host.call(CreateIpcp("local", "lo"))
    host.call(BootstrapIpcp(info.id, LayerInfo("lo")))
    host.call(CreateName(NameInfo(NAME)))
    host.call(RegName(NAME, info.id))


def the_ipcp(host: Host) -> IpcpInfo:
    """The one IPCP."""
    (info,) = host.call(ListIpcps()).ipcps
    return info


def zygote_of(host: Host) -> int:
    """The daemon's zygote."""

    def find() -> int:
        assert host.daemon is not None
        for pid in host.descendants():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if b"ouro_core.ipcp.zygote" in command and parent == host.daemon.pid:
                return pid
        return 0

    return eventually(find, what="the daemon has a zygote")


def traffic(host: Host, mode: str) -> "tuple[subprocess.Popen[str], subprocess.Popen[str]]":
    """A server and a client in the middle of it."""
    server = host.python(SERVER, mode)
    client = host.python(CLIENT, mode)
    wait_for(server, "bound")
    wait_for(client, "started" if mode == "alloc" else "allocated")
    return server, client


def wait_for(program: "subprocess.Popen[str]", word: str) -> None:
    """Read a program's output until a line begins with a word."""
    assert program.stdout is not None
    seen = []
    for line in program.stdout:
        seen.append(line)
        if line.startswith(word):
            return
    raise AssertionError(f'a program ended with {program.wait()} before it said "{word}": {"".join(seen)}')


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, OuroError):
        return False

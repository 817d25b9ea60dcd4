"""Who is measured: the interface of both sides, and ours. The other is in `prototype`.

A side is one host: a daemon, an IPCP of type local in layer "lo", and programs. Programs are given as words; both sides
know "irm", "oping" and "peer" (programs/), ours also "ouro". Every wait is bounded.
"""

import contextlib
import itertools
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from ouro_core.model.irm_requests import BindProcess, BootstrapIpcp, CreateIpcp, DestroyIpcp, ListIpcps, RegName
from ouro_core.model.layer import IpcpInfo, LayerInfo
from ouro_core.testing.host import Host

__all__ = ["LAYER", "PROGRAMS", "TIMEOUT", "Ours", "Program", "Server", "Side", "Unable", "soon", "terminate"]

Program = subprocess.Popen[str]

LAYER: Final = "lo"
PROGRAMS: Final = Path(__file__).with_name("programs")
TIMEOUT: Final = 15.0
"""Longest time, in seconds, for anything to happen."""


class Unable(Exception):
    """A run gave no figure; the text says why."""


class Server:
    """A program that accepts flows for `name`."""

    def __init__(self, program: Program, name: str) -> None:
        self.program = program
        self.name = name

    def line(self) -> str:
        """The next line it prints."""
        assert self.program.stdout is not None
        return self.program.stdout.readline()


class Side(ABC):
    """One host."""

    label: str
    help: Sequence[str]
    """Words that print the usage of the administrator's command."""

    def __init__(self) -> None:
        self._names = (f"bench{number}" for number in itertools.count())

    # ---- the daemon

    def start(self) -> None:
        """The daemon, with the layer."""
        self.start_daemon()
        self.make_ipcp(LAYER)

    @abstractmethod
    def start_daemon(self) -> None:
        """The daemon alone. Returns as soon as it answers."""

    @abstractmethod
    def stop(self) -> None:
        """End everything. Nothing is left. Harmless when nothing runs."""

    @abstractmethod
    def pids(self) -> dict[str, int]:
        """The side's own processes: daemon, IPCP, zygote."""

    # ---- requests

    @abstractmethod
    def make_ipcp(self, layer: str) -> None:
        """A new IPCP of type local, called as its layer, bootstrapped."""

    @abstractmethod
    def destroy_ipcp(self, layer: str) -> None:
        """The end of that IPCP."""

    @abstractmethod
    def bind(self, pid: int, name: str) -> None:
        """Make a name, register it in the layer, and let a process accept for it."""

    @property
    @abstractmethod
    def security(self) -> Path:
        """The directory of security files. Unable: nobody knows."""

    def encrypt(self, name: str) -> None:
        """Flows to a name are encrypted from now on: X25519, aes-256-gcm."""
        for end in ("server", "client"):
            folder = self.security / end / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "enc.conf").write_text("kex=X25519\n")

    # ---- programs

    @abstractmethod
    def spawn(self, words: Sequence[str]) -> Program:
        """Start a program whose output is piped. It ends with the side."""

    @abstractmethod
    def execute(self, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Run a program to its end, whatever its status. subprocess.TimeoutExpired."""

    def run(self, words: Sequence[str]) -> str:
        """What a program printed. Unable: it failed, and its last line."""
        done = self.execute(words)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().rpartition("\n")[2]
            raise Unable(f"{' '.join(words)} ended with {done.returncode}: {last}")
        return done.stdout

    @contextlib.contextmanager
    def serve(self, words: Sequence[str]) -> Iterator[Server]:
        """A program that accepts flows for a name of its own."""
        program, name = self.spawn(words), next(self._names)
        try:
            self.bind(program.pid, name)
            yield Server(program, name)
        finally:
            terminate(program)


class Ours(Side):
    """Ouro. `direct`: flows between processes of the host may do without a layer."""

    label = "ours"
    help = ("ouro", "--help")

    def __init__(self, direct: bool = True) -> None:
        super().__init__()
        self._temporary = tempfile.TemporaryDirectory(prefix="ouro-bench-")
        self._config = f'[irmd]\ndirect = {str(direct).lower()}\nsecurity = "{self.security}"\n'
        self._host: Host | None = None

    @property
    def security(self) -> Path:
        return Path(self._temporary.name)

    @property
    def host(self) -> Host:
        """While it runs."""
        assert self._host is not None
        return self._host

    def start_daemon(self) -> None:
        self._host = Host(config=self._config)
        self.host.start(wait=False)
        soon(self.host._answers, "the daemon answers")

    def stop(self) -> None:
        if self._host is not None:
            self._host.__exit__(None, None, None)
            self._host = None

    def pids(self) -> dict[str, int]:
        daemon = self.host.daemon
        assert daemon is not None
        zygotes = (p for p in self.host.descendants() if Path(f"/proc/{p}/comm").read_text() == "ouro-zygote\n")
        return {"daemon": daemon.pid, "IPCP": self._ipcp(LAYER).pid, "zygote": next(zygotes)}

    def make_ipcp(self, layer: str) -> None:
        ipcp = self.host.call(CreateIpcp("local", layer))
        self.host.call(BootstrapIpcp(ipcp.id, LayerInfo(layer)))

    def destroy_ipcp(self, layer: str) -> None:
        self.host.call(DestroyIpcp(self._ipcp(layer).id))

    def _ipcp(self, name: str) -> IpcpInfo:
        return next(i for i in self.host.call(ListIpcps()).ipcps if i.name == name)

    def bind(self, pid: int, name: str) -> None:
        self.host.call(RegName(name, self._ipcp(LAYER).id))
        self.host.call(BindProcess(pid, name))

    _PROGRAMS: Final = {
        "peer": (str(PROGRAMS / "peer.py"),),
        "oping": ("-c", "from ouro_tools.oping import main; main()"),
        "irm": ("-c", "from ouro_core.cli import irm; irm()"),
        "ouro": ("-m", "ouro_core.cli"),
    }

    @classmethod
    def command(cls, words: Sequence[str]) -> list[str]:
        """What runs one of our programs."""
        return [sys.executable, *cls._PROGRAMS[words[0]], *words[1:]]

    def spawn(self, words: Sequence[str]) -> Program:
        return self.host.spawn(self.command(words))

    def execute(self, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        return self.host.run(self.command(words), TIMEOUT)


def soon(check: Callable[[], bool], what: str, pause: float = 0.001) -> None:
    """Wait until `check` is true, looking every `pause` seconds. TimeoutError."""
    deadline = time.monotonic() + TIMEOUT
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"did not happen within {TIMEOUT:g} s: {what}")
        time.sleep(pause)


def terminate(program: Program) -> None:
    """Ask a program to end; kill it when it does not within 2 s."""
    program.terminate()
    try:
        program.communicate(timeout=2.0)
    except subprocess.TimeoutExpired:
        program.kill()
        program.communicate()

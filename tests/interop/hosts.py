"""Hosts in networks of their own, one running Ouro, the other the C prototype; both are told the same words.

The prototype is found on PATH by its ELF programs (`tests.bench.prototype`). It keeps its segments and sockets at fixed
places, so each of its hosts is a namespace of mounts, processes and IPC besides, which ends with the process that holds
it: nothing is left behind, and a daemon that somebody else runs is not disturbed. Its defects are known (shims.md):
runs with it are short, on daemons just started, and what its races make fail is tried again.
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ouro_core.model.errors import NotFound
from ouro_core.model.irm_requests import BindProcess, ListIpcps, RegName
from ouro_core.testing.host import Host, end, eventually
from ouro_core.testing.netns import Namespace, unusable
from tests.bench.prototype import Missing, find

__all__ = ["Done", "InteropHost", "OuroHost", "PrototypeHost", "prototype"]

Done = subprocess.CompletedProcess[str]

TIMEOUT: Final = 40.0
"""Seconds for any command: longer than the prototype waits for an allocation."""
PLACES: Final = ("/dev/shm", "/run/ouroboros", "/tmp/ouroboros")
PATIENCE: Final = 6.0
"""Seconds for a short series of pings."""


def prototype() -> dict[str, Path] | str:
    """The prototype's programs, or why tests with it must be skipped."""
    reason = unusable()
    if reason:
        return reason
    for tool in ("nsenter", "setpriv", "unshare"):
        if shutil.which(tool) is None:
            return f"needs {tool} (util-linux)"
    try:
        return find(os.environ.get("PATH", ""))
    except Missing as e:
        return str(e)


class InteropHost(ABC):
    """A host with a daemon, in a network of its own. A context manager."""

    security: Path
    """Where its daemon looks for security files."""

    def __init__(self) -> None:
        self.network = Namespace()

    @abstractmethod
    def __enter__(self) -> "InteropHost": ...

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    @abstractmethod
    def run(self, *words: str, timeout: float = TIMEOUT) -> Done:
        """Run `irm`, `oping` or another of its programs to the end. subprocess.TimeoutExpired, and it is no more."""

    @abstractmethod
    def start(self, *words: str) -> int:
        """Start one of its programs; its pid, as this host knows it."""

    @abstractmethod
    def log(self) -> str:
        """What its daemon wrote."""

    # ------------------------------------------------------------ in the same words

    def irm(self, *words: str) -> str:
        """A command of the administrator that succeeds."""
        done = self.run("irm", *words)
        assert done.returncode == 0, (
            f"irm {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}\n{self.log()}"
        )
        return done.stdout

    def serve(self, name: str, layer: str) -> None:
        """`oping -l` accepts flows for a name that is registered in a layer."""
        self.irm("name", "create", name)
        self.irm("name", "register", name, "layer", layer)
        pid = str(self.start("oping", "-l"))
        # the prototype binds no process that has not announced itself
        eventually(lambda: self.run("irm", "bind", "process", pid, "name", name).returncode == 0)

    def ping(self, name: str, *options: str) -> Done:
        """Three packets with `oping`, paced. A run that takes long is ended; its status is -9."""
        words = ("oping", "-n", name, "-c", "3", "-i", "20", *options)
        try:
            return self.run(*words, timeout=PATIENCE)
        except subprocess.TimeoutExpired as e:
            return subprocess.CompletedProcess(words, -signal.SIGKILL, str(e.stdout or b""), "it took too long")

    @abstractmethod
    def stop_servers(self) -> None:
        """End what was started and is no daemon."""

    def secure(self, side: str, name: str, files: Mapping[str, str]) -> None:
        """Security files of a name, `side` "server" or "client"."""
        folder = self.security / side / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text)
            (folder / file).chmod(0o600)


class OuroHost(InteropHost):
    """Ours."""

    label = "ouro"

    _PROGRAMS: Final = {
        "oping": "from ouro_tools.oping import main; main()",
        "irm": "from ouro_core.cli import irm; irm()",
        "ouro": "from ouro_core.cli import main; main()",
    }

    def __enter__(self) -> "OuroHost":
        self.network.__enter__()
        self._temporary = tempfile.TemporaryDirectory(prefix="ouro-interop-")
        self.security = Path(self._temporary.name)
        self._host = Host(config=f'[irmd]\nsecurity = "{self.security}"\n')
        with self.network.inside():
            self._host.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._host.__exit__(None, None, None)
        self._temporary.cleanup()
        self.network.__exit__(None, None, None)

    @property
    def host(self) -> Host:
        return self._host

    def _command(self, words: Sequence[str]) -> list[str]:
        return [sys.executable, "-P", "-c", self._PROGRAMS[words[0]], *words[1:]]

    def run(self, *words: str, timeout: float = TIMEOUT) -> Done:
        return self._host.run(self._command(words), timeout)

    def start(self, *words: str) -> int:
        return self._host.spawn(self._command(words)).pid

    def serve(self, name: str, layer: str) -> None:
        """The requests of those commands: a process for each would take most of a test's time."""
        for ipcp in self._host.call(ListIpcps()).ipcps:
            if ipcp.layer_name == layer:
                self._host.call(RegName(name, ipcp.id))
        request = BindProcess(self.start("oping", "-l"), name)

        def bound() -> bool:
            try:
                self._host.call(request)
            except NotFound:  # it takes more than seconds to start on a busy machine
                return False
            return True

        eventually(bound)

    def python(self, code: str) -> Done:
        """Run a program of a few lines."""
        return self._host.run([sys.executable, "-P", "-c", code], TIMEOUT)

    def stop_servers(self) -> None:
        for program in self._host._programs:
            end(program)
        self._host._programs.clear()

    def log(self) -> str:
        return self._host.log.read_text()


class PrototypeHost(InteropHost):
    """The prototype's."""

    label = "c"

    def __init__(self, programs: dict[str, Path], authority: str = "") -> None:
        """`authority`: a certificate that it trusts, in PEM; it reads those when it starts."""
        super().__init__()
        self._programs = programs
        self._authority = authority
        self._prefix = programs["irmd"].parent.parent
        self._made: Path | None = None
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "PrototypeHost":
        self.network.__enter__()
        self._temporary = tempfile.TemporaryDirectory(prefix="ouro-interop-")
        self._log = Path(self._temporary.name) / "irmd.log"
        self._hosts = Path(self._temporary.name) / "hosts"
        inside = self._security_inside()
        script = " && ".join((
            "mount --make-rprivate /",
            *(f"mkdir -p {place} && mount -t tmpfs tmpfs {place}" for place in (*PLACES, inside)),
            "echo ready", "exec sleep infinity",
        ))  # fmt: skip
        with self.network.inside():
            self._holder = subprocess.Popen(
                ["unshare", "-m", "-p", "-i", "-f", "--kill-child", "--mount-proc", "sh", "-c", script],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline()
        assert said == "ready\n", said + self._holder.stdout.read()
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self._init = int(children.read_text().split()[0])
        self.security = Path(f"/proc/{self._init}/root{inside}")
        if self._authority:
            (self.security / "cacert").mkdir()
            (self.security / "cacert" / "ca.pem").write_text(self._authority)
        self.start("irmd", "--stdout")
        eventually(lambda: self.run("irm", "name", "list").returncode == 0, what="the C irmd answers")
        return self

    def _security_inside(self) -> str:
        found = re.search(rb"(/[^\0]+/security)/server\0", self._programs["irmd"].read_bytes())
        assert found is not None, "the C irmd does not name a directory of security files"
        path = Path(os.fsdecode(found[1]))
        self._made = next((p for p in reversed((path, *path.parents)) if not p.exists()), None)
        path.mkdir(parents=True, exist_ok=True)
        return str(path)

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._init, signal.SIGKILL)  # all processes of the host end with its first one
        self._holder.kill()
        self._holder.communicate()
        for started in self._started:
            started.communicate()
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)
        self._temporary.cleanup()
        self.network.__exit__(None, None, None)

    def _command(self, words: Sequence[str]) -> list[str]:
        program = self._programs.get(words[0], self._prefix / "bin" / words[0])
        library = f"LD_LIBRARY_PATH={self._prefix}/lib"
        enter = ["nsenter", "-t", str(self._init), "-m", "-n", "-i", "-p"]  # a parent of what it runs
        return [*enter, "setpriv", "--pdeathsig", "KILL", "env", library, str(program), *words[1:]]

    def run(self, *words: str, timeout: float = TIMEOUT) -> Done:
        return subprocess.run(
            self._command(words), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )

    def resolve(self, more: str = "") -> None:
        """From now on it has an /etc/hosts of its own; with `more` in it."""
        if not self._hosts.exists():
            self._hosts.touch()
            self._hosts.chmod(0o644)
            words = ["nsenter", "-t", str(self._init), "-m", "mount", "--bind", str(self._hosts), "/etc/hosts"]
            subprocess.run(words, check=True, timeout=TIMEOUT)
        with self._hosts.open("a") as file:
            file.write(more)

    def find(self, program: str) -> int:
        """The pid of the program that this host runs under a name, as we know it. LookupError."""
        space = os.readlink(f"/proc/{self._init}/ns/pid")
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                named = process.name.isdigit() and (process / "comm").read_text().strip() == program
                if named and os.readlink(process / "ns" / "pid") == space:
                    return int(process.name)
        raise LookupError(f"no {program} runs there")

    def stop_servers(self) -> None:
        daemon, *servers = self._started
        for server in servers:
            server.kill()
            server.communicate()
        self._started = [daemon]

    def alive(self, ipcp: str) -> bool:
        """Whether its daemon answers still, and has this IPCP."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f" {ipcp} " in self.run("irm", "ipcp", "list", timeout=PATIENCE).stdout
        return False

    def post_quantum(self) -> bool:
        """Whether its OpenSSL has ML-KEM."""
        libraries = subprocess.run(
            ["ldd", str(self._prefix / "lib" / "libouroboros-common.so")], capture_output=True, text=True, check=True
        ).stdout
        found = re.search(r"libcrypto\S* => (\S+)", libraries)
        if found is None:
            return False
        version: int = ctypes.CDLL(found[1]).OpenSSL_version_num()
        return version >= 0x30500000

    def start(self, *words: str) -> int:
        """What it prints goes to the log."""
        started = self.spawn(*words, output=">&2")
        assert started.stdout is not None
        return int(started.stdout.readline())

    def spawn(self, *words: str, output: str = "") -> "subprocess.Popen[str]":
        """Start a program. The first line on its standard output is its pid, as this host knows it."""
        command = self._command(words)
        at = command.index("env")
        shell = ["sh", "-c", f'echo $$; exec "$@" {output}', "sh"]
        with self._log.open("ab") as log:
            started = subprocess.Popen(
                [*command[:at], *shell, *command[at:]],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self._started.append(started)
        return started

    def kill(self, pid: int) -> None:
        """End a program by the pid that this host knows."""
        words = ["nsenter", "-t", str(self._init), "-p", "-m", "kill", "-9", str(pid)]
        subprocess.run(words, capture_output=True, timeout=TIMEOUT)  # it may be gone

    def log(self) -> str:
        return self._log.read_text(errors="replace")

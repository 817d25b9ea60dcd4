"""Hosts in network namespaces, joined by veth pairs, with the daemon of either implementation on each. Needs root.

A host of the prototype has mounts of its own where its segments and sockets are, so it disturbs nobody. Names of
namespaces begin with `unicast-`; all is taken down again, whatever happens.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

__all__ = ["Machine", "Wire", "eventually", "prototype"]

_PRIVATE: Final = (
    "mount --make-rprivate / && for d in /dev/shm /run/ouroboros /tmp/ouroboros; do mkdir -p $d; "
    "mount -t tmpfs tmpfs $d || exit 1; done; exec sleep infinity"
)
_BIN: Final = str(Path(sys.executable).parent)


def _elf(name: str) -> Path | None:
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        program = Path(directory, name)
        with contextlib.suppress(OSError), program.open("rb") as file:
            if os.access(program, os.X_OK) and file.read(4) == b"\x7fELF":
                return program
    return None


def prototype() -> str | None:
    """Why the prototype cannot be run here; None: it can."""
    missing = [name for name in ("irmd", "irm", "oping") if _elf(name) is None]
    if missing:
        return f"no C {', '.join(missing)} on PATH"
    return unprivileged()


def unprivileged() -> str | None:
    """Why namespaces cannot be made; None: they can."""
    if os.geteuid():
        return "network namespaces need root"
    missing = [name for name in ("ip", "nsenter", "unshare") if shutil.which(name) is None]
    return f"no {', '.join(missing)} on PATH" if missing else None


def eventually(check: Callable[[], bool], timeout: float, what: str, pause: float = 0.2) -> None:
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, f"did not happen within {timeout:g} s: {what}"
        time.sleep(pause)


class Machine:
    """One host. `kind`: "c" or "ouro". Commands of `irm` are the same on both."""

    def __init__(self, number: int, kind: str) -> None:
        self.number, self.kind = number, kind
        self.netns = f"unicast-{os.getpid()}-{number}"
        self._directory = tempfile.TemporaryDirectory(prefix="unicast-host-")
        self._programs: list[subprocess.Popen[bytes]] = []
        _run("ip", "netns", "add", self.netns)
        _run("ip", "-n", self.netns, "link", "set", "lo", "up")
        self._keeper = subprocess.Popen(["ip", "netns", "exec", self.netns, "unshare", "-m", "sh", "-c", _PRIVATE])
        self._environment = dict(os.environ)
        if kind == "ouro":
            self._environment["OURO_RUNTIME_DIR"] = f"{self._directory.name}/run"
            self._environment["PATH"] = f"{_BIN}:{os.environ['PATH']}"
        eventually(self._ready, 20, "private mounts")
        self.log = Path(self._directory.name, "irmd.log")
        daemon = "irmd" if kind == "ouro" else str(_elf("irmd"))
        with self.log.open("wb") as log:
            self._start([daemon, *(["--stdout"] if kind == "c" else [])], log)
        eventually(lambda: self.run("irm", "ipcp", "list").returncode == 0, 60, f"the daemon answers: {self.text()}")

    def _ready(self) -> bool:
        mounts = Path(f"/proc/{self._keeper.pid}/mounts")
        with contextlib.suppress(OSError):
            return mounts.read_text().count("/ouroboros tmpfs") == 2 and "sleep" in self._command()
        return False

    def _command(self) -> str:
        return Path(f"/proc/{self._keeper.pid}/cmdline").read_text()

    def _inside(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", "-t", str(self._keeper.pid), "-m", "-n", *command]

    def _program(self, name: str) -> str:
        return str(Path(_BIN, name)) if self.kind == "ouro" else str(_elf(name))

    def _start(self, command: Sequence[str], out: object) -> "subprocess.Popen[bytes]":
        program = subprocess.Popen(
            self._inside(command), env=self._environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )  # type: ignore[call-overload]
        self._programs.append(program)
        return program

    def text(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def run(self, name: str, *words: str, timeout: float = 40.0) -> "subprocess.CompletedProcess[str]":
        """Run a program of this host's implementation."""
        command = self._inside([self._program(name), *words])
        try:
            return subprocess.run(
                command, env=self._environment, capture_output=True, text=True, timeout=timeout,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"took longer than {timeout} s")

    def irm(self, *words: str, tries: int = 4) -> None:
        """A command that must succeed; again if it does not, for the prototype loses a first name query at times."""
        for _ in range(tries):
            done = self.run("irm", *words)
            if done.returncode == 0:
                return
            time.sleep(0.5)
        said = f"{done.stdout}{done.stderr}\n{self.text()}"
        raise AssertionError(f"{self.kind} host {self.number}: irm {' '.join(words)}\n{said}")

    def serve(self, name: str, layer: str) -> None:
        """`oping -l` for a name."""
        self.irm("name", "create", name)
        self.irm("name", "reg", name, "layer", layer)
        server = self._start([self._program("oping"), "-l"], subprocess.DEVNULL)
        time.sleep(1.0)
        self.irm("bind", "process", str(server.pid), "name", name)

    def ping(self, name: str, *words: str, count: int = 3) -> "subprocess.CompletedProcess[str]":
        return self.run("oping", "-n", name, "-c", str(count), "-i", "100", *words)

    def close(self) -> None:
        for program in reversed(self._programs):
            if program.poll() is None:
                program.terminate()
                try:
                    program.wait(10)
                except subprocess.TimeoutExpired:
                    program.kill()
                    program.wait()
        self._keeper.kill()
        self._keeper.wait()
        subprocess.run(["ip", "netns", "del", self.netns], check=False)
        self._directory.cleanup()


class Wire:
    """A veth pair between two hosts. Interfaces are v0 to the host before and v1 to the one after."""

    def __init__(self, left: Machine, right: Machine) -> None:
        self.left, self.right = left, right
        a, b = f"u{os.getpid() % 100000}a{left.number}", f"u{os.getpid() % 100000}b{left.number}"
        _run("ip", "link", "add", a, "netns", left.netns, "type", "veth", "peer", "name", b, "netns", right.netns)
        for machine, device, name, mac in (
            (left, a, "v1", f"02:00:00:00:01:{left.number:02x}"),
            (right, b, "v0", f"02:00:00:00:00:{right.number:02x}"),
        ):
            _run("ip", "-n", machine.netns, "link", "set", device, "name", name, "address", mac)
            _run("ip", "-n", machine.netns, "link", "set", name, "up")

    def cut(self) -> None:
        _run("ip", "-n", self.right.netns, "link", "set", "v0", "down")

    def mend(self) -> None:
        _run("ip", "-n", self.right.netns, "link", "set", "v0", "up")


def _run(*command: str) -> None:
    subprocess.run(command, check=True)

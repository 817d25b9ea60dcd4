"""The C prototype as a side: found on PATH by its ELF programs, run in mounts of its own, ended without a trace.

Our scripts have the same names, so a program counts only when it begins with the ELF magic. The daemon keeps its
segments and sockets at fixed places; `private_places` puts memory of this process alone there, so a daemon that
somebody else runs is not disturbed, and nothing is left behind whatever dies.
"""

import atexit
import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from .sides import PROGRAMS, TIMEOUT, Program, Side, Unable, soon, terminate

__all__ = ["Missing", "Prototype", "elf_program", "find", "private_places"]

_PLACES: Final = ("/dev/shm", "/run/ouroboros", "/tmp/ouroboros")
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x20000, 0x4000, 0x40000, 2


class Missing(Exception):
    """There is no prototype to measure; the text says why."""


def elf_program(name: str, path: str) -> Path | None:
    """The first program called so on a search path that is an ELF file."""
    for directory in path.split(os.pathsep):
        candidate = Path(directory or ".", name)
        with contextlib.suppress(OSError):
            if os.access(candidate, os.X_OK) and candidate.is_file():
                with candidate.open("rb") as file:
                    if file.read(4) == b"\x7fELF":
                        return candidate.resolve()
    return None


def find(path: str) -> dict[str, Path]:
    """The prototype's programs on a search path. Missing: it is not all there."""
    found = {name: elf_program(name, path) for name in ("irmd", "irm", "oping")}
    absent = [name for name, program in found.items() if program is None]
    if absent:
        raise Missing(f"no C {', '.join(absent)} on PATH")
    if os.geteuid():
        raise Missing("the C irmd needs root")
    return {name: program for name, program in found.items() if program}


def private_places() -> None:
    """Give this process, and those it starts from now on, mounts of its own where the prototype keeps its things."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p)

    def must(status: int, what: str) -> None:
        if status:
            raise Missing(f"cannot {what}: {os.strerror(ctypes.get_errno())}; the C irmd would not be alone")

    must(libc.unshare(_CLONE_NEWNS), "have mounts of our own")
    must(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "make mounts private")
    for place in _PLACES:
        if not Path(place).is_dir():
            Path(place).mkdir()
            atexit.register(_remove, libc, place)
        must(libc.mount(b"none", place.encode(), b"tmpfs", 0, None), f"mount {place}")


def _remove(libc: ctypes.CDLL, place: str) -> None:
    libc.umount2(place.encode(), _MNT_DETACH)
    with contextlib.suppress(OSError):
        os.rmdir(place)


class Prototype(Side):
    """The C prototype. Its direct flows cannot be switched off."""

    label = "prototype"
    help = ("irm", "help")

    def __init__(self, programs: dict[str, Path]) -> None:
        """`programs` as `find` found them. The peer is built; without a compiler there is none."""
        super().__init__()
        self._temporary = tempfile.TemporaryDirectory(prefix="ouro-bench-")
        self._directory = Path(self._temporary.name)
        prefix = programs["irmd"].parent.parent
        self._environment = {
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, (f"{prefix}/lib", os.environ.get("LD_LIBRARY_PATH")))),
        }
        self._programs = dict(programs)
        peer = _build(self._directory, prefix / "lib")
        if peer is not None:
            self._programs["peer"] = peer
        self._daemon: Program | None = None
        self._spawned: list[Program] = []

    @property
    def programs(self) -> dict[str, Path]:
        """Those on PATH, and the peer if it could be built."""
        return self._programs

    # ---- the daemon

    def start_daemon(self) -> None:
        with (self._directory / "irmd.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                [self._programs["irmd"], "--stdout"], env=self._environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, text=True, start_new_session=True,
            )  # fmt: skip
        soon(lambda: self.execute(("irm", "name", "list")).returncode == 0, "the C irmd answers")

    def stop(self) -> None:
        for program in self._spawned:
            terminate(program)
        self._spawned.clear()
        if self._daemon is not None:
            self._daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._daemon.wait(10.0)
            for pid in self._left():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._daemon.wait()
            self._daemon = None
        for place in _PLACES:
            for left in Path(place).glob("ouroboros.*"):
                left.unlink(missing_ok=True)

    def _left(self) -> Iterator[int]:
        """The prototype's processes among our own mounts."""
        here = Path("/proc/self/ns/mnt").readlink()
        directories = {program.parent for program in self._programs.values()}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if (
                    entry.name.isdigit()
                    and (entry / "ns/mnt").readlink() == here
                    and (entry / "exe").readlink().parent in directories
                ):
                    yield int(entry.name)

    def pids(self) -> dict[str, int]:
        assert self._daemon is not None
        ipcps = (p for p in self._left() if Path(f"/proc/{p}/exe").readlink().name == "ipcpd-local")
        return {"daemon": self._daemon.pid, "IPCP": next(ipcps)}

    # ---- requests

    @property
    def security(self) -> Path:
        found = re.search(rb"(/[^\0]+/security)/server\0", self._programs["irmd"].read_bytes())
        if found is None:
            raise Unable("the C irmd does not name a directory of security files")
        path = Path(os.fsdecode(found[1]))
        if not path.is_dir():
            made = [p for p in (path, *path.parents) if not p.exists()]
            path.mkdir(parents=True)
            atexit.register(shutil.rmtree, made[-1])
        return path

    def make_ipcp(self, layer: str) -> None:
        self.run(("irm", "ipcp", "bootstrap", "type", "local", "name", layer, "layer", layer))

    def destroy_ipcp(self, layer: str) -> None:
        self.run(("irm", "ipcp", "destroy", "name", layer))

    def bind(self, pid: int, name: str) -> None:
        self.run(("irm", "name", "create", name))
        self.run(("irm", "name", "register", name, "layer", "lo"))
        # a process that did not announce itself yet cannot be bound
        soon(
            lambda: self.execute(("irm", "bind", "process", str(pid), "name", name)).returncode == 0,
            f"process {pid} can be bound", 0.02,
        )  # fmt: skip

    # ---- programs

    def _command(self, words: Sequence[str]) -> list[str]:
        if words[0] not in self._programs:
            raise Unable(f"no {words[0]} for the C prototype: it needs a C compiler and libouroboros-dev")
        return [str(self._programs[words[0]]), *words[1:]]

    def spawn(self, words: Sequence[str]) -> Program:
        program = subprocess.Popen(
            self._command(words), env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self._spawned.append(program)
        return program

    def execute(self, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._command(words), env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=TIMEOUT,
        )  # fmt: skip

    def close(self) -> None:
        """Remove what was built."""
        self.stop()
        self._temporary.cleanup()


def _build(directory: Path, libraries: Path) -> Path | None:
    """The peer, built. None: there is no compiler, or no library for programs."""
    compiler, library = shutil.which("cc"), libraries / "libouroboros-dev.so"
    if compiler is None or not library.exists():
        return None
    peer = directory / "peer"
    command = [compiler, "-O2", "-o", str(peer), str(PROGRAMS / "peer.c"), str(library), "-Wl,--allow-shlib-undefined"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    return peer if done.returncode == 0 else None

"""A host for tests: a real IRMd in a runtime directory of its own, and the programs that use it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ..irm.irm import IrmStatus
from ..model.errors import IrmdError
from ..model.irm_requests import RibRead
from ..model.request import Request
from ..rpc.blocking import BlockingChannel, connect

__all__ = ["Host", "end", "eventually"]

R = TypeVar("R")
T = TypeVar("T")
START_TIMEOUT = 30.0
"""Seconds for the daemon to come up: machines for tests are busy."""


def eventually(check: Callable[[], T], timeout: float = 20.0, what: str = "") -> T:
    """The first true result of `check`, asked again and again. AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {timeout:g} s: {what or check}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def end(program: "subprocess.Popen[str]") -> None:
    """SIGKILL for a program that was spawned, and its pipe closed. Twice is harmless."""
    program.kill()
    program.wait()
    if program.stdout is not None:
        program.stdout.close()


class Host:
    """One daemon. A context manager; `start` and `kill` work any number of times in between.

    with Host() as host:
        host.ouro("ipcp", "bootstrap", "type", "local", "name", "lo", "layer", "lo")
        server = host.spawn([sys.executable, "server.py"])
    """

    def __init__(self, directory: Path | None = None, config: str = "", arguments: Sequence[str] = ()) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="ouro-host-") if directory is None else None
        self.directory = directory or Path(self._temporary.name if self._temporary else "")
        self.runtime = self.directory / "run"
        self.log = self.directory / "irmd.log"
        self.environment = {**os.environ, "OURO_RUNTIME_DIR": str(self.runtime), "PYTHONUNBUFFERED": "1"}
        self._arguments = list(arguments)
        if config:
            path = self.directory / "irmd.conf"
            path.write_text(config)
            self._arguments += ["--config", str(path)]
        self._programs: list[subprocess.Popen[str]] = []
        self.daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Host":
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    # ------------------------------------------------------------ daemon

    def start(self, wait: bool = True) -> None:
        """Start the daemon and wait until it answers and has done what its configuration asks for."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-P", "-m", "ouro_core.irm.daemon", *self._arguments]
            self.daemon = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        if wait:
            eventually(self._answers, START_TIMEOUT, f"the daemon answers; its log:\n{self.log.read_text()}")

    def _answers(self) -> bool:
        assert self.daemon is not None
        if self.daemon.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.daemon.returncode}; its log:\n{self.log.read_text()}")
        try:
            return self.status().configured
        except IrmdError:
            return False

    def stop(self, timeout: float = 20.0) -> int:
        """End programs and daemon in order; the daemon's exit status."""
        for program in self._programs:
            end(program)
        self._programs.clear()
        if self.daemon is None:
            return 0
        if self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)
        try:
            return self.daemon.wait(timeout)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
            raise AssertionError(f"the daemon did not end on SIGTERM; its log:\n{self.log.read_text()}") from None
        finally:
            self.daemon = None

    def kill(self) -> None:
        """SIGKILL for the daemon."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    # ------------------------------------------------------------ what it says

    @contextlib.contextmanager
    def _channel(self) -> Iterator[BlockingChannel]:
        channel = BlockingChannel(connect(self.runtime / "irm.sock"))
        try:
            yield channel
        finally:
            channel.close()

    def call(self, request: Request[R], timeout: float = 30.0) -> R:
        """Ask the daemon."""
        with self._channel() as channel:
            return channel.call(request, timeout)

    def rib(self, path: str = "") -> Any:
        """A subtree of the RIB."""
        return json.loads(self.call(RibRead(path)).json)

    def status(self) -> IrmStatus:
        """Counts of what there is."""
        return IrmStatus(**self.rib("irm/status"))

    def quiet(self) -> bool:
        """Whether no application, no flow and no packet block is left."""
        status = self.status()
        return status.processes == 0 and status.flows == 0 and status.blocks == 0

    # ------------------------------------------------------------ programs

    def ouro(self, *words: str, timeout: float = 60.0) -> str:
        """Run the command `ouro`; what it printed. AssertionError when it fails."""
        done = self.run([sys.executable, "-P", "-m", "ouro_core.cli", *words], timeout)
        assert done.returncode == 0, f"ouro {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, command: Sequence[str], timeout: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """Run a program of this host to its end."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )

    def spawn(self, command: Sequence[str]) -> "subprocess.Popen[str]":
        """Start a program of this host; it is killed with the host."""
        program = subprocess.Popen(
            command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        self._programs.append(program)
        return program

    def python(self, code: str, *arguments: str) -> "subprocess.Popen[str]":
        """Start a Python program given as text."""
        return self.spawn([sys.executable, "-c", code, *arguments])

    def descendants(self) -> list[int]:
        """Processes of this host, found by their environment."""
        marker = f"OURO_RUNTIME_DIR={self.runtime}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if marker in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

"""What the demo with real processes stands on: runtime directories, the processes in them, and their end."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ...model.errors import FlowTimeout, IrmdError, OuroError
from ...model.irm_requests import ListIpcps
from ...rpc.blocking import BlockingChannel, connect
from ...rpc.paths import irm_socket
from ..irm import menu
from ..session import run_menu
from .peers import READY
from .view import Screen

__all__ = ["Stage"]

_CONFIG: Final = "[irmd]\ndirect = false\n"
_END: Final = 3.0
"""Seconds a process has to end before it is killed."""
_PEERS: Final = "ouro_core.cli.demo.peers"


class Stage:
    """A temporary directory with the runtime directory of each host, and the processes there. Leaving it ends and
    removes all of them. Of several hosts, what is started or typed is at the one that `at` chose last.
    """

    def __init__(self, screen: Screen, deadline: float) -> None:
        self.screen = screen
        self.deadline = deadline
        self.directory = Path(tempfile.mkdtemp(prefix="ouro-demo-"))
        self.processes: list[subprocess.Popen[str]] = []
        self.before = os.environ.get("OURO_RUNTIME_DIR")
        self.prompt = "$"
        self._enter(self.directory)

    def _enter(self, runtime: Path) -> None:
        os.environ["OURO_RUNTIME_DIR"] = os.fspath(runtime)

    def at(self, host: str) -> None:
        """Go to another host."""
        self.prompt = f"{host} $"
        self._enter(self.directory / host)

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        with _no_interruption():
            for process in reversed(self.processes):
                _end(process)
            shutil.rmtree(self.directory, ignore_errors=True)
            del os.environ["OURO_RUNTIME_DIR"]
            if self.before is not None:
                os.environ["OURO_RUNTIME_DIR"] = self.before

    def rest(self) -> float:
        """Seconds that are left. FlowTimeout: none."""
        rest = self.deadline - time.monotonic()
        if rest <= 0:
            raise FlowTimeout("the demo took too long; is the machine very busy?")
        return rest

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A process in a group of its own, so that Ctrl-C reaches only us, who end it in order. It imports nothing from
        the directory that we happen to be in.
        """
        log = (self.directory / "log").open("a")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", *words], stdout=subprocess.PIPE, stderr=log, text=True, process_group=0
            )
        self.processes.append(process)
        return process

    def type(self, line: str) -> None:
        """One of our commands, as a user types it."""
        self.screen.typed(f"ouro {line}", prompt=self.prompt)
        command, *words = line.split()
        with contextlib.redirect_stdout(io.StringIO()) as answer:
            status = run_menu(menu(command), words, "ouro")
        if status:
            raise self.failure(f'"ouro {line}" failed: {answer.getvalue()}')
        for shown in answer.getvalue().splitlines():
            self.screen.say(f"   {shown}")

    def start_daemon(self) -> None:
        """Returns when it answers."""
        config = self.directory / "irmd.toml"
        config.write_text(_CONFIG)
        self.screen.typed(f"ouro irmd --config {config.name}", "direct = false: no short cut", self.prompt)
        daemon = self.start("ouro_core.cli", "irmd", "--config", os.fspath(config))
        while True:
            try:
                connect(irm_socket()).close()
                return
            except IrmdError:
                if daemon.poll() is not None:
                    raise self.failure(f"the daemon ended with exit status {daemon.returncode}") from None
                self.rest()
                time.sleep(0.01)

    def start_server(self) -> subprocess.Popen[str]:
        """Returns when it can be bound to a name."""
        self.screen.typed(f"python -m {_PEERS} server &", prompt=self.prompt)
        server = self.start(_PEERS, "server")
        assert server.stdout is not None
        if server.stdout.readline().strip() != READY:
            raise self.failure("the server did not start")
        return server

    def start_client(self, *words: str) -> subprocess.Popen[str]:
        """What it measures, `figures` waits for."""
        self.screen.typed(" ".join(["python", "-m", _PEERS, "client", *words]), prompt=self.prompt)
        return self.start(_PEERS, "client", *words)

    def figures(self, client: subprocess.Popen[str]) -> dict[str, Any]:
        """What the client measured."""
        try:
            answer, _ = client.communicate(timeout=self.rest())
        except subprocess.TimeoutExpired:
            raise self.failure("the client did not come to an end in time") from None
        if client.returncode:
            raise self.failure(f"the client failed with exit status {client.returncode}")
        figures: dict[str, Any] = json.loads(answer)
        return figures

    def ipcp_pid(self) -> int:
        """Process of the one IPCP of this host."""
        channel = BlockingChannel(connect(irm_socket()))
        try:
            return channel.call(ListIpcps()).ipcps[0].pid
        finally:
            channel.close()

    def failure(self, what: str) -> OuroError:
        """An error with the last words of the processes, whose log goes with the directory."""
        last = (self.directory / "log").read_text(errors="replace").splitlines()[-5:]
        return IrmdError("\n".join([what, *last]))


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextlib.contextmanager
def _no_interruption() -> Iterator[None]:
    """Signals wait: whoever cleans up is not to be stopped half way."""
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

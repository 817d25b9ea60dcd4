"""The demo with real processes: what a user would type, typed for him."""

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
from .figures import SERVER
from .peers import READY
from .view import IPCP, LAYER, Screen

__all__ = ["run_as_processes"]

_CONFIG: Final = "[irmd]\ndirect = false\n"
_END: Final = 3.0
"""Seconds a process has to end before it is killed."""
_PEERS: Final = "ouro_core.cli.demo.peers"


class _Stage:
    """A temporary runtime directory and the processes in it. Leaving it ends and removes all of them."""

    def __init__(self, screen: Screen, deadline: float) -> None:
        self.screen = screen
        self.deadline = deadline
        self.directory = Path(tempfile.mkdtemp(prefix="ouro-demo-"))
        self.processes: list[subprocess.Popen[str]] = []
        self.before = os.environ.get("OURO_RUNTIME_DIR")
        os.environ["OURO_RUNTIME_DIR"] = os.fspath(self.directory)

    def __enter__(self) -> "_Stage":
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
        self.screen.typed(f"ouro {line}")
        command, *words = line.split()
        with contextlib.redirect_stdout(io.StringIO()) as answer:
            status = run_menu(menu(command), words, "ouro")
        if status:
            raise self.failure(f'"ouro {line}" failed: {answer.getvalue()}')
        for shown in answer.getvalue().splitlines():
            self.screen.say(f"   {shown}")

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


def run_as_processes(screen: Screen, deadline: float) -> dict[str, Any]:
    """Build it, show it, measure it, take it down; the figures."""
    with _Stage(screen, deadline) as stage:
        screen.step(f"A daemon of our own, in {stage.directory}")
        _start_daemon(stage)
        screen.step("A layer, of the type for flows within one host; its IPCP is a process, too")
        stage.type(f"ipcp bootstrap name {IPCP} type local layer {LAYER}")
        stage.type("ipcp list")
        screen.step("A server, which the layer knows by name")
        server = _start_server(stage)
        stage.type(f"bind process {server.pid} name {SERVER}")
        stage.type(f"name register {SERVER} layer {LAYER}")
        screen.step("A client, who knows but that name, allocates flows and measures them")
        screen.typed(f"python -m {_PEERS} client")
        client = stage.start(_PEERS, "client")
        screen.picture(client.pid, server.pid, _ipcp_pid())
        try:
            answer, _ = client.communicate(timeout=stage.rest())
        except subprocess.TimeoutExpired:
            raise stage.failure("the client did not come to an end in time") from None
        if client.returncode:
            raise stage.failure(f"the client failed with exit status {client.returncode}")
        figures: dict[str, Any] = json.loads(answer)
        return figures


def _start_daemon(stage: _Stage) -> None:
    config = stage.directory / "irmd.toml"
    config.write_text(_CONFIG)
    stage.screen.typed(f"ouro irmd --config {config.name}", "direct = false: no short cut")
    daemon = stage.start("ouro_core.cli", "irmd", "--config", os.fspath(config))
    while True:
        try:
            connect(irm_socket()).close()
            return
        except IrmdError:
            if daemon.poll() is not None:
                raise stage.failure(f"the daemon ended with exit status {daemon.returncode}") from None
            stage.rest()
            time.sleep(0.01)


def _start_server(stage: _Stage) -> subprocess.Popen[str]:
    stage.screen.typed(f"python -m {_PEERS} server &")
    server = stage.start(_PEERS, "server")
    assert server.stdout is not None
    if server.stdout.readline().strip() != READY:
        raise stage.failure("the server did not start")
    return server


def _ipcp_pid() -> int:
    channel = BlockingChannel(connect(irm_socket()))
    try:
        return channel.call(ListIpcps()).ipcps[0].pid
    finally:
        channel.close()

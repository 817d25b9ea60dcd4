"""A network for the tools: a daemon of its own, one layer of type local."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ouro_core import Irm, IrmdError

START = "import sys; from ouro_tools.{0} import main; sys.argv[0] = '{0}'; main()"


def tool(name: str, *words: str) -> list[str]:
    """The command line of a tool, installed as a script or not."""
    return [sys.executable, "-c", START.format(name), *words]


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A daemon, and a layer that names can be registered in. The processes of the test talk to that daemon."""
    directory = tmp_path_factory.mktemp("net")
    directory.chmod(0o755)
    config = directory / "irmd.toml"
    config.write_text("[irmd]\ndirect = false\n")
    before = os.environ.get("OURO_RUNTIME_DIR")
    os.environ["OURO_RUNTIME_DIR"] = str(directory)
    log = (directory / "log").open("w")
    command = [sys.executable, "-m", "ouro_core.cli", "irmd", "--config", str(config)]
    with log, subprocess.Popen(command, stderr=log) as daemon:
        try:
            _wait_for(daemon, directory)
            with Irm() as irm:
                irm.create_ipcp("local", "local")
                irm.bootstrap_ipcp("local", "layer")
            yield
        finally:
            daemon.terminate()
            assert daemon.wait(30) == 0
            del os.environ["OURO_RUNTIME_DIR"]
            if before is not None:
                os.environ["OURO_RUNTIME_DIR"] = before


def _wait_for(daemon: "subprocess.Popen[bytes]", directory: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and daemon.poll() is None:
        with contextlib.suppress(IrmdError), Irm() as irm:
            irm.list_ipcps()
            return
        time.sleep(0.05)
    raise AssertionError((directory / "log").read_text())


class Server:
    """A tool that serves a name. `stop` gives what it printed."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()
        with Irm() as irm:
            irm.bind_process(self.process.pid, name)
            irm.reg_name(name, "local")

    def line(self) -> str:
        """The next line it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def stop(self, number: int = signal.SIGTERM) -> str:
        """End it by a signal; the rest of its output."""
        self.process.send_signal(number)
        return self.rest()

    def rest(self) -> str:
        """Its output to the end."""
        output, errors = self.process.communicate(timeout=60)
        assert not errors
        return output


@pytest.fixture
def server(network: None, request: pytest.FixtureRequest) -> Iterator[Callable[..., Server]]:
    """Start a server: `server(tool, *words)`. Its name in the network is the test's."""
    servers: list[Server] = []

    def start(name: str, *words: str) -> Server:
        servers.append(Server(request.node.name, tool(name, *words)))
        return servers[-1]

    yield start
    for found in servers:
        if found.process.poll() is None:
            found.process.kill()
        found.process.communicate(timeout=60)


@pytest.fixture
def run(network: None) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a tool to its end: `run(tool, *words)`."""

    def run(name: str, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(tool(name, *words), capture_output=True, text=True, timeout=60)

    return run

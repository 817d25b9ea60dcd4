"""The commands against the real daemon, each a process, as in a shell."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

Run = Callable[..., tuple[int, str, str]]
OURO = (sys.executable, "-m", "ouro_core.cli")


@pytest.fixture(scope="module")
def ouro(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run a command line of `ouro`: (exit status, standard output, standard error). There is a daemon."""
    directory = tmp_path_factory.mktemp("irmd")
    directory.chmod(0o755)
    env = {**os.environ, "OURO_RUNTIME_DIR": str(directory)}

    def run(*words: str) -> tuple[int, str, str]:
        done = subprocess.run([*OURO, *words], capture_output=True, text=True, env=env, timeout=60)
        return done.returncode, done.stdout, done.stderr

    with (directory / "log").open("w") as log, subprocess.Popen([*OURO, "irmd"], stderr=log, env=env) as daemon:
        while run("status", "--wait")[0] and daemon.poll() is None:
            pass  # a very busy machine
        if daemon.poll() is not None and "no packet system" in (directory / "log").read_text():
            pytest.skip("no packet system for several processes")
        yield run
        daemon.terminate()
        assert daemon.wait(60) == 0


def test_a_life(ouro: Run) -> None:
    assert ouro("ipcp", "list") == (0, "No IPCPs in system.\n\n", "")
    assert ouro("ipcp", "bootstrap", "name", "l1", "type", "local", "layer", "net")[:2] == (0, "")
    status, table, _ = ouro("ipcp", "list")
    assert status == 0
    assert re.search(r"^\| +\d+ \|                   l1 \|      local \|                  net \|$", table, re.MULTILINE)
    assert ouro("bind", "process", str(os.getpid()), "name", "n")[0] == 1, "this process has not announced"
    assert ouro("bind", "program", "sh", "name", "n", "auto", "--", "-c", "exit") == (0, "", "")
    assert ouro("name", "register", "n", "layer", "*")[:2] == (0, "")
    assert "n |          " in ouro("name", "list")[1]
    assert ouro("unbind", "program", "sh") == (0, "", "")
    assert json.loads(ouro("rib", "cat", "ipcps/l1", "--json")[1])["registered"] == ["n"]
    assert ouro("name", "unregister", "n", "ipcp", "l*")[:2] == (0, "")
    assert ouro("name", "unregister", "n", "ipcp", "l*") == (1, "", '"n" is not registered with l1\n')
    assert ouro("irm", "name", "unregister", "n", "ipcp", "l*")[:2] == (0, "")
    assert ouro("name", "destroy", "n") == (0, "", "")
    assert ouro("name", "destroy", "n")[0] == 1
    assert ouro("ipcp", "destroy", "name", "l1")[:2] == (0, "")
    assert ouro("ipcp", "list")[1] == "No IPCPs in system.\n\n"


def test_types_the_daemon_does_not_know(ouro: Run) -> None:
    status, out, err = ouro("ipcp", "create", "name", "x", "type", "frob")
    assert status == 1
    assert out.startswith('IPCP type "frob" is unknown.\nUsage: ')
    assert "local" in err


def test_looking_inside(ouro: Run) -> None:
    assert ouro("ipcp", "create", "name", "inside", "type", "local")[0] == 0
    assert "irm/" in ouro("rib", "ls")[1].split()
    assert "inside/" in ouro("rib", "ls", "ipcps")[1].split()
    assert "ipcps: 1\n" in ouro("rib", "cat", "irm/status")[1]
    assert json.loads(ouro("rib", "cat", "ipcps/inside", "--json")[1])["info"]["type"] == "local"
    status = json.loads(ouro("status", "--json")[1])
    assert (status["types"], status["layers"], status["flows"]) == ({"local": 1}, [], 0)
    assert ouro("rib", "cat", "no/such/path")[0] == 1

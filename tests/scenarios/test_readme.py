"""What the README shows runs."""

import os
import re
import sys
from pathlib import Path

import pytest

from ouro_core.testing.host import Host, eventually

README = Path(__file__).parents[2] / "README.md"
BLOCKS = [(language, code) for language, code in re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(), re.M | re.S)]
PYTHON = [code for language, code in BLOCKS if language == "python"]
(SHELL,) = [code for language, code in BLOCKS if not language and "oping -l" in code]
EXPECTED = "b'HELLO'\n"


def test_a_server_and_a_client(host: Host) -> None:
    server, client = (code for code in PYTHON if "asyncio" not in code)
    host.python(server)
    eventually(lambda: host.rib("names").get("greeter", {}).get("processes"), what="the server binds itself")
    for _ in range(2):
        done = host.run([sys.executable, "-c", client])
        assert (done.returncode, done.stdout) == (0, EXPECTED), done.stderr


@pytest.mark.parametrize("code", [code for code in PYTHON if "asyncio" in code])
def test_without_a_daemon(code: str, tmp_path: Path) -> None:
    done = Host(tmp_path).run([sys.executable, "-c", code])
    assert (done.returncode, done.stdout) == (0, EXPECTED), done.stderr


def test_the_commands(tmp_path: Path) -> None:
    tools = Path(sys.executable).parent
    if not (tools / "oping").exists():
        pytest.skip("oping is not installed")
    host = Host(tmp_path)  # its daemon is the one that the commands start
    host.environment["PATH"] = f"{tools}:{os.environ['PATH']}"
    done = host.run(["bash", "-ec", f"trap 'kill $(jobs -p); wait' EXIT\n{SHELL}"])
    assert done.returncode == 0, done.stderr
    assert "3 packets transmitted, 3 received" in done.stdout

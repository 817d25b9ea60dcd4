"""A layer on a layer on a layer on a layer, between two hosts, by the commands that docs/howto/unicast.md shows."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from ouro_core.testing.host import Host, end

pytest.importorskip("ouro_udp")
pytest.importorskip("ouro_unicast")
pytest.importorskip("ouro_dht")
pytest.importorskip("ouro_tools")

HOWTO: Final = Path(__file__).parents[2] / "docs" / "howto" / "unicast.md"
DEPTH: Final = 4
END: Final = "-- done with "
NETWORK: Final = f"127.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 200 + 20}."
"""Loopback addresses of this run: others may have the transcript's."""


class Shell:
    """A shell on a host, as somebody at a terminal has it."""

    def __init__(self, host: Host) -> None:
        tools = Path(sys.executable).parent
        path = f"{tools}:{os.environ['PATH']}"
        self.host = host
        self._shell = subprocess.Popen(
            ["bash"], env={**host.environment, "PATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=host.directory,
        )  # fmt: skip

    def type(self, line: str) -> str:
        """What it prints until it is ready for another line. AssertionError: it failed."""
        shell = self._shell
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(f'{line}\necho "{END}$?"\n')
        shell.stdin.flush()
        printed = ""
        for said in shell.stdout:
            if said.startswith(END):
                assert said == f"{END}0\n", f"{line}: {said}{printed}{self.host.log.read_text()}"
                return printed
            printed += said
        raise AssertionError(f"the shell ended after {line}: {printed}")

    def close(self) -> None:
        """End it, and the jobs that it has in the background."""
        assert self._shell.stdin is not None
        self._shell.stdin.write("kill $(jobs -p)\nexit\n")
        self._shell.stdin.close()
        self._shell.wait(20)
        end(self._shell)


def transcript() -> list[tuple[str, str, str]]:
    """(host, line, what it prints) of the howto's section."""
    (section,) = re.findall(r"^## Four layers on each other\n(.*?)(?=^## )", HOWTO.read_text(), re.M | re.S)
    typed: list[tuple[str, str, str]] = []
    for line in re.findall(r"^    (.*)\n", section, re.M):
        prompt = re.fullmatch(r"([AB])\$ (.*)", line)
        if prompt:
            typed.append((prompt[1], prompt[2], ""))
        elif typed:
            host, words, printed = typed[-1]
            typed[-1] = host, words, f"{printed}{line}\n"
    return typed


def shape(printed: str) -> list[str]:
    """Without what differs from run to run: addresses, times, process ids, and blanks."""
    printed = re.sub(r"\b[0-9a-f]{2}(\.[0-9a-f]{2}){3}\b", "ADDRESS", printed)
    printed = re.sub(r"\d+\.\d+", "TIME", printed)
    return [" ".join(line.split()) for line in re.sub(r"\| +\d+ \|", "| PID |", printed).splitlines() if line.strip()]


@pytest.fixture
def shells() -> Iterator[dict[str, Shell]]:
    with ExitStack() as stack:
        made = {}
        for letter in "AB":
            made[letter] = Shell(stack.enter_context(Host()))
            stack.callback(made[letter].close)
        yield made


def originated(host: Host) -> list[int]:
    """Packets that A's member of each layer has sent, the lowest layer's first."""
    return [host.rib(f"ipcps/a{n}/member/packets")["originated"] for n in range(1, DEPTH + 1)]


@pytest.mark.timeout(150)
def test_the_transcript(shells: dict[str, Shell]) -> None:
    """Every line does what it did, and the pings went through all four layers."""
    seen = False
    for letter, line, printed in transcript():
        host = shells[letter].host
        pings = line.startswith("oping -n")
        before = originated(host) if pings else []
        said = shells[letter].type(line.replace("127.0.77.", NETWORK))
        assert shape(said) == shape(printed), f"{letter}$ {line}\n{said}"
        if pings:
            seen = True
            now = originated(host)
            assert "3 packets transmitted, 3 received" in said
            assert all(b - a >= 3 for a, b in zip(before, now, strict=True)), f"a layer was passed by: {before}, {now}"
    assert seen

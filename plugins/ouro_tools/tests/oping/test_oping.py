"""oping as a user runs it: processes, a daemon, a layer."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ouro_core import Irm, flow_alloc
from ouro_core.testing.host import Host, eventually

Start = Callable[..., Any]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

REPLY = re.compile(r"64 bytes from (\S+): seq=(\d+) time=[0-9.]+ (?:ms|µs)")
SUMMARY = re.compile(
    r"\n--- (\S+) ping statistics ---\n"
    r"(\d+) packets transmitted, (\d+) received, 0 out-of-order, (\d+)% packet loss, time: [0-9.]+ ms\n"
    r"(?:rtt min/avg/max/mdev = [0-9.]+/[0-9.]+/[0-9.]+/(?:NaN|[0-9.]+) (?:ms|µs)\n)?\Z"
)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def counts(output: str) -> tuple[int, ...]:
    """(sent, received, loss) of the summary."""
    found = SUMMARY.search(output)
    assert found, output
    return tuple(map(int, found.groups()[1:]))


@pytest.mark.parametrize("words", [["-l"], ["-n", "x"], []])
def test_without_a_daemon(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from ouro_tools.oping import main; main()", *words]
    env = {**os.environ, "OURO_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("FATAL: Could not announce to IRMd.\n")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["-n", "x", "--help"]])
def test_help_needs_no_daemon(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from ouro_tools.oping import main; main()", *words]
    env = {**os.environ, "OURO_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("Usage: oping")


def test_a_server_ends_with_its_daemon_without_a_word() -> None:
    with Host() as host:
        server = host.spawn([sys.executable, "-c", "from ouro_tools.oping import main; main()", "-l"])
        assert server.stdout is not None
        assert server.stdout.readline() == "Ouroboros ping server started.\n"
        eventually(lambda: host.status().processes == 1)
        assert host.daemon is not None
        host.daemon.send_signal(signal.SIGINT)  # as from a terminal, to both
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
        assert server.stdout.read() == ""


def test_lines_are_written_in_one_piece(network: None, tmp_path: Path) -> None:
    trace = tmp_path / "pieces"
    code = f"""
import io, sys
class Pieces(io.StringIO):
    def write(self, text):
        with open({str(trace)!r}, "a") as file:
            file.write(repr(text) + "\\n")
        return len(text)
sys.stdout = sys.stderr = Pieces()
from ouro_tools.oping import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code, "-n", "nobody.there", "-i", "20000"], timeout=60)
    assert done.returncode == 1
    pieces = trace.read_text().splitlines()
    assert len(pieces) == 3
    assert all(piece.endswith(("\\n'", '\\n"')) for piece in pieces), pieces


@pytest.mark.parametrize(
    ("words", "first"),
    [(["--help"], ""), (["-x"], ""), (["-n"], ""), ([], "No server specified.\n")],
)  # fmt: skip
def test_usage(words: list[str], first: str, run: Run) -> None:
    done = run("oping", *words)
    assert done.returncode == 1
    assert "Usage: oping" in done.stdout
    assert done.stdout.startswith(first)


def test_unknown_unit(run: Run) -> None:
    done = run("oping", "-n", "x", "-i", "3y")
    assert (done.returncode, done.stdout) == (1, "Unknown time unit: y.\n")


def test_nobody_there(run: Run) -> None:
    done = run("oping", "-n", "nobody.there")
    assert done.returncode == 1
    assert re.fullmatch(r"Failed to allocate flow: -\d+\.\n", done.stdout)
    assert done.stderr


def test_paced(server: Start, run: Run, name: str) -> None:
    listening = server("oping", "--listen")
    assert listening.first == "Ouroboros ping server started.\n"
    done = run("oping", "-n", name, "-c", "3", "-i", "10", "-s", "63")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[:3] == ["Packet size set to 64 bytes.", f"Pinging {name} with 64 bytes of data (3 packets):", ""]
    assert [REPLY.fullmatch(line).groups() for line in lines[3:6]] == [  # type: ignore[union-attr]
        (name, "0"), (name, "1"), (name, "2")
    ]  # fmt: skip
    assert counts(done.stdout) == (3, 3, 0)
    assert listening.stop() == "New flow 64.\n" + "Received 64 bytes on fd 64.\n" * 3
    assert listening.process.returncode == 0


@pytest.mark.parametrize("serve", [[], ["--poll"], ["--busy"]])
@pytest.mark.parametrize("ask", [["-i", "0"], ["-f"], ["-F"]])
def test_every_way_to_ask_and_serve(serve: list[str], ask: list[str], server: Start, run: Run, name: str) -> None:
    listening = server("oping", "-l", "-Q", *serve)
    done = run("oping", "-n", name, "-c", "200", "-s", "1500", *ask)
    assert done.returncode == 0
    assert counts(done.stdout) == (200, 200, 0)
    assert done.stdout.count(f"1500 bytes from {name}: seq=") == 200
    assert done.stdout.startswith(f"Pinging {name} with 1500 bytes of data (200 packets")
    assert (", busy-poll):" in done.stdout) is (ask == ["-F"])
    if serve == ["--busy"]:
        assert listening.first == "Ouroboros ping server started. [busy-poll]\n"
        assert listening.rest() == "New flow 64 (busy-poll).\n", "it ends with its flow"
    else:
        assert listening.stop() == "New flow 64.\n"


def test_time_of_day_and_quiet(server: Start, run: Run, name: str) -> None:
    server("oping", "-l")
    done = run("oping", "-n", name, "-c", "2", "-i", "1", "-D")
    assert len(re.findall(r"^\[\d+\.\d{6}\] 64 bytes from", done.stdout, re.MULTILINE)) == 2
    done = run("oping", "-n", name, "-c", "2", "-i", "1", "-D", "-Q")
    assert SUMMARY.fullmatch(done.stdout)


def test_several_clients_at_once(server: Start, name: str) -> None:
    listening = server("oping", "-l", "-Q")
    command = [sys.executable, "-c", "from ouro_tools.oping import main; main()", "-n", name, "-Q", "-c", "50",
               "-i", "5"]  # fmt: skip
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for client in clients:
        assert counts(client.communicate(timeout=60)[0]) == (50, 50, 0)
    assert sorted(listening.stop().splitlines()) == [f"New flow {fd}." for fd in (64, 65, 66)]


@pytest.mark.parametrize("words", [["-i", "10"], ["-i", "10s"], ["-f"], ["-F"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_client(number: int, words: list[str], server: Start, name: str) -> None:
    listening = server("oping", "-l")
    command = [sys.executable, "-c", "from ouro_tools.oping import main; main()", "-n", name, "-Q", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert listening.line() == "New flow 64.\n"
        if words != ["-i", "10s"]:
            assert listening.line() == "Received 64 bytes on fd 64.\n"
        else:
            while not _handles(client.pid, signal.SIGHUP):  # the last of them; SIGINT has one from the start
                assert client.poll() is None
        client.send_signal(number)
        output, errors = client.communicate(timeout=8)
    assert (client.returncode, errors) == (0, "")
    sent, received, _ = counts(output)
    assert sent - received in (0, 1)


def _handles(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", status, re.MULTILINE)
    assert caught
    return bool(int(caught[1], 16) >> (number - 1) & 1)


def test_the_server_goes_away(server: Start, name: str) -> None:
    listening = server("oping", "-l")
    command = [sys.executable, "-c", "from ouro_tools.oping import main; main()", "-n", name, "-Q", "-i", "10"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert listening.line() == "New flow 64.\n"
        listening.line()
        listening.process.kill()
        output, _ = client.communicate(timeout=60)
    assert client.returncode == 0
    assert counts(output)[1] >= 1


def test_what_is_no_request_is_not_echoed(server: Start, name: str) -> None:
    listening = server("oping", "-l")
    with flow_alloc(name) as flow:
        flow.read_timeout = 30
        for packet in (b"\0\0\0\1" + bytes(60), b"short", bytes(24)):
            flow.write(packet)
        assert flow.read() == b"\0\0\0\1" + bytes(20)
    assert listening.stop().splitlines() == [
        "New flow 64.",
        "Received 64 bytes on fd 64.", "Invalid message on fd 64.",
        "Received 5 bytes on fd 64.", "Invalid message on fd 64.",
        "Received 24 bytes on fd 64.",
    ]  # fmt: skip


def test_what_is_no_reply_is_not_counted(network: None, name: str) -> None:
    serve = (
        "from ouro_core import flow_accept\n"
        "from ouro_core.api.process import current\n"
        "current(); print('ready', flush=True)\n"
        "with flow_accept() as flow:\n"
        "    first = flow.read()\n"
        "    flow.write(first)\n"
        "    flow.write(b'short')\n"
        "    flow.write(b'\\0\\0\\0\\1\\0\\0\\0\\x09' + first[8:])\n"
        "    for packet in (flow.read(), first):\n"
        "        flow.write(b'\\0\\0\\0\\1' + packet[4:])\n"
        "    for _ in flow: pass\n"
    )
    with subprocess.Popen([sys.executable, "-c", serve], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with Irm() as irm:
            irm.bind_process(process.pid, name)
            irm.reg_name(name, "local")
        command = [sys.executable, "-c", "from ouro_tools.oping import main; main()", "-n", name, "-c", "2",
                   "-i", "10"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert lines[2:5] == ["Invalid message on fd 64.", "Invalid message on fd 64.", "Invalid id."]
    assert "seq=1 " in lines[5]
    assert lines[6].endswith(" [out-of-order]")
    assert "2 packets transmitted, 2 received, 1 out-of-order, 0% packet loss" in done.stdout


def test_silent_flows_time_out(network: None, name: str) -> None:
    serve = (
        "import ouro_tools.oping.server as server; server._SILENCE = 0.2; server._SWEEP = 0.1\n"
        "from ouro_tools.oping import run; run(['-l'])"
    )
    with subprocess.Popen([sys.executable, "-c", serve], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with Irm() as irm:
            irm.bind_process(process.pid, name)
            irm.reg_name(name, "local")
        with flow_alloc(name):
            assert [process.stdout.readline() for _ in range(2)] == ["New flow 64.\n", "Flow 64 timed out.\n"]
        with flow_alloc(name):
            assert process.stdout.readline() == "New flow 64.\n", "the lowest number that is free"
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0

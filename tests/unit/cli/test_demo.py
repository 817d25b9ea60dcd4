"""`ouro demo`: it works, and leaves nothing behind, however it ends."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ouro_core.cli.demo.figures import Stream, round_trips
from ouro_core.cli.demo.view import Screen
from ouro_core.model.errors import OuroError
from ouro_core.plugins import PluginHost

DEMO = (sys.executable, "-m", "ouro_core.cli", "demo")


def ssm_works() -> bool:
    try:
        return PluginHost.from_environment().get("pool_allocators", "ssm").usable() is None
    except OuroError:
        return False


needs_ssm = pytest.mark.skipif(not ssm_works(), reason="no packet system for several processes")


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(tmp_path), **more}


def nothing_left(tmp_path: Path) -> bool:
    """No file, and no process that knows of the directory. One whose daemon ended while it was starting may take a
    moment to see that.
    """
    end = time.monotonic() + 20
    while (left := _processes(tmp_path)) and time.monotonic() < end:
        time.sleep(0.05)
    return not left and not list(tmp_path.iterdir())


def _processes(tmp_path: Path) -> list[Path]:
    mark = f"TMPDIR={tmp_path}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in process.read_bytes().split(b"\0"):
                found.append(process)
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            pass
    return found


@needs_ssm
def test_as_processes(tmp_path: Path) -> None:
    done = subprocess.run([*DEMO, "--json"], capture_output=True, text=True, env=environment(tmp_path), timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["ok"], found["packets"]) == (True, "ssm")
    assert found["round_trip"]["returned"] == found["round_trip"]["sent"] > 0
    for stream in found["one_way"]:
        assert stream["sent"] == stream["arrived"] > 0
    assert nothing_left(tmp_path)


needs_udp = pytest.mark.skipif("udp4" not in PluginHost.from_environment().ipcp_types, reason="needs ouro-udp")


@needs_ssm
@needs_udp
def test_two_hosts(tmp_path: Path) -> None:
    done = subprocess.run([*DEMO, "--udp"], capture_output=True, text=True, env=environment(tmp_path), timeout=60)
    assert done.returncode == 0, done.stderr
    assert max(len(line.replace(str(tmp_path), "/tmp")) for line in done.stdout.splitlines()) <= 160
    assert "h1 $ ouro ipcp bootstrap name demo-ipcp type udp4" in done.stdout
    assert "127.0.0.2" in done.stdout
    assert "All packets arrived" in done.stdout
    assert nothing_left(tmp_path)


@needs_ssm
@needs_udp
def test_two_hosts_interrupted(tmp_path: Path) -> None:
    env = environment(tmp_path, PYTHONUNBUFFERED="1")
    with subprocess.Popen(
        [*DEMO, "--udp"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("3. "):
                break
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=60)
    assert process.returncode == 130, words
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(("block", "says"), [("udp", "ouro-udp"), ("ssm", "packet system ssm")])
def test_two_hosts_without_what_they_need(block: str, says: str, tmp_path: Path) -> None:
    env = environment(tmp_path, OURO_BLOCK_PLUGINS=block)
    done = subprocess.run([*DEMO, "--udp"], capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert nothing_left(tmp_path)


@needs_ssm
def test_whatever_lies_in_the_directory(tmp_path: Path) -> None:
    lying = tmp_path / "here"
    lying.mkdir()
    for module in ("random", "json", "ouro_core"):
        (lying / f"{module}.py").write_text("raise SystemExit('the wrong module')\n")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    env = environment(temporary)
    command = (sys.executable, "-P", *DEMO[1:])
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, cwd=lying)
    assert done.returncode == 0, done.stderr
    assert max(len(line.replace(str(temporary), "/tmp")) for line in done.stdout.splitlines()) <= 80
    assert nothing_left(temporary)


def test_in_one_process(tmp_path: Path) -> None:
    env = environment(tmp_path, OURO_BLOCK_PLUGINS="ssm")
    done = subprocess.run(DEMO, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "this one process" in done.stdout
    assert "All packets arrived" in done.stdout
    assert "\x1b" not in done.stdout, "colours are for terminals"
    assert nothing_left(tmp_path)


@needs_ssm
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["1. ", "2. ", "3. ", "4. "])
def test_interrupted(number: signal.Signals, when: str, tmp_path: Path) -> None:
    env = environment(tmp_path, PYTHONUNBUFFERED="1")
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(when):
                break
        process.send_signal(number)
        _, words = process.communicate(timeout=60)
    assert process.returncode == 130, words
    assert nothing_left(tmp_path)


def test_the_picture_is_straight(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().picture(4194303, 4194302, 4194301)
    rows = capsys.readouterr().out.splitlines()[1:]
    assert len({len(row) for row in rows if row.endswith("+")}) == 1
    assert "process 4194301" in rows[-2]
    Screen().picture_of_two((4194303, 4194302), (4194301, 4194300), ("127.0.0.1", "127.0.0.2"))
    rows = capsys.readouterr().out.splitlines()[1:]
    assert len({len(row) for row in rows if row.endswith(("+", "|")) and row.count("|") != 2}) == 1


def test_boxes_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    Screen().picture(1, 2, 3)
    text = out.getvalue()
    assert 'layer "demo-layer": IPCP demo-ipcp (local)' in text, "names keep their hyphens"
    assert not {"+", "┼"} & set(text)
    assert [text.count(corner) for corner in "┌┐└┘┬┴"] == [3, 3, 3, 3, 2, 2]


def test_figures() -> None:
    trips = round_trips([1000, 2000, 4000], lost=1)
    assert (trips["sent"], trips["returned"], trips["median_us"], trips["max_us"]) == (4, 3, 2.0, 4.0)
    assert Stream(100, 1).figures(10, 10, 0.5)["bits_per_second"] == 16000

"""`ouro ssm stat`, and the pools that a daemon is told to make."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ouro_core.testing.host import Host, eventually

SERVER = """
import time
from ouro_core import announce, flow_accept
announce("srv")
print("bound", flush=True)
with flow_accept() as flow:
    held = [flow.read() for _ in range(300)]
    print("read", flush=True)
    for packet in held:
        flow.write(packet)
    print("wrote", flush=True)
    time.sleep(600)
"""
CLIENT = """
import time
from ouro_core import flow_alloc
with flow_alloc("srv", timeout=20) as flow:
    for _ in range(300):
        flow.write(bytes(100))
    print("written", flush=True)
    time.sleep(600)
"""


def stat(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.ouro("ssm", "stat", "--json"))
    return found


def of_class(pools: dict[str, Any], payload: int) -> dict[str, Any]:
    (pool,) = pools.values()
    found: dict[str, Any]
    (found,) = (each for each in pool["classes"] if each["payload"] == payload)
    assert sum(shard["total"] for shard in found["shards"]) == found["total"], "counts are totals over the shards"
    assert sum(shard["free"] for shard in found["shards"]) == found["free"]
    assert sum(owner["blocks"] for owner in found["owners"]) == found["total"] - found["free"]
    return found


def line(program: "subprocess.Popen[str]", word: str) -> None:
    assert program.stdout is not None
    assert program.stdout.readline().strip() == word


@pytest.fixture
def config() -> str:
    return '[irmd]\nshared_pool = "256:768,2048:64"\nuser_pool = "256:768,2048:64"\nshards = 4\n'


def test_blocks_move_to_the_shard_of_their_allocator(tmp_path: Path, config: str) -> None:
    with Host(tmp_path, config) as host:
        assert "no pool yet" in host.ouro("ssm", "stat") or os.geteuid() == 0
        server = host.python(SERVER)
        line(server, "bound")
        before = of_class(stat(host), 256)
        assert [shard["total"] for shard in before["shards"]] == [768, 0, 0, 0], "all blocks begin in shard 0"
        assert before["free"] == 768

        client = host.python(CLIENT)
        line(client, "written")
        line(server, "read")
        line(server, "wrote")
        during = of_class(stat(host), 256)
        assert during["free"] == 468
        (owner,) = during["owners"]
        assert owner["ring"]
        assert (owner["pid"], owner["blocks"]) == (server.pid, 300)
        moved = [(shard["stolen"], shard["migrated"]) for shard in during["shards"]]
        assert sum(stolen for stolen, _ in moved) >= 300
        assert sum(migrated for _, migrated in moved) >= 300
        assert sum(1 for shard in during["shards"] if shard["total"]) >= 2, "blocks went to other shards"
        text = host.ouro("ssm", "stat")
        assert f"[{server.pid}]: 300" in text
        assert "stolen" in text

        for program in (client, server):
            program.kill()
        eventually(host.quiet)
        after = of_class(stat(host), 256)
        assert after["free"] == after["total"] == 768
        assert not after["owners"]


def test_blocks_in_the_hand_of_a_program_have_its_name(tmp_path: Path, config: str) -> None:
    code = """
import os, time
from ouro_core import announce
from ouro_core.api.process import current
announce("holder")
client = current().client
end, other = client.pair()
held = [end.alloc(1000) for _ in range(3)]
print("held", flush=True)
time.sleep(600)
"""
    with Host(tmp_path, config) as host:
        program = host.python(code)
        line(program, "held")
        (owner,) = of_class(stat(host), 2048)["owners"]
        assert (owner["blocks"], owner["pid"]) == (3, program.pid)
        assert f"[{program.pid}]: 3" in host.ouro("ssm", "stat")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('shared_pool = "big:12"', "needs classes as PAYLOAD:BLOCKS"),
        ('user_pool = "256:0"', "a class has 1 to 16777215 blocks, not 0"),
        ('shared_pool = "1048576:9000000"', "shared pool: a pool of"),
        ('user_pool = "1048576:9000000"', "a user's pool: a pool of"),
        ('shared_pool = "256:3"', "shared pool: 4 shards for 3 blocks; use 1 to 3"),
        ("shards = 99", "needs a whole number from 1 to 16"),
    ],
)
def test_pools_that_cannot_be(tmp_path: Path, table: str, words: str) -> None:
    """The daemon says so and ends; it never opened its door."""
    (path := tmp_path / "irmd.conf").write_text(f"[irmd]\n{table}\n")
    host = Host(tmp_path)
    ended = host.run([sys.executable, "-m", "ouro_core.irm.daemon", "--config", str(path)])
    assert ended.returncode == 1
    assert words.lower() in ended.stderr.lower()
    assert "Traceback" not in ended.stderr
    assert not (host.runtime / "irm.sock").exists()
    eventually(lambda: not host.descendants())


def test_without_a_daemon(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for words in ((), ("--json",)):
        ended = host.run([sys.executable, "-m", "ouro_core.cli", "ssm", "stat", *words])
        assert ended.returncode == 1
        assert "irmd" in ended.stderr.lower()
        if words:
            assert json.loads(ended.stdout)["error"]

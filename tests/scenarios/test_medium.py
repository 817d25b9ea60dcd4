"""What somebody sees who watches the medium: the shared memory of a direct flow, or all that goes over a layer."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ouro_core.testing.host import Host, eventually

from . import medium

MARK = b"the quick brown fox"
SERVER = """
import sys
from ouro_core import *
announce("srv")
flow = flow_accept(data=b"answered in the clear")
print("accepted", flush=True)
sys.stdin.readline()
for _ in range(40):
    flow.write(flow.read())
print("undecryptable:", flow.counters.get("undecryptable", 0), flush=True)
sys.stdin.readline()
"""
"""Reads when it is told to: what was written stays in between until then."""
CLIENT = """
import sys
from ouro_core import *
with flow_alloc("srv", globals()[sys.argv[1]], timeout=20, data=b"asked in the clear") as flow:
    packets = [b"%d the quick brown fox %d" % (n, n) for n in range(40)]
    while packets:
        packets = packets[flow.write_many(packets):]
    print("written", flush=True)
    sys.stdin.readline()
    for n in range(40):
        assert flow.read() == b"%d the quick brown fox %d" % (n, n)
    print("read", flush=True)
"""
CIPHERS = (
    "", "aes-128-ctr", "aes-192-ctr", "aes-256-ctr", "aes-128-gcm", "aes-192-gcm", "aes-256-gcm", "chacha20-poly1305"
)  # fmt: skip


class Two:
    """A server that does not read yet, and a client that has written."""

    def __init__(self, host: Host, qos: str = "RAW") -> None:
        self.server = self._start(host, SERVER)
        eventually(lambda: host.rib("names/srv")["accepting"])
        self.client = self._start(host, CLIENT, qos)
        self.expect(self.client, "written")
        self.expect(self.server, "accepted")

    @staticmethod
    def _start(host: Host, code: str, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env=host.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Two":
        return self

    def __exit__(self, *why: object) -> None:
        for program in (self.server, self.client):
            program.kill()
            program.communicate()

    @staticmethod
    def tell(program: "subprocess.Popen[str]") -> None:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()

    @staticmethod
    def expect(program: "subprocess.Popen[str]", line: str) -> None:
        assert program.stdout is not None
        assert program.stdout.readline() == f"{line}\n"

    def finish(self) -> None:
        """Let everything be read; nothing was lost."""
        self.tell(self.server)
        self.expect(self.server, "undecryptable: 0")
        self.tell(self.client)
        self.expect(self.client, "read")


def shared_memory(pid: int) -> bytes:
    """All that a process shares with others."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        bounds, rights, _, _, inode, *_ = line.split(None, 5)
        if rights == "rw-s" and inode != "0":
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
                found.append(os.pread(memory.fileno(), end - start, start))
    return b"".join(found)


def secure(directory: Path, cipher: str) -> None:
    for side in ("server", "client"):
        folder = directory / "security" / side / "srv"
        folder.mkdir(parents=True)
        if cipher:
            (folder / "enc.conf").write_text(f"kex = X25519\ncipher = {cipher}\n")


@pytest.mark.parametrize("cipher", CIPHERS)
def test_direct_flows_in_shared_memory(tmp_path: Path, cipher: str) -> None:
    secure(tmp_path, cipher)
    config = f'[irmd]\nsecurity = "{tmp_path}/security"\n[name.srv]\n'
    with Host(tmp_path, config) as host, Two(host) as two:
        seen = shared_memory(two.server.pid)
        assert seen
        if cipher:
            assert MARK not in seen
        else:
            assert len(set(re.findall(rb"(\d+) the quick brown fox \1", seen))) == 40
        two.finish()
        if cipher:
            assert MARK not in shared_memory(two.server.pid)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_flows_over_a_layer(tmp_path: Path, cipher: str) -> None:
    secure(tmp_path, cipher)
    config = (
        f'[irmd]\ndirect = false\nsecurity = "{tmp_path}/security"\n[name.srv]\n'
        f'[medium.m]\nbootstrap = "m"\nreg = ["srv"]\ndirectory = "{tmp_path}"\n'
    )
    host = Host(tmp_path, config)
    host.environment |= medium.install(tmp_path / "site")
    tape = tmp_path / "tape"
    with host, Two(host) as two:
        two.finish()
        carried = [bytes.fromhex(line) for line in tape.read_text().splitlines()]
    seen = b"".join(carried)
    assert b"asked in the clear" in seen, "what goes along with request and answer is not encrypted, and documented so"
    assert b"answered in the clear" in seen
    if cipher:
        assert MARK not in seen
        assert len(seen) >= 2 * 40 * (16 + len(MARK))
    else:
        assert seen.count(MARK) == 80


def test_what_is_sent_again_is_encrypted_again(tmp_path: Path) -> None:
    """The prototype sends it in the clear (oap.md 6.2)."""
    secure(tmp_path, "aes-256-gcm")
    config = (
        f'[irmd]\ndirect = false\nsecurity = "{tmp_path}/security"\n[name.srv]\n'
        f'[medium.m]\nbootstrap = "m"\nreg = ["srv"]\ndirectory = "{tmp_path}"\nlose = "33"\n'
    )
    host = Host(tmp_path, config)
    host.environment |= medium.install(tmp_path / "site")
    with host, Two(host, "DATA") as two:
        two.finish()
        carried = [bytes.fromhex(line) for line in (tmp_path / "tape").read_text().splitlines()]
    _request, _answer, *packets = carried
    assert MARK not in b"".join(carried)
    ivs = [packet[:12] for packet in packets if packet]
    assert len(ivs) == len(set(ivs)) > 80

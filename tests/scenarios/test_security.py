"""Security from files to flows: a real daemon, real programs, `ouro pki` and `ouro crypto check`."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ouro_core.testing.host import Host, eventually

from .programs import ASK, ECHO

OPING = "import sys; from ouro_tools.oping import main; sys.argv[0] = 'oping'; main()"

REFUSED = """
import sys
from ouro_core import OuroError, flow_alloc
try:
    with flow_alloc(sys.argv[1], timeout=20) as flow:
        print("flow", flush=True)
except OuroError as e:
    print(e.code, e, flush=True)
"""
ACCEPT = """
import os, sys
from ouro_core import OuroError, announce, flow_accept
announce(sys.argv[1])
print("bound", flush=True)
while True:
    try:
        with flow_accept() as flow:
            print("accepted", flush=True)
            flow.read()
    except OuroError as e:
        print(e.code, e, flush=True)
"""


class Secured:
    """A daemon with security files of its own, over a layer or with direct flows."""

    def __init__(self, directory: Path, layer: bool, *arguments: str) -> None:
        self.files = directory / "security"
        config = f'[irmd]\nsecurity = "{self.files}"\ndirect = {str(not layer).lower()}\n[name.srv]\n'
        if layer:
            config += '[local.lo]\nbootstrap = "lo"\nreg = ["srv"]\n'
        self.host = Host(directory, config, arguments)

    def __enter__(self) -> "Secured":
        self.host.__enter__()
        return self

    def __exit__(self, *why: Any) -> None:
        self.host.__exit__(*why)

    def write(self, path: str, content: str) -> Path:
        file = self.files / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def serve(self, program: str = ECHO) -> "subprocess.Popen[str]":
        server = self.host.python(program, "srv")
        eventually(lambda: self.host.rib("names/srv")["accepting"])
        return server

    def ask(self, program: str, *words: str) -> str:
        """What a client prints."""
        done = self.host.run([sys.executable, "-c", program, "srv", *words])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def check(self, name: str = "srv") -> tuple[int, dict[str, Any]]:
        done = self.host.run([sys.executable, "-m", "ouro_core.cli", "crypto", "check", name, "--json"])
        return done.returncode, json.loads(done.stdout)

    @property
    def log(self) -> str:
        return self.host.log.read_text()


@pytest.fixture(params=["direct", "layer"])
def secured(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Secured]:
    with Secured(tmp_path, request.param == "layer", "--debug", "oap") as running:
        yield running


def test_an_authority_certificates_and_encrypted_flows(secured: Secured) -> None:
    ouro = secured.host.ouro
    ouro("pki", "init")
    ouro("pki", "issue", "srv")
    ouro("pki", "issue", "alice", "--client", "srv")
    secured.write("server/srv/enc.conf", "kex=X25519\nauth=required\n")
    secured.write("client/srv/enc.conf", "kex=X25519\ncipher=chacha20-poly1305\nauth=required\n")
    secured.serve()
    assert secured.ask(ASK, "5") in ("direct", "layer")
    request, response = _headers(secured.log, "-->")[:2]
    for header in (request, response):
        assert re.search(r"crt: \[\d+ bytes\]", header)
        assert "Key Exchange Data: [44 bytes]" in header
        assert "Cipher: chacha20-poly1305" in header or header is request
        assert "KDF: HKDF-sha256" in header
        assert "Digest: sha256" in header
        assert re.search(r"Signature: \[\d+ bytes\]", header)
    assert "Req Hash: <none>" in request
    assert "Req Hash: [32 bytes]" in response
    assert [_headers(secured.log, "<--")[i] for i in (0, 1)] == [
        request.replace("-->", "<--"),
        response.replace("-->", "<--"),
    ]
    status, found = secured.check()
    assert status == 0
    assert found["exchange"] == {
        "error": "", "code": 0, "kex": "X25519", "cipher": "chacha20-poly1305", "server": "srv", "client": "alice",
    }  # fmt: skip
    assert found["directory"] == str(secured.files)


def _headers(log: str, arrow: str) -> list[str]:
    """The OAP headers in the log that were sent, or received, without the log's own prefix."""
    lines = [line.split("(PP): ", 1)[1] for line in log.splitlines() if "irmd/oap(PP): " in line]
    starts = [i for i, line in enumerate(lines) if line.startswith("OAP_HDR")]
    assert all(
        re.fullmatch(r"OAP_HDR \[[0-9a-f]{16} @ [-0-9]{10} [:0-9]{8} \(UTC\) \] (-->|<--)", lines[i]) for i in starts
    )
    return ["\n".join(lines[i : i + 9]) for i in starts if lines[i].endswith(arrow)]


def test_files_take_effect_without_a_restart(secured: Secured) -> None:
    secured.serve(ACCEPT)
    assert secured.ask(REFUSED) == "flow"
    conf = secured.write("server/srv/enc.conf", "")
    assert secured.ask(REFUSED).startswith("-1008 ")
    conf.write_text("none")
    assert secured.ask(REFUSED) == "flow"
    conf.write_text("auth=required\nnone")
    assert secured.ask(REFUSED).startswith("-1009 ")
    conf.unlink()
    secured.write("client/srv/enc.conf", "kex=ffdhe2048")
    assert secured.ask(REFUSED) == "flow"
    secured.write("client/srv/enc.conf", "kex=ffdhe2049")
    refusal = secured.ask(REFUSED)
    assert refusal.startswith("-1008 ")
    assert "enc.conf:1: " in refusal
    assert secured.host.status().flows_refused == 3


def test_paths_that_a_name_is_created_with(secured: Secured, tmp_path: Path) -> None:
    """They get from the command to the daemon, which the prototype's do not."""
    (tmp_path / "strict.conf").write_text("kex=X25519\n")
    secured.host.ouro("name", "destroy", "srv")
    secured.host.ouro("name", "create", "srv", "sencpath", str(tmp_path / "strict.conf"))
    secured.serve(ACCEPT)
    assert secured.ask(REFUSED).startswith("-1008 ")
    (tmp_path / "strict.conf").write_text("none")
    assert secured.ask(REFUSED) == "flow"
    (tmp_path / "strict.conf").unlink()
    refusal = secured.ask(REFUSED)
    assert refusal.startswith("-1008 ")
    assert "strict.conf is missing: the name was created with it" in refusal


def test_ping_of_a_server_that_requires_encryption(secured: Secured) -> None:
    """The words of the prototype's tool on both sides."""
    pytest.importorskip("ouro_tools", reason="needs ouro-tools")
    server = secured.host.python(OPING, "-l")
    eventually(lambda: secured.host.rib("processes"))
    secured.host.ouro("bind", "process", str(server.pid), "name", "srv")
    secured.write("server/srv/enc.conf", "kex=X25519")
    client = [sys.executable, "-c", OPING, "-n", "srv", "-c", "3", "-i", "10"]
    refused = secured.host.run(client)
    assert "Failed to allocate flow: -1008." in refused.stdout
    secured.write("client/srv/enc.conf", "kex=X25519")
    answered = secured.host.run(client)
    assert "3 packets transmitted, 3 received" in answered.stdout
    server.terminate()
    assert server.stdout is not None
    assert "Failed to accept flow: -1008 \n" in server.stdout.read()


def test_workers_come_when_they_are_needed_and_leave_with_the_daemon(tmp_path: Path) -> None:
    with Secured(tmp_path, layer=True) as secured:
        secured.serve(ACCEPT)
        assert secured.ask(REFUSED) == "flow"
        secured.write("client/srv/enc.conf", "")  # a quick key exchange: the daemon does that itself
        assert secured.ask(REFUSED) == "flow"
        assert secured.host.rib("irm/security")["workers"] == 0
        secured.write("client/srv/enc.conf", "kex=X448")
        assert secured.ask(REFUSED) == "flow"
        assert secured.host.rib("irm/security")["workers"] >= 1
        workers = [pid for pid in secured.host.descendants() if _comm(pid) == "ouro-worker"]
        assert workers
        assert secured.host.stop() == 0
        assert not secured.host.descendants()
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_workers_without_a_zygote(tmp_path: Path) -> None:
    """They are programs then, and the zygote's end is no worker's."""
    with Secured(tmp_path, layer=False) as secured:
        secured.serve(ACCEPT)
        secured.write("client/srv/enc.conf", "kex=X448")
        zygote = next(pid for pid in secured.host.descendants() if _comm(pid) == "ouro-zygote")
        assert secured.ask(REFUSED) == "flow"
        os.kill(zygote, 9)
        for _ in range(3):
            assert secured.ask(REFUSED) == "flow"
        for pid in secured.host.descendants():
            if _comm(pid) == "ouro-worker":
                os.kill(pid, 9)
        eventually(lambda: secured.host.rib("irm/security")["died"])
        assert secured.ask(REFUSED) == "flow"


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


# ---------------------------------------------------------------- commands


def ouro(directory: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command where no daemon runs."""
    environment = {**os.environ, "OURO_RUNTIME_DIR": str(directory / "nobody")}
    command = [sys.executable, "-m", "ouro_core.cli", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_pki_puts_everything_where_it_belongs(tmp_path: Path) -> None:
    at = ("--directory", str(tmp_path / "security"))
    early = ouro(tmp_path, "pki", "issue", "srv", *at)
    assert early.returncode == 1
    assert "make one: ouro pki init" in early.stderr
    assert ouro(tmp_path, "pki", "init", "--name", "My CA", *at).returncode == 0
    again = ouro(tmp_path, "pki", "init", *at)
    assert again.returncode == 1
    assert "ca.pem exists; with --force it is replaced" in again.stderr
    for algorithm in ("p256", "rsa2048", "ed25519"):
        done = ouro(tmp_path, "pki", "issue", "srv", "--algorithm", algorithm, "--force", *at)
        assert done.returncode == 0, done.stderr
    assert "no enc.conf" in done.stderr
    modes = {
        str(path.relative_to(tmp_path / "security")): path.stat().st_mode & 0o777
        for path in (tmp_path / "security").rglob("*.pem")
    }
    assert modes == {
        "cacert/ca.pem": 0o644, "pki/ca.key.pem": 0o600, "server/srv/crt.pem": 0o644, "server/srv/key.pem": 0o600,
    }  # fmt: skip
    assert (tmp_path / "security" / "pki").stat().st_mode & 0o777 == 0o700
    (tmp_path / "security/cacert/notes").write_text("rubbish")
    shown = json.loads(ouro(tmp_path, "pki", "show", "--json", *at).stdout)
    assert [(Path(entry["path"]).name, entry.get("subject"), len(entry["problems"])) for entry in shown] == [
        ("ca.pem", "My CA", 0), ("notes", None, 1), ("crt.pem", "srv", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a,b", "x" * 65, "../up", "a/b"])
def test_pki_refuses_names_that_would_not_do(tmp_path: Path, name: str) -> None:
    at = ("--directory", str(tmp_path / "security"))
    assert ouro(tmp_path, "pki", "init", *at).returncode == 0
    refused = ouro(tmp_path, "pki", "issue", name, *at)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: ")
    assert not (tmp_path / "security" / "server").exists()


def test_check_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    at = ("--directory", str(tmp_path / "security"))
    nothing = ouro(tmp_path, "crypto", "check", "srv", *at)
    assert nothing.returncode == 0
    assert "Between both sides of this host: a plain flow; nobody is authenticated" in nothing.stdout
    for words in (("init",), ("issue", "other"), ("issue", "alice", "--client", "srv")):
        assert ouro(tmp_path, "pki", *words, *at).returncode == 0
    security = tmp_path / "security"
    (security / "server/other").rename(security / "server/srv")
    (security / "server/srv/enc.conf").write_text("# ours\nkex = X25519\ncypher = aes-128-gcm\n")
    (security / "client/srv/enc.conf").write_text("kex = x25519\n")
    (security / "client/srv/key.pem").write_text("rubbish")
    found = ouro(tmp_path, "crypto", "check", "srv", *at)
    assert found.returncode == 1
    assert "server/srv/enc.conf: X25519, aes-256-gcm, kdf sha256, digest sha256" in found.stdout
    assert 'server/srv/enc.conf:3: unknown key "cypher", ignored' in found.stdout
    assert 'clients will refuse the certificate: it is for "other", not for "srv"' in found.stdout
    assert 'client/srv/enc.conf:1: key exchange "x25519" is not known here' in found.stdout
    assert "client/srv/key.pem: the key of the EC certificate cannot be read" in found.stdout
    assert "All flows are refused until this is repaired." in found.stdout
    assert "PRIVATE" not in found.stdout

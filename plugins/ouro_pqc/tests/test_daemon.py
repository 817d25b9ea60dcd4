"""Post-quantum flows between real programs under a real daemon, from its files."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ouro_pqc.plugin import ouro_register_kex_suites

from ouro_core.oap import KemMode
from ouro_core.testing.host import Host, eventually

from .test_known_answers import pem
from .test_pairs import CURVE, client_of, server_of

ECHO = """
from ouro_core import OuroError, announce, flow_accept
announce("srv")
while True:
    try:
        with flow_accept() as flow:
            while True:
                flow.write(flow.read())
    except OuroError as error:
        print(error.code, flush=True)
"""
ASK = """
import sys
from ouro_core import OuroError, flow_alloc
try:
    with flow_alloc("srv", timeout=20) as flow:
        flow.read_timeout = float(sys.argv[1])
        flow.write(b"ping")
        print(flow.read().decode(), "direct" if flow.direct else "layer", flush=True)
except OuroError as error:
    print(error.code, error, flush=True)
"""


class Secured:
    """A daemon with security files, and a program that serves the name srv."""

    def __init__(self, directory: Path, medium: str) -> None:
        self.files = directory / "security"
        self.medium = medium
        config = f'[irmd]\nsecurity = "{self.files}"\ndirect = {str(medium == "direct").lower()}\n[name.srv]\n'
        if medium == "layer":
            config += '[local.lo]\nbootstrap = "lo"\nreg = ["srv"]\n'
        self.host = Host(directory, config)

    def write(self, path: str, content: str | bytes) -> None:
        file = self.files / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def serve(self) -> None:
        self.host.python(ECHO)
        eventually(lambda: self.host.rib("names/srv")["accepting"])

    def ask(self, patience: float = 30) -> str:
        done = self.host.run([sys.executable, "-c", ASK, str(patience)])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(params=["direct", "layer"])
def secured(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Secured]:
    running = Secured(tmp_path, request.param)
    with running.host:
        yield running


@pytest.mark.parametrize("kind", ["ml-dsa-65", "slh-dsa-sha2-128f"])
def test_hybrid_and_authenticated(secured: Any, kind: str) -> None:
    """Both sides show certificates."""
    secured.host.ouro("pki", "init", "--algorithm", kind)
    secured.host.ouro("pki", "issue", "srv", "--algorithm", kind)
    secured.host.ouro("pki", "issue", "alice", "--client", "srv", "--algorithm", kind)
    for side in ("server", "client"):
        secured.write(f"{side}/srv/enc.conf", "kex=X25519MLKEM768\nauth=required\n")
    secured.serve()
    assert secured.ask() == f"ping {secured.medium}"


@pytest.mark.parametrize("kex", ["ML-KEM-512", "X448MLKEM1024"])
def test_the_client_encapsulates(secured: Any, kex: str) -> None:
    """With the server's key; then with one that is stale, one that is damaged, and the good one again."""
    suffix = "raw" if kex in CURVE else "pem"
    secured.write("server/srv/enc.conf", f"kex={kex}\n")
    secured.write(f"server/srv/kex.key.{suffix}", server_of(kex).static_key)
    secured.write("client/srv/enc.conf", f"kex={kex}\nkem_mode=client\n")
    good = client_of(kex, KemMode.CLIENT).static_key
    secured.write(f"client/srv/kex.srv.pub.{suffix}", good)
    secured.serve()
    assert secured.ask() == f"ping {secured.medium}"

    stale = next(s for s in ouro_register_kex_suites() if s.name == kex).generate().public
    secured.write(f"client/srv/kex.srv.pub.{suffix}", stale if kex in CURVE else pem(stale, "PUBLIC KEY"))
    assert secured.ask(0.5).startswith("-110 ")  # nothing arrives that could be read
    secured.write(f"client/srv/kex.srv.pub.{suffix}", b"rubbish")
    refused = secured.ask()
    assert refused.startswith("-")
    assert f"kex.srv.pub.{suffix}" in refused
    secured.write(f"client/srv/kex.srv.pub.{suffix}", good)
    assert secured.ask() == f"ping {secured.medium}"

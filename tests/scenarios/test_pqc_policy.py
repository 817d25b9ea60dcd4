"""The policy `pqc` from an enc.conf to the wire: real daemons and programs, and what goes over the layer."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ouro_core.model.errors import CryptError
from ouro_core.testing.host import Host, eventually
from ouro_core.wire.oap import OapHeader

from . import medium

pytest.importorskip("ouro_pqc", reason="needs the plugin ouro-pqc")

ACCEPT = """
from ouro_core import OuroError, announce, flow_accept
announce("srv")
while True:
    try:
        with flow_accept() as flow:
            flow.write(flow.read())
    except OuroError as e:
        print(e.code, e, flush=True)
"""
ASK = """
from ouro_core import OuroError, flow_alloc
try:
    with flow_alloc("srv", timeout=20) as flow:
        flow.write(b"ping")
        print(flow.read().decode(), flush=True)
except OuroError as e:
    print(e.code, e, flush=True)
"""
X25519, HYBRID = 44, 1216
"""Bytes of a client's public key."""


PREFER, REQUIRE, OFF = (f"kex = X25519\npqc = {word}\n" for word in ("prefer", "require", "off"))
CLASSICAL = "kex = X25519\n"


class Layer:
    """A host with the layer `medium`, whose other members answer a probe or do not, and a server of the name srv."""

    def __init__(self, directory: Path, answers: bool, blocked: str = "") -> None:
        self.directory = directory
        self._seen = 0
        config = (
            f'[irmd]\ndirect = false\nsecurity = "{directory}/security"\n[name.srv]\n'
            f'[medium.m]\nbootstrap = "m"\nreg = ["srv"]\ndirectory = "{directory}"\nanswers = "{int(answers)}"\n'
        )
        self.host = Host(directory, config)
        self.host.environment |= medium.install(directory / "site") | {"OURO_BLOCK_PLUGINS": blocked}

    def __enter__(self) -> "Layer":
        self.host.__enter__()
        self.server = self.host.python(ACCEPT)
        return self

    def __exit__(self, *why: object) -> None:
        self.host.__exit__(None, None, None)

    def configure(self, client: str, server: str) -> None:
        for side, text in (("client", client), ("server", server)):
            conf = self.directory / "security" / side / "srv" / "enc.conf"
            conf.parent.mkdir(parents=True, exist_ok=True)
            conf.write_text(text or "none\n")

    def ask(self) -> str:
        eventually(lambda: self.host.rib("names/srv")["accepting"])
        done = self.host.run([sys.executable, "-c", ASK])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def told(self) -> str:
        """What the accept call of the server said."""
        assert self.server.stdout is not None
        return self.server.stdout.readline()

    def asked(self) -> list[int]:
        """Bytes of the public key in each request that went over the layer since the last time."""
        lines = (self.directory / "tape").read_text().splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        keys = []
        for line in new[:1]:  # then come the answer, and packets
            keys.append(len(OapHeader.decode(bytes.fromhex(line)).kex))
        return keys


@pytest.fixture(scope="module")
def ouro(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer]:
    """Whose members answer."""
    with Layer(tmp_path_factory.mktemp("ouro"), True) as layer:
        yield layer


@pytest.fixture(scope="module")
def prototype(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer]:
    """Whose members do not: they are of the prototype, or somebody takes their probes away."""
    with Layer(tmp_path_factory.mktemp("prototype"), False) as layer:
        yield layer


@pytest.mark.parametrize("server", ["", CLASSICAL, PREFER, REQUIRE])
@pytest.mark.parametrize("client", [PREFER, REQUIRE])
def test_ouro_nodes_exchange_keys_by_the_hybrid(ouro: Layer, client: str, server: str) -> None:
    ouro.configure(client, server)
    assert ouro.ask() == "ping"
    assert ouro.asked() == [HYBRID]


@pytest.mark.parametrize(("client", "server"), [(PREFER, CLASSICAL), (OFF, PREFER), (CLASSICAL, OFF), (PREFER, "")])
def test_nodes_of_the_prototype_get_what_enc_conf_says(prototype: Layer, client: str, server: str) -> None:
    prototype.configure(client, server)
    assert prototype.ask() == "ping"
    assert prototype.asked() == [X25519]


def test_require_asks_nothing_of_a_node_that_does_not_answer(prototype: Layer) -> None:
    prototype.configure(REQUIRE, REQUIRE)
    assert prototype.ask().startswith("-1008 pqc = require, and the peer does not answer as an Ouro node: ")
    assert prototype.asked() == []
    assert "Cannot ask for a flow to srv: pqc = require, and the peer" in prototype.host.log.read_text()


def test_a_server_that_requires_tells_its_application_and_the_log_why(prototype: Layer) -> None:
    prototype.configure(PREFER, REQUIRE)
    said = prototype.ask()
    assert said.startswith("-1008 ")
    assert "X25519 (classical) with aes-256-gcm was asked for: the server requires more or has less" in said
    assert prototype.asked() == [X25519]
    why = "pqc = require, and the client's key exchange X25519 is classical: it has no X25519MLKEM768, does not use it"
    assert prototype.told().startswith(f"-1008 {why}")
    assert f"Refused a flow request for srv: {why}" in prototype.host.log.read_text()


def test_a_server_that_is_off_refuses_what_prefers(ouro: Layer) -> None:
    ouro.configure(PREFER, OFF)
    assert ouro.ask().startswith("-1008 ")
    assert ouro.asked() == [HYBRID]
    assert "the client's key exchange X25519MLKEM768 is post-quantum, and pqc = off" in ouro.told()


def test_without_the_plugin(tmp_path: Path) -> None:
    """`prefer` is content, `require` names what is missing, and who asks knows that there is nothing."""
    with Layer(tmp_path, True, blocked="pqc") as layer:
        layer.configure(PREFER, "")
        assert layer.ask() == "ping"
        assert layer.asked() == [X25519]
        layer.configure(REQUIRE, "")
        said = layer.ask()
        assert said.startswith("-1008 pqc = require, and this node cannot: ")
        assert "the distribution ouro-pqc" in said
        assert layer.host.ouro("name", "list")
        layer.configure(CLASSICAL, REQUIRE)
        assert layer.ask().startswith("-1008 ")


def test_the_check_says_what_the_policy_comes_to(ouro: Layer) -> None:
    ouro.configure(PREFER, CLASSICAL)
    said = ouro.host.ouro("crypto", "check", "srv")
    assert "  pqc = prefer: Ouro nodes that have it are asked for X25519MLKEM768 instead of a classical one." in said
    assert "  The node it leads to now has capabilities: fragments, pq; asked for X25519MLKEM768\n" in said
    assert "Between both sides of this host: X25519MLKEM768, aes-256-gcm" in said
    found = json.loads(ouro.host.ouro("crypto", "check", "srv", "--json"))
    assert (found["client"]["pqc"], found["server"]["pqc"]) == ("prefer", "")
    assert found["peer"] == {"capabilities": "fragments, pq", "kex": "X25519MLKEM768", "error": ""}


def test_the_check_says_what_a_node_lacks(prototype: Layer) -> None:
    prototype.configure(REQUIRE, OFF)
    done = prototype.host.run([sys.executable, "-m", "ouro_core.cli", "crypto", "check", "srv"])
    assert done.returncode == 1
    assert "capabilities: none; refused: pqc = require, and the peer does not answer as an Ouro node" in done.stdout
    assert "pqc = off: clients that ask for a post-quantum key exchange" in done.stdout
    assert f"refused ({CryptError().code}): the client's key exchange X25519MLKEM768 is post-quantum" in done.stdout

"""Ouro's policy, probe and fragments beside a node of the C prototype, which has none of them and must not notice."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ouro_core.model.capability import Capability
from ouro_core.testing.host import Host, eventually
from ouro_core.testing.netns import Namespace, join, unusable
from ouro_core.wire.extension import EXTENSION_CODE, Probe, State, Status, fragments_of
from tests.bench.prototype import Missing, find

for plugin in ("ouro_pqc", "ouro_tools", "ouro_eth", "ouro_udp"):
    pytest.importorskip(plugin, reason=f"needs the plugin {plugin}")

OPING = "import sys; from ouro_tools.oping import main; sys.argv[0] = 'oping'; main()"
PLACES = ("/dev/shm", "/run/ouroboros", "/tmp/ouroboros")
PRIVATE = "for place in {places}; do mount -t tmpfs none $place; done; exec {irmd} --stdout"
LAYERS = {
    "eth-dix": ('[eth-dix.n]\nbootstrap = "net"\ndev = "v0"\n', ("dev", "v0")),
    "eth-llc": ('[eth-llc.n]\nbootstrap = "net"\ndev = "v0"\n', ("dev", "v0")),
    "udp4": ('[udp4.n]\nbootstrap = "net"\nip = "192.0.2.1"\npeers = "192.0.2.2"\n', ("ip", "192.0.2.2")),
}
PREFER, REQUIRE = (f"kex = X25519\npqc = {word}\n" for word in ("prefer", "require"))


class CHost:
    """A daemon of the prototype in a network, with shared memory and sockets of its own."""

    def __init__(self, network: Namespace, programs: dict[str, Path], log: Path) -> None:
        self._network = network
        self._programs = programs
        self.log = log
        library = programs["irmd"].parent.parent / "lib"
        self._environment = {**os.environ, "LD_LIBRARY_PATH": str(library)}
        self._made = [place for place in PLACES if not Path(place).exists()]
        self._spawned: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "CHost":
        for place in self._made:
            Path(place).mkdir()
        script = PRIVATE.format(places=" ".join(PLACES), irmd=self._programs["irmd"])
        with self._network.inside(), self.log.open("w") as log:
            self._daemon = subprocess.Popen(
                ["unshare", "-m", "--propagation", "private", "sh", "-c", script],
                env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        eventually(lambda: not self.run("irm", "name", "list").returncode, what="the C irmd answers")
        return self

    def __exit__(self, *why: object) -> None:
        for program in self._spawned:
            program.kill()
            program.communicate()
        self._daemon.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._daemon.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._daemon.pid, signal.SIGKILL)
        self._daemon.wait()
        for place in self._made:
            with contextlib.suppress(OSError):
                os.rmdir(place)

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return ["nsenter", f"--mount=/proc/{self._daemon.pid}/ns/mnt", str(self._programs[words[0]]), *words[1:]]

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        with self._network.inside():
            return subprocess.run(
                self._command(words), env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=30,
            )  # fmt: skip

    def spawn(self, *words: str) -> "subprocess.Popen[str]":
        with self._network.inside():
            program = subprocess.Popen(
                self._command(words), env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        self._spawned.append(program)
        return program

    def serve(self, name: str, type: str, options: tuple[str, ...]) -> None:
        """A ping server of this name in a layer `net`."""
        made = self.run("irm", "ipcp", "bootstrap", "type", type, "name", "n", "layer", "net", *options)
        assert not made.returncode, made.stdout + made.stderr
        self.run("irm", "name", "create", name)
        server = self.spawn("oping", "-l")
        eventually(lambda: not self.run("irm", "bind", "process", str(server.pid), "name", name).returncode)
        assert not self.run("irm", "name", "register", name, "layer", "net").returncode


class Mixed:
    """Our host, the prototype's, and a cable of 1500 bytes between them."""

    def __init__(self, directory: Path, type: str, programs: dict[str, Path]) -> None:
        self.type = type
        self.files = directory / "security"
        self.networks = Namespace(), Namespace()
        config = f'[irmd]\ndirect = false\nsecurity = "{self.files}"\n{LAYERS[type][0]}'
        self.ours = Host(directory, config)
        self.theirs = CHost(self.networks[1], programs, directory / "theirs.log")
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Mixed":
        with contextlib.ExitStack() as stack:
            for network in self.networks:
                stack.enter_context(network)
            join(self.networks[0], "v0", self.networks[1], "v0", mtu=1500)
            for number, network in enumerate(self.networks, 1):
                network.ip("addr", "add", f"192.0.2.{number}/24", "dev", "v0")
            with self.networks[0].inside():
                stack.enter_context(self.ours)
            stack.enter_context(self.theirs)
            self.theirs.serve("srv", self.type, LAYERS[self.type][1])
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *why: object) -> None:
        self._stack.close()

    def configure(self, text: str, kind: str = "") -> None:
        folder = self.files / "client" / "srv"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "enc.conf").write_text(text)
        for file in ("crt.pem", "key.pem"):
            (folder / file).unlink(missing_ok=True)
        if kind:
            self.ours.ouro("pki", "init", "--algorithm", kind, "--force")
            self.ours.ouro("pki", "issue", "alice", "--client", "srv", "--algorithm", kind, "--force")

    def ping(self) -> str:
        with self.networks[0].inside():
            words = [sys.executable, "-c", OPING, "-n", "srv", "-c", "3", "-i", "20"]
            done = self.ours.run(words)
            if "-1003" in done.stdout + done.stderr:  # the first query of a name may be slower than the IRM waits
                time.sleep(1.0)
                done = self.ours.run(words)
        return done.stdout + done.stderr

    def raw(self, body: bytes) -> None:
        """An extension body to the prototype, as nobody would send it who asked first."""
        with self.networks[0].inside():
            if self.type == "udp4":
                with socket.socket(type=socket.SOCK_DGRAM) as sock:
                    sock.bind(("192.0.2.1", 0))
                    sock.sendto(bytes(44) + bytes([EXTENSION_CODE, 0, 0]) + body, ("192.0.2.2", 3435))
                return
            medium = self.ours.rib("ipcps/n/medium")
            own = bytes.fromhex(medium["mac"].replace(":", ""))
            to = bytes.fromhex(next(iter(self.ours.rib("ipcps/n/peers"))).replace(":", ""))
            if self.type == "eth-dix":
                message = bytes(37) + bytes([EXTENSION_CODE, 0]) + body
                frame = to + own + b"\xa0\0\0\0" + len(message).to_bytes(2, "big") + message
            else:
                message = bytes(2) + bytes([EXTENSION_CODE]) + bytes(34) + body
                frame = to + own + (len(message) + 3).to_bytes(2, "big") + b"\x80\x80\x03" + message
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
                sock.bind(("v0", 0))
                sock.send(frame)


@pytest.fixture(scope="module", params=list(LAYERS))
def mixed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    reason = unusable()
    if reason:
        pytest.skip(reason)
    try:
        programs = find(os.environ.get("PATH", ""))
    except Missing as e:
        pytest.skip(str(e))
    if not (programs["irmd"].parent / f"ipcpd-{request.param}").exists():
        pytest.skip(f"the prototype on PATH has no {request.param}")
    with Mixed(tmp_path_factory.mktemp(request.param), request.param, programs) as running:
        yield running


def received(said: str) -> bool:
    return "3 packets transmitted, 3 received" in said


def test_prefer_is_what_enc_conf_says(mixed: Mixed) -> None:
    """The probe is ignored, the flow is encrypted as the prototype can, and what we know of it is that it knows
    nothing.
    """
    mixed.configure(PREFER)
    assert received(mixed.ping())
    checked = mixed.ours.ouro("crypto", "check", "srv")
    assert "has capabilities: none; asked for X25519\n" in checked
    assert mixed.ours.rib("ipcps/n/carrier")["answers_received"] == 0
    assert mixed.ours.rib("ipcps/n/carrier")["probes_sent"] >= 3
    assert f"Unknown message received {EXTENSION_CODE}" in mixed.theirs.log.read_text()


def test_require_is_refused_and_says_what_the_peer_lacks(mixed: Mixed) -> None:
    mixed.configure(REQUIRE)
    assert "-1008" in mixed.ping()
    assert "pqc = require, and the peer does not answer as an Ouro node" in mixed.ours.log.read_text()


def test_a_certificate_that_does_not_fit_is_an_error_with_the_sizes(mixed: Mixed) -> None:
    mixed.configure("kex = X25519\n", "ml-dsa-65")
    assert "-90" in mixed.ping()
    carrier = mixed.ours.rib("ipcps/n/carrier")
    assert carrier["fragments_sent"] == 0, "nothing is sent to who did not say that he takes it"


def test_the_prototype_survives_all_of_it(mixed: Mixed) -> None:
    """Probes, statuses and fragments of a message, unasked: it goes on serving."""
    mixed.configure("kex = X25519\n")
    assert received(mixed.ping())
    bodies = [Probe(1, Capability(3)).encode(), Status(1, State.MISSING, 9).encode()]
    bodies += [fragment.encode() for fragment in fragments_of(bytes(9000), 1, 1400)]
    for body in bodies:
        mixed.raw(body)
        time.sleep(0.02)
    for _ in range(2):
        time.sleep(0.5)
        assert received(mixed.ping())
    assert mixed.theirs.log.read_text().count(f"Unknown message received {EXTENSION_CODE}") >= len(bodies)

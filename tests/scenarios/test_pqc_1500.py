"""ML-DSA-authenticated hybrid flows across a path whose frames have 1500 bytes: two hosts in networks of their own."""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ouro_core.testing.host import Host, eventually
from ouro_core.testing.netns import Namespace, join, unusable

for plugin in ("ouro_pqc", "ouro_tools"):
    pytest.importorskip(plugin, reason=f"needs the plugin {plugin}")

OPING = "import sys; from ouro_tools.oping import main; sys.argv[0] = 'oping'; main()"
ETHERNET = '[{type}.n]\nbootstrap = "net"\ndev = "v0"\n'
UDP = '[udp4.n]\nbootstrap = "net"\nip = "192.0.2.{number}"\npeers = "192.0.2.{other}"\n'
LAYERS = {
    "eth-dix": ("ouro_eth", ETHERNET.replace("{type}", "eth-dix")),
    "eth-llc": ("ouro_eth", ETHERNET.replace("{type}", "eth-llc")),
    "udp4": ("ouro_udp", UDP),
    "unicast": ("ouro_unicast", ETHERNET.replace("{type}", "eth-dix")),
}
"""The plugin that a type needs, and the layer that is made at the start: for unicast the one below."""


class Pair:
    """Client and server, each with a daemon in its own network, joined by a cable; both with the layer `net`."""

    def __init__(self, directory: Path, type: str) -> None:
        self.type = type
        self.files = directory / "security"
        self.networks = Namespace(), Namespace()
        self.hosts = [
            self._host(directory / side, LAYERS[type][1].format(number=number, other=3 - number))
            for number, side in ((1, "client"), (2, "server"))
        ]
        self.stack = contextlib.ExitStack()

    def _host(self, directory: Path, layer: str) -> Host:
        directory.mkdir()
        return Host(directory, f'[irmd]\ndirect = false\nsecurity = "{self.files}"\n[name.srv]\n{layer}')

    def __enter__(self) -> "Pair":
        with contextlib.ExitStack() as stack:
            for network in self.networks:
                stack.enter_context(network)
            join(self.networks[0], "v0", self.networks[1], "v0", mtu=1500)
            for number, (network, host) in enumerate(zip(self.networks, self.hosts, strict=True), 1):
                network.ip("addr", "add", f"192.0.2.{number}/24", "dev", "v0")
                with network.inside():
                    stack.enter_context(host)
            if self.type == "unicast":
                self._join()
            self.stack = stack.pop_all()
        return self

    def _join(self) -> None:
        """A unicast layer over the Ethernet."""
        client, server = self.hosts
        server.ouro("ipcp", "bootstrap", "type", "unicast", "name", "us", "layer", "over", "autobind")
        for name in ("us", "over"):
            server.ouro("name", "reg", name, "layer", "net")
        client.ouro("ipcp", "enroll", "type", "unicast", "name", "uc", "layer", "over", "dst", "us", "autobind")
        client.ouro("ipcp", "connect", "name", "uc", "dst", "us")

    def __exit__(self, *why: object) -> None:
        self.stack.close()

    def configure(self, client: str, server: str) -> None:
        for side, text in (("client", client), ("server", server)):
            folder = self.files / side / "srv"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "enc.conf").write_text(text)

    def issue(self, kind: str) -> None:
        """Certificates for both sides."""
        client, _ = self.hosts
        client.ouro("pki", "init", "--algorithm", kind, "--force")
        client.ouro("pki", "issue", "srv", "--algorithm", kind, "--force")
        client.ouro("pki", "issue", "alice", "--client", "srv", "--algorithm", kind, "--force")

    def serve(self) -> None:
        _, server = self.hosts
        with self.networks[1].inside():
            program = server.spawn([sys.executable, "-c", OPING, "-l"])
        server.ouro("name", "reg", "srv", "layer", "over" if self.type == "unicast" else "net")
        server.ouro("bind", "process", str(program.pid), "name", "srv")
        eventually(lambda: server.rib("names/srv")["accepting"])

    def ping(self, *words: str) -> str:
        client, _ = self.hosts
        with self.networks[0].inside():
            done = client.run([sys.executable, "-c", OPING, "-n", "srv", "-c", "3", "-i", "20", *words])
        return done.stdout + done.stderr

    def extension(self) -> list[dict[str, Any]]:
        """What Ouro nodes said among themselves, by host."""
        names = ("uc", "us") if self.type == "unicast" else ("n", "n")
        return [_carrier(host.rib(f"ipcps/{name}")) for host, name in zip(self.hosts, names, strict=True)]


def _carrier(tree: Any) -> dict[str, Any]:
    """The counters of a carrier, wherever an IPCP shows them."""
    if isinstance(tree, dict):
        if "fragments_sent" in tree:
            return tree
        for below in tree.values():
            if found := _carrier(below):
                return found
    return {}


@pytest.fixture(scope="module", params=list(LAYERS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    reason = unusable()
    if reason:
        pytest.skip(reason)
    pytest.importorskip(LAYERS[request.param][0], reason=f"needs the plugin {LAYERS[request.param][0]}")
    with Pair(tmp_path_factory.mktemp(request.param), request.param) as running:
        running.serve()
        yield running


REQUIRED = "kex = X25519\npqc = require\nauth = required\n"


@pytest.mark.parametrize("kind", ["ml-dsa-65", "slh-dsa-sha2-128f"])
def test_post_quantum_flows_across_1500_bytes(pair: Pair, kind: str) -> None:
    """Both sides show a certificate, require one, and require a post-quantum key exchange."""
    pair.configure(REQUIRED, REQUIRED)
    pair.issue(kind)
    before = pair.extension()
    said = pair.ping()
    assert re.search(r"3 packets transmitted, 3 received, 0 out-of-order, 0% packet loss", said), said
    for then, now in zip(before, pair.extension(), strict=True):
        assert now["fragments_sent"] - then["fragments_sent"] >= 6
        assert now["messages_sent"] > then["messages_sent"]
        assert now["messages_received"] > then["messages_received"]
    checked = pair.hosts[0].ouro("crypto", "check", "srv")
    assert "has capabilities: fragments, pq; asked for X25519MLKEM768" in checked
    assert 'Between both sides of this host: X25519MLKEM768, aes-256-gcm; server authenticated as "srv"' in checked


def test_what_fits_is_not_taken_to_pieces(pair: Pair) -> None:
    kex = "X25519" if pair.type == "unicast" else "X25519MLKEM768"  # it plans for layers below that carry less
    pair.configure(f"kex = {kex}\n", f"kex = {kex}\n")
    for side in ("client", "server"):
        for file in ("crt.pem", "key.pem"):
            (pair.files / side / "srv" / file).unlink(missing_ok=True)
    before = [counts["fragments_sent"] for counts in pair.extension()]
    assert "3 received" in pair.ping()
    assert [counts["fragments_sent"] for counts in pair.extension()] == before

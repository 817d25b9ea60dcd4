"""Post-quantum flows between two hosts over UDP, and somebody in between who does what he can."""

import contextlib
import random
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ouro_core.testing.host import Host, eventually
from ouro_core.wire.extension import EXTENSION_CODE
from ouro_core.wire.oap import OapHeader

pytest.importorskip("ouro_pqc", reason="needs the plugin ouro-pqc")
pytest.importorskip("ouro_udp", reason="needs the plugin ouro-udp")

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
FIXED, CODE, REQUEST, HASH = 47, 44, 1, 16
X25519, HYBRID = 44, 1216
"""Bytes of a client's public key."""
CLASSICAL = "kex = X25519\n"
PREFER, REQUIRE = (f"kex = X25519\npqc = {word}\n" for word in ("prefer", "require"))


class Middle:
    """Carries datagrams between two hosts. `treat(datagram, to_server)` says what becomes of one."""

    def __init__(self, server: int) -> None:
        self.port = 0
        self.treat: Callable[[bytes, bool], list[bytes]]
        self.seen: list[tuple[bool, bytes]] = []
        self._server = ("127.0.0.1", server)
        self._client = ("127.0.0.1", 0)
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.reset()

    def reset(self) -> None:
        self.seen = []
        self.treat = lambda datagram, to_server: [datagram]

    def close(self) -> None:
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def send(self, datagram: bytes) -> None:
        """To the server, as from the client."""
        self._socket.sendto(datagram, self._server)

    def _run(self) -> None:
        while True:
            datagram, source = self._socket.recvfrom(65536)
            if not datagram:
                return
            to_server = source != self._server
            if to_server:
                self._client = source
            self.seen.append((to_server, datagram))
            for sent in self.treat(datagram, to_server):
                self._socket.sendto(sent, self._server if to_server else self._client)

    def keys(self) -> set[int]:
        """Bytes of the public keys in requests that went by in one piece; they may be repeated to Ouro nodes."""
        requests = [d for to_server, d in self.seen if to_server and _code(d) == REQUEST]
        return {len(OapHeader.decode(request[FIXED + HASH :]).kex) for request in requests}


def _code(datagram: bytes) -> int:
    """Of a management message; -1 for the packets of a flow."""
    return datagram[CODE] if datagram[:4] == bytes(4) and len(datagram) >= FIXED else -1


def strip(datagram: bytes, to_server: bool) -> list[bytes]:
    """Takes all that Ouro nodes say among themselves."""
    return [] if _code(datagram) == EXTENSION_CODE else [datagram]


def _free_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Two:
    """A client's host, a server's, and what is between them."""

    def __init__(self, directory: Path) -> None:
        self.files = directory / "security"
        port = _free_port()
        self.middle = Middle(port)
        self.server = self._host(directory / "server", f'reg = ["srv"]\nport = "{port}"\n')
        peers = f'peers = "srv=127.0.0.1:{self.middle.port}"\n'
        self.client = self._host(directory / "client", f'port = "{_free_port()}"\n{peers}')
        self._stack = contextlib.ExitStack()

    def _host(self, directory: Path, udp: str) -> Host:
        directory.mkdir()
        config = f'[irmd]\ndirect = false\nsecurity = "{self.files}"\n[name.srv]\n'
        return Host(directory, f'{config}[udp4.u]\nbootstrap = "net"\nip = "127.0.0.1"\n{udp}')

    def __enter__(self) -> "Two":
        with contextlib.ExitStack() as stack:
            stack.callback(self.middle.close)
            for host in (self.server, self.client):
                stack.enter_context(host)
            self.server.python(ACCEPT)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *why: object) -> None:
        self._stack.close()

    def configure(self, client: str, server: str) -> None:
        self.middle.reset()
        for side, text in (("client", client), ("server", server)):
            folder = self.files / side / "srv"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "enc.conf").write_text(text)
            for file in ("crt.pem", "key.pem"):
                (folder / file).unlink(missing_ok=True)

    def issue(self, kind: str) -> None:
        """Certificates for both sides."""
        self.client.ouro("pki", "init", "--algorithm", kind, "--force")
        self.client.ouro("pki", "issue", "srv", "--algorithm", kind, "--force")
        self.client.ouro("pki", "issue", "alice", "--client", "srv", "--algorithm", kind, "--force")

    def ask(self) -> str:
        eventually(lambda: self.server.rib("names/srv")["accepting"])
        done = self.client.run([sys.executable, "-c", ASK])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with Two(tmp_path_factory.mktemp("two")) as running:
        yield running


@pytest.mark.parametrize(("client", "server"), [(PREFER, CLASSICAL), (REQUIRE, REQUIRE)])
def test_two_ouro_nodes_exchange_keys_by_the_hybrid(two: Two, client: str, server: str) -> None:
    two.configure(client, server)
    assert two.ask() == "ping"
    assert two.middle.keys() == {HYBRID}


def test_a_server_that_requires_sends_a_number_and_the_client_knows_what_it_asked_for(two: Two) -> None:
    two.configure(CLASSICAL, REQUIRE)
    said = two.ask()
    assert said.startswith("-1008 ")
    assert (
        "X25519 (classical) with aes-256-gcm was asked for: the server requires more or has less, see its log" in said
    )
    assert "pqc = require, and the client's key exchange X25519 is classical" in two.server.log.read_text()


def test_without_a_policy_nothing_of_ours_is_on_the_wire(two: Two) -> None:
    two.configure(CLASSICAL, CLASSICAL)
    assert two.ask() == "ping"
    assert two.middle.keys() == {X25519}
    assert {_code(datagram) for _, datagram in two.middle.seen} == {-1, 1, 2}


def test_who_takes_the_probes_away_undoes_prefer_and_not_require(tmp_path: Path) -> None:
    with Two(tmp_path) as two:
        two.configure(PREFER, CLASSICAL)
        two.middle.treat = strip
        assert two.ask() == "ping"
        assert two.middle.keys() == {X25519}
        two.configure(REQUIRE, CLASSICAL)
        two.middle.treat = strip
        assert two.ask().startswith("-1008 pqc = require, and the peer does not answer as an Ouro node: ")
        assert two.middle.keys() == set()


@pytest.mark.parametrize("kind", ["ml-dsa-65", "ml-dsa-87", "slh-dsa-sha2-128f"])
def test_certificates_that_fit_in_no_datagram(two: Two, kind: str) -> None:
    """Both sides show one and require one: request and response go in fragments."""
    two.configure(PREFER + "auth = required\n", REQUIRE + "auth = required\n")
    two.issue(kind)
    assert two.ask() == "ping"
    assert two.middle.keys() == set()
    found = [host.rib("ipcps/u/carrier") for host in (two.client, two.server)]
    assert all(counts["messages_sent"] and counts["messages_received"] for counts in found)


def test_certificates_over_a_bad_path(two: Two) -> None:
    """A third of what Ouro nodes say among themselves is lost, a third comes twice."""
    two.configure(PREFER, REQUIRE)
    two.issue("ml-dsa-65")
    dice = random.Random(5)

    def bad(datagram: bytes, to_server: bool) -> list[bytes]:
        return [datagram] * dice.randrange(3) if _code(datagram) == EXTENSION_CODE else [datagram]

    two.middle.treat = bad
    for _ in range(3):
        assert two.ask() == "ping"


def test_a_fragment_that_was_changed_costs_the_allocation_and_no_more(two: Two) -> None:
    two.configure(PREFER, REQUIRE)
    two.issue("ml-dsa-65")

    def damage(datagram: bytes, to_server: bool) -> list[bytes]:
        if _code(datagram) == EXTENSION_CODE and datagram[FIXED + 5] == 3 and to_server:
            return [datagram[:1000] + bytes([datagram[1000] ^ 1]) + datagram[1001:]]
        return [datagram]

    two.middle.treat = damage
    assert two.ask().startswith("-1009 ")
    two.middle.reset()
    assert two.ask() == "ping"


def test_fragments_that_are_sent_again_later_make_no_flow(two: Two) -> None:
    two.configure(PREFER, REQUIRE)
    two.issue("ml-dsa-65")
    assert two.ask() == "ping"
    allocated = two.server.status().flows_allocated
    recorded = [datagram for to_server, datagram in two.middle.seen if to_server and _code(datagram) == EXTENSION_CODE]
    before = two.server.rib("ipcps/u/carrier")["fragments_received"]
    for datagram in recorded:
        two.middle.send(datagram)
    fragments = sum(datagram[FIXED + 5] == 3 for datagram in recorded)
    counts = lambda: two.server.rib("ipcps/u/carrier")  # noqa: E731
    eventually(lambda: counts()["fragments_received"] >= before + fragments)
    assert counts()["duplicates"] >= fragments
    assert two.server.status().flows_allocated == allocated
    assert two.ask() == "ping"


def test_anything_under_our_code_is_counted_and_harmless(two: Two) -> None:
    two.configure(PREFER, REQUIRE)
    dice = random.Random(6)
    fixed = bytes(CODE) + bytes([EXTENSION_CODE]) + bytes(2)
    before = two.server.rib("ipcps/u/carrier")["malformed"]
    for size in range(500):
        head = b"OURO\x01" + bytes([dice.randrange(6)]) if size % 2 else b""
        two.middle.send(fixed + head + dice.randbytes(dice.randrange(200)))
    eventually(lambda: two.server.rib("ipcps/u/carrier")["malformed"] > before + 100)
    assert two.ask() == "ping"


def test_to_a_node_that_takes_no_fragments_the_error_has_the_sizes(tmp_path: Path) -> None:
    """As the prototype does not."""
    with Two(tmp_path) as two:
        two.configure(CLASSICAL, CLASSICAL)
        two.issue("ml-dsa-65")
        two.middle.treat = strip
        said = two.ask()
        assert said.startswith("-90 ")
        assert "2048 bytes" in said
        assert "larger MTU" in said

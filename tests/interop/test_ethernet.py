"""The prototype as a peer, over both Ethernet types and in both directions. Without it on PATH these are skipped.

What it does by chance is tried again, with another name: one in ten of its replies goes to nobody, for it is sent
before the requester's address is stored; queries are lost in a race; whether a name's enc.conf is read depends on what
was on its daemon's stack when the name was made (irmd.md 5). The test fails when no attempt gives what it should.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Final

import pytest
from attrs import define, field

from ouro_core.testing.netns import join

from .hosts import Done, InteropHost, OuroHost, PrototypeHost, prototype

PROGRAMS = prototype()
pytestmark = [
    pytest.mark.skipif(isinstance(PROGRAMS, str), reason=f"no prototype to talk to: {PROGRAMS}"),
    pytest.mark.timeout(300),
]

LAYER: Final = "lay"
ATTEMPTS: Final = 8
USES: Final = 8
"""Of one daemon of the prototype: it does not give back all that it takes (62 SAPs, for instance)."""
KEXES: Final = ("X25519", "X448", "prime256v1", "secp384r1", "secp521r1", "ffdhe2048", "ffdhe3072", "ffdhe4096")
CIPHERS: Final = ("aes-128-gcm", "aes-192-gcm", "aes-256-gcm", "chacha20-poly1305", "aes-128-ctr", "aes-256-ctr")

Files = Mapping[str, str]

NOTHING: Final[Files] = {}


@define
class Pair:
    """Two hosts in a layer; `ours` is Ouro's."""

    ours: OuroHost
    theirs: PrototypeHost
    names: Iterator[int] = field(factory=count)
    uses: int = 0

    def name(self) -> str:
        return f"name{next(self.names)}"

    def issue(self, name: str) -> Files:
        """Certificate and key for a name, of an authority that both hosts trust."""
        done = self.ours.run("ouro", "pki", "issue", name)
        assert done.returncode == 0, done.stdout + done.stderr
        folder = self.ours.security / "server" / name
        files = {file: (folder / file).read_text() for file in ("crt.pem", "key.pem")}
        for file in list(folder.iterdir()):
            file.unlink()
        folder.rmdir()
        return files


@define
class Case:
    """A pair, and who asks whom."""

    pair: Pair
    client: InteropHost
    server: InteropHost

    def attempt(
        self,
        counts: Callable[[Done], bool],
        server: Callable[[str], Files] = lambda _: NOTHING,
        client: Callable[[str], Files] = lambda _: NOTHING,
        options: tuple[str, ...] = (),
    ) -> Done:
        """What comes of a ping to a new name that the server serves; of another one, until it `counts`. The functions
        give the security files of both sides.
        """
        seen = []
        for _ in range(ATTEMPTS):
            name = self.pair.name()
            self.server.secure("server", name, server(name))
            self.client.secure("client", name, client(name))
            self.server.serve(name, LAYER)
            if self.client is self.pair.theirs:
                self.client.irm("name", "create", name)  # it looks for no name that it does not know
            done = self.client.ping(name, *options)
            if counts(done):
                return done
            seen.append(f"{name}: {done.returncode} {done.stdout.strip()} {done.stderr.strip()}")
            self.pair.ours.stop_servers()
            self.pair.theirs.stop_servers()
        raise AssertionError("\n".join([*seen, "ours:", self.pair.ours.log()[-2000:], self.pair.theirs.log()[-2000:]]))

    def works(self, server: Files = NOTHING, client: Files = NOTHING, options: tuple[str, ...] = ()) -> None:
        """Pings are answered."""
        done = self.attempt(lambda d: d.returncode == 0, lambda _: server, lambda _: client, options)
        assert "3 packets transmitted, 3 received" in done.stdout

    def refused(self, code: int, server: Files = NOTHING, client: Files = NOTHING) -> None:
        """There is no flow, for a certain reason."""
        self.attempt(lambda d: f"Failed to allocate flow: {code}." in d.stdout, lambda _: server, lambda _: client)


class Pairs:
    """A pair for each type, replaced now and then."""

    def __init__(self) -> None:
        self._pairs: dict[str, tuple[Pair, contextlib.ExitStack]] = {}

    def get(self, type_name: str) -> Pair:
        if type_name in self._pairs:
            pair, stack = self._pairs[type_name]
            if pair.uses >= USES or not pair.theirs.alive("e"):
                del self._pairs[type_name]
                stack.close()
        if type_name not in self._pairs:
            self._pairs[type_name] = self._make(type_name)
        pair = self._pairs[type_name][0]
        pair.uses += 1
        return pair

    def _make(self, type_name: str) -> tuple[Pair, contextlib.ExitStack]:
        assert not isinstance(PROGRAMS, str)
        stack = contextlib.ExitStack()
        ours = stack.enter_context(OuroHost())
        assert ours.run("ouro", "pki", "init").returncode == 0
        authority = (ours.security / "cacert" / "ca.pem").read_text()
        theirs = stack.enter_context(PrototypeHost(PROGRAMS, authority))
        join(ours.network, "v0", theirs.network, "v0")
        for host in (ours, theirs):
            host.irm("ipcp", "bootstrap", "type", type_name, "name", "e", "layer", LAYER, "dev", "v0")
        return Pair(ours, theirs), stack

    def close(self) -> None:
        for _, stack in self._pairs.values():
            stack.close()


@pytest.fixture(scope="module")
def pairs() -> Iterator[Pairs]:
    pairs = Pairs()
    yield pairs
    pairs.close()


@pytest.fixture(params=["eth-dix", "eth-llc"])
def pair(request: pytest.FixtureRequest, pairs: Pairs) -> Iterator[Pair]:
    pair = pairs.get(request.param)
    yield pair
    pair.ours.stop_servers()
    pair.theirs.stop_servers()


@pytest.fixture(params=["c-to-ouro", "ouro-to-c"])
def case(request: pytest.FixtureRequest, pair: Pair) -> Case:
    return Case(pair, *((pair.theirs, pair.ours) if request.param == "c-to-ouro" else (pair.ours, pair.theirs)))


@pytest.mark.parametrize("size", ["64", "1400", "1480"])
def test_plain(case: Case, size: str) -> None:
    case.works(options=("-s", size))


@pytest.mark.parametrize("qos", ["data", "best"])
def test_in_order(case: Case, qos: str) -> None:
    case.works(options=("-q", qos))


def test_both_ways_at_once(pair: Pair) -> None:
    for case in 2 * (Case(pair, pair.theirs, pair.ours), Case(pair, pair.ours, pair.theirs)):
        case.works()


@pytest.mark.parametrize("kex", KEXES)
def test_encrypted(case: Case, kex: str) -> None:
    conf = {"enc.conf": f"kex={kex}\n"}
    case.works(conf, conf)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_ciphers(case: Case, cipher: str) -> None:
    conf = {"enc.conf": f"kex=X25519\ncipher={cipher}\nkdf=sha512\n"}
    case.works(conf, conf)


def test_post_quantum_where_the_prototype_has_it(case: Case) -> None:
    """Where its OpenSSL has no ML-KEM it must say so."""
    conf = {"enc.conf": "kex=X25519MLKEM768\n"}
    if case.pair.theirs.post_quantum():
        case.works(conf, conf)
    else:
        case.refused(-1008, conf, conf)


def test_a_plain_client_is_refused(case: Case) -> None:
    case.refused(-1008, {"enc.conf": "kex=X25519\n"})


# ---------------------------------------------------------------- certificates


@pytest.mark.parametrize("conf", ["none\n", "kex=X25519\n"], ids=["plain", "encrypted"])
def test_authenticated_server(case: Case, conf: str) -> None:
    """`auth` is a line that the prototype does not look at: its client verifies what it is shown."""
    demand = {"enc.conf": "auth=required\n" + conf}
    case.attempt(
        lambda d: d.returncode == 0, lambda name: {**case.pair.issue(name), "enc.conf": conf}, lambda _: demand
    )


def test_both_authenticated(case: Case) -> None:
    demand = {"enc.conf": "auth=required\nkex=X25519\n"}
    mine = case.pair.issue(case.pair.name())
    case.attempt(
        lambda d: d.returncode == 0, lambda name: {**case.pair.issue(name), **demand}, lambda _: {**mine, **demand}
    )


def test_a_certificate_for_another_name_is_refused(case: Case) -> None:
    case.refused(-1009, case.pair.issue("somebody.else"))


# ---------------------------------------------------------------- nobody there


def test_a_name_that_nobody_accepts_for_is_answered_at_once(pair: Pair) -> None:
    """The prototype's requesters know the answer that its responders do not give."""
    for _ in range(ATTEMPTS):
        name = pair.name()
        pair.ours.irm("name", "create", name)
        pair.ours.irm("name", "register", name, "layer", LAYER)
        pair.theirs.irm("name", "create", name)
        began = time.monotonic()
        done = pair.theirs.ping(name)
        if "Failed to allocate flow: -110." in done.stdout:
            break
    assert "Failed to allocate flow: -110." in done.stdout
    assert time.monotonic() - began < 6.0


def test_an_unknown_name(case: Case) -> None:
    case.client.irm("name", "create", "nobody.has.it")
    done = case.client.ping("nobody.has.it")
    assert done.returncode == 1
    assert "Failed to allocate flow: -100" in done.stdout

"""The prototype as a peer, over both Ethernet types and in both directions. Without it on PATH these are skipped."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Final

import pytest

from .cases import ATTEMPTS, LAYER, PROGRAMS, Case, Pair, Pairs, Tell, by_query
from .hosts import PATIENCE, OuroHost, PrototypeHost

pytestmark = [
    pytest.mark.skipif(isinstance(PROGRAMS, str), reason=f"no prototype to talk to: {PROGRAMS}"),
    pytest.mark.timeout(300),
]

TYPES: Final = ("eth-dix", "eth-llc")
KEXES: Final = ("X25519", "X448", "prime256v1", "secp384r1", "secp521r1", "ffdhe2048", "ffdhe3072", "ffdhe4096")
CIPHERS: Final = ("aes-128-gcm", "aes-192-gcm", "aes-256-gcm", "chacha20-poly1305", "aes-128-ctr", "aes-256-ctr")


def enter(type_name: str, ours: OuroHost, theirs: PrototypeHost) -> Tell:
    for host in (ours, theirs):
        host.irm("ipcp", "bootstrap", "type", type_name, "name", "e", "layer", LAYER, "dev", "v0")
    return by_query


@pytest.fixture(scope="module")
def pairs() -> Iterator[Pairs]:
    pairs = Pairs({type_name: partial(enter, type_name) for type_name in TYPES})
    yield pairs
    pairs.close()


@pytest.fixture(params=TYPES)
def pair(request: pytest.FixtureRequest, pairs: Pairs) -> Iterator[Pair]:
    pair = pairs.get(request.param)
    yield pair
    pair.stop_servers()


@pytest.fixture(params=["c-to-ouro", "ouro-to-c"])
def case(request: pytest.FixtureRequest, pair: Pair) -> Case:
    return Case(pair, request.param == "c-to-ouro")


@pytest.mark.parametrize("size", ["64", "1400", "1480"])
def test_plain(case: Case, size: str) -> None:
    case.works(options=("-s", size))


@pytest.mark.parametrize("qos", ["data", "best"])
def test_in_order(case: Case, qos: str) -> None:
    case.works(options=("-q", qos))


def test_both_ways_at_once(pair: Pair) -> None:
    for theirs_asks in (True, False, True, False):
        Case(pair, theirs_asks).works()


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
    case.attempt(
        lambda d: d.returncode == 0,
        lambda name: {**case.pair.issue(name), **demand},
        lambda _: {**case.pair.issue("a.client"), **demand},
    )


def test_a_certificate_for_another_name_is_refused(case: Case) -> None:
    """What a client finds wrong in a response is ECRYPT at either side (oap.md)."""
    why = "Peer crt for 'somebody.else'" if case.theirs_asks else 'the certificate is for "somebody.else"'
    case.refused(-1008, case.pair.issue("somebody.else"), why=why)


# ---------------------------------------------------------------- nobody there


def test_a_name_that_nobody_accepts_for_is_answered_at_once(pair: Pair) -> None:
    """The prototype's requesters know the answer that its responders do not give. They take ETIMEDOUT for a time-out
    of their own, which they call EPERM (shims.md 9).
    """
    for _ in range(ATTEMPTS):
        name = pair.name()
        pair.ours.irm("name", "create", name)
        pair.ours.irm("name", "register", name, "layer", LAYER)
        pair.theirs.irm("name", "create", name)
        began = time.monotonic()
        done = pair.theirs.ping(name)
        if "Failed to allocate flow: -1." in done.stdout:
            break
    assert "Failed to allocate flow: -1." in done.stdout
    assert time.monotonic() - began < PATIENCE


def test_an_unknown_name(case: Case) -> None:
    case.client.irm("name", "create", "nobody.has.it")
    done = case.client.ping("nobody.has.it")
    assert done.returncode == 1
    assert "Failed to allocate flow: -100" in done.stdout

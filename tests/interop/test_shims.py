"""The prototype as a peer, over both Ethernet types and both UDP types, in both directions. Without it on PATH these
are skipped.

Over UDP it finds names by the machine's resolver, so their hashes stand in an /etc/hosts of its own; ours has a hosts
file.
"""

import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from ouro_core.model.names import HashAlgorithm, hash_name
from ouro_core.testing.host import eventually
from ouro_core.testing.netns import Namespace

from .cases import ATTEMPTS, LAYER, PROGRAMS, Case, Pair, Pairs, Tell, by_query
from .hosts import PATIENCE, Done, InteropHost, OuroHost, PrototypeHost

pytestmark = [
    pytest.mark.skipif(isinstance(PROGRAMS, str), reason=f"no prototype to talk to: {PROGRAMS}"),
    pytest.mark.timeout(300),
]

ETHERNET: Final = ("eth-dix", "eth-llc")
ADDRESSES: Final = {"udp4": ("10.99.0.1", "10.99.0.2"), "udp6": ("fd99::1", "fd99::2")}
UDP: Final = tuple(ADDRESSES)
LARGE: Final = {"eth-dix": 1480, "eth-llc": 1480, "udp4": 1500, "udp6": 1500}
"""Bytes: nearly all that a frame has room for; and more than that, which IP takes to pieces."""
KEXES: Final = ("X25519", "X448", "prime256v1", "secp384r1", "secp521r1", "ffdhe2048", "ffdhe3072", "ffdhe4096")
CIPHERS: Final = ("aes-128-gcm", "aes-192-gcm", "aes-256-gcm", "chacha20-poly1305", "aes-128-ctr", "aes-256-ctr")
ENCRYPTED: Final = {"enc.conf": "kex=X25519\n"}


# ---------------------------------------------------------------- members


def enter_ethernet(type_name: str, ours: OuroHost, theirs: PrototypeHost) -> Tell:
    for host in (ours, theirs):
        host.irm("ipcp", "bootstrap", "type", type_name, "name", "e", "layer", LAYER, "dev", "v0")
    return by_query


def enter_udp(type_name: str, ours: OuroHost, theirs: PrototypeHost) -> Tell:
    """Addresses on the devices, members at them, and how each is told of names."""
    address = dict(zip((ours.label, theirs.label), ADDRESSES[type_name], strict=True))
    for host in (ours, theirs):
        give(host.network, address[host.label])
    hosts = ours.security / "hosts"
    hosts.touch()
    ours.irm("ipcp", "bootstrap", "type", type_name, "name", "e", "layer", LAYER,
             "ip", address[ours.label], "hosts", str(hosts))  # fmt: skip
    theirs.irm("ipcp", "bootstrap", "type", type_name, "name", "e", "layer", LAYER, "ip", address[theirs.label])
    theirs.resolve()

    def tell(host: InteropHost, name: str, at: InteropHost) -> None:
        if host is ours:
            with hosts.open("a") as file:
                file.write(f"{address[at.label]} {name}\n")
        else:
            hash = hash_name(name, HashAlgorithm.MD5).hex()
            theirs.resolve(f"{address[at.label]} {hash}\n")

    return tell


def give(network: Namespace, address: str) -> None:
    six = ":" in address
    if six:
        with network.inside():
            for switch, value in (("disable_ipv6", "0"), ("accept_dad", "0")):
                Path(f"/proc/sys/net/ipv6/conf/v0/{switch}").write_text(value)
    network.ip("addr", "add", f"{address}/{64 if six else 24}", "dev", "v0", *(["nodad"] if six else []))


@pytest.fixture(scope="module")
def pairs() -> Iterator[Pairs]:
    enter = {type_name: partial(enter_ethernet, type_name) for type_name in ETHERNET}
    pairs = Pairs(enter | {type_name: partial(enter_udp, type_name) for type_name in UDP})
    yield pairs
    pairs.close()


@pytest.fixture(params=(*ETHERNET, *UDP))
def type_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pair(type_name: str, pairs: Pairs) -> Iterator[Pair]:
    pair = pairs.get(type_name)
    yield pair
    pair.stop_servers()


@pytest.fixture(params=["c-to-ouro", "ouro-to-c"])
def case(request: pytest.FixtureRequest, pair: Pair) -> Case:
    return Case(pair, request.param == "c-to-ouro")


only_udp = pytest.mark.parametrize("type_name", UDP, indirect=True)


# ---------------------------------------------------------------- flows


@pytest.mark.parametrize("size", [64, 1400, 0], ids=["64", "1400", "large"])
def test_plain(case: Case, type_name: str, size: int) -> None:
    case.works(options=("-s", str(size or LARGE[type_name])))


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
    """Where its OpenSSL has no ML-KEM it must say so: EBADF to its own clients, ECRYPT to others (oap.md 8.1, 9.2)."""
    conf = {"enc.conf": "kex=X25519MLKEM768\n"}
    if case.pair.theirs.post_quantum():
        case.works(conf, conf)
    elif case.theirs_asks:
        case.refused(-9, conf, conf, why="PQC not available, can't use X25519MLKEM768")
    else:
        case.refused(-1008, conf, conf)


def test_a_plain_client_is_refused(case: Case) -> None:
    case.refused(-1008, ENCRYPTED)


def test_a_client_that_lacks_what_pqc_requires(pair: Pair) -> None:
    """Its code is ECRYPT, and our log says for which name, what it asked for, and what it lacks."""
    required = {"enc.conf": "kex=X25519\npqc=require\n"}
    refusal = re.compile(
        r"Refused a flow request for (\S+): pqc = require, and the client's key exchange X25519 is classical: "
        "it has no X25519MLKEM768"
    )

    def told(done: Done) -> bool:
        named = set(refusal.findall(pair.ours.log())) & set(done.args)
        return bool(named) and "Failed to allocate flow: -1008." in done.stdout

    Case(pair, theirs_asks=True).attempt(told, lambda _: required, lambda _: ENCRYPTED)


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
    case.attempt(
        lambda d: "Failed to allocate flow: -1008." in d.stdout and why in case.client.log(),
        lambda _: case.pair.issue("somebody.else"),  # each pair of hosts has an authority of its own
    )


# ---------------------------------------------------------------- nobody there


def test_a_name_that_nobody_accepts_for_is_answered_at_once(pair: Pair, type_name: str) -> None:
    """The prototype's requesters know the answer that its responders do not give. They take ETIMEDOUT for a time-out
    of their own, which they call EPERM (shims.md 9).
    """
    for _ in range(ATTEMPTS):
        name = pair.name()
        pair.ours.irm("name", "create", name)
        if type_name in ETHERNET:
            pair.ours.irm("name", "register", name, "layer", LAYER)
        pair.theirs.irm("name", "create", name)
        pair.tell(pair.theirs, name, pair.ours)
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


# ---------------------------------------------------------------- UDP alone


@only_udp
def test_a_name_that_is_only_known_to_the_irm_is_reached(case: Case) -> None:
    """Without having been registered in the layer, either way."""
    for _ in range(ATTEMPTS):
        name = case.pair.name()
        case.server.irm("name", "create", name)
        pid = str(case.server.start("oping", "-l"))
        eventually(lambda: case.server.run("irm", "bind", "process", pid, "name", name).returncode == 0)  # noqa: B023
        case.pair.tell(case.client, name, case.server)
        if case.theirs_asks:
            case.client.irm("name", "create", name)
        done = case.client.ping(name)
        if done.returncode == 0:
            return
        if done.returncode < 0:
            case.pair.renew()
        case.pair.stop_servers()
    raise AssertionError(f"{done}\n{case.pair.ours.log()[-2000:]}\n{case.pair.theirs.log()[-2000:]}")


@only_udp
def test_we_ask_the_prototype_what_it_can_do_and_it_does_not_mind(pair: Pair) -> None:
    """It takes no notice of our questions, and what is too long for it fails here, with both sizes."""
    name = pair.name()
    pair.theirs.serve(name, LAYER)
    pair.tell(pair.ours, name, pair.theirs)
    code = f"""
from ouro_core import flow_alloc
try:
    flow_alloc({name!r}, data=bytes(3000))
except Exception as e:
    print(type(e).__name__, e)
"""
    done = pair.ours.python(code)
    assert "TooLong" in done.stdout, done.stdout + done.stderr
    assert "2048" in done.stdout
    Case(pair, False).works()

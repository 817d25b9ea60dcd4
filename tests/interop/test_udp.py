"""The prototype as a peer, over UDP and in both directions. Without it on PATH these are skipped.

It finds names by the machine's resolver, so their hashes stand in an /etc/hosts of its own; ours has a hosts file.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from ouro_core.model.names import HashAlgorithm, hash_name
from ouro_core.testing.host import eventually
from ouro_core.testing.netns import Namespace

from .cases import ATTEMPTS, LAYER, PROGRAMS, Case, Pair, Pairs, Tell
from .hosts import PATIENCE, InteropHost, OuroHost, PrototypeHost

pytestmark = [
    pytest.mark.skipif(isinstance(PROGRAMS, str), reason=f"no prototype to talk to: {PROGRAMS}"),
    pytest.mark.timeout(300),
]

ADDRESSES: Final = {"udp4": ("10.99.0.1", "10.99.0.2"), "udp6": ("fd99::1", "fd99::2")}
KEXES: Final = ("X25519", "X448", "prime256v1", "ffdhe2048")
CIPHERS: Final = ("aes-128-gcm", "chacha20-poly1305", "aes-256-ctr")


def enter(type_name: str, ours: OuroHost, theirs: PrototypeHost) -> Tell:
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
    pairs = Pairs({type_name: partial(enter, type_name) for type_name in ADDRESSES})
    yield pairs
    pairs.close()


@pytest.fixture(params=ADDRESSES)
def pair(request: pytest.FixtureRequest, pairs: Pairs) -> Iterator[Pair]:
    pair = pairs.get(request.param)
    yield pair
    pair.stop_servers()


@pytest.fixture(params=["c-to-ouro", "ouro-to-c"])
def case(request: pytest.FixtureRequest, pair: Pair) -> Case:
    return Case(pair, request.param == "c-to-ouro")


@pytest.mark.parametrize("size", ["64", "1400", "1500"])
def test_plain(case: Case, size: str) -> None:
    """1500 bytes are more than a frame has room for: IP takes them to pieces."""
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
    conf = {"enc.conf": f"kex=X25519\ncipher={cipher}\n"}
    case.works(conf, conf)


def test_a_plain_client_is_refused(case: Case) -> None:
    case.refused(-1008, {"enc.conf": "kex=X25519\n"})


def test_authenticated_server(case: Case) -> None:
    demand = {"enc.conf": "auth=required\nkex=X25519\n"}
    conf = {"enc.conf": "kex=X25519\n"}
    case.attempt(lambda d: d.returncode == 0, lambda name: {**case.pair.issue(name), **conf}, lambda _: demand)


def test_a_certificate_for_another_name_is_refused(case: Case) -> None:
    """What a client finds wrong in a response is ECRYPT at either side (oap.md)."""
    case.refused(-1008, case.pair.issue("somebody.else"))


# ---------------------------------------------------------------- nobody there


def test_a_name_that_nobody_accepts_for_is_answered_at_once(pair: Pair) -> None:
    """The prototype's requesters know the answer that its responders do not give. They take ETIMEDOUT for a time-out
    of their own, which they call EPERM (shims.md 9).
    """
    for _ in range(ATTEMPTS):
        name = pair.name()
        pair.ours.irm("name", "create", name)
        pair.theirs.irm("name", "create", name)
        pair.tell(pair.theirs, name, pair.ours)
        began = time.monotonic()
        done = pair.theirs.ping(name)
        if "Failed to allocate flow: -1." in done.stdout:
            break
    assert "Failed to allocate flow: -1." in done.stdout
    assert time.monotonic() - began < PATIENCE


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


def test_an_unknown_name(case: Case) -> None:
    case.client.irm("name", "create", "nobody.has.it")
    done = case.client.ping("nobody.has.it")
    assert done.returncode == 1
    assert "Failed to allocate flow: -100" in done.stdout


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

"""Client and server over every key encapsulation in both modes, and what comes of all that can be wrong."""

import os
from itertools import product
from typing import Any

import pytest
from attrs import evolve

from ouro_core.contracts.crypto import KemSuite
from ouro_core.model.errors import AuthenticationFailed, CryptError
from ouro_core.oap import (
    PLAIN,
    Encryption,
    KemMode,
    OapClient,
    OapContext,
    OapResult,
    OapServer,
    OapSuites,
    ReplayGuard,
    Security,
)
from ouro_core.wire.oap import DIGEST_NIDS, OapHeader

from .test_contracts import CASES
from .test_handshakes import store
from .test_known_answers import pem

NOW = 1_795_332_800_000_000_000
KEMS = ("ML-KEM-512", "ML-KEM-768", "ML-KEM-1024", "X25519MLKEM768", "X448MLKEM1024")
MODES = tuple(KemMode)
every_kem = pytest.mark.parametrize("kex", KEMS)
every_hybrid = pytest.mark.parametrize("kex", KEMS[3:])
CURVE = {"X25519MLKEM768": 32, "X448MLKEM1024": 56}


def server_of(kex: str, kdf: str = "sha256") -> Security:
    """A server that has a static key, too."""
    case = CASES[kex]
    private = bytes.fromhex(case["priv_raw"])
    static = private if kex in CURVE else pem(bytes.fromhex(case["priv_pkcs_der"]))
    return Security(Encryption(kex, kdf=kdf), static_key=static)


def client_of(kex: str, mode: KemMode, kdf: str = "sha256") -> Security:
    public = bytes.fromhex(CASES[kex]["pk"])
    static = public if kex in CURVE else pem(public, "PUBLIC KEY")
    return Security(Encryption(kex, kdf=kdf, kem_mode=mode), static_key=static if mode is KemMode.CLIENT else None)


def asked(suites: OapSuites, security: Security) -> OapContext:
    return OapClient(suites).prepare("a", b"ping", NOW, security)


def served(suites: OapSuites, request: bytes, security: Security) -> tuple[bytes, OapResult]:
    return OapServer(suites, ReplayGuard()).process(request, b"pong", NOW, security)


def flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


def talk(suites: OapSuites, one: OapResult, other: OapResult) -> bool:
    """Whether a packet of one end is opened by the other."""
    cipher = suites.ciphers.numbered(one.cipher_nid)
    packet = cipher.key(one.key or b"").seal(os.urandom(cipher.iv_size), b"packet")
    try:
        return cipher.key(other.key or b"").open(packet) == b"packet"
    except CryptError:
        return False


# ---------------------------------------------------------------- what works


@pytest.mark.parametrize(("kex", "mode"), list(product(KEMS, MODES)))
def test_every_kem_in_both_modes(suites: OapSuites, kex: str, mode: KemMode) -> None:
    for kdf in DIGEST_NIDS:
        context = asked(suites, client_of(kex, mode, kdf))
        assert context.header.client_encaps == (mode is KemMode.CLIENT)
        assert context.header.raw == (kex in CURVE)
        response, accepted = served(suites, context.request, server_of(kex, kdf))
        allocated = OapClient(suites).complete(context, response, NOW)
        assert (allocated.key, allocated.kex) == (accepted.key, kex)
        assert accepted.kex == kex
        assert talk(suites, allocated, accepted)
        assert (allocated.data, accepted.data) == (b"pong", b"ping")
        kex_field = OapHeader.decode(response, hash_size=32).kex
        assert bool(kex_field) == (mode is KemMode.SERVER)


def test_strengths(suites: OapSuites) -> None:
    assert [suite.name for suite in suites.kexes][-5:] == list(KEMS)
    assert [suite.rank for suite in suites.kexes] == list(range(1, 14))
    assert [suite.nid for suite in suites.kexes][-5:] == [1454, 1455, 1456, 2053, 2054]


@pytest.mark.parametrize(("client", "server"), list(product(("X25519", *KEMS), KEMS)))
def test_the_servers_key_exchange_is_the_least(suites: OapSuites, client: str, server: str) -> None:
    context = asked(suites, Security(Encryption(client)))
    ranks = [suites.kexes.named(name).rank for name in (client, server)]
    if ranks[0] < ranks[1]:
        with pytest.raises(CryptError, match=f"{client} is weaker than the {server}"):
            served(suites, context.request, Security(Encryption(server)))
        return
    response, accepted = served(suites, context.request, Security(Encryption(server)))
    assert OapClient(suites).complete(context, response, NOW).key == accepted.key is not None


@every_kem
def test_a_server_without_configuration_serves(suites: OapSuites, kex: str) -> None:
    context = asked(suites, Security(Encryption(kex)))
    response, accepted = served(suites, context.request, PLAIN)
    assert OapClient(suites).complete(context, response, NOW).key == accepted.key is not None


# ---------------------------------------------------------------- what is refused


@every_kem
def test_client_mode_at_a_server_that_cannot(suites: OapSuites, kex: str) -> None:
    request = asked(suites, client_of(kex, KemMode.CLIENT)).request
    other = "ML-KEM-1024" if kex in CURVE else "X25519MLKEM768"
    for security, why in (
        (PLAIN, "no key of this server is configured"),
        (Security(Encryption(kex)), "no key of this server is configured"),
        (evolve(server_of(kex), encryption=Encryption("X25519")), "not with the X25519 configured"),
        (server_of(other), f"not with the {other} configured"),
        (server_of(kex, "sha512"), "weaker than the one configured"),
        (evolve(server_of(kex), static_key=b""), "key"),
        (evolve(server_of(kex), static_key=server_of(other).static_key), "key"),
    ):
        with pytest.raises(CryptError, match=why) as caught:
            served(suites, request, security)
        assert caught.value.code == -1008


@every_kem
def test_client_mode_without_the_servers_key(suites: OapSuites, kex: str) -> None:
    for static in (None, b"", b"junk", server_of(kex).static_key, client_of("ML-KEM-512", KemMode.CLIENT).static_key):
        if static == client_of(kex, KemMode.CLIENT).static_key:
            continue
        with pytest.raises(CryptError):
            asked(suites, evolve(client_of(kex, KemMode.CLIENT), static_key=static))


@pytest.mark.parametrize(("kex", "mode"), list(product(KEMS, MODES)))
def test_wrong_lengths_and_zeroes(suites: OapSuites, kex: str, mode: KemMode) -> None:
    context = asked(suites, client_of(kex, mode))
    field = context.header.kex
    zero = [bytes(len(field))] if kex in CURVE or mode is KemMode.CLIENT else [field[:22] + bytes(len(field) - 22)]
    for wrong in (field[:-1], field + b"\0", field[: len(field) // 2], field[:1], *zero):
        with pytest.raises(CryptError):
            served(suites, evolve(context.header, kex=wrong).encode(), server_of(kex))


@pytest.mark.parametrize(("kex", "mode"), list(product(CURVE, MODES)))
def test_either_half_all_zero(suites: OapSuites, kex: str, mode: KemMode) -> None:
    context = asked(suites, client_of(kex, mode))
    field, size = context.header.kex, CURVE[kex]
    for wrong, why in (
        (bytes(len(field) - size) + field[-size:], "is all zero"),
        (field[:-size] + bytes(size), "half of the X.* is of no use"),
    ):
        with pytest.raises(CryptError, match=why):
            served(suites, evolve(context.header, kex=wrong).encode(), server_of(kex))


@every_hybrid
def test_either_half_of_the_answer_all_zero(suites: OapSuites, kex: str) -> None:
    context = asked(suites, Security(Encryption(kex)))
    response, _ = served(suites, context.request, server_of(kex))
    header = OapHeader.decode(response, hash_size=32)
    size = CURVE[kex]
    for wrong in (
        bytes(len(header.kex) - size) + header.kex[-size:],
        header.kex[:-size] + bytes(size),
        header.kex[:-1],
        header.kex + b"\0",
    ):
        with pytest.raises(CryptError):
            OapClient(suites).complete(context, evolve(header, kex=wrong).encode(), NOW)


@every_kem
def test_numbers_out_of_range(suites: OapSuites, kex: str) -> None:
    """An ML-KEM public key has numbers below 3329."""
    context = asked(suites, Security(Encryption(kex)))
    start = 0 if kex in CURVE else 22
    wrong = context.header.kex[:start] + b"\xff" * 24 + context.header.kex[start + 24 :]
    with pytest.raises(CryptError, match="no valid public key"):
        served(suites, evolve(context.header, kex=wrong).encode(), server_of(kex))


# ---------------------------------------------------------------- roles and forms


@pytest.mark.parametrize(("kex", "mode"), list(product(KEMS, MODES)))
def test_the_other_role_or_form(suites: OapSuites, kex: str, mode: KemMode) -> None:
    """R or F changed on the way: refused, if not by the server, then by the client for the hash of the request."""
    context = asked(suites, client_of(kex, mode))
    header = context.header
    for changed in (
        evolve(header, client_encaps=not header.client_encaps),
        evolve(header, raw=not header.raw),
        evolve(header, raw=not header.raw, client_encaps=not header.client_encaps),
    ):
        try:
            response, _ = served(suites, changed.encode(), server_of(kex))
        except CryptError:
            continue
        assert kex == "X448MLKEM1024"  # whose public key is as long as a ciphertext
        with pytest.raises(CryptError, match="wrong request hash"):
            OapClient(suites).complete(context, response, NOW)


# ---------------------------------------------------------------- changed on the way


@pytest.mark.parametrize(("kex", "mode"), list(product(KEMS, MODES)))
def test_a_request_that_was_changed_is_noticed_by_the_client(suites: OapSuites, kex: str, mode: KemMode) -> None:
    context = asked(suites, client_of(kex, mode))
    size = len(context.header.kex)
    for place in (30, size // 2, size - CURVE.get(kex, 0) - 1, size - 2):
        try:
            response, _ = served(
                suites, evolve(context.header, kex=flipped(context.header.kex, place)).encode(), server_of(kex)
            )
        except CryptError:
            continue
        with pytest.raises(CryptError, match="wrong request hash"):
            OapClient(suites).complete(context, response, NOW)


@every_kem
def test_an_unsigned_answer_that_was_changed_is_noticed_at_the_first_packet(suites: OapSuites, kex: str) -> None:
    """Implicit rejection: no error, and no packet that the other end would take."""
    context = asked(suites, Security(Encryption(kex)))
    response, accepted = served(suites, context.request, server_of(kex))
    header = OapHeader.decode(response, hash_size=32)
    size = len(header.kex)
    for place in (0, size // 2, size - CURVE.get(kex, 0) - 1, size - 2):
        changed = evolve(header, kex=flipped(header.kex, place)).encode()
        allocated = OapClient(suites).complete(context, changed, NOW)
        assert allocated.key != accepted.key
        assert not talk(suites, allocated, accepted)
        assert not talk(suites, accepted, allocated)


@every_kem
def test_a_stale_key_of_the_server_is_noticed_at_the_first_packet(suites: OapSuites, kex: str) -> None:
    suite = suites.kexes.named(kex)
    assert isinstance(suite, KemSuite)
    stale = suite.generate().public
    static = stale if kex in CURVE else pem(stale, "PUBLIC KEY")
    context = asked(suites, evolve(client_of(kex, KemMode.CLIENT), static_key=static))
    response, accepted = served(suites, context.request, server_of(kex))
    allocated = OapClient(suites).complete(context, response, NOW)
    assert allocated.key != accepted.key
    assert not talk(suites, allocated, accepted)


@pytest.mark.parametrize("half", ["kem", "curve"])
@every_hybrid
def test_one_half_of_the_stale_key_is_enough(suites: OapSuites, kex: str, half: str) -> None:
    suite = suites.kexes.named(kex)
    good, stale = bytes.fromhex(CASES[kex]["pk"]), suite.generate().public
    size = CURVE[kex]
    mixed = stale[:-size] + good[-size:] if half == "kem" else good[:-size] + stale[-size:]
    context = asked(suites, evolve(client_of(kex, KemMode.CLIENT), static_key=mixed))
    response, accepted = served(suites, context.request, server_of(kex))
    assert not talk(suites, OapClient(suites).complete(context, response, NOW), accepted)


# ---------------------------------------------------------------- certificates


@pytest.mark.parametrize("name", ["auth.mldsa44", "auth.mldsa65"])
@every_kem
def test_signed(suites: OapSuites, data: Any, kex: str, name: str) -> None:
    (family,) = [a for a in suites.authenticators if a.name == "ML-DSA"]
    credentials = family.load(data(f"{name}.crt.pem"), data(f"{name}.key.pem"))
    client = family.load(data("cli-mldsa44.crt.pem"), data("cli-mldsa44.key.pem"))
    assert credentials is not None
    assert client is not None
    trusted = store(data)
    for digest in ("sha256", "blake2b512"):
        asking = Security(Encryption(kex, digest=digest), client, trusted, require_peer=True)
        serving = Security(Encryption(kex, digest=digest), credentials, trusted, require_peer=True)
        oap = OapClient(suites)
        context = oap.prepare(name, b"", NOW, asking)
        response, accepted = served(suites, context.request, serving)
        allocated = oap.complete(context, response, NOW)
        assert (allocated.peer, accepted.peer) == (name, "cli-mldsa44")
        assert talk(suites, allocated, accepted)

        hash_size = suites.digests.named(digest).size
        place = 36 + len(credentials.certificate) + 10  # in the ciphertext
        with pytest.raises(CryptError, match="signature does not fit"):
            oap.complete(context, flipped(response, place), NOW)
        assert OapHeader.decode(response, hash_size=hash_size).kex
        with pytest.raises(AuthenticationFailed, match="signature does not fit"):
            served(suites, flipped(context.request, len(context.request) - 1), serving)
        with pytest.raises(AuthenticationFailed, match="not in the store"):
            served(suites, context.request, evolve(serving, store=()))

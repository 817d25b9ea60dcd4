"""Client and server over every key exchange, cipher and kdf of the core, and what they refuse (oap.md 11)."""

from itertools import product
from typing import Any

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ouro_core.builtin.classic.curves import CURVES
from ouro_core.builtin.classic.ffdhe import FFDHE
from ouro_core.contracts.crypto import Authenticator
from ouro_core.model.errors import AuthenticationFailed, CryptError
from ouro_core.oap import PLAIN, Encryption, OapClient, OapServer, OapSuites, ReplayGuard, Security, SuiteTable
from ouro_core.testing.crypto import AuthenticatorContract, Wish
from ouro_core.wire.oap import CIPHER_NIDS, DIGEST_NIDS, OapHeader

NOW = 1_795_332_800_000_000_000
SIGNED = 1_780_315_200_000_000_000
"""When the certificates are valid that the kit issues."""
KEXES = sorted((*CURVES, *FFDHE), key=lambda suite: suite.rank)


@pytest.mark.parametrize("kex", [suite.name for suite in KEXES])
def test_every_cipher_and_kdf(suites: OapSuites, kex: str) -> None:
    for cipher, kdf in product(CIPHER_NIDS, DIGEST_NIDS):
        security = Security(Encryption(kex, cipher, kdf))
        oap = OapClient(suites)
        context = oap.prepare("a", b"", NOW, security)
        response, accepted = OapServer(suites, ReplayGuard()).process(context.request, b"", NOW, security)
        allocated = oap.complete(context, response, NOW)
        assert allocated.key is not None
        assert (allocated.key, allocated.kex) == (accepted.key, kex)
        assert allocated.cipher_nid == accepted.cipher_nid == CIPHER_NIDS[cipher]
        suite = suites.ciphers.numbered(allocated.cipher_nid)
        ends = suite.key(allocated.key), suite.key(accepted.key or b"")
        iv = bytes(range(suite.iv_size))
        assert ends[1].open(ends[0].seal(iv, b"ping")) == b"ping"
        assert ends[0].open(ends[1].seal(iv, b"pong")) == b"pong"


@pytest.mark.parametrize(("client", "server"), list(product(KEXES, KEXES)), ids=lambda suite: suite.name)
def test_the_servers_key_exchange_is_the_least(suites: OapSuites, client: Any, server: Any) -> None:
    oap = OapClient(suites)
    context = oap.prepare("a", b"", NOW, Security(Encryption(client.name)))
    serve = OapServer(suites, ReplayGuard()).process
    configured = Security(Encryption(server.name))
    if client.rank < server.rank:
        with pytest.raises(CryptError, match=f"{client.name} is weaker than the {server.name}"):
            serve(context.request, b"", NOW, configured)
    else:
        response, accepted = serve(context.request, b"", NOW, configured)
        assert oap.complete(context, response, NOW).key == accepted.key
        assert accepted.kex == client.name


@pytest.mark.parametrize(("client", "server"), list(product(CIPHER_NIDS, CIPHER_NIDS)))
def test_the_stronger_cipher_is_taken(suites: OapSuites, client: str, server: str) -> None:
    oap = OapClient(suites)
    context = oap.prepare("a", b"", NOW, Security(Encryption("X25519", client)))
    configured = Security(Encryption("X25519", server))
    response, accepted = OapServer(suites, ReplayGuard()).process(context.request, b"", NOW, configured)
    weakest_first = list(CIPHER_NIDS)
    stronger = max(client, server, key=weakest_first.index)
    assert accepted.cipher_nid == CIPHER_NIDS[stronger]
    assert oap.complete(context, response, NOW).key == accepted.key


def test_the_case_of_the_prototypes_own_test(suites: OapSuites) -> None:
    oap = OapClient(suites)
    context = oap.prepare("a", b"", NOW, Security(Encryption("X25519", "aes-256-gcm", "sha512")))
    server = Security(Encryption("X25519", "aes-128-gcm", "sha256"))
    response, accepted = OapServer(suites, ReplayGuard()).process(context.request, b"", NOW, server)
    assert (accepted.cipher_nid, OapHeader.decode(response, hash_size=32).kdf_nid) == (901, 674)

    weaker = evolve(OapHeader.decode(response, hash_size=32), cipher_nid=904).encode()
    with pytest.raises(CryptError, match="aes-128-ctr, weaker than the aes-256-gcm"):
        oap.complete(context, weaker, NOW)


def test_a_cipher_that_only_the_server_has(suites: OapSuites) -> None:
    few = evolve(suites, ciphers=SuiteTable("cipher", [suites.ciphers.named("aes-256-gcm")]))
    oap = OapClient(few)
    context = oap.prepare("a", b"", NOW, Security(Encryption("X25519")))
    server = Security(Encryption("X25519", "chacha20-poly1305"))
    response, _ = OapServer(suites, ReplayGuard()).process(context.request, b"", NOW, server)
    with pytest.raises(CryptError, match="number 1018 is not known here"):
        oap.complete(context, response, NOW)


@pytest.mark.parametrize("kex", [suite.name for suite in KEXES])
def test_the_key_exchange_cut_out(suites: OapSuites, kex: str) -> None:
    security = Security(Encryption(kex))
    request = bytearray(OapClient(suites).prepare("a", b"", NOW, security).request[:36])
    request[32:34] = b"\0\0"
    with pytest.raises(CryptError, match="plain flow, and encryption is required"):
        OapServer(suites, ReplayGuard()).process(bytes(request), b"", NOW, security)


def test_lengths_and_numbers_that_lie(suites: OapSuites) -> None:
    request = OapClient(suites).prepare("a", b"data", NOW, Security(Encryption("X25519"))).request
    for place, value in ((30, 60000), (30, 1), (24, 9999), (32, 0x3FFF), (34, 0xFFFF)):
        bad = request[:place] + value.to_bytes(2) + request[place + 2 :]
        with pytest.raises(AuthenticationFailed):
            OapServer(suites, ReplayGuard()).process(bad, b"", NOW, PLAIN)
    with pytest.raises(AuthenticationFailed):
        OapServer(suites, ReplayGuard()).process(request[: len(request) // 2], b"", NOW, PLAIN)


@pytest.mark.parametrize("kex", [suite.name for suite in KEXES])
def test_a_damaged_key_is_refused_or_the_keys_differ(suites: OapSuites, kex: str) -> None:
    oap, security = OapClient(suites), Security(Encryption(kex))
    context = oap.prepare("a", b"", NOW, security)
    for place in (0, 1, len(context.header.kex) // 2, len(context.header.kex) - 2):
        damaged = bytearray(context.header.kex)
        damaged[place] ^= 0xFF
        request = evolve(context.header, kex=bytes(damaged)).encode()
        try:
            response, _ = OapServer(suites, ReplayGuard()).process(request, b"", NOW, security)
        except CryptError:
            continue
        with pytest.raises(CryptError, match="wrong request hash"):
            oap.complete(context, response, NOW)


def test_what_the_results_show(suites: OapSuites) -> None:
    oap, security = OapClient(suites), Security(Encryption("X25519"))
    context = oap.prepare("a", b"", NOW, security)
    response, accepted = OapServer(suites, ReplayGuard()).process(context.request, b"", NOW, security)
    allocated = oap.complete(context, response, NOW)
    shown = repr((context, accepted, allocated, security))
    for secret in (context.private, allocated.key or b""):
        assert secret.hex() not in shown
        assert repr(secret) not in shown


# ---------------------------------------------------------------- with certificates (oap.md 11.1)

NAME = "test-1.unittest.o7s"


@pytest.fixture(scope="module", params=["EC", "RSA", "EdDSA"])
def signed(request: pytest.FixtureRequest, suites: OapSuites) -> Security:
    "Authority, intermediate and leaf, all of one family."
    family = suites.authenticators.named(request.param)
    kit = Certificates()
    root = kit.issue(family, Wish("root", ca=True, signs=True))
    middle = kit.issue(family, Wish("intermediate", ca=True, signs=True), root)
    leaf = kit.issue(family, Wish(NAME), middle)
    credentials = family.load(leaf.certificate_pem, leaf.key_pem)
    assert credentials is not None
    return Security(credentials=credentials, store=(root.certificate, middle.certificate))


class Certificates(AuthenticatorContract):
    __test__ = False

    def new_key(self, suite: Authenticator) -> Any:
        if suite.name == "RSA":
            return rsa.generate_private_key(65537, 2048)
        return ec.generate_private_key(ec.SECP256R1()) if suite.name == "EC" else ed25519.Ed25519PrivateKey.generate()


def test_only_authenticated(suites: OapSuites, signed: Security) -> None:
    oap, trusting = OapClient(suites), Security(store=signed.store)
    context = oap.prepare(NAME, b"", SIGNED, trusting)
    response, accepted = OapServer(suites, ReplayGuard()).process(context.request, b"", SIGNED, signed)
    allocated = oap.complete(context, response, SIGNED)
    assert (allocated.peer, accepted.peer, allocated.cipher_nid, allocated.key) == (NAME, "", 0, None)
    other = oap.prepare("another.name", b"", SIGNED, trusting)
    response, _ = OapServer(suites, ReplayGuard()).process(other.request, b"", SIGNED, signed)
    with pytest.raises(CryptError, match=f'is for "{NAME}", not for "another.name"'):
        oap.complete(other, response, SIGNED)


def test_a_changed_response_is_refused(suites: OapSuites, signed: Security) -> None:
    oap = OapClient(suites)
    context = oap.prepare(NAME, b"", SIGNED, Security(store=signed.store))
    response, _ = OapServer(suites, ReplayGuard()).process(context.request, b"", SIGNED, signed)
    for place in (16, 24, 28, *range(50, 53), len(response) // 2, len(response) - 1):
        damaged = bytearray(response)
        damaged[place] ^= 0xFF
        with pytest.raises(CryptError):
            oap.complete(context, bytes(damaged), SIGNED)


def test_both_authenticated_and_encrypted(suites: OapSuites, signed: Security) -> None:
    oap = OapClient(suites)
    assert signed.credentials is not None
    (family,) = [a.name for a in suites.authenticators if a.accepts(signed.credentials.certificate)]
    for digest in DIGEST_NIDS:
        security = evolve(signed, encryption=Encryption("X25519", digest=digest), require_peer=True)
        if family == "EdDSA" or (family == "RSA" and digest.startswith("blake")):
            with pytest.raises(AuthenticationFailed, match=r"takes no digest|does not sign with blake"):
                oap.prepare(NAME, b"ping", SIGNED, security)
            continue
        context = oap.prepare(NAME, b"ping", SIGNED, security)
        response, accepted = OapServer(suites, ReplayGuard()).process(context.request, b"pong", SIGNED, security)
        allocated = oap.complete(context, response, SIGNED)
        assert (allocated.peer, accepted.peer, allocated.data, accepted.data) == (NAME, NAME, b"pong", b"ping")
        assert allocated.key == accepted.key is not None


def test_a_client_that_trusts_nobody(suites: OapSuites, signed: Security) -> None:
    oap = OapClient(suites)
    context = oap.prepare(NAME, b"", SIGNED)
    response, _ = OapServer(suites, ReplayGuard()).process(context.request, b"", SIGNED, signed)
    for store, why in (((), "is not in the store"), (signed.store[1:], "is not in the store")):
        with pytest.raises(CryptError, match=why):
            oap.complete(evolve(context, security=Security(store=store)), response, SIGNED)
    with pytest.raises(CryptError, match="expired"):
        oap.complete(evolve(context, security=signed), response, SIGNED + 10 * 86_400 * 10**9)

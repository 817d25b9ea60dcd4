"""Key exchange, negotiation and authentication over real suites, and against the prototype's messages."""

import datetime
import pickle
from typing import Any

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ouro_core.contracts.crypto import Credentials, KemSuite
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

NOW = 1_795_332_800_000_000_000
pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")  # of damaged certificates

X25519 = Security(encryption=Encryption(kex="X25519"))
HYBRID = Security(encryption=Encryption(kex="X25519MLKEM768"))


def exchange(suites: OapSuites, client: Security, server: Security) -> tuple[OapResult, OapResult, OapHeader]:
    "What client and server get, and the response."
    oap = OapClient(suites)
    context = oap.prepare("a", b"ping", NOW, client)
    response, accepted = OapServer(suites, ReplayGuard()).process(context.request, b"pong", NOW, server)
    allocated = oap.complete(pickle.loads(pickle.dumps(context)), response, NOW)
    assert (allocated.data, accepted.data) == (b"pong", b"ping")
    assert (allocated.key, allocated.cipher_nid, allocated.kex) == (accepted.key, accepted.cipher_nid, accepted.kex)
    size = suites.request_hash(context.header.md_nid).size
    return allocated, accepted, OapHeader.decode(response, hash_size=size)


# ---------------------------------------------------------------- the prototype's messages


def as_prepared(captured: dict[str, Any], security: Security) -> OapContext:
    "The context of a captured request that offers no key exchange."
    request = bytes.fromhex(captured["request"]["wire"])
    return OapContext(captured["name"], OapHeader.decode(request), request, security)


@pytest.mark.parametrize("name", ["auth.ec", "auth.ed"])
def test_authenticated_and_plain(suites: OapSuites, captured_from: Any, authority: bytes, name: str) -> None:
    captured = captured_from(name)
    response = bytes.fromhex(captured["response"]["wire"])
    context = as_prepared(captured, Security(store=(authority,)))
    result = OapClient(suites).complete(context, response, NOW)
    assert (result.peer, result.key, result.cipher_nid) == (name, None, 0)
    with pytest.raises(CryptError, match="is not in the store"):
        OapClient(suites).complete(evolve(context, security=PLAIN), response, NOW)
    with pytest.raises(CryptError, match=f'the certificate is for "{name}", not for "other"'):
        OapClient(suites).complete(evolve(context, dst="other"), response, NOW)
    for place in (50, len(response) - 1):
        damaged = bytearray(response)
        damaged[place] ^= 1
        with pytest.raises(CryptError):
            OapClient(suites).complete(context, bytes(damaged), NOW)


@pytest.mark.parametrize(("name", "why"), [("auth.rogue", "is not in the store"), ("auth.wrongcn", "is for")])
def test_what_the_prototype_refused_we_refuse(
    suites: OapSuites, captured_from: Any, authority: bytes, name: str, why: str
) -> None:
    captured = captured_from(name)
    context = as_prepared(captured, Security(store=(authority,)))
    with pytest.raises(CryptError, match=why) as caught:
        OapClient(suites).complete(context, bytes.fromhex(captured["response"]["wire"]), NOW)
    assert caught.value.code == -1008


def test_we_serve_the_prototypes_encapsulation(suites: OapSuites, captured_from: Any) -> None:
    captured = captured_from("enc.x25519mlkem768")
    request = bytes.fromhex(captured["request"]["wire"])
    response, result = OapServer(suites, ReplayGuard()).process(request, b"", captured["request"]["timestamp_ns"])
    assert result.key is not None
    theirs = OapHeader.decode(bytes.fromhex(captured["response"]["wire"]), hash_size=32)
    ours = OapHeader.decode(response, hash_size=32)
    assert (ours.req_hash, ours.cipher_nid, ours.kdf_nid) == (theirs.req_hash, theirs.cipher_nid, theirs.kdf_nid)
    assert (ours.raw, ours.client_encaps, len(ours.kex)) == (theirs.raw, theirs.client_encaps, len(theirs.kex))


# ---------------------------------------------------------------- between ourselves


@pytest.mark.parametrize("kex", ["prime256v1", "X25519", "X25519MLKEM768"])
@pytest.mark.parametrize("configured", [True, False], ids=["server configured", "server not configured"])
def test_encrypted(suites: OapSuites, kex: str, configured: bool) -> None:
    security = Security(encryption=Encryption(kex=kex))
    allocated, _, response = exchange(suites, security, security if configured else PLAIN)
    assert allocated.key is not None
    assert len(allocated.key) == 32
    assert (allocated.cipher_nid, allocated.kex) == (901, kex)
    assert response.md_nid == (672 if configured else 0)
    cipher = suites.ciphers.numbered(allocated.cipher_nid).key(allocated.key)
    assert cipher.open(cipher.seal(bytes(12), b"packet")) == b"packet"


@pytest.mark.parametrize("digest", DIGEST_NIDS)
def test_every_kdf_and_digest(suites: OapSuites, digest: str) -> None:
    security = Security(encryption=Encryption(kex="X25519", kdf=digest, digest=digest))
    _, _, response = exchange(suites, security, security)
    assert response.kdf_nid == response.md_nid == DIGEST_NIDS[digest]


def test_the_stronger_wins(suites: OapSuites) -> None:
    weak = Security(encryption=Encryption(kex="X25519", cipher="aes-128-gcm", kdf="sha256"))
    strong = Security(encryption=Encryption(kex="X25519", cipher="aes-256-gcm", kdf="sha512"))
    for client, server in ((weak, strong), (strong, weak)):
        allocated, _, response = exchange(suites, client, server)
        assert (allocated.cipher_nid, response.kdf_nid) == (901, 674)


def test_the_clients_stronger_key_exchange_is_taken(suites: OapSuites) -> None:
    assert exchange(suites, HYBRID, X25519)[0].kex == "X25519MLKEM768"


def test_a_weaker_key_exchange_is_refused(suites: OapSuites) -> None:
    with pytest.raises(CryptError, match="X25519 is weaker than the X25519MLKEM768 configured here"):
        exchange(suites, X25519, HYBRID)


def test_a_key_of_no_algorithm_here_is_refused(suites: OapSuites, captured_from: Any) -> None:
    captured = captured_from("enc.mlkem768")["request"]
    with pytest.raises(CryptError):
        OapServer(suites, ReplayGuard()).process(bytes.fromhex(captured["wire"]), b"", captured["timestamp_ns"])


def test_a_bad_key_is_refused(suites: OapSuites) -> None:
    request = OapClient(suites).prepare("a", b"", NOW, X25519)
    for kex in (request.header.kex[:20], request.header.kex[:12] + bytes(32)):
        bad = evolve(request.header, id=kex[:16], kex=kex).encode()
        with pytest.raises(CryptError, match="no valid X25519 key"):
            OapServer(suites, ReplayGuard()).process(bad, b"", NOW)


def test_client_encapsulation(suites: OapSuites, hybrid: KemSuite) -> None:
    pair = hybrid.generate()
    encryption = Encryption(kex="X25519MLKEM768", kem_mode=KemMode.CLIENT, kdf="sha384")
    client = Security(encryption, static_key=pair.public)
    server = Security(evolve(encryption, kem_mode=KemMode.SERVER), static_key=pair.private)
    allocated, _, response = exchange(suites, client, server)
    assert allocated.key is not None
    assert (response.kex, response.raw, response.client_encaps) == (b"", False, False)

    context = OapClient(suites).prepare("a", b"", NOW, client)
    assert context.request[32:34].hex() == "c460"

    with pytest.raises(CryptError, match=r"needs the server's public key"):
        OapClient(suites).prepare("a", b"", NOW, evolve(client, static_key=None))
    for other, why in (
        (PLAIN, "no key of this server is configured"),
        (X25519, "no key of this server"),
        (evolve(X25519, static_key=pair.private), "not with the X25519 configured"),
        (evolve(server, encryption=evolve(encryption, kdf="sha512")), "weaker than the one configured"),
    ):
        with pytest.raises(CryptError, match=why):
            exchange(suites, client, other)


def test_who_encapsulates_means_nothing_to_diffie_hellman(suites: OapSuites) -> None:
    client = Security(encryption=Encryption(kex="X25519", kem_mode=KemMode.CLIENT))
    stronger = Security(encryption=Encryption(kex="X25519", kdf="sha512"))
    assert exchange(suites, client, stronger)[2].kdf_nid == 674


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"cipher_nid": 0}, "did not choose a cipher"),
        ({"cipher_nid": 895}, "aes-128-gcm, weaker than the aes-256-gcm"),
        ({"kdf_nid": 1057}, "blake2s256, weaker than the sha256"),
        ({"kex": b""}, "did not send its part"),
        ({"kex": b"nonsense"}, "no valid X25519 key"),
        ({"req_hash": bytes(32)}, "wrong request hash"),
    ],
)
def test_a_response_that_gives_less_is_refused(suites: OapSuites, change: dict[str, Any], why: str) -> None:
    oap = OapClient(suites)
    context = oap.prepare("a", b"", NOW, X25519)
    response, _ = OapServer(suites, ReplayGuard()).process(context.request, b"", NOW, X25519)
    changed = evolve(OapHeader.decode(response, hash_size=32), **change)
    with pytest.raises(CryptError, match=why):
        oap.complete(context, changed.encode(), NOW)


def test_no_kdf_in_the_response_keeps_ours(suites: OapSuites) -> None:
    oap = OapClient(suites)
    context = oap.prepare("a", b"", NOW, X25519)
    response, accepted = OapServer(suites, ReplayGuard()).process(context.request, b"", NOW)
    silent = evolve(OapHeader.decode(response, hash_size=32), kdf_nid=0)
    assert oap.complete(context, silent.encode(), NOW).key == accepted.key


def test_a_plain_client_ignores_what_a_response_offers(suites: OapSuites) -> None:
    oap = OapClient(suites)
    context = oap.prepare("a", b"", NOW)
    response, _ = OapServer(suites, ReplayGuard()).process(context.request, b"", NOW)
    offering = evolve(OapHeader.decode(response, hash_size=48), cipher_nid=901, kdf_nid=672, kex=b"key")
    result = oap.complete(context, offering.encode(), NOW)
    assert (result.cipher_nid, result.key) == (0, None)


# ---------------------------------------------------------------- signatures


def credentials(name: str, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> Credentials:
    "A self-signed certificate: its own authority when it is in the store."
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None)
    )
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return Credentials(certificate.public_bytes(Encoding.DER), private)


EC = credentials("a", ec.generate_private_key(ec.SECP256R1()))
ED = credentials("a", ed25519.Ed25519PrivateKey.generate())


@pytest.mark.parametrize("ours", [EC, ED], ids=["ec", "ed25519"])
def test_signed(suites: OapSuites, ours: Credentials) -> None:
    signed = Security(credentials=ours, store=(ours.certificate,), require_peer=True)
    allocated, accepted, response = exchange(suites, signed, signed)
    assert (allocated.peer, accepted.peer) == ("a", "a")
    assert response.signature


def test_signed_with_the_configured_digest(suites: OapSuites) -> None:
    encryption = Encryption(kex="X25519", digest="sha512")
    signed = Security(encryption, EC, (EC.certificate,))
    assert exchange(suites, signed, signed)[2].md_nid == 674


def test_a_server_that_cannot_sign_says_eauth(suites: OapSuites) -> None:
    with pytest.raises(AuthenticationFailed, match="Ed25519 takes no digest"):
        exchange(suites, X25519, evolve(X25519, credentials=ED))


@pytest.mark.parametrize("place", [50, 51, 52, -1])
def test_a_damaged_signed_request_is_refused(suites: OapSuites, place: int) -> None:
    signed = Security(credentials=EC, store=(EC.certificate,))
    request = bytearray(OapClient(suites).prepare("a", b"", NOW, signed).request)
    request[place] ^= 0xFF
    with pytest.raises(AuthenticationFailed):
        OapServer(suites, ReplayGuard()).process(bytes(request), b"", NOW, signed)


def test_each_byte_before_the_signature_is_signed(suites: OapSuites) -> None:
    signed = Security(credentials=ED, store=(ED.certificate,))
    request = OapClient(suites).prepare("a", b"data", NOW, signed).request
    for place in range(36, len(request)):
        damaged = bytearray(request)
        damaged[place] ^= 1
        with pytest.raises(AuthenticationFailed):
            OapServer(suites, ReplayGuard()).process(bytes(damaged), b"", NOW, signed)

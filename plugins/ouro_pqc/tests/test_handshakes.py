"""Flows of the prototype with post-quantum suites: its handshakes completed with its keys, and its packets opened."""

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key

from ouro_core.contracts.crypto import KemSuite
from ouro_core.model.errors import CryptError
from ouro_core.oap import Encryption, KemMode, OapClient, OapContext, OapServer, OapSuites, ReplayGuard, Security
from ouro_core.oap.exchange import derive
from ouro_core.wire.oap import OapHeader

from .test_known_answers import pem


def store(data: Any) -> tuple[bytes, ...]:
    """The authorities of the captures, DER."""
    names = ("ca-mldsa.crt.pem", "ca-mldsa44.crt.pem")
    return tuple(x509.load_pem_x509_certificate(data(name)).public_bytes(Encoding.DER) for name in names)


def request_of(flow: dict[str, Any]) -> OapHeader:
    return OapHeader.decode(bytes.fromhex(flow["request"]))


def response_of(flow: dict[str, Any]) -> OapHeader:
    return OapHeader.decode(bytes.fromhex(flow["response"]), hash_size=32 if request_of(flow).md_nid else 48)


def encryption_of(flow: dict[str, Any], suites: OapSuites) -> Encryption | None:
    """The prototype's enc.conf."""
    asked = request_of(flow)
    if not flow["kex"]:
        return None
    return Encryption(
        flow["kex"],
        suites.ciphers.numbered(asked.cipher_nid).name,
        suites.kdfs.numbered(asked.kdf_nid).name,
        suites.digests.numbered(asked.md_nid).name,
        KemMode(flow["kem_mode"]),
    )


def pair_of(flow: dict[str, Any], suites: OapSuites) -> Any:
    """The recorded private key, as a file of the suite."""
    kex = suites.kexes.named(flow["kex"])
    assert isinstance(kex, KemSuite)
    recorded = bytes.fromhex(flow["private"])
    return kex.load_private(recorded if kex.raw else pem(recorded))


def test_as_its_client(suites: OapSuites, data: Any, flow: dict[str, Any]) -> None:
    """With the private key, or the flow's key when it had encapsulated itself."""
    private, key = b"", None
    if flow["kem_mode"] == "client":
        key = bytes.fromhex(flow["key"])
    elif flow["kex"] == "X25519":
        private = load_der_private_key(bytes.fromhex(flow["private"]), None).private_bytes_raw()  # type: ignore[union-attr]
    elif flow["kex"]:
        pair = pair_of(flow, suites)
        assert pair.public == request_of(flow).kex
        private = pair.private
    security = Security(encryption_of(flow, suites), store=store(data))
    context = OapContext(flow["name"], request_of(flow), bytes.fromhex(flow["request"]), security, private, key)
    result = OapClient(suites).complete(context, bytes.fromhex(flow["response"]), flow["stamps"][1])
    assert (result.key.hex() if result.key else "") == flow["key"]
    assert result.peer == (flow["name"] if flow["name"].startswith("auth.") else "")


def test_its_ciphertexts(suites: OapSuites, flow: dict[str, Any]) -> None:
    kex = suites.kexes.named(flow["kex"]) if flow["kex"] else None
    if not isinstance(kex, KemSuite):
        pytest.skip("no key encapsulation")
    asked, answered = request_of(flow), response_of(flow)
    client = flow["kem_mode"] == "client"
    sent = asked if client else answered
    assert (asked.raw, asked.client_encaps, sent.raw) == (kex.raw, client, kex.raw)
    assert bool(answered.kex) is not client
    pair = pair_of(flow, suites)
    kdf = suites.kdfs.numbered(answered.kdf_nid)
    assert derive(kdf, kex.kind, kex.decapsulate(pair.private, sent.kex), pair.public).hex() == flow["key"]


def test_its_packets(suites: OapSuites, flow: dict[str, Any]) -> None:
    packets = [bytes.fromhex(packet) for packet in flow["packets"]]
    if flow["kex"]:
        key = suites.ciphers.numbered(response_of(flow).cipher_nid).key(bytes.fromhex(flow["key"]))
        packets = [key.open(packet) for packet in packets]
    for ping, pong in zip(packets[::2], packets[1::2], strict=True):
        assert pong == b"\0\0\0\1" + ping[4:]


def test_we_serve_its_requests(suites: OapSuites, data: Any, flow: dict[str, Any]) -> None:
    """With its static keys where it encapsulated, and authenticated where it showed a certificate."""
    theirs, encryption = response_of(flow), encryption_of(flow, suites)
    static = None
    if flow["kem_mode"] == "client":
        recorded = bytes.fromhex(flow["private"])
        static = recorded if theirs.raw or flow["kex"].startswith("X") else pem(recorded)
    security = Security(encryption, store=store(data), static_key=static)
    server = OapServer(suites, ReplayGuard())
    response, result = server.process(bytes.fromhex(flow["request"]), b"", flow["stamps"][0], security)
    ours = OapHeader.decode(response, hash_size=len(theirs.req_hash))
    assert ours.req_hash == theirs.req_hash
    assert (ours.cipher_nid, ours.kdf_nid, ours.raw, len(ours.kex)) == (
        theirs.cipher_nid, theirs.kdf_nid, theirs.raw, len(theirs.kex),
    )  # fmt: skip
    assert result.peer == ("cli-mldsa44" if flow["name"] == "auth.mldsa44m" else "")
    if flow["kem_mode"] == "client":
        assert result.key is not None
        assert result.key.hex() == flow["key"]


def test_what_is_signed_is_not_to_be_changed(suites: OapSuites, data: Any, flow: dict[str, Any]) -> None:
    if not response_of(flow).signature:
        pytest.skip("is not signed")
    response = bytes.fromhex(flow["response"])
    security = Security(encryption_of(flow, suites), store=store(data))
    context = OapContext(flow["name"], request_of(flow), bytes.fromhex(flow["request"]), security)
    for place in (20, 300, len(response) - 3000, len(response) - 1):
        changed = bytearray(response)
        changed[place] ^= 1
        with pytest.raises(CryptError):
            OapClient(suites).complete(context, bytes(changed), flow["stamps"][1])

"""The plain exchange: what the prototype sent, byte for byte, and what a node without cryptography refuses."""

import io
import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ouro_core.model.errors import AuthenticationFailed, CryptError, TooLong, WireError
from ouro_core.oap import (
    Encryption,
    OapClient,
    OapResult,
    OapServer,
    OapSuites,
    ReplayGuard,
    Security,
    answer,
    header_lines,
)
from ouro_core.wire.oap import OapHeader

NOW = 1_795_332_721_000_000_000
MS = 1_000_000


def server(suites: OapSuites) -> OapServer:
    return OapServer(suites, ReplayGuard())


def plain_exchanges(exchanges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [s for s in exchanges if s["name"] in ("plain", "frct")]


def test_the_prototypes_exchange_byte_for_byte(plain: OapSuites, exchanges: list[dict[str, Any]]) -> None:
    assert len(plain_exchanges(exchanges)) == 4
    for captured in plain_exchanges(exchanges):
        request, response = captured["request"], captured["response"]
        client = OapClient(plain, io.BytesIO(bytes.fromhex(request["id"])).read)
        context = client.prepare(captured["name"], b"", request["timestamp_ns"])
        assert context.request.hex() == request["wire"]
        assert len(context.request) == 36

        reply, result = server(plain).process(context.request, b"", response["timestamp_ns"])
        assert reply.hex() == response["wire"]
        assert len(reply) == 84
        assert result == OapResult(bytes.fromhex(request["id"]), b"")
        assert client.complete(context, reply, NOW) == result


def test_data_goes_both_ways(plain: OapSuites) -> None:
    client = OapClient(plain)
    context = client.prepare("a.b", b"to the server", NOW)
    response, accepted = server(plain).process(context.request, b"to the client", NOW + MS)
    allocated = client.complete(context, response, NOW + 2 * MS)
    assert (accepted.data, allocated.data) == (b"to the server", b"to the client")
    assert accepted.id == allocated.id == context.header.id
    assert (allocated.cipher_nid, allocated.key, allocated.peer, allocated.kex) == (0, None, "", "")
    with pytest.raises(TooLong):
        client.prepare("a.b", bytes(65536), NOW)


def test_two_requests_differ(plain: OapSuites) -> None:
    client = OapClient(plain)
    assert client.prepare("a", b"", NOW).header.id != client.prepare("a", b"", NOW).header.id


def test_the_response_belongs_to_one_request(plain: OapSuites) -> None:
    client = OapClient(plain)
    first, second = client.prepare("a", b"one", NOW), client.prepare("a", b"two", NOW)
    response, _ = server(plain).process(second.request, b"", NOW)
    with pytest.raises(CryptError, match="not that of the request") as caught:
        client.complete(first, response, NOW)
    assert caught.value.code == -1008

    same_id = OapClient(plain, lambda n: first.header.id)
    other = same_id.prepare("a", b"changed on the way", NOW)
    response, _ = server(plain).process(other.request, b"", NOW)
    with pytest.raises(CryptError, match="wrong request hash"):
        client.complete(first, response, NOW)


@pytest.mark.parametrize("place", [*range(16), *range(30, 36), *range(40, 88)])
def test_a_damaged_response_is_refused(plain: OapSuites, place: int) -> None:
    client = OapClient(plain)
    context = client.prepare("a", b"", NOW)
    response, _ = server(plain).process(context.request, b"data", NOW)
    damaged = bytearray(response)
    damaged[place] ^= 0x21
    if place == 32:  # only the flags of a key exchange that is not there
        damaged[place] = 0x01
    with pytest.raises(CryptError):
        client.complete(context, bytes(damaged), NOW)


@pytest.mark.parametrize("length", range(84))
def test_truncated_at_each_byte(plain: OapSuites, length: int) -> None:
    client = OapClient(plain)
    context = client.prepare("a", b"", NOW)
    response, _ = server(plain).process(context.request, b"", NOW)
    with pytest.raises(CryptError) as caught:
        client.complete(context, response[:length], NOW)
    assert isinstance(caught.value.__cause__, WireError)
    if length < 36:
        with pytest.raises(AuthenticationFailed, match="at least 36"):
            server(plain).process(context.request[:length], b"", NOW)


def test_malformed_requests_are_refused_with_eauth(plain: OapSuites) -> None:
    request = OapClient(plain).prepare("a", b"", NOW).request
    for bad in (request + b"\0", request[:24] + b"\x27\x0f" + request[26:], request[:30] + b"\0\1" + request[32:]):
        with pytest.raises(AuthenticationFailed) as caught:
            server(plain).process(bad, b"", NOW)
        assert caught.value.code == -1009


def test_encryption_cannot_be_had_without_suites(plain: OapSuites, captured_from: Any) -> None:
    for name in ("enc.x25519", "enc.mlkem768", "enc.x25519mlkem768", "enc.ffdhe2048", "kemc768", "kemchyb", "neg1"):
        request = captured_from(name)["request"]
        with pytest.raises(CryptError) as caught:
            server(plain).process(bytes.fromhex(request["wire"]), b"", request["timestamp_ns"])
        assert caught.value.code == -1008


def test_a_key_exchange_without_cipher_is_refused(plain: OapSuites) -> None:
    request = OapHeader(bytes(16), NOW, kex=b"key").encode()
    with pytest.raises(CryptError, match="without a cipher"):
        server(plain).process(request, b"", NOW)


def test_a_certificate_nobody_takes_is_refused(plain: OapSuites, captured_from: Any) -> None:
    request = captured_from("auth.ecmut")["request"]
    with pytest.raises(AuthenticationFailed, match="no authenticator takes the certificate of 306 bytes"):
        server(plain).process(bytes.fromhex(request["wire"]), b"", request["timestamp_ns"])


def test_a_signature_must_not_be_missing(plain: OapSuites) -> None:
    request = OapHeader(bytes(16), NOW, certificate=b"certificate").encode()
    with pytest.raises(AuthenticationFailed, match="did not sign"):
        server(plain).process(request, b"", NOW)


def test_a_client_without_authenticators_refuses_a_certificate(plain: OapSuites, captured_from: Any) -> None:
    captured = captured_from("auth.ec")
    client = OapClient(plain, lambda n: bytes.fromhex(captured["request"]["id"]))
    context = client.prepare("auth.ec", b"", captured["request"]["timestamp_ns"])
    with pytest.raises(CryptError, match="no authenticator") as caught:
        client.complete(context, bytes.fromhex(captured["response"]["wire"]), NOW)
    assert isinstance(caught.value.__cause__, AuthenticationFailed)


def test_algorithms_without_a_key_exchange_mean_nothing(plain: OapSuites) -> None:
    request = OapHeader(bytes(16), NOW, 901, 672, 672, data=b"x").encode()
    response, result = server(plain).process(request, b"", NOW)
    header = OapHeader.decode(response, hash_size=32)
    assert (header.cipher_nid, header.kdf_nid, header.md_nid) == (0, 0, 0)
    assert result.key is None


@pytest.mark.parametrize(("md_nid", "size"), [(0, 48), (1057, 32), (672, 32), (1098, 48), (1056, 64), (1099, 64)])
def test_the_requests_digest_hashes_it(plain: OapSuites, md_nid: int, size: int) -> None:
    request = OapHeader(bytes(16), NOW, md_nid=md_nid).encode()
    response, _ = server(plain).process(request, b"", NOW)
    assert len(response) == 36 + size
    digest = plain.request_hash(md_nid)
    assert OapHeader.decode(response, hash_size=size).req_hash == digest.digest(request)


def test_a_node_without_the_digest_says_so() -> None:
    with pytest.raises(AuthenticationFailed, match="digest number 673 is not known here"):
        server(OapSuites.of()).process(OapHeader(bytes(16), NOW).encode(), b"", NOW)


def test_configured_encryption_is_required(plain: OapSuites, captured_from: Any) -> None:
    captured = captured_from("ref1")
    assert captured["response_code"] == CryptError().code
    with pytest.raises(CryptError, match="encryption is required"):
        server(plain).process(
            bytes.fromhex(captured["request"]["wire"]),
            b"",
            captured["request"]["timestamp_ns"],
            Security(encryption=Encryption()),
        )


def test_a_required_certificate_must_be_there(plain: OapSuites) -> None:
    client = OapClient(plain)
    required = Security(require_peer=True)
    context = client.prepare("a", b"", NOW, required)
    with pytest.raises(AuthenticationFailed, match="shows no certificate"):
        server(plain).process(context.request, b"", NOW, required)
    response, _ = server(plain).process(context.request, b"", NOW)
    with pytest.raises(CryptError, match="shows no certificate"):
        client.complete(context, response, NOW)


def test_a_client_cannot_ask_for_what_it_has_not(plain: OapSuites) -> None:
    with pytest.raises(CryptError, match='key exchange "prime256v1" is not known here'):
        OapClient(plain).prepare("a", b"", NOW, Security(encryption=Encryption()))


def test_contexts_and_requests_cross_processes(plain: OapSuites) -> None:
    client = OapClient(plain)
    context = pickle.loads(pickle.dumps(client.prepare("a", b"x", NOW)))
    request = pickle.loads(pickle.dumps(server(plain).admit(context.request, NOW)))
    response, result = pickle.loads(pickle.dumps(answer(plain, request, b"y", NOW)))
    assert result.data == b"x"
    assert client.complete(context, response, NOW).data == b"y"


@given(st.binary(max_size=150))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_servers_and_clients_are_total(plain: OapSuites, message: bytes) -> None:
    client = OapClient(plain)
    context = client.prepare("a", b"", NOW)
    with pytest.raises(CryptError):
        client.complete(context, message, NOW)
    stamped = message[:16] + NOW.to_bytes(8, "big") + message[24:]
    for anything in (message, stamped):
        try:
            response, _ = server(plain).process(anything, b"", NOW)
        except (AuthenticationFailed, CryptError):
            continue
        assert response.startswith(anything[:16])


def test_the_log_shows_headers_as_the_prototype_does() -> None:
    plain = OapHeader(bytes.fromhex("fa6095e8da3b363810766d55f9b3675a"), 1_795_332_721_343_970_533, req_hash=bytes(48))
    assert header_lines(plain, sent=True) == [
        "OAP_HDR [fa6095e8da3b3638 @ 2026-11-22 07:32:01 (UTC) ] -->",
        "  crt: <none>",
        "  Key Exchange Data: <none>",
        "  Cipher: <none>",
        "  KDF: <none>",
        "  Digest: <none>",
        "  Data: <none>",
        "  Req Hash: [48 bytes]",
        "  Signature: <none>",
    ]
    full = OapHeader(bytes(16), 0, 901, 672, 1097, bytes(909), bytes(44), data=b"hello", signature=bytes(71))
    assert header_lines(full, sent=False) == [
        "OAP_HDR [0000000000000000 @ 1970-01-01 00:00:00 (UTC) ] <--",
        "  crt: [909 bytes]",
        "  Key Exchange Data: [44 bytes]",
        "  Cipher: aes-256-gcm",
        "  KDF: HKDF-sha256",
        "  Digest: sha3-256",
        "  Data: [5 bytes]",
        "  Req Hash: <none>",
        "  Signature: [71 bytes]",
    ]


@pytest.mark.parametrize(
    ("raw", "client", "line"),
    [
        (False, False, "[9 bytes]"),
        (True, False, "[9 bytes] [Server encaps]"),
        (False, True, "[9 bytes] [Client encaps]"),
        (True, True, "[9 bytes] [Client encaps]"),
    ],
)
def test_the_log_shows_who_encapsulates(raw: bool, client: bool, line: str) -> None:
    header = OapHeader(bytes(16), 2**64 - 1, 9, kex=bytes(9), raw=raw, client_encaps=client)
    assert header_lines(header, sent=True)[2:4] == [f"  Key Exchange Data: {line}", "  Cipher: NID 9"]

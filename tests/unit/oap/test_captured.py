"""Encrypted flows of the prototype: handshakes completed with its keys, and packets opened."""

import json
from pathlib import Path
from typing import Any

import pytest

from ouro_core.contracts.crypto import DheSuite
from ouro_core.oap import Encryption, OapClient, OapContext, OapServer, OapSuites, ReplayGuard, Security
from ouro_core.oap.exchange import derive
from ouro_core.wire.oap import OapHeader

FLOWS = json.loads((Path(__file__).parents[2] / "data" / "oap" / "encrypted.json").read_text())["flows"]
every_flow = pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: f"{flow['medium']}-{flow['name']}")


def security_of(flow: dict[str, Any], suites: OapSuites, *store: bytes) -> Security:
    "What the prototype's client had in its enc.conf."
    asked = OapHeader.decode(bytes.fromhex(flow["request"]))
    encryption = Encryption(
        flow["kex"],
        suites.ciphers.numbered(asked.cipher_nid).name,
        suites.kdfs.numbered(asked.kdf_nid).name,
        suites.digests.numbered(asked.md_nid).name,
    )
    return Security(encryption, store=store)


@every_flow
def test_as_its_client(suites: OapSuites, authority: bytes, flow: dict[str, Any]) -> None:
    request = bytes.fromhex(flow["request"])
    security = security_of(flow, suites, authority)
    private = bytes.fromhex(flow["private"][0])
    context = OapContext(flow["name"], OapHeader.decode(request), request, security, private)
    result = OapClient(suites).complete(context, bytes.fromhex(flow["response"]), flow["stamps"][1])
    assert result.key is not None
    assert result.key.hex() == flow["key"]
    assert result.kex == flow["kex"]
    assert result.peer == (flow["name"] if flow["name"].startswith("auth.") else "")


@every_flow
def test_as_its_server(suites: OapSuites, flow: dict[str, Any]) -> None:
    asked = OapHeader.decode(bytes.fromhex(flow["request"]))
    answered = OapHeader.decode(bytes.fromhex(flow["response"]), hash_size=32)
    (kex,) = [suite for suite in suites.kexes.available() if suite.accepts(asked.kex)]
    assert isinstance(kex, DheSuite)
    assert kex.name == flow["kex"]
    secret = kex.agree(bytes.fromhex(flow["private"][1]), asked.kex)
    kdf = suites.kdfs.numbered(answered.kdf_nid)
    assert derive(kdf, kex.kind, secret, asked.kex, answered.kex).hex() == flow["key"]


@every_flow
def test_its_packets(suites: OapSuites, flow: dict[str, Any]) -> None:
    answered = OapHeader.decode(bytes.fromhex(flow["response"]), hash_size=32)
    key = suites.ciphers.numbered(answered.cipher_nid).key(bytes.fromhex(flow["key"]))
    opened = [key.open(bytes.fromhex(packet)) for packet in flow["packets"]]
    if flow["name"] == "encdata":
        assert [len(packet) for packet in opened] == [76, 76, 12, 76]
        opened = [packet[12:] for packet in opened if len(packet) > 12]
        assert [packet[:8].hex() for packet in opened] == ["0" * 16, "00000001" + "0" * 8, "0" * 15 + "1"]
        return
    for ping, pong in zip(opened[::2], opened[1::2], strict=True):
        assert len(ping) == 64
        assert pong == b"\0\0\0\1" + ping[4:]


@every_flow
def test_we_serve_its_requests(suites: OapSuites, authority: bytes, flow: dict[str, Any]) -> None:
    request = bytes.fromhex(flow["request"])
    theirs = OapHeader.decode(bytes.fromhex(flow["response"]), hash_size=32)
    cipher, kdf = suites.ciphers.numbered(theirs.cipher_nid), suites.kdfs.numbered(theirs.kdf_nid)
    security = Security(Encryption("ffdhe2048", cipher.name, kdf.name), store=(authority,))
    response, result = OapServer(suites, ReplayGuard()).process(request, b"", flow["stamps"][0], security)
    assert result.key is not None
    assert result.peer == ("client.ec" if flow["name"] == "auth.ecmut" else "")
    ours = OapHeader.decode(response, hash_size=32)
    assert (ours.req_hash, ours.cipher_nid, ours.kdf_nid) == (theirs.req_hash, theirs.cipher_nid, theirs.kdf_nid)
    assert abs(len(ours.kex) - len(theirs.kex)) <= 3  # a number of a finite field may be shorter

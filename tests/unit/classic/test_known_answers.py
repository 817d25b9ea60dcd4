"""What the prototype computed, computed again (oap.md 12, and its own output)."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x448, x25519
from cryptography.hazmat.primitives.serialization import load_der_private_key

from ouro_core.contracts.crypto import DheSuite
from ouro_core.oap import OapSuites
from ouro_core.wire.oap import CIPHER_NIDS, DIGEST_NIDS

KAT = Path(__file__).parents[2] / "data" / "kat"
DHE = json.loads((KAT / "dhe.json").read_text())["cases"]
CIPHERS = json.loads((KAT / "cipher.json").read_text())["cases"]

CLIENT = bytes.fromhex("302a300506032b656e03210007a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c")
SERVER = bytes.fromhex("302a300506032b656e0321005869aff450549732cbaaed5e5df9b30a6da31cb0e5742bad5ad4a1a768f1a67b")
KEYS = {
    "sha256": "6615f6b2cdab49dc428820e2c4bcb42e9237efc9bd842a7f73f93eceaa014f61",
    "sha384": "a594a0b94ad8cb2b861353b6a393476afbc5ec0e6f595afc2970a6b7077165b9",
    "sha512": "7540ce465dc3148dd829efacfcd4d388ceba455cfd5887bbd47ad29bbfe3671e",
    "sha3-256": "080952208116701ed3ff3662f14f4e15aa27f2b8fddf392ed0f0c6d92be66759",
    "sha3-384": "3edfe11db00b54d65e3c1529de077d95377235f6978c566efc545f0fcaee9476",
    "sha3-512": "614bd297653ba22ecf0334eae784be44a13ba9ed56ecb80d60bccdccf5befdb4",
    "blake2b512": "ac576ac9810169538e24d7deb49e44f13314d10b32402495f8c4c6962790f6d6",
    "blake2s256": "ef00c8231e3ba580cba70643a1e572493cd46f593016b9b9f41b8b287be6d3a0",
}
PACKETS = {
    "aes-128-gcm": "101112131415161718191a1bab5b71c06d20c48064a9aa3bceccdbe2ffe9b8180f016afd96",
    "aes-192-gcm": "101112131415161718191a1b5922557a61e7b1979395dc82b502996b51fee739feba7eef82",
    "aes-256-gcm": "101112131415161718191a1b128bea792ba648dcb991c8c551a6981f8e8b3efd00a4d19214",
    "chacha20-poly1305": "101112131415161718191a1b31bf37686476b40668a3c3034946c8da1476aeff8bc45ede1e",
    "aes-128-ctr": "101112131415161718191a1b1c1d1e1f688b9d1b83ba7101e3",
    "aes-192-ctr": "101112131415161718191a1b1c1d1e1ffcdb4910fdad9a7aee",
    "aes-256-ctr": "101112131415161718191a1b1c1d1e1f86b69de5d05b218983",
}


def private_of(der: str) -> bytes:
    "The suite's form of a private key in PKCS#8."
    data = bytes.fromhex(der)
    if bytes.fromhex("2a864886f70d010301") in data:  # OCTET STRING { INTEGER x } is the end of it
        return next(data[-n:] for n in (28, 29, 34, 35, 40, 41) if data[-n - 2 : -n] == bytes((2, n)))
    key = load_der_private_key(data, None)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8)
    assert isinstance(key, x25519.X25519PrivateKey | x448.X448PrivateKey)
    return key.private_bytes_raw()


@pytest.mark.parametrize("case", DHE, ids=lambda case: case["kex"])
def test_agreement(suites: OapSuites, case: dict[str, Any]) -> None:
    kex = suites.kexes.named(case["kex"])
    assert isinstance(kex, DheSuite)
    client, server = bytes.fromhex(case["client_pk_der"]), bytes.fromhex(case["server_pk_der"])
    assert kex.nid == case["nid"]
    assert [suite.name for suite in suites.kexes if suite.accepts(client)] == [case["algo_from_der"]]
    secret = kex.agree(private_of(case["client_priv_pkcs_der"]), server)
    assert secret == kex.agree(private_of(case["server_priv_pkcs_der"]), client)
    assert secret.hex() == case["raw_shared_secret"]

    salt = sha256(min(client, server) + max(client, server)).digest()
    assert case["keys"].keys() == DIGEST_NIDS.keys()
    for kdf in suites.kdfs:
        assert kdf.derive(secret, salt, b"o7s-ossl-dhe").hex() == case["keys"][kdf.name]


def test_agreement_of_the_specification(suites: OapSuites) -> None:
    kex = suites.kexes.named("X25519")
    assert isinstance(kex, DheSuite)
    secret = kex.agree(bytes(range(1, 33)), SERVER)
    assert secret == kex.agree(bytes(range(0x21, 0x41)), CLIENT)
    assert secret.hex() == "a84dc7c3c8f058b1b2dc4cd1e9b5dc0a7987f88b6a9564cde3391fc421159e77"
    salt = sha256(min(CLIENT, SERVER) + max(CLIENT, SERVER)).digest()
    assert salt.hex() == "f244dd66318439340c7efd4da392d58a8349ad9c48b19a713ac23497f704669a"
    assert {kdf.name: kdf.derive(secret, salt, b"o7s-ossl-dhe").hex() for kdf in suites.kdfs} == KEYS


def test_rotation_and_encapsulation(suites: OapSuites) -> None:
    kdf = suites.kdfs.named("sha256")
    key = bytes(range(32))
    salt = sha256(key).digest()
    first = kdf.derive(key, salt, b"o7s-key-rotation")
    assert first.hex() == "cf95b6c68e77b8713cdfd62033f2bea52f621b894e197be6934c6ff99735d1a5"
    second = kdf.derive(first, salt, b"o7s-key-rotation")
    assert second.hex() == "4c3544057ff00629fb982b8c17201efcbee072bc377c0496131bc840903559b9"
    public = bytes(range(256)) * 4 + bytes(192)
    capsule = kdf.derive(bytes(range(64)), sha256(public).digest(), b"o7s-ossl-encap")
    assert capsule.hex() == "e801d26fca40b44edaeca71ce455410ad44ec8fdea1b0ac4923d9c2fb6f8a872"


@pytest.mark.parametrize("case", CIPHERS, ids=lambda case: case["cipher"])
def test_packets(suites: OapSuites, case: dict[str, Any]) -> None:
    suite = suites.ciphers.named(case["cipher"])
    assert (suite.nid, suite.iv_size, suite.tag_size) == (case["nid"], case["ivsz"], case["tagsz"])
    key = suite.key(bytes.fromhex(case["key"]))
    for packet in case["packets"]:
        plain, wire = bytes.fromhex(packet["in"]), bytes.fromhex(packet["out"])
        assert key.seal(wire[: suite.iv_size], plain) == wire
        assert key.open(wire) == plain


def test_packets_of_the_specification(suites: OapSuites) -> None:
    iv = bytes(range(0x10, 0x20))
    sealed = {s.name: s.key(bytes(range(32))).seal(iv[: s.iv_size], b"ouroboros").hex() for s in suites.ciphers}
    assert sealed == PACKETS
    assert sealed.keys() == CIPHER_NIDS.keys()

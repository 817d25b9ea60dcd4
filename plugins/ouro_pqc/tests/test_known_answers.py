"""What the prototype computed, computed again."""

from hashlib import sha256
from typing import Any

import pytest
from ouro_pqc.mlkem import MlKem
from ouro_pqc.parameters import ML_KEM

from ouro_core.contracts.crypto import KemSuite, KeyPair
from ouro_core.model.errors import CryptError, NotSupported
from ouro_core.oap import OapSuites
from ouro_core.wire.der import OCTET_STRING, SEQUENCE, oid, value
from ouro_core.wire.der import pem as der_to_pem

HERE = {name: not isinstance(found, NotSupported) for name, found in MlKem(ML_KEM[0]).choice.survey()}
OIDS = {"ML-KEM-512": 1, "ML-KEM-768": 2, "ML-KEM-1024": 3}


def pem(der: bytes, label: str = "PRIVATE KEY") -> bytes:
    return der_to_pem(label, der)


def pkcs8(kex: str, key: bytes) -> bytes:
    number = oid(f"2.16.840.1.101.3.4.4.{OIDS[kex]}")
    return pem(value(SEQUENCE, b"\2\1\0" + value(SEQUENCE, number) + value(OCTET_STRING, key)))


def forms(case: dict[str, Any]) -> dict[str, bytes]:
    """Files that have this key, in each form that it may have."""
    if case["wire_format"] == "raw":
        return {"raw": bytes.fromhex(case["priv_raw"])}
    kex, seed, expanded = case["kex"], bytes.fromhex(case["priv_seed"]), bytes.fromhex(case["priv_raw"])
    files = {
        "OpenSSL's": pem(bytes.fromhex(case["priv_pkcs_der"])),
        "expanded": pkcs8(kex, value(OCTET_STRING, expanded)),
        "bare expanded": pkcs8(kex, expanded),
    }
    if kex != "ML-KEM-512":
        files |= {"seed": pkcs8(kex, value(0x80, seed)), "bare seed": pkcs8(kex, seed)}
    return files


def kem_of(suites: OapSuites, name: str) -> KemSuite:
    kex = suites.kexes.named(name)
    assert isinstance(kex, KemSuite)
    return kex


def test_decapsulation(suites: OapSuites, case: dict[str, Any]) -> None:
    kex, public = kem_of(suites, case["kex"]), bytes.fromhex(case["pk"])
    assert kex.nid == case["nid"]
    assert kex.raw == (case["wire_format"] == "raw")
    assert [s.name for s in suites.kexes if s.raw == kex.raw and s.accepts(public)] == [case["algo_from_pk"]]
    for form, file in forms(case).items():
        pair = kex.load_private(file)
        assert pair.public == public, form
        for sent in case["encaps"]:
            secret = kex.decapsulate(pair.private, bytes.fromhex(sent["ct"]))
            assert secret.hex() == sent["raw_shared_secret"], form
            kdf = suites.kdfs.named(sent["kdf"])
            assert kdf.derive(secret, sha256(public).digest(), b"o7s-ossl-encap").hex() == sent["key"]


def test_encapsulation_to_its_keys(suites: OapSuites, case: dict[str, Any]) -> None:
    kex = kem_of(suites, case["kex"])
    sent = kex.encapsulate(bytes.fromhex(case["pk"]))
    assert len(sent.ciphertext) == len(case["encaps"][0]["ct"]) // 2
    for file in forms(case).values():
        assert kex.decapsulate(kex.load_private(file).private, sent.ciphertext) == sent.secret


@pytest.mark.parametrize(
    ("kex", "file"),
    [
        ("ML-KEM-768", "kem768.{}.pem"),
        ("ML-KEM-1024", "kem1024.{}.pem"),
        ("X25519MLKEM768", "x25519mlkem768.{}.raw"),
        ("X448MLKEM1024", "x448mlkem1024.{}.raw"),
    ],
)
def test_files_of_static_keys(suites: OapSuites, data: Any, kex: str, file: str) -> None:
    suite = kem_of(suites, kex)
    pair = suite.load_private(data(file.format("key")))
    assert suite.load_public(data(file.format("pub"))) == pair.public


def test_a_seed_that_nothing_expands(suites: OapSuites, case: dict[str, Any]) -> None:
    if case["kex"] != "ML-KEM-512":
        pytest.skip("is expanded by cryptography")
    kex = kem_of(suites, "ML-KEM-512")
    file = pkcs8("ML-KEM-512", value(0x80, bytes.fromhex(case["priv_seed"])))
    if HERE["liboqs"]:
        assert kex.load_private(file).public.hex() == case["pk"]
        return
    with pytest.raises(CryptError, match=r"ML-KEM-512 with a key in seed form .*pqcrypto: takes no .*liboqs: "):
        kex.load_private(file)


def damaged_files(case: dict[str, Any]) -> list[tuple[bytes, str]]:
    """Files with this key that will not do, and why."""
    raw = bytes.fromhex(case["priv_raw"])
    curve = {"X25519MLKEM768": 32, "X448MLKEM1024": 56}.get(case["kex"], 0)
    kem = len(raw) - curve
    public = bytearray(raw)
    public[kem - 100] ^= 1  # in the public key, which ends 64 bytes before the end
    if curve:
        return [
            (raw[:-1], "bytes, not"),
            (raw + b"\0", "bytes, not"),
            (b"", "bytes, not 0"),
            (bytes(public), "its public key and the hash of it differ"),
            (bytes(len(raw)), "its public key and the hash of it differ"),
            (pem(raw), "bytes, not"),
        ]
    kex, seed = case["kex"], bytes.fromhex(case["priv_seed"])
    other = "ML-KEM-768" if kex != "ML-KEM-768" else "ML-KEM-1024"
    both = value(SEQUENCE, value(OCTET_STRING, seed) + value(OCTET_STRING, raw))
    files = [
        (b"", "no PEM block PRIVATE KEY in these 0 bytes"),
        (pem(b"\x30\3\2\1\0", "PUBLIC KEY"), "but PUBLIC KEY"),
        (pem(b"\x30\3\2\1\0", "ENCRYPTED PRIVATE KEY"), "encrypted, .*openssl pkey"),
        (pem(b"\x30\3\2\1\0"), "DER value"),
        (b"-----BEGIN PRIVATE KEY-----\n%%%%\n-----END PRIVATE KEY-----\n", "is damaged"),
        (pkcs8(other, both), "another algorithm"),
        (pkcs8(kex, value(OCTET_STRING, raw[:-1])), "has a seed of 0 bytes and an expanded key of"),
        (pkcs8(kex, both + b"\0"), "has a seed of 64 bytes"),
        (pkcs8(kex, value(SEQUENCE, value(OCTET_STRING, seed[:-1]) + value(OCTET_STRING, raw))), "a seed of 63 bytes"),
        (pkcs8(kex, b""), "0 bytes are no"),
        (pkcs8(kex, value(OCTET_STRING, bytes(public))), "its public key and the hash of it differ"),
    ]
    if kex != "ML-KEM-512":
        mixed = value(SEQUENCE, value(OCTET_STRING, bytes(64)) + value(OCTET_STRING, raw))
        files.append((pkcs8(kex, mixed), "seed and expanded key are not of one pair"))
    return files


def test_files_that_will_not_do(suites: OapSuites, case: dict[str, Any]) -> None:
    kex = kem_of(suites, case["kex"])
    for file, why in damaged_files(case):
        with pytest.raises(CryptError, match=why) as caught:
            kex.load_private(file)
        assert case["priv_raw"][:32] not in str(caught.value)
        with pytest.raises(CryptError):
            kex.load_public(file)


def test_private_keys_are_not_shown(suites: OapSuites, case: dict[str, Any]) -> None:
    pair: KeyPair = kem_of(suites, case["kex"]).load_private(next(iter(forms(case).values())))
    assert pair.private.hex() not in repr(pair)

"""Certificates beyond the contract: those of the prototype, of other tools, and damaged ones."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from ouro_core.builtin.classic.authenticators import EcAuthenticator, EdAuthenticator, RsaAuthenticator
from ouro_core.builtin.classic.digests import DIGESTS
from ouro_core.contracts.crypto import Credentials
from ouro_core.model.errors import AuthenticationFailed
from ouro_core.oap import OapSuites
from ouro_core.wire.certificates import verify_chain

DATA = Path(__file__).parents[2] / "data" / "oap"
EXCHANGES = json.loads((DATA / "exchanges.json").read_text())["exchanges"]
CA = x509.load_pem_x509_certificate((DATA / "ca-ec.crt.pem").read_bytes()).public_bytes(Encoding.DER)
EC, RSA, ED = EcAuthenticator(), RsaAuthenticator(), EdAuthenticator()
NOW = datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC)
NOW_NS = int(NOW.timestamp()) * 1_000_000_000
DAY = datetime.timedelta(days=1)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(
    subject: x509.Name,
    key: Any,
    issuer: x509.Name | None = None,
    signer: CertificateIssuerPrivateKeyTypes | None = None,
    ca: bool = False,
    days: tuple[int, int] = (-1, 1),
) -> bytes:
    signer = signer or key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca, None), True)
    )
    if ca:
        builder = builder.add_extension(
            x509.KeyUsage(True, False, False, False, False, True, True, False, False), True
        ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("leaf")]), False).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
        )
    hashed = isinstance(signer, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return builder.sign(signer, hashes.SHA256() if hashed else None).public_bytes(Encoding.DER)


def pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


# ---------------------------------------------------------------- the prototype's


@pytest.mark.parametrize(
    ("flow", "authenticator", "trusted"),
    [("auth.ec", EC, True), ("auth.ecenc", EC, True), ("auth.ed", ED, True), ("auth.rogue", EC, False)],
)
def test_certificates_of_the_prototype(flow: str, authenticator: Any, trusted: bool) -> None:
    message = bytes.fromhex(next(e for e in EXCHANGES if e["name"] == flow)["response"]["wire"])
    size = int.from_bytes(message[30:32])
    leaf = message[36 : 36 + size]
    assert authenticator.accepts(leaf)
    assert authenticator.name_of(leaf) == flow
    if trusted:
        authenticator.verify_chain(leaf, (CA,), NOW_NS)
    else:
        with pytest.raises(AuthenticationFailed, match="is not in the store; put its certificate in security/cacert"):
            authenticator.verify_chain(leaf, (CA,), NOW_NS)


def test_a_certificate_of_ml_dsa_is_another_plugins(suites: OapSuites) -> None:
    key = mldsa.MLDSA44PrivateKey.generate()
    leaf = certificate(name("a"), key)
    assert not [suite for suite in suites.authenticators if suite.accepts(leaf)]


# ---------------------------------------------------------------- chains


def test_families_may_change_up_the_chain() -> None:
    keys: list[Any] = [
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
        mldsa.MLDSA65PrivateKey.generate(),
        ec.generate_private_key(ec.SECP384R1()),
    ]
    store = [certificate(name("0"), keys[0], ca=True)]
    for i, key in enumerate(keys[1:], 1):
        store.append(certificate(name(str(i)), key, name(str(i - 1)), keys[i - 1], ca=True))
    leaf = certificate(name("leaf"), ec.generate_private_key(ec.SECP256R1()), name("3"), keys[3])
    EC.verify_chain(leaf, tuple(store), NOW_NS)
    for missing in range(4):
        with pytest.raises(AuthenticationFailed):
            EC.verify_chain(leaf, tuple(store[:missing] + store[missing + 1 :]), NOW_NS)


@pytest.mark.parametrize("case", ["good", "expired leaf", "expired root", "no authority", "no root", "other key"])
def test_the_same_as_the_verifier_of_cryptography(case: str) -> None:
    root_key, middle_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    past = (-9, -8)
    root = certificate(name("root"), root_key, ca=True, days=past if case == "expired root" else (-1, 1))
    middle = certificate(name("middle"), middle_key, name("root"), root_key, ca=case != "no authority")
    signer = root_key if case == "other key" else middle_key
    days = past if case == "expired leaf" else (-1, 1)
    leaf = certificate(name("leaf"), leaf_key, name("middle"), signer, days=days)
    trusted = [] if case == "no root" else [root]

    policy = (
        PolicyBuilder()
        .store(Store([x509.load_der_x509_certificate(each) for each in trusted or [CA]]))
        .time(NOW)
        .extension_policies(
            ca_policy=ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None),
            ee_policy=ExtensionPolicy.permit_all(),
        )
        .build_client_verifier()
    )
    try:
        policy.verify(x509.load_der_x509_certificate(leaf), [x509.load_der_x509_certificate(middle)])
        theirs = True
    except VerificationError:
        theirs = False
    try:
        EC.verify_chain(leaf, (*trusted, middle), NOW_NS)
        ours = True
    except AuthenticationFailed:
        ours = False
    assert ours == theirs == (case == "good")


def test_a_web_of_authorities_is_walked_once() -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(8)]
    web = tuple(
        certificate(name(str(a)), keys[a], name(str(b)), keys[b], ca=True) for a in range(8) for b in range(8) if a != b
    )
    leaf = certificate(name("leaf"), keys[0], name("3"), keys[3])
    checked = []

    def count(child: x509.Certificate, issuer: x509.Certificate) -> None:
        checked.append(child)
        child.verify_directly_issued_by(issuer)

    with pytest.raises(AuthenticationFailed):
        verify_chain(leaf, web, NOW_NS, count)
    assert len(checked) <= len(web) * 8
    root = certificate(name("5"), keys[5], ca=True)
    verify_chain(leaf, (*web, root), NOW_NS, count)


def test_a_store_with_junk_in_it_says_so() -> None:
    leaf = certificate(name("leaf"), ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(AuthenticationFailed, match="no certificate in these 4 bytes"):
        EC.verify_chain(leaf, (b"junk", CA), NOW_NS)


# ---------------------------------------------------------------- names


def test_the_first_common_name_counts() -> None:
    attributes = [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "BE"),
        x509.NameAttribute(NameOID.COMMON_NAME, "first"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "CN=organisation"),
        x509.NameAttribute(NameOID.COMMON_NAME, "second"),
    ]
    key = ec.generate_private_key(ec.SECP256R1())
    assert EC.name_of(certificate(x509.Name(attributes), key)) == "first"
    assert EC.name_of(certificate(x509.Name(attributes[2:]), key)) == "second"
    assert EC.name_of(certificate(x509.Name([attributes[0]]), key)) == ""


@pytest.mark.filterwarnings("ignore:Attribute's length")  # of the library, when it makes such a name
def test_long_names_are_none() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    long = x509.NameAttribute(NameOID.COMMON_NAME, "x" * 256, _validate=False)
    fits = x509.NameAttribute(NameOID.COMMON_NAME, "x" * 255 + ",more", _validate=False)
    assert EC.name_of(certificate(x509.Name([long]), key)) == ""
    assert EC.name_of(certificate(x509.Name([fits]), key)) == "x" * 255


# ---------------------------------------------------------------- odd ones


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    length = bytes([size]) if size < 128 else b"\x81" + bytes([size]) if size < 256 else b"\x82" + size.to_bytes(2)
    return bytes([tag]) + length + content


def handmade(serial: bytes, version: bytes = b"") -> bytes:
    "A self-signed EC certificate with a serial number (and version) that no library writes."
    key = ec.generate_private_key(ec.SECP256R1())
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    subject = name("odd").public_bytes()
    times = der(0x30, der(0x17, b"260101000000Z"), der(0x17, b"280101000000Z"))
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    tbs = der(0x30, version, der(2, serial), algorithm, subject, times, subject, public)
    return der(0x30, tbs, algorithm, der(3, b"\0", key.sign(tbs, ec.ECDSA(hashes.SHA256()))))


@pytest.mark.parametrize("serial", [b"\0", b"\xff", b"\x80\0"])
def test_odd_serial_numbers_are_no_fault_and_no_warning(serial: bytes) -> None:
    odd = handmade(serial)
    assert EC.accepts(odd)
    assert EC.name_of(odd) == "odd"
    EC.verify_chain(odd, (odd,), NOW_NS)
    with pytest.raises(AuthenticationFailed, match="not in the store"):
        EC.verify_chain(handmade(serial), (CA,), NOW_NS)


@pytest.mark.parametrize("version", [b"\xa0\3\2\1\7", b"\xa0\3\2\1\xff"])
def test_an_unknown_version_is_refused(version: bytes) -> None:
    odd = handmade(b"\1", version)
    assert not EC.accepts(odd)
    with pytest.raises(AuthenticationFailed, match="no certificate in these"):
        EC.verify_chain(odd, (odd,), NOW_NS)


# ---------------------------------------------------------------- keys and signatures


def test_forms_of_key_files() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = pem(certificate(name("a"), key))
    sec1 = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    loaded = {EC.load(leaf, each) for each in (sec1, pkcs8, parameters + sec1)}
    assert len(loaded) == 1
    (credentials,) = loaded
    assert credentials is not None
    EC.verify(credentials.certificate, b"m", EC.sign(credentials, b"m", None), None)

    rsa_key = rsa.generate_private_key(65537, 2048)
    pkcs1 = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert RSA.load(pem(certificate(name("a"), rsa_key)), pkcs1) is not None
    with pytest.raises(AuthenticationFailed, match="has an EC key, the key file has another kind"):
        EC.load(leaf, pkcs1)


def credentials(authenticator: Any, key: Any) -> Credentials:
    loaded = authenticator.load(
        pem(certificate(name("a"), key)), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    assert isinstance(loaded, Credentials)
    return loaded


def test_which_digests_sign() -> None:
    ours = credentials(RSA, rsa.generate_private_key(65537, 2048))
    for digest in DIGESTS:
        if digest.name.startswith("blake"):
            with pytest.raises(AuthenticationFailed, match=f"RSA does not sign with {digest.name}; set digest="):
                RSA.sign(ours, b"m", digest)
        else:
            RSA.verify(ours.certificate, b"m", RSA.sign(ours, b"m", digest), digest)
    ec_ours = credentials(EC, ec.generate_private_key(ec.SECP521R1()))
    for digest in DIGESTS:
        EC.verify(ec_ours.certificate, b"m", EC.sign(ec_ours, b"m", digest), digest)
    ed_ours = credentials(ED, ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(AuthenticationFailed, match="Ed25519 takes no digest, and sha256 is announced: a name"):
        ED.sign(ed_ours, b"m", DIGESTS[1])


def test_signatures_of_other_implementations() -> None:
    "What OpenSSL makes of key, message and digest, asked directly."
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = certificate(name("a"), key)
    for digest, algorithm in zip(
        DIGESTS,
        (
            hashes.BLAKE2s(32), hashes.SHA256(), hashes.SHA3_256(), hashes.SHA384(), hashes.SHA3_384(),
            hashes.BLAKE2b(64), hashes.SHA512(), hashes.SHA3_512(),
        ),
        strict=True,
    ):  # fmt: skip
        EC.verify(leaf, b"message", key.sign(b"message", ec.ECDSA(algorithm)), digest)
    EC.verify(leaf, b"message", key.sign(b"message", ec.ECDSA(hashes.SHA256())), None)


def test_no_key_in_errors() -> None:
    ours = credentials(EC, ec.generate_private_key(ec.SECP256R1()))
    broken = Credentials(ours.certificate, ours.key[:-1])
    with pytest.raises(AuthenticationFailed) as caught:
        EC.sign(broken, b"m", None)
    assert ours.key.hex()[40:80] not in repr((caught.value, broken))

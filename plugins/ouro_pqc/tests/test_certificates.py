"""Certificates and keys with ML-DSA and SLH-DSA: the prototype's, our own, and chains of several families."""

import base64
import time
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import Encoding
from ouro_pqc.authenticators import AUTHENTICATORS, PqAuthenticator
from ouro_pqc.parameters import ML_DSA, SLH_DSA
from ouro_pqc.providers.by_pqcrypto import Pqcrypto

from ouro_core.builtin.classic.authenticators import AUTHENTICATORS as CLASSIC
from ouro_core.cli.certificates import Pair, issue, make_authority
from ouro_core.contracts.crypto import Authenticator
from ouro_core.model.errors import AuthenticationFailed
from ouro_core.wire.der import OCTET_STRING, SEQUENCE, oid, take, value

from .test_handshakes import store
from .test_known_answers import pem

FAMILY = {family.name: family for family in AUTHENTICATORS}
ALL: list[Authenticator] = [*CLASSIC, *AUTHENTICATORS]
CAPTURED_NS = 1_795_333_144 * 10**9


def der(content: bytes) -> bytes:
    return base64.b64decode(b"".join(content.split(b"-----")[2].split()))


def pkcs8(number: str, key: bytes) -> bytes:
    return pem(value(SEQUENCE, b"\2\1\0" + value(SEQUENCE, oid(number)) + value(OCTET_STRING, key)))


def certificate(pair: Pair) -> bytes:
    return pair.certificate.public_bytes(Encoding.DER)


# ---------------------------------------------------------------- the prototype's


@pytest.mark.parametrize("name", ["auth.mldsa44", "auth.mldsa65", "cli-mldsa44"])
def test_its_credentials(data: Any, name: str) -> None:
    family = FAMILY["ML-DSA"]
    crt, key = data(f"{name}.crt.pem"), data(f"{name}.key.pem")
    credentials = family.load(crt, key)
    assert credentials is not None
    assert FAMILY["SLH-DSA"].load(crt, key) is None
    signature = family.sign(credentials, b"message", None)
    family.verify(credentials.certificate, b"message", signature, None)
    public = x509.load_pem_x509_certificate(crt).public_key()
    assert isinstance(public, mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey)
    public.verify(signature, b"message")
    assert family.name_of(credentials.certificate) == name
    family.verify_chain(credentials.certificate, store(data), CAPTURED_NS)
    with pytest.raises(AuthenticationFailed, match="not in the store"):
        family.verify_chain(credentials.certificate, store(data)[::2] if name != "auth.mldsa65" else (), CAPTURED_NS)


@pytest.mark.parametrize("name", ["auth.mldsa44", "auth.mldsa65"])
def test_forms_of_its_key(data: Any, name: str) -> None:
    """OpenSSL writes seed and expanded key; each alone will do, wrapped or bare."""
    family, crt = FAMILY["ML-DSA"], data(f"{name}.crt.pem")
    parameters = ML_DSA[0 if name.endswith("44") else 1]
    _, rest = take(SEQUENCE, take(SEQUENCE, der(data(f"{name}.key.pem")))[0][3:])
    seed, rest = take(OCTET_STRING, take(SEQUENCE, take(OCTET_STRING, rest)[0])[0])
    expanded, _ = take(OCTET_STRING, rest)
    assert (len(seed), len(expanded)) == (32, parameters.private)
    for key in (value(0x80, seed), seed, value(OCTET_STRING, expanded), expanded):
        credentials = family.load(crt, pkcs8(parameters.oid, key))
        assert credentials is not None
        family.verify(credentials.certificate, b"m", family.sign(credentials, b"m", None), None)
    for key in (seed[1:], value(0x80, seed[1:]), value(OCTET_STRING, expanded[1:]), value(SEQUENCE, b""), b""):
        with pytest.raises(AuthenticationFailed, match="no ML-DSA"):
            family.load(crt, pkcs8(parameters.oid, key))
    other = ML_DSA[2]
    with pytest.raises(AuthenticationFailed, match=f"key of another algorithm than {parameters.name}"):
        family.load(crt, pkcs8(other.oid, value(0x80, seed)))
    alone = PqAuthenticator("ML-DSA", 1457, 4, ML_DSA, (Pqcrypto(),))
    with pytest.raises(AuthenticationFailed, match="takes no key in seed form"):
        alone.load(crt, pkcs8(parameters.oid, value(0x80, seed)))


def test_text_around_and_pem_that_is_none(data: Any) -> None:
    family, crt, key = FAMILY["ML-DSA"], data("auth.mldsa65.crt.pem"), data("auth.mldsa65.key.pem")
    assert family.load(b"subject=CN\n" + crt, b"# mine\n" + key.replace(b"\n", b"\r\n")) is not None
    assert family.load(crt, data("auth.mldsa44.crt.pem") + key) is not None
    for wrong in (b"", key[:-30], key.replace(b"M", b"-", 1), crt):
        with pytest.raises(AuthenticationFailed, match=r"cannot be read|no ML-DSA"):
            family.load(crt, wrong)


# ---------------------------------------------------------------- our own

KINDS = [kind for family in AUTHENTICATORS for kind in family.key_kinds]
QUICK = [kind for kind in KINDS if not kind.endswith("s")]


def test_kinds() -> None:
    assert KINDS[:4] == ["ml-dsa-44", "ml-dsa-65", "ml-dsa-87", "slh-dsa-sha2-128s"]
    assert len(KINDS) == 15
    assert [f"{p.name} {p.oid.rpartition('.')[2]}" for p in SLH_DSA[:2]] == [
        "SLH-DSA-SHA2-128s 20", "SLH-DSA-SHA2-128f 21",
    ]  # fmt: skip
    assert SLH_DSA[-1].name == "SLH-DSA-SHAKE-256f"
    assert SLH_DSA[-1].oid.endswith(".31")


@pytest.mark.parametrize("kind", [*QUICK, "slh-dsa-sha2-128s"])
def test_issued_and_verified(kind: str) -> None:
    root = make_authority("Test CA", kind, 10, ALL)
    leaf = issue(root, "srv", kind, 10, ALL)
    (family,) = [family for family in ALL if family.accepts(certificate(leaf))]
    crt = leaf.certificate.public_bytes(Encoding.PEM)
    assert family.load(crt, leaf.key_pem) is not None
    family.verify_chain(certificate(leaf), (certificate(root),), time.time_ns())
    assert family.name_of(certificate(leaf)) == "srv"
    stranger = make_authority("Test CA", "p256", 10, ALL)
    with pytest.raises(AuthenticationFailed):
        family.verify_chain(certificate(leaf), (certificate(stranger),), time.time_ns())
    if kind.startswith("ml"):
        leaf.certificate.verify_directly_issued_by(root.certificate)


def test_families_up_a_chain() -> None:
    """A leaf of this plugin may have issuers of any family, and of several."""
    kinds = ["slh-dsa-sha2-128f", "p256", "ml-dsa-44", "rsa2048", "slh-dsa-shake-128f", "ed25519", "ml-dsa-65"]
    for above, below in pairwise(kinds):
        root = make_authority("Root", above, 10, ALL)
        leaf = issue(root, "srv", below, 10, ALL)
        for family in AUTHENTICATORS:
            family.verify_chain(certificate(leaf), (certificate(root),), time.time_ns())


def test_a_signature_of_another_algorithm_than_the_issuers() -> None:
    """What the certificate says of its signature has to be the issuer's algorithm."""
    root = make_authority("Root", "slh-dsa-sha2-128f", 10, ALL)
    leaf = certificate(issue(root, "srv", "p256", 10, ALL))
    said, other = oid(SLH_DSA[1].oid), oid(SLH_DSA[7].oid)
    assert leaf.count(said) == 2
    for changed in (leaf.replace(said, other, 1), leaf.replace(said, other), other.join(leaf.rsplit(said, 1))):
        with pytest.raises(AuthenticationFailed):
            FAMILY["SLH-DSA"].verify_chain(changed, (certificate(root),), time.time_ns())


def test_keys_that_do_not_belong_together_are_found_out_by_the_peer() -> None:
    one, two = (make_authority("srv", "ml-dsa-44", 10, ALL) for _ in range(2))
    family = FAMILY["ML-DSA"]
    credentials = family.load(one.certificate.public_bytes(Encoding.PEM), two.key_pem)
    assert credentials is not None
    with pytest.raises(AuthenticationFailed, match="does not fit"):
        family.verify(credentials.certificate, b"m", family.sign(credentials, b"m", None), None)

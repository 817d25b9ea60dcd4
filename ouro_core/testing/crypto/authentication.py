"""The kit of certificates and signatures."""

import datetime
import warnings
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, ClassVar

import pytest
from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.contracts.crypto import Authenticator, Credentials, Digest, NewKey
from ouro_core.model.errors import AuthenticationFailed
from ouro_core.wire.der import BIT_STRING, SEQUENCE, elements, pem, take, value

from .base import SuiteContract, damage, few, views

NOW = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
NOW_NS = int(NOW.timestamp()) * 1_000_000_000
DAY = datetime.timedelta(days=1)
_ALGORITHM, _KEY = 2, 6
"""Places among the parts of a certificate."""


@frozen
class Issued:
    """A certificate and its private key."""

    certificate: bytes
    """DER."""
    key_pem: bytes = field(repr=False)

    @property
    def certificate_pem(self) -> bytes:
        return x509.load_der_x509_certificate(self.certificate).public_bytes(Encoding.PEM)


@frozen
class Wish:
    """A certificate to be made; the plain one is a leaf that is valid now."""

    name: str
    ca: bool | None = None
    """None: no basicConstraints."""
    path_length: int | None = None
    signs: bool | None = None
    """keyCertSign of the keyUsage; None: no keyUsage."""
    start: datetime.datetime = NOW - DAY
    end: datetime.datetime = NOW + DAY
    unknown_critical: bool = False
    """With a critical extension that nobody knows."""
    constrained: bool = False
    """With name constraints."""
    key_ids: bool = True
    """With subject and authority key identifiers."""


class AuthenticatorContract(SuiteContract):
    """Signatures, and what makes a chain good. Set `digests`. Say how to make keys: implement `new_key`, or set `kinds`
    for suites that make them, which is the only way for keys that `cryptography` does not know.
    """

    digests: ClassVar[tuple[Digest, ...]]
    """To sign with, if the family takes them."""
    kinds: ClassVar[Mapping[str, str]] = {}
    """By name of a suite: a kind of key out of its `key_kinds`, a quick one."""
    _keys: ClassVar[dict[tuple[str, str], Any]] = {}

    def new_key(self, suite: Any) -> Any:
        """A fresh private key, an object of `cryptography`."""
        raise NotImplementedError("say how to make a key, or how to issue certificates")

    def issue(self, suite: Any, wish: Wish, issuer: Issued | None = None) -> Issued:
        """Make the certificate, signed by the issuer, by itself when there is none. One key a name is enough."""
        if suite.name in self.kinds:
            return self._issued_by_suite(suite, wish, issuer)
        key = self._keys.get((suite.name, wish.name)) or self.new_key(suite)
        self._keys[suite.name, wish.name] = key
        signer, above = key, None
        if issuer is not None:
            signer = load_pem_private_key(issuer.key_pem, None)
            above = x509.load_der_x509_certificate(issuer.certificate)
        key_ids = [x509.SubjectKeyIdentifier.from_public_key(each.public_key()) for each in (key, signer)]
        builder = _builder(wish, above, key.public_key(), *key_ids)
        hashed = isinstance(signer, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
        certificate = builder.sign(signer, hashes.SHA256() if hashed else None)
        return Issued(
            certificate.public_bytes(Encoding.DER),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def _issued_by_suite(self, suite: Authenticator, wish: Wish, issuer: Issued | None) -> Issued:
        """A certificate around another key, which is replaced in the DER, and then signed."""
        made: NewKey = self._keys.get((suite.name, wish.name)) or suite.new_key(self.kinds[suite.name])
        self._keys[suite.name, wish.name] = made
        above = x509.load_der_x509_certificate(issuer.certificate) if issuer else None
        publics = made.public, list(_parts(above))[_KEY] if above else made.public
        key_ids = [x509.SubjectKeyIdentifier(sha256(public).digest()[:20]) for public in publics]
        stand_in = ed25519.Ed25519PrivateKey.generate()
        parts = _parts(_builder(wish, above, stand_in.public_key(), *key_ids).sign(stand_in, None))
        parts[_KEY] = made.public
        key = pem("PRIVATE KEY", made.private)
        signer = issuer or Issued(_whole(parts, b""), key)
        credentials = self._credentials(suite, signer)
        parts[_ALGORITHM] = suite.signature_algorithm(credentials)
        return Issued(_whole(parts, suite.sign(credentials, value(SEQUENCE, b"".join(parts)), None)), key)

    def _root(self, suite: Any, **wishes: Any) -> Issued:
        return self.issue(suite, Wish("root", **{"ca": True, "signs": True} | wishes))

    def _middle(self, suite: Any, issuer: Issued, name: str = "middle", **wishes: Any) -> Issued:
        return self.issue(suite, Wish(name, **{"ca": True, "signs": True} | wishes), issuer)

    def _credentials(self, suite: Authenticator, issued: Issued) -> Credentials:
        credentials = suite.load(issued.certificate_pem, issued.key_pem)
        assert credentials is not None
        return credentials

    # ------------------------------------------------------------ files

    def test_credentials_are_loaded(self, suite: Authenticator) -> None:
        issued, other = self.issue(suite, Wish("leaf")), self._root(suite)
        credentials = self._credentials(suite, issued)
        assert credentials.certificate == issued.certificate
        assert credentials.key.hex() not in repr(credentials)
        chain = suite.load(b"text\n" + issued.certificate_pem + other.certificate_pem, issued.key_pem)
        assert chain is not None
        assert chain.certificate == issued.certificate

    def test_keys_that_cannot_be_read(self, suite: Authenticator) -> None:
        issued = self.issue(suite, Wish("leaf"))
        for key in (b"", b"junk", issued.certificate_pem, issued.key_pem[:100], issued.key_pem.replace(b"M", b"!")):
            with pytest.raises(AuthenticationFailed):
                suite.load(issued.certificate_pem, key)

    def test_encrypted_keys_are_refused(self, suite: Authenticator) -> None:
        issued = self.issue(suite, Wish("leaf"))
        try:
            key = load_pem_private_key(issued.key_pem, None)
        except (ValueError, UnsupportedAlgorithm):
            pytest.skip("cryptography cannot encrypt this key")
        locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
        with pytest.raises(AuthenticationFailed, match="encrypted"):
            suite.load(issued.certificate_pem, locked)

    def test_certificates_of_other_families_are_left_to_others(self, suite: Authenticator) -> None:
        issued = self.issue(suite, Wish("leaf"))
        assert suite.accepts(issued.certificate) is True
        assert [other for other in self.suites if other.accepts(issued.certificate)] == [suite]
        for other in self.suites:
            if other is not suite:
                assert other.load(issued.certificate_pem, issued.key_pem) is None
        for junk in (b"", b"junk", issued.certificate_pem[:100]):
            assert suite.load(junk, issued.key_pem) is None

    def test_it_makes_every_kind_of_key(self, suite: Authenticator) -> None:
        keys = [suite.new_key(kind) for kind in (*suite.key_kinds, *suite.key_kinds[:1])]
        assert len({key.public for key in keys}) == len(keys)
        assert not [key for key in keys if key.private.hex() in repr(key)]

    # ------------------------------------------------------------ signatures

    def _signing(self, suite: Authenticator, credentials: Credentials) -> list[Digest | None]:
        """The digests that this family signs with."""
        able: list[Digest | None] = [None]
        for digest in self.digests:
            try:
                suite.sign(credentials, b"", digest)
            except AuthenticationFailed:
                continue
            able.append(digest)
        return able

    def test_signed_and_verified(self, suite: Authenticator) -> None:
        credentials = self._credentials(suite, self.issue(suite, Wish("leaf")))
        for digest in self._signing(suite, credentials):
            for message in views(b"a message"):
                signature = suite.sign(credentials, message, digest)
                suite.verify(credentials.certificate, message, signature, digest)
            with pytest.raises(AuthenticationFailed):
                suite.verify(credentials.certificate, b"A message", signature, digest)

    def test_a_digest_that_cannot_sign_cannot_verify(self, suite: Authenticator) -> None:
        credentials = self._credentials(suite, self.issue(suite, Wish("leaf")))
        signature, able = suite.sign(credentials, b"message", None), self._signing(suite, credentials)
        for digest in self.digests:
            if digest not in able:
                with pytest.raises(AuthenticationFailed):
                    suite.verify(credentials.certificate, b"message", signature, digest)

    def test_other_signatures_do_not_fit(self, suite: Authenticator) -> None:
        issued = self.issue(suite, Wish("leaf"))
        credentials = self._credentials(suite, issued)
        signature = suite.sign(credentials, b"message", None)
        stranger = self._credentials(suite, self._root(suite))
        for wrong in (
            b"",
            bytes(len(signature)),
            b"\xff" * len(signature),
            signature[:-1],
            signature[: len(signature) // 2],
            bytes([signature[0] ^ 1]) + signature[1:],
            signature[:-1] + bytes([signature[-1] ^ 1]),
            suite.sign(stranger, b"message", None),
        ):
            with pytest.raises(AuthenticationFailed):
                suite.verify(issued.certificate, b"message", wrong, None)

    @given(junk=st.binary(max_size=300))
    @few
    def test_anything_may_come(self, suite: Authenticator, junk: bytes) -> None:
        assert suite.accepts(junk) is False
        for call in (
            lambda: suite.verify(junk, b"message", junk, None),
            lambda: suite.verify_chain(junk, (), NOW_NS),
            lambda: suite.name_of(junk),
        ):
            with pytest.raises(AuthenticationFailed):
                call()

    @given(damage=damage(), kept=st.one_of(st.none(), st.integers(0, 500)))
    @few
    def test_damaged_certificates_raise_nothing_else_and_warn_of_nothing(
        self, suite: Authenticator, damage: Callable[[bytes], bytes], kept: int | None
    ) -> None:
        root = self._root(suite)
        certificate = damage(self.issue(suite, Wish("leaf", ca=False), root).certificate)[:kept]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            suite.accepts(certificate)
            for call in (
                lambda: suite.verify(certificate, b"message", b"signature", None),
                lambda: suite.verify_chain(certificate, (root.certificate,), NOW_NS),
                lambda: suite.name_of(certificate),
            ):
                try:
                    call()
                except AuthenticationFailed:
                    pass
        assert not caught

    # ------------------------------------------------------------ names

    @pytest.mark.parametrize(
        ("subject", "name"),
        [
            ("a.name", "a.name"),
            ("a,b", "a"),
            ("a/b,c", "a"),
            ("/a", ""),
            ("münchen", "münchen"),
            ("x" * 64, "x" * 64),
        ],
    )
    def test_the_name(self, suite: Authenticator, subject: str, name: str) -> None:
        assert suite.name_of(self.issue(suite, Wish(subject)).certificate) == name

    # ------------------------------------------------------------ chains

    def _good(self, suite: Authenticator, leaf: Issued, *store: Issued) -> None:
        for order in (store, store[::-1]):
            suite.verify_chain(leaf.certificate, tuple(each.certificate for each in order), NOW_NS)

    def _bad(self, suite: Authenticator, leaf: Issued, *store: Issued) -> str:
        with pytest.raises(AuthenticationFailed) as caught:
            suite.verify_chain(leaf.certificate, tuple(each.certificate for each in store), NOW_NS)
        return str(caught.value)

    def test_an_authority_an_intermediate_and_a_leaf(self, suite: Authenticator) -> None:
        root = self._root(suite)
        middle = self._middle(suite, root)
        leaf = self.issue(suite, Wish("leaf"), middle)
        self._good(suite, leaf, root, middle)
        self._good(suite, self.issue(suite, Wish("leaf"), root), root)
        assert "leaf" in self._bad(suite, leaf)
        assert "middle" in self._bad(suite, leaf, root)
        self._bad(suite, leaf, middle)
        self._bad(suite, leaf, root, self.issue(suite, Wish("leaf"), middle))

    def test_a_self_signed_leaf_has_to_be_in_the_store(self, suite: Authenticator) -> None:
        leaf, root = self.issue(suite, Wish("leaf")), self._root(suite)
        self._good(suite, leaf, leaf, root)
        self._bad(suite, leaf, root)
        self._bad(suite, leaf)
        twin = self.issue(suite, Wish("leaf"))
        assert twin.certificate != leaf.certificate
        self._bad(suite, twin, root)

    def test_a_leaf_in_the_store_is_no_authority(self, suite: Authenticator) -> None:
        leaf = self.issue(suite, Wish("leaf"), self._root(suite))
        self._bad(suite, leaf, leaf)

    def test_an_authority_of_the_same_name_is_another(self, suite: Authenticator) -> None:
        root = self._root(suite)
        leaf = self.issue(suite, Wish("leaf", key_ids=False), root)
        key = self._keys.pop((suite.name, "root"), None)
        impostor = self._root(suite)
        self._keys.pop((suite.name, "root"), None)
        if key is not None:
            self._keys[suite.name, "root"] = key
        if self._bad(suite, leaf, impostor):
            self._good(suite, leaf, root, impostor)

    def test_the_time(self, suite: Authenticator) -> None:
        root = self._root(suite)
        late: dict[str, Any] = {"end": NOW - DAY / 2}
        early: dict[str, Any] = {"start": NOW + DAY / 2}
        for times in (late, early):
            self._bad(suite, self.issue(suite, Wish("leaf", **times), root), root)
            other = self._root(suite, **times)
            self._bad(suite, self.issue(suite, Wish("leaf"), other), other)
            middle = self._middle(suite, root, **times)
            self._bad(suite, self.issue(suite, Wish("leaf"), middle), root, middle)
        renewed = self._root(suite, **late)
        self._good(suite, self.issue(suite, Wish("leaf"), root), renewed, root)
        now = self.issue(suite, Wish("leaf", start=NOW, end=NOW), root)
        self._good(suite, now, root)

    def test_issuers_are_authorities(self, suite: Authenticator) -> None:
        root = self._root(suite)
        for wishes, good in (
            ({"ca": True, "signs": None}, True),
            ({"ca": True, "signs": True}, True),
            ({"ca": True, "signs": False}, False),
            ({"ca": False, "signs": None}, False),
            ({"ca": None, "signs": None}, False),
        ):
            middle = self._middle(suite, root, **wishes)
            leaf = self.issue(suite, Wish("leaf"), middle)
            (self._good if good else self._bad)(suite, leaf, root, middle)

    def test_the_path_length(self, suite: Authenticator) -> None:
        for allowed in (0, 1, 2):
            root = self._root(suite, path_length=allowed)
            chain = [root]
            for depth in range(4):
                leaf = self.issue(suite, Wish("leaf"), chain[-1])
                (self._good if depth <= allowed else self._bad)(suite, leaf, *chain)
                chain.append(self._middle(suite, chain[-1], f"middle{depth}"))

    def test_extensions(self, suite: Authenticator) -> None:
        root = self._root(suite)
        leaf = Wish("leaf", unknown_critical=True)
        assert "1.3.6.1.4.1.99999" in self._bad(suite, self.issue(suite, leaf, root), root)
        for wishes in ({"unknown_critical": True}, {"constrained": True}):
            other = self._root(suite, **wishes)
            self._bad(suite, self.issue(suite, Wish("leaf"), other), other)
        self._good(suite, self.issue(suite, evolve(leaf, unknown_critical=False, signs=False), root), root)

    def test_authorities_that_vouch_for_each_other(self, suite: Authenticator) -> None:
        a, b = self._root(suite), self.issue(suite, Wish("other", ca=True))
        a_by_b, b_by_a = self.issue(suite, Wish("root", ca=True), b), self.issue(suite, Wish("other", ca=True), a)
        leaf = self.issue(suite, Wish("leaf"), a)
        self._bad(suite, leaf, a_by_b, b_by_a)
        self._good(suite, leaf, a_by_b, b_by_a, b)
        self._good(suite, leaf, a_by_b, b_by_a, a)


def _parts(certificate: x509.Certificate) -> list[bytes]:
    """The values of what is signed: version, serial number, algorithm, issuer, validity, subject, key, extensions."""
    return list(elements(take(SEQUENCE, certificate.tbs_certificate_bytes)[0]))


def _whole(parts: list[bytes], signature: bytes) -> bytes:
    return value(SEQUENCE, value(SEQUENCE, b"".join(parts)) + parts[_ALGORITHM] + value(BIT_STRING, b"\0" + signature))


def _builder(
    wish: Wish, above: x509.Certificate | None, key: Any, own: x509.SubjectKeyIdentifier, of: x509.SubjectKeyIdentifier
) -> x509.CertificateBuilder:
    """Everything but the signature; `own` and `of` identify the key and the issuer's."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wish.name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.subject if above else subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(wish.start)
        .not_valid_after(wish.end)
    )
    for extension, critical in _extensions(wish, own, of):
        builder = builder.add_extension(extension, critical)
    return builder


def _extensions(
    wish: Wish, own: x509.SubjectKeyIdentifier, of: x509.SubjectKeyIdentifier
) -> list[tuple[x509.ExtensionType, bool]]:
    extensions: list[tuple[x509.ExtensionType, bool]] = []
    if wish.ca is not None:
        extensions.append((x509.BasicConstraints(wish.ca, wish.path_length), True))
    if wish.signs is not None:
        usage = x509.KeyUsage(True, False, False, False, False, wish.signs, False, False, False)
        extensions.append((usage, True))
    if wish.key_ids:
        extensions.append((own, False))
        extensions.append((x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(of), False))
    if wish.unknown_critical:
        number = x509.ObjectIdentifier("1.3.6.1.4.1.99999")
        extensions.append((x509.UnrecognizedExtension(number, b"\5\0"), True))
    if wish.constrained:
        extensions.append((x509.NameConstraints([x509.DNSName("example")], None), False))
    return extensions

"""Kits of key exchanges."""

import pickle
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.contracts.crypto import DheSuite, KemSuite, KexKind, KexSuite
from ouro_core.model.errors import CryptError, NotSupported

from .base import SuiteContract, damage, few

_LIMIT = 0x3FFF
"""Of the kex field (oap.md 2)."""


def lengths(size: int) -> set[int]:
    """Where to cut: every place near the ends, some in between."""
    return {n for n in (*range(0, size, max(1, size // 40)), *range(30), *range(size - 30, size)) if 0 <= n < size}


class _KexContract(SuiteContract):
    def test_pairs_are_fresh(self, suite: KexSuite) -> None:
        a, b = suite.generate(), suite.generate()
        assert a.public != b.public
        assert a.private != b.private
        assert isinstance(a.public, bytes)
        assert 0 < len(a.public) <= _LIMIT

    def test_a_private_key_is_not_shown(self, suite: KexSuite) -> None:
        pair = suite.generate()
        assert pair.private.hex() not in repr(pair)
        assert repr(pair.private) not in repr(pair)

    def test_its_own_keys_are_known(self, suite: KexSuite) -> None:
        assert suite.raw == (suite.kind is KexKind.HYBRID)
        for _ in range(3):
            assert suite.accepts(suite.generate().public) is True

    def test_one_suite_knows_a_key(self, suite: KexSuite) -> None:
        public = suite.generate().public
        knowing = [other for other in self.suites if other.raw == suite.raw and other.accepts(public)]
        assert knowing == [suite]

    @given(junk=st.binary(max_size=2000))
    @few
    def test_anything_may_be_asked(self, suite: KexSuite, junk: bytes) -> None:
        assert suite.accepts(junk) in (True, False)

    def test_parts_of_keys_may_be_asked(self, suite: KexSuite) -> None:
        public = suite.generate().public
        for n in lengths(len(public)):
            assert suite.accepts(public[:n]) in (True, False)
        assert not suite.accepts(b"")


class DheContract(_KexContract):
    """Diffie-Hellman."""

    def degenerate(self, suite: Any) -> Iterable[bytes]:
        """Public keys that would give a known secret or are outside of the group: points of low order or not on the
        curve, 0, 1, p - 1, p.
        """
        return ()

    def test_the_kind(self, suite: DheSuite) -> None:
        assert suite.kind is KexKind.DHE

    def test_both_get_one_secret(self, suite: DheSuite) -> None:
        a, b = suite.generate(), pickle.loads(pickle.dumps(suite.generate()))
        secret = suite.agree(a.private, b.public)
        assert isinstance(secret, bytes)
        assert len(secret) >= 31
        assert secret == suite.agree(b.private, a.public)
        assert secret != suite.agree(a.private, suite.generate().public)

    def test_degenerate_keys_are_refused(self, suite: DheSuite) -> None:
        private = suite.generate().private
        for public in self.degenerate(suite):
            with pytest.raises(CryptError):
                suite.agree(private, public)

    def test_keys_of_others_are_refused(self, suite: DheSuite) -> None:
        private = suite.generate().private
        for other in self.suites:
            if other is not suite:
                with pytest.raises(CryptError):
                    suite.agree(private, other.generate().public)

    def test_cut_and_extended_keys_are_refused(self, suite: DheSuite) -> None:
        private, public = suite.generate().private, suite.generate().public
        for n in lengths(len(public)):
            with pytest.raises(CryptError):
                suite.agree(private, public[:n])
        with pytest.raises(CryptError):
            suite.agree(private, public + b"\0")

    @given(damage=damage())
    @few
    def test_damaged_keys_are_refused_or_another_secret(
        self, suite: DheSuite, damage: Callable[[bytes], bytes]
    ) -> None:
        a, b = suite.generate(), suite.generate()
        damaged = damage(b.public)
        try:
            secret = suite.agree(a.private, damaged)
        except CryptError:
            return
        assert suite.accepts(damaged)
        # X25519 does not look at the top bit of a point, and two changes may undo each other
        same = damaged == b.public or damaged == b.public[:-1] + bytes([b.public[-1] ^ 0x80])
        assert secret != suite.agree(a.private, b.public) or same

    @given(junk=st.binary(max_size=200))
    @few
    def test_junk_is_refused(self, suite: DheSuite, junk: bytes) -> None:
        private = suite.generate().private
        with pytest.raises(CryptError) as caught:
            suite.agree(private, junk)
        assert private.hex() not in str(caught.value)


class KemContract(_KexContract):
    """Key encapsulation."""

    def files(self, suite: Any) -> tuple[bytes, bytes]:
        """Contents of kex.key.* and kex.srv.pub.* of one static pair, for suites that do not make them."""
        try:
            files: tuple[bytes, bytes] = suite.new_files()
        except NotSupported:
            raise NotImplementedError("say what the files of a static key look like") from None
        return files

    def test_the_kind(self, suite: KemSuite) -> None:
        assert suite.kind in (KexKind.KEM, KexKind.HYBRID)

    def test_both_get_one_secret(self, suite: KemSuite) -> None:
        pair = pickle.loads(pickle.dumps(suite.generate()))
        first, second = suite.encapsulate(pair.public), suite.encapsulate(pair.public)
        assert first.ciphertext != second.ciphertext
        assert len(first.ciphertext) == len(second.ciphertext) <= _LIMIT
        assert first.secret != second.secret
        assert first.secret.hex() not in repr(first)
        for sent in (first, second):
            assert suite.decapsulate(pair.private, sent.ciphertext) == sent.secret

    def test_another_key_gets_another_secret(self, suite: KemSuite) -> None:
        sent = suite.encapsulate(suite.generate().public)
        assert suite.decapsulate(suite.generate().private, sent.ciphertext) != sent.secret

    def test_a_damaged_ciphertext_gives_another_secret(self, suite: KemSuite) -> None:
        pair = suite.generate()
        sent = suite.encapsulate(pair.public)
        for place in (0, len(sent.ciphertext) // 2, len(sent.ciphertext) - 1):
            damaged = bytearray(sent.ciphertext)
            damaged[place] ^= 1
            assert suite.decapsulate(pair.private, bytes(damaged)) != sent.secret

    def test_ciphertexts_of_another_length_are_refused(self, suite: KemSuite) -> None:
        pair = suite.generate()
        ciphertext = suite.encapsulate(pair.public).ciphertext
        for n in lengths(len(ciphertext)):
            with pytest.raises(CryptError):
                suite.decapsulate(pair.private, ciphertext[:n])
        with pytest.raises(CryptError):
            suite.decapsulate(pair.private, ciphertext + b"\0")

    def test_cut_and_extended_keys_are_refused(self, suite: KemSuite) -> None:
        public = suite.generate().public
        for n in lengths(len(public)):
            with pytest.raises(CryptError):
                suite.encapsulate(public[:n])
        with pytest.raises(CryptError):
            suite.encapsulate(public + b"\0")

    def test_key_files(self, suite: KemSuite) -> None:
        self._serves(suite, *self.files(suite))

    def test_fresh_key_files(self, suite: KemSuite) -> None:
        try:
            files, others = suite.new_files(), suite.new_files()
        except NotSupported:
            pytest.skip("makes none")
        assert files != others
        self._serves(suite, *files)

    def _serves(self, suite: KemSuite, private_file: bytes, public_file: bytes) -> None:
        pair = suite.load_private(private_file)
        assert suite.load_public(public_file) == pair.public
        assert suite.accepts(pair.public)
        sent = suite.encapsulate(pair.public)
        assert suite.decapsulate(pair.private, sent.ciphertext) == sent.secret

    @given(junk=st.binary(max_size=200))
    @few
    def test_files_of_something_else_are_refused(self, suite: KemSuite, junk: bytes) -> None:
        for file in (junk, b"-----BEGIN PRIVATE KEY-----\n" + junk):
            with pytest.raises(CryptError):
                suite.load_private(file)
            with pytest.raises(CryptError):
                suite.load_public(file)

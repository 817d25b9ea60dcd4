"""Kits of digests and key derivations."""

from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.contracts.crypto import KEY_SIZE, Digest, Kdf

from .base import SuiteContract, few, views

_KNOWN: dict[str, Any] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
    "sha3-256": hashes.SHA3_256(),
    "sha3-384": hashes.SHA3_384(),
    "sha3-512": hashes.SHA3_512(),
    "blake2s256": hashes.BLAKE2s(32),
    "blake2b512": hashes.BLAKE2b(64),
}


class DigestContract(SuiteContract):
    """A hash function."""

    def test_size(self, suite: Digest) -> None:
        assert suite.size in (32, 48, 64)
        for length in (0, 1, 63, 64, 65, 127, 128, 129, 100_000):
            digest = suite.digest(bytes(length))
            assert isinstance(digest, bytes)
            assert len(digest) == suite.size

    @given(data=st.binary(max_size=300), other=st.binary(max_size=300))
    @few
    def test_equal_for_equal_data_only(self, suite: Digest, data: bytes, other: bytes) -> None:
        assert [suite.digest(view) for view in views(data)] == [suite.digest(data)] * 4
        assert (suite.digest(data) == suite.digest(other)) == (data == other)

    def test_the_algorithm_of_its_name(self, suite: Digest) -> None:
        if suite.name not in _KNOWN:
            pytest.skip(f"no other implementation of {suite.name} here")
        other = hashes.Hash(_KNOWN[suite.name])
        other.update(b"digest" * 100)
        assert suite.digest(b"digest" * 100) == other.finalize()


class KdfContract(SuiteContract):
    """HKDF."""

    def test_a_key_is_the_default(self, suite: Kdf) -> None:
        key = suite.derive(b"secret", bytes(32), b"info")
        assert isinstance(key, bytes)
        assert len(key) == KEY_SIZE

    def test_all_inputs_count(self, suite: Kdf) -> None:
        inputs = [(b"s", b"t", b"i"), (b"S", b"t", b"i"), (b"s", b"T", b"i"), (b"s", b"t", b"I"), (b"", b"", b"")]
        assert len({suite.derive(*each) for each in inputs}) == len(inputs)

    def test_shorter_is_the_beginning_of_longer(self, suite: Kdf) -> None:
        longest = suite.derive(b"secret", b"salt", b"info", 255 * 32)
        assert len(longest) == 255 * 32
        for size in (1, 31, 32, 33, 63, 64, 65, 1000):
            assert suite.derive(b"secret", b"salt", b"info", size) == longest[:size]

    @given(secret=st.binary(max_size=600), salt=st.binary(max_size=200), info=st.binary(max_size=40))
    @few
    def test_the_algorithm_of_its_name(self, suite: Kdf, secret: bytes, salt: bytes, info: bytes) -> None:
        keys = {suite.derive(s, t, info) for s, t in zip(views(secret), views(salt), strict=True)}
        assert len(keys) == 1
        if suite.name in _KNOWN:
            assert keys == {HKDF(_KNOWN[suite.name], KEY_SIZE, salt, info).derive(secret)}

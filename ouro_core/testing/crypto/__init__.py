"""The contract kits of suites: every sentence of `ouro_core.contracts.crypto` as a test.

    from ouro_core.testing.crypto import CipherContract

    class TestMine(CipherContract):
        suites = [MyCipher(), MyOtherCipher()]

Each test runs once a suite. What differs between suites (a tag or none, raw keys, digests that a family cannot sign
with) is read from the suite, or found out by asking it. Unavailable suites are skipped, with their reason.

`KemContract` wants the files of a static key, `AuthenticatorContract` a way to make certificates; both say how.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{name}" for name in ("authentication", "base", "ciphers", "hashing", "kex"))
)

from .authentication import AuthenticatorContract, Issued, Wish  # noqa: E402
from .ciphers import CipherContract  # noqa: E402
from .hashing import DigestContract, KdfContract  # noqa: E402
from .kex import DheContract, KemContract  # noqa: E402

__all__ = [
    "AuthenticatorContract",
    "CipherContract",
    "DheContract",
    "DigestContract",
    "Issued",
    "KdfContract",
    "KemContract",
    "Wish",
]

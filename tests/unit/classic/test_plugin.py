"""How the core brings its suites: by the hooks, quickly, and with a reason when `cryptography` lacks one."""

import subprocess
import sys

import pytest

from ouro_core.builtin.classic.authenticators import AUTHENTICATORS
from ouro_core.builtin.classic.ciphers import CIPHERS, AeadSuite
from ouro_core.builtin.classic.curves import CURVES, EcdhSuite
from ouro_core.builtin.classic.ffdhe import FFDHE
from ouro_core.model.errors import CryptError
from ouro_core.oap import OapSuites, SuiteTable
from ouro_core.wire.oap import CIPHER_NIDS, DIGEST_NIDS

KEXES = {
    "ffdhe2048": (1126, 1),
    "prime256v1": (415, 2),
    "X25519": (1034, 3),
    "ffdhe3072": (1127, 4),
    "secp384r1": (715, 5),
    "ffdhe4096": (1128, 6),
    "X448": (1035, 7),
    "secp521r1": (716, 8),
}


def test_names_numbers_and_strengths(suites: OapSuites) -> None:
    assert {suite.name: (suite.nid, suite.rank) for suite in suites.kexes} == KEXES
    for table, nids in ((suites.ciphers, CIPHER_NIDS), (suites.kdfs, DIGEST_NIDS), (suites.digests, DIGEST_NIDS)):
        ranked = {name: (nid, rank) for rank, (name, nid) in enumerate(nids.items(), 1)}
        assert {suite.name: (suite.nid, suite.rank) for suite in table} == ranked
    assert {suite.name for suite in suites.authenticators} == {"RSA", "EC", "EdDSA"}
    for table in (suites.kexes, suites.ciphers, suites.kdfs, suites.digests, suites.authenticators):
        assert {suite.provider for suite in table} <= {"cryptography", "hashlib", "own"}
        assert len(list(table.available())) == len(table)


def test_registering_does_not_import_cryptography() -> None:
    code = (
        "import sys\n"
        "from ouro_core.plugins import PluginHost\n"
        "host = PluginHost(select=())\n"
        "kinds = ('kex_suites', 'cipher_suites', 'kdfs', 'digests', 'authenticators')\n"
        "assert all(host.registry(kind) for kind in kinds)\n"
        "host.kdfs['sha256'].derive(b'', b'', b'')\n"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_algorithm_that_the_build_lacks_says_so() -> None:
    kex = EcdhSuite("sect571r1", 734, 9, "30", 72, "NoSuchCurve")
    cipher = AeadSuite("aes-256-gcm", 6, 32, "NoSuchMode")
    for suite in (kex, cipher):
        assert suite.unavailable is not None
        assert "NoSuch" in suite.unavailable
        assert "pip install" in suite.unavailable
        assert "\n" not in suite.unavailable
    table = SuiteTable("cipher", [cipher])
    assert list(table.available()) == []
    with pytest.raises(CryptError, match="aes-256-gcm is not available here: cryptography does not bring it"):
        table.named("aes-256-gcm")


def test_without_cryptography() -> None:
    code = (
        "import sys\n"
        "sys.modules['cryptography'] = None\n"
        "from ouro_core.builtin.classic import plugin\n"
        "suites = [*plugin.ouro_register_kex_suites(), *plugin.ouro_register_cipher_suites(),\n"
        "          *plugin.ouro_register_authenticators()]\n"
        "print(*(suite.name for suite in suites if suite.unavailable is None))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == [suite.name for suite in FFDHE], result.stderr
    assert len([*CURVES, *CIPHERS, *AUTHENTICATORS]) == 15

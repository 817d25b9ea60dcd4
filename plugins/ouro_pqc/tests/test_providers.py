"""Libraries: each against each other, which one is chosen, and those that are missing or broken."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from ouro_pqc.authenticators import PqAuthenticator
from ouro_pqc.hybrid import HybridSuite
from ouro_pqc.kem import MlKemSuite
from ouro_pqc.mlkem import MlKem
from ouro_pqc.parameters import ML_DSA, ML_KEM, SLH_DSA, KemParameters, SignatureParameters
from ouro_pqc.providers import LIBRARIES, Form, Library
from ouro_pqc.providers.by_cryptography import Cryptography
from ouro_pqc.providers.by_pqcrypto import Pqcrypto

from ouro_core.builtin.classic.digests import DIGESTS
from ouro_core.model.errors import CryptError, NotSupported
from ouro_core.oap import OapSuites, SuiteTable

QUICK = (*ML_DSA, SLH_DSA[1], SLH_DSA[3], SLH_DSA[5], SLH_DSA[7])
"""Not the small sets of SLH-DSA: one of them signs below, once."""


def has(library: Library, parameters: KemParameters | SignatureParameters) -> bool:
    try:
        library.kem(parameters) if isinstance(parameters, KemParameters) else library.signatures(parameters)
    except NotSupported:
        return False
    return True


def pairs(all_parameters: Iterable[KemParameters | SignatureParameters]) -> list[Any]:
    """Two libraries of those that are here, and an algorithm that both have."""
    return [
        pytest.param(one, other, parameters, id=f"{one.name}-{other.name}-{parameters.name}")
        for one, other, parameters in product(LIBRARIES, LIBRARIES, all_parameters)
        if has(one, parameters) and has(other, parameters)
    ]


# ---------------------------------------------------------------- each against each other


@pytest.mark.parametrize(("sender", "receiver", "parameters"), pairs(ML_KEM))
def test_one_encapsulates_for_the_other(sender: Library, receiver: Library, parameters: KemParameters) -> None:
    one, other = sender.kem(parameters), receiver.kem(parameters)
    private, public = other.generate()
    ciphertext, secret = one.encapsulate(public)
    assert (len(public), len(ciphertext), len(secret)) == (parameters.public, parameters.ciphertext, 32)
    assert other.decapsulate(private, ciphertext) == secret
    if Form.SEED in other.forms and len(private) == 64:
        assert other.public_of(private) == public
    forged = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    rejected = other.decapsulate(private, forged)
    assert rejected != secret
    assert rejected == other.decapsulate(private, forged)


@pytest.mark.parametrize(("signer", "verifier", "parameters"), pairs(QUICK))
def test_one_verifies_what_the_other_signs(signer: Library, verifier: Library, parameters: SignatureParameters) -> None:
    one, other = signer.signatures(parameters), verifier.signatures(parameters)
    private, public = one.generate()
    assert len(private) in (parameters.private, parameters.seed)
    for message in (b"", b"message" * 1000):
        signature = one.sign(private, message)
        assert (len(public), len(signature)) == (parameters.public, parameters.signature)
        other.verify(public, message, signature)
        for wrong in ((public, message + b"\0", signature), (public, message, bytes(len(signature)))):
            with pytest.raises(Exception):  # noqa: B017, PT011  # of whatever class
                other.verify(*wrong)


def test_the_set_that_the_prototype_tests() -> None:
    private, public = Pqcrypto().signatures(SLH_DSA[0]).generate()
    signature = Pqcrypto().signatures(SLH_DSA[0]).sign(private, b"message")
    assert len(signature) == 7856
    for library in LIBRARIES:
        if has(library, SLH_DSA[0]):
            library.signatures(SLH_DSA[0]).verify(public, b"message", signature)


# ---------------------------------------------------------------- the choice


class Broken(Library):
    """Is there, and fails in a way of its own."""

    name = "broken"

    def kem(self, parameters: KemParameters) -> object:  # type: ignore[override]
        raise RuntimeError("symbol lookup error\nin two lines")

    def signatures(self, parameters: SignatureParameters) -> object:  # type: ignore[override]
        raise OSError("truncated file")


def test_the_order() -> None:
    assert [library.name for library in LIBRARIES] == ["cryptography", "pqcrypto", "liboqs"]
    served = {parameters.name: MlKem(parameters).choice.provider for parameters in ML_KEM}
    assert served == {"ML-KEM-512": "pqcrypto", "ML-KEM-768": "cryptography", "ML-KEM-1024": "cryptography"}
    both = MlKem(ML_KEM[1]).choice
    assert type(both.best(Form.EXPANDED)).__module__.endswith("by_pqcrypto")
    assert "pqcrypto: for keys in expanded form" in both.note


def test_a_broken_library_is_passed_over() -> None:
    suite = MlKemSuite(ML_KEM[1], (Broken(), Cryptography()))
    assert suite.unavailable is None
    assert suite.provider == "cryptography"
    assert suite.note == "broken: does not work: RuntimeError: symbol lookup error in two lines"
    pair = suite.generate()
    assert suite.decapsulate(pair.private, suite.encapsulate(pair.public).ciphertext)


@pytest.mark.parametrize("kex", ["ML-KEM-768", "X25519MLKEM768"])
def test_no_library_at_all(kex: str) -> None:
    libraries = (Broken(),)
    kem, hybrid = MlKemSuite(ML_KEM[1], libraries), HybridSuite(2053, 12, "X25519", 32, ML_KEM[1], libraries)
    suite = next(s for s in (kem, hybrid) if s.name == kex)
    assert suite.unavailable is not None
    assert "\n" not in suite.unavailable
    suites = OapSuites.of(digests=DIGESTS, kexes=[suite])
    with pytest.raises(CryptError, match=f"{kex} is not available here: no library here has ML-KEM-768.*symbol look"):
        suites.kexes.named(kex)
    assert suites.kexes.nids == {suite.nid}
    family = PqAuthenticator("SLH-DSA", 1460, 5, SLH_DSA, libraries)
    assert "truncated file" in str(family.unavailable)
    assert list(SuiteTable("authenticator", [family]).available()) == []


# ---------------------------------------------------------------- without pqcrypto, without cryptography

WITHOUT = """
import json, sys
sys.modules[sys.argv[1]] = None
from ouro_pqc import plugin
suites = [*plugin.ouro_register_kex_suites(), *plugin.ouro_register_authenticators()]
assert "cryptography" not in sys.modules or sys.modules["cryptography"] is None
print(json.dumps({s.name: [s.unavailable, s.provider, s.note] for s in suites}))
"""


def without(module: str, **environ: str) -> dict[str, list[str]]:
    """What each suite says of itself in a process that cannot import a module."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, module], capture_output=True, text=True, timeout=60, env=os.environ | environ
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_without_pqcrypto() -> None:
    found = without("pqcrypto", OQS_INSTALL_PATH="/nonexistent")
    for name in ("ML-KEM-512", "SLH-DSA"):
        if found[name][1] != "liboqs":
            assert "pqcrypto: cannot be imported" in found[name][0]
            assert "pip install 'pqcrypto>=1,<2'" in found[name][0]
    for name in ("ML-KEM-768", "ML-KEM-1024", "X25519MLKEM768", "X448MLKEM1024", "ML-DSA"):
        assert found[name][0] is None
        assert found[name][1] == "cryptography"
        assert "pqcrypto: cannot be imported" in found[name][2]


def test_an_expanded_key_that_nothing_here_takes() -> None:
    hybrid = HybridSuite(2053, 12, "X25519", 32, ML_KEM[1], (Cryptography(),))
    pair = hybrid.generate()
    assert hybrid.decapsulate(pair.private, hybrid.encapsulate(pair.public).ciphertext)
    file = (Path(__file__).parent / "data" / "x25519mlkem768.key.raw").read_bytes()
    with pytest.raises(CryptError, match=r"ML-KEM-768 with a key in expanded form \(cryptography: takes no key in exp"):
        hybrid.load_private(file)


def test_nothing_is_imported_to_register() -> None:
    code = (
        "import sys\n"
        "from ouro_pqc import plugin\n"
        "plugin.ouro_register_kex_suites(), plugin.ouro_register_authenticators()\n"
        "sys.exit(bool({'cryptography', 'pqcrypto', 'oqs'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_liboqs_is_not_asked_without_need() -> None:
    code = (
        "import sys\n"
        "from ouro_pqc import plugin\n"
        "suites = [*plugin.ouro_register_kex_suites(), *plugin.ouro_register_authenticators()]\n"
        "assert all(s.unavailable is None for s in suites)\n"
        "sys.exit('oqs' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


# ---------------------------------------------------------------- the guard of liboqs

INSTALLED = any(path.name == "liboqs-python" for path in metadata.distributions())
MODULE = """
print("countdown")
import os, pathlib
pathlib.Path(os.environ["IMPORTED"]).touch()
{rest}
"""
ASK = """
import sys
from ouro_pqc.providers.by_liboqs import Liboqs
from ouro_pqc.parameters import ML_KEM
from ouro_core.model.errors import NotSupported
try:
    Liboqs().kem(ML_KEM[0])
except NotSupported as error:
    print(error)
"""


def ask(folder: Path, module: str | None, **environ: str) -> tuple[str, bool]:
    """What the guard says in a process with such a liboqs-python, and whether that was imported."""
    packages = folder / "packages"
    if module is not None:
        info = packages / "liboqs_python-0.16.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: liboqs-python\nVersion: 0.16.0\n")
        (packages / "oqs.py").write_text(MODULE.format(rest=module))
    mark = folder / "imported"
    base = {"HOME": str(folder), "PATH": os.environ["PATH"], "PYTHONPATH": str(packages), "IMPORTED": str(mark)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, timeout=60, env=base | environ, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip(), mark.exists()


def library(folder: Path) -> Path:
    """A library with the name and a symbol of liboqs."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no compiler to make a library with")
    path = folder / "_oqs" / "lib" / "liboqs.so"
    path.parent.mkdir(parents=True)
    source = folder / "oqs.c"
    source.write_text("void OQS_KEM_new(void) {}\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, source], check=True)
    return path


def test_liboqs_python_is_not_installed(tmp_path: Path) -> None:
    if INSTALLED:
        pytest.skip("it is")
    assert ask(tmp_path, None) == ("not installed", False)


def test_its_library_is_not_there(tmp_path: Path) -> None:
    """It would be built now."""
    said, imported = ask(tmp_path, "raise SystemExit(1)")
    assert "liboqs-python is installed, its library is not" in said
    assert not imported


def test_its_library_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "lib64" / "liboqs.so"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x7fELF, or not")
    said, imported = ask(tmp_path, "raise SystemExit(1)", OQS_INSTALL_PATH=str(tmp_path / "elsewhere"))
    assert said.startswith(f"its library cannot be loaded ({path}: ")
    assert "install it anew" in said
    assert not imported


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        ("raise SystemExit(1)", "SystemExit: 1"),
        ("raise RuntimeError('no')", "RuntimeError: no"),
        ("import warnings; warnings.warn('versions differ')", "AttributeError: module 'oqs' has no attribute"),
    ],
)
def test_its_import_fails(tmp_path: Path, rest: str, why: str) -> None:
    library(tmp_path)
    said, imported = ask(tmp_path, rest)
    assert said.startswith(f"liboqs-python cannot be imported ({why}")
    assert "pip install --force-reinstall" in said
    assert "countdown" not in said
    assert imported


def test_it_was_built_without_the_algorithm(tmp_path: Path) -> None:
    library(tmp_path)
    rest = "is_kem_enabled = is_sig_enabled = KeyEncapsulation = Signature = lambda *_: False"
    assert ask(tmp_path, rest) == ("was built without ML-KEM-512", True)

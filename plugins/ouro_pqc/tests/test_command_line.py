"""What an administrator sees of the plugin: `ouro crypto`, `ouro pki`, and what is said when it is not there."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ouro_core.cli.group import ouro
from ouro_core.contracts.crypto import KemSuite
from ouro_core.irm.security import SecurityFiles, Side
from ouro_core.model.errors import AuthenticationFailed, CryptError
from ouro_core.oap import OapClient, OapServer, OapSuites, ReplayGuard, Security
from ouro_core.plugins import PluginHost
from ouro_core.plugins.suites import oap_suites

from .test_known_answers import pem
from .test_pairs import NOW, server_of

BROUGHT = {
    "ML-KEM-512": 1454, "ML-KEM-768": 1455, "ML-KEM-1024": 1456, "X25519MLKEM768": 2053, "X448MLKEM1024": 2054,
    "ML-DSA": 1457, "SLH-DSA": 1460,
}  # fmt: skip


def run(*words: str, plugins: str = "pqc", good: bool = True) -> str:
    result = CliRunner().invoke(ouro, words, env={"OURO_PLUGINS": plugins})
    assert (result.exit_code == 0) == good, result.output
    return result.output if not good else result.stdout


def test_list() -> None:
    found = {entry["algorithm"]: entry for entry in json.loads(run("crypto", "list", "--json"))}
    assert {name: found[name]["nid"] for name in BROUGHT} == BROUGHT
    assert {found[name]["plugin"] for name in BROUGHT} == {"pqc"}
    assert all(found[name]["available"] for name in BROUGHT)
    assert found["ML-KEM-768"]["provider"] == "cryptography"
    assert found["ML-KEM-512"]["provider"] == found["SLH-DSA"]["provider"] == "pqcrypto"
    assert "cryptography: has no ML-KEM-512" in found["ML-KEM-512"]["note"]
    assert "liboqs: " in found["ML-KEM-512"]["note"]
    assert found["X25519"]["note"] == ""
    (line,) = [line for line in run("crypto", "list").splitlines() if line.startswith("ML-KEM-512 ")]
    assert "pqcrypto      yes (cryptography: has no ML-KEM-512; liboqs: " in line


def test_list_without_the_plugin() -> None:
    found = {entry["algorithm"]: entry for entry in json.loads(run("crypto", "list", "--json", plugins=""))}
    for name in BROUGHT:
        assert not found[name]["available"]
        assert "ouro-pqc" in found[name]["why_not"]


# ---------------------------------------------------------------- pki


@pytest.mark.parametrize(("above", "below"), [("ml-dsa-65", "ml-dsa-65"), ("slh-dsa-sha2-128f", "ml-dsa-44")])
def test_pki_and_check(tmp_path: Path, above: str, below: str) -> None:
    at = ("--directory", str(tmp_path))
    run("pki", "init", "--algorithm", above, *at)
    run("pki", "issue", "srv", "--algorithm", below, *at)
    run("pki", "issue", "alice", "--client", "srv", "--algorithm", "slh-dsa-sha2-128f", *at)
    for side in ("server", "client"):
        (tmp_path / side / "srv" / "enc.conf").write_text("kex = X25519MLKEM768\nauth = required\n")
    said = run("crypto", "check", "srv", *at)
    last = said.rstrip().splitlines()[-1]
    assert 'X25519MLKEM768, aes-256-gcm; server authenticated as "srv"; client authenticated as "alice"' in last
    shown = json.loads(run("pki", "show", "--json", *at))
    assert {entry["subject"]: entry["key"] for entry in shown if not entry["problems"]} == {
        "Ouroboros CA": "SLH-DSA" if above.startswith("slh") else "MLDSA65",
        "srv": "MLDSA65" if below.endswith("65") else "MLDSA44",
        "alice": "SLH-DSA",
    }
    assert (tmp_path / "pki" / "ca.key.pem").stat().st_mode & 0o777 == 0o600


def test_a_kind_that_is_none(tmp_path: Path) -> None:
    said = run("pki", "init", "--algorithm", "ml-dsa-66", "--directory", str(tmp_path), good=False)
    assert '"ml-dsa-66" is no kind of key here; known: p256, ' in said
    assert "slh-dsa-shake-256f" in said


def test_pki_without_the_plugin(tmp_path: Path) -> None:
    at = ("--directory", str(tmp_path))
    said = run("pki", "init", "--algorithm", "ml-dsa-65", *at, plugins="", good=False)
    assert 'keys "ml-dsa-65" come with the distribution ouro-pqc' in said
    run("pki", "init", "--algorithm", "slh-dsa-sha2-128f", *at)
    said = run("pki", "issue", "srv", *at, plugins="", good=False)
    assert "nothing here signs with the key of CN=Ouroboros CA" in said
    (entry,) = json.loads(run("pki", "show", "--json", *at, plugins=""))
    assert "SLH-DSA come with the distribution ouro-pqc" in entry["problems"][0]


# ---------------------------------------------------------------- static keys


@pytest.mark.parametrize("kex", ["ML-KEM-512", "ML-KEM-1024", "X25519MLKEM768", "X448MLKEM1024"])
def test_fresh_static_keys(tmp_path: Path, kex: str) -> None:
    at = ("--directory", str(tmp_path))
    for side in ("server", "client"):
        (tmp_path / side / "srv").mkdir(parents=True)
        (tmp_path / side / "srv" / "enc.conf").write_text(f"kex = {kex}\nkem_mode = client\n")
    assert "is missing: with kem_mode = client" in run("crypto", "check", "srv", *at, good=False)
    made = json.loads(run("pki", "kex", "srv", "--algorithm", kex, "--json", *at))
    assert Path(made["private"]).stat().st_mode & 0o777 == 0o600
    assert f"{kex}, aes-256-gcm" in run("crypto", "check", "srv", *at).rstrip().splitlines()[-1]
    assert "exists; with --force" in run("pki", "kex", "srv", "--algorithm", kex, *at, good=False)
    run("pki", "kex", "srv", "--algorithm", kex, "--force", *at)
    run("crypto", "check", "srv", *at)


def test_static_keys_that_are_none(tmp_path: Path) -> None:
    at = ("--directory", str(tmp_path))
    assert "is no key encapsulation" in run("pki", "kex", "srv", "--algorithm", "X25519", *at, good=False)
    said = run("pki", "kex", "srv", *at, plugins="", good=False)
    assert '"X25519MLKEM768" is not known here' in said
    assert "come with the distribution ouro-pqc" in said


@pytest.mark.parametrize("kex", ["ML-KEM-512", "ML-KEM-768", "X448MLKEM1024"])
def test_check_finds_a_stale_key(tmp_path: Path, suites: OapSuites, kex: str) -> None:
    server, client = tmp_path / "server" / "srv", tmp_path / "client" / "srv"
    suite = suites.kexes.named(kex)
    assert isinstance(suite, KemSuite)
    suffix = "raw" if suite.raw else "pem"
    static = server_of(kex).static_key or b""
    present, stale = suite.load_private(static).public, suite.generate().public
    for folder, mode in ((server, "server"), (client, "client")):
        folder.mkdir(parents=True)
        (folder / "enc.conf").write_text(f"kex = {kex}\nkem_mode = {mode}\n")
    (server / f"kex.key.{suffix}").write_bytes(static)
    at = ("--directory", str(tmp_path))
    for public, good in ((present, True), (stale, False)):
        file = public if suite.raw else pem(public, "PUBLIC KEY")
        (client / f"kex.srv.pub.{suffix}").write_bytes(file)
        last = run("crypto", "check", "srv", *at, good=good).rstrip().splitlines()[-1]
        assert (f"{kex}, aes-256-gcm" in last) == good
        assert ("refused (-1008): both sides have a key, and not the same" in last) == (not good)
    (client / f"kex.srv.pub.{suffix}").write_bytes(file[:-1] if suite.raw else b"rubbish")
    assert f"kex.srv.pub.{suffix}: " in run("crypto", "check", "srv", *at, good=False)


# ---------------------------------------------------------------- uninstalled


def test_errors_name_the_missing_plugin(tmp_path: Path, suites: OapSuites, data: Any) -> None:
    host = PluginHost(select=())
    host.load()
    classical = oap_suites(host)
    files = SecurityFiles(str(tmp_path), classical)
    folder = tmp_path / "server" / "srv"
    folder.mkdir(parents=True)
    (folder / "enc.conf").write_text("kex = X25519MLKEM768\n")
    missing = "come with the distribution ouro-pqc, which is not installed"
    with pytest.raises(CryptError, match=rf'enc\.conf:1: key exchange "X25519MLKEM768" is not known here.*{missing}'):
        files.security(Side.SERVER, "srv")
    (folder / "enc.conf").write_text("kex = X25519\n")
    assert files.security(Side.SERVER, "srv").encryption is not None
    for part in ("crt", "key"):
        (folder / f"{part}.pem").write_bytes(data(f"auth.mldsa65.{part}.pem"))
    with pytest.raises(AuthenticationFailed, match=rf"crt\.pem: no authenticator takes .*ML-DSA, SLH-DSA {missing}"):
        files.security(Side.SERVER, "srv")

    request = OapClient(suites).prepare("srv", b"", NOW, server_of("X25519MLKEM768")).request
    with pytest.raises(CryptError, match=f"client's key of 1216 bytes.*{missing}"):
        OapServer(classical, ReplayGuard()).process(request, b"", NOW)
    family = next(a for a in suites.authenticators if a.name == "ML-DSA")
    credentials = family.load(data("auth.mldsa65.crt.pem"), data("auth.mldsa65.key.pem"))
    signed = OapClient(suites).prepare("srv", b"", NOW, Security(credentials=credentials)).request
    with pytest.raises(AuthenticationFailed, match=f"no authenticator takes.*{missing}"):
        OapServer(classical, ReplayGuard()).process(signed, b"", NOW)

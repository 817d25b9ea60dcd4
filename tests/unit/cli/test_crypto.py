"""`ouro crypto list`."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from ouro_core.cli.group import ouro
from ouro_core.wire.oap import CIPHER_NIDS, DIGEST_NIDS


def run(*words: str, **environ: str) -> str:
    result = CliRunner().invoke(ouro, ["crypto", "list", *words], env={"OURO_PLUGINS": "", **environ})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_as_json() -> None:
    found = json.loads(run("--json"))
    by_kind = {kind: [e for e in found if e["kind"] == kind] for kind in ("kex", "cipher", "kdf", "digest")}
    assert [(e["algorithm"], e["nid"]) for e in by_kind["cipher"]] == list(CIPHER_NIDS.items())
    for kind in ("kdf", "digest"):
        assert [(e["algorithm"], e["nid"]) for e in by_kind[kind]] == list(DIGEST_NIDS.items())
    assert {e["algorithm"] for e in found if e["kind"] == "authenticator"} >= {"EC", "RSA", "EdDSA"}
    assert {
        "algorithm": "X25519",
        "kind": "kex",
        "nid": 1034,
        "strength": 3,
        "provider": "cryptography",
        "plugin": "classic",
        "available": True,
        "why_not": "",
        "note": "",
    } in by_kind["kex"]
    (missing,) = [e for e in by_kind["kex"] if e["algorithm"] == "ML-KEM-768"]
    assert (missing["available"], missing["nid"]) == (False, None)
    assert "the distribution ouro-pqc" in missing["why_not"]


def test_as_a_table() -> None:
    lines = run().splitlines()
    assert lines[0].split() == ["algorithm", "kind", "NID", "strength", "provider", "available"]
    assert ["aes-256-gcm", "cipher", "901", "6", "cryptography", "yes"] in [line.split() for line in lines]
    assert not [line for line in lines if line != line.rstrip()]


PLUGIN = """
import sys
from ouro_core.contracts.crypto import Digest
from ouro_core.hookspecs import hookimpl

class Missing(Digest):
    name, nid, rank, size, provider = "shake", 1100, 9, 32, "tomorrow"
    @property
    def unavailable(self):
        print("noise of a provider")
        return "needs hashlib of tomorrow"
    def digest(self, data):
        raise AssertionError

@hookimpl
def ouro_register_digests():
    return [Missing()]
"""


def test_what_is_missing_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "missing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: missing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ouro]\nmissing = missing_digest\n")
    (tmp_path / "missing_digest.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(os.fspath(tmp_path))
    (entry,) = [e for e in json.loads(run("--json", OURO_PLUGINS="missing")) if e["algorithm"] == "shake"]
    assert (entry["provider"], entry["plugin"], entry["available"]) == ("tomorrow", "missing", False)
    assert entry["why_not"] == "needs hashlib of tomorrow"
    table = run(OURO_PLUGINS="missing")
    assert "no: needs hashlib of tomorrow" in table
    assert "noise" not in table

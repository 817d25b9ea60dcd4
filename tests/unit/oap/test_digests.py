"""The digests of the core, and how suites are found."""

import json
from pathlib import Path
from typing import Any

import pluggy
import pytest

from ouro_core import hookspecs
from ouro_core.builtin.classic import plugin
from ouro_core.builtin.classic.digests import DIGESTS
from ouro_core.contracts.crypto import Buffer, Digest
from ouro_core.model.errors import CryptError, PluginError
from ouro_core.oap import OapSuites, SuiteTable
from ouro_core.wire.oap import DIGEST_NIDS

CASES = json.loads((Path(__file__).parents[2] / "data" / "kat" / "md.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['md']}-{len(case['in'])}")
def test_known_answers(case: dict[str, Any]) -> None:
    digest = SuiteTable("digest", DIGESTS).named(case["md"])
    assert (digest.nid, digest.size) == (case["nid"], case["len"])
    assert digest.digest(case["in"].encode()).hex() == case["digest"]
    assert digest.digest(memoryview(case["in"].encode())).hex() == case["digest"]


def test_all_of_the_protocols_digests_weakest_first() -> None:
    assert [digest.name for digest in SuiteTable("digest", reversed(DIGESTS))] == list(DIGEST_NIDS)
    assert [digest.rank for digest in SuiteTable("digest", DIGESTS)] == list(range(1, 9))
    assert {digest.name: digest.nid for digest in DIGESTS} == DIGEST_NIDS


def test_they_come_by_the_hook() -> None:
    manager = pluggy.PluginManager("ouro")
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)
    manager.check_pending()
    assert manager.hook.ouro_register_digests() == [list(DIGESTS)]


class Missing(Digest):
    name, nid, rank, size, unavailable = "shake", 1100, 9, 32, "needs hashlib of tomorrow"

    def digest(self, data: Buffer) -> bytes:
        raise AssertionError("an unavailable suite is never called")


def test_names_and_numbers() -> None:
    table = SuiteTable("digest", [*DIGESTS, Missing()])
    assert table.named("sha3-512") is table.numbered(1099)
    assert len(table) == 9
    assert 1100 in table.nids
    assert "shake" not in [digest.name for digest in table.available()]
    with pytest.raises(CryptError, match='digest "SHA256" is not known here; known: blake2s256, sha256, '):
        table.named("SHA256")
    with pytest.raises(CryptError, match=r"digest shake is not available here: needs hashlib of tomorrow"):
        table.named("shake")
    with pytest.raises(CryptError, match="number 1096 is not known"):
        table.numbered(1096)
    with pytest.raises(CryptError, match="install or unblock the plugin"):
        OapSuites.of().kdfs.named("sha256")


def test_a_name_or_number_is_taken_once() -> None:
    with pytest.raises(PluginError, match="two digest suites"):
        SuiteTable("digest", [*DIGESTS, DIGESTS[0]])


def test_a_registered_number_is_known_on_the_wire() -> None:
    suites = OapSuites.of(digests=[Missing()])
    assert suites.known_digests == {1100, *DIGEST_NIDS.values()}

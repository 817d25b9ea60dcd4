"""Every suite in one real allocation at least, direct and over a layer; and that the walk sees what is wrong."""

from pathlib import Path

import pytest

from ouro_core.contracts.crypto import KemSuite
from ouro_core.plugins import PluginHost
from ouro_core.plugins.suites import oap_suites

from . import handshakes
from .walk import Combination, Outcome, Walk, certificates, combinations, each_once, table


@pytest.mark.parametrize("layer", [False, True], ids=["direct", "layer"])
def test_every_suite_once(tmp_path: Path, layer: bool) -> None:
    suites = oap_suites(PluginHost.from_environment())
    asked = each_once(suites)
    with Walk(tmp_path, suites, layer) as walk:
        found = walk.run(asked)
    assert not [outcome for outcome in found if outcome.error], table(found)
    used = {name for combination in asked for name in (combination.kex, combination.cipher, combination.kdf)}
    assert used >= {suite.name for table in (suites.kexes, suites.ciphers, suites.kdfs) for suite in table.available()}


def test_certificates(tmp_path: Path) -> None:
    """Of each family one that is quick to make: both sides show one, and require one."""
    suites = oap_suites(PluginHost.from_environment())
    quick = {"p256", "rsa2048", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87", "slh-dsa-sha2-128f"}
    asked = [c for c in certificates(suites, "X25519") if c.certificate in quick]
    with Walk(tmp_path, suites) as walk:
        found = walk.run([*asked, Combination("X25519")])
    assert not [outcome for outcome in found if outcome.error], table(found)
    assert {"p256", "rsa2048", "ed25519"} <= {c.certificate for c in asked}
    assert next(c for c in asked if c.certificate == "ed25519").kex == ""


def test_all_combinations_are_asked_for() -> None:
    suites = oap_suites(PluginHost(select=()))
    asked = combinations(suites)
    assert len(asked) == len(set(asked)) == len(suites.kexes) * len(suites.ciphers) * len(suites.kdfs) == 8 * 7 * 8


def test_what_fails_is_told(tmp_path: Path) -> None:
    with Walk(tmp_path, oap_suites(PluginHost(select=()))) as walk:
        wrong, right = walk.run(
            [Combination("X25519", "rot13", "sha256"), Combination("X25519", "aes-128-gcm", "sha256")]
        )
    assert 'enc.conf:2: cipher "rot13" is not known here' in wrong.error
    assert not right.error


def test_the_table() -> None:
    kex, other = Combination("X25519", "aes-128-gcm", "sha256"), Combination("X448", "aes-128-gcm", "sha384")
    lines = table([Outcome(kex, "", 0.0012), Outcome(other, "CryptError: no", 0)]).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["aes-128-gcm", "allocation"], ["X25519", "1/1", "1.2", "ms"], ["X448", "0/1", "-"],
    ]  # fmt: skip
    assert lines[3:] == ["FAILED X448 aes-128-gcm sha384: CryptError: no", "1 of 2 passed"]


def test_the_times_of_handshakes() -> None:
    """Every key exchange and mode is in the table, and quick kinds of certificates."""
    suites = oap_suites(PluginHost.from_environment())
    costs = [handshakes.measure(suites, handshake, 0.0) for handshake in handshakes.exchanges(suites)]
    kems = [kex.name for kex in suites.kexes.available() if isinstance(kex, KemSuite)]
    assert len(costs) == len(list(suites.kexes.available())) + len(kems)
    signed = next(handshakes.signed(suites, "X25519"))
    costs.append(handshakes.measure(suites, signed, 0.0))
    assert costs[-1].response > costs[-1].request
    lines = handshakes.table(costs).splitlines()
    assert lines[0].split() == ["client", "ms", "server", "ms", "request", "response"]
    assert len({len(line) for line in lines}) == 1

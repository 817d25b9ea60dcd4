"""Processes are killed, at random times and at random instructions of the kernel (see `ouro_ssm.killtest`)."""

import pytest
from attrs import evolve
from ouro_ssm.broker import SsmFlow
from ouro_ssm.killtest import rounds
from ouro_ssm.killtest.roles import PATIENCE
from ouro_ssm.killtest.trace import possible

from ouro_core.contracts.packets import State


def test_survivors_read_a_beginning_and_no_block_is_lost() -> None:
    result = rounds.run(150, seed=7)
    assert result.good, result.details()
    assert result.rounds == sum(result.kills.values()) == 150
    assert result.packets > 10000, "there was traffic"
    assert result.passed > 1000, "bystanders went on"
    assert result.kills["instruction"] > 20 or possible() is not None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PATIENCE", evolve(PATIENCE, read_timeout=0.3, write_timeout=0.3))


def test_blocks_that_are_not_freed_would_be_noticed(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that forgets what is in the rings of the dead."""
    monkeypatch.setattr(SsmFlow, "_reap", lambda flow: flow._destroyed and flow._side_gone(0) and flow._side_gone(1))
    result = rounds.run(8, seed=3)
    assert result.leaks
    assert not result.good


def test_survivors_that_are_not_told_would_be_noticed(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = SsmFlow._mark

    def forgetful(flow: SsmFlow, on: int, off: int) -> None:
        if not on & State.DEAD:
            mark(flow, on, off)

    monkeypatch.setattr(SsmFlow, "_mark", forgetful)
    assert rounds.run(3, seed=5).hangs

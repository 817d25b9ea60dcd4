"""The chaos run, short. OURO_CHAOS_ROUNDS and OURO_CHAOS_SEED make it longer, or another."""

import os
import time

import pytest

from .storm import WHO, DaemonStorm, Storm

ROUNDS = int(os.environ.get("OURO_CHAOS_ROUNDS", "24"))
SEED = int(os.environ.get("OURO_CHAOS_SEED", str(int(time.time()))))


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_kill_9_of_server_client_ipcp_and_zygote_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print(f"seed {SEED}")
    with Storm(SEED) as storm:
        for number in range(ROUNDS):
            storm.round(number)
        assert set(storm.killed) == set(WHO[: ROUNDS // 2])
        assert storm.allocations == ROUNDS
        for host in storm.hosts:
            status = host.status()
            assert (status.processes, status.flows, status.blocks, status.ipcps) == (0, 0, 0, 1)


@pytest.mark.timeout(120)
def test_kill_9_of_the_daemon_leaves_nothing() -> None:
    with DaemonStorm(SEED) as storm:
        for number in range(3):
            storm.round(number)
        assert not storm.host.descendants()

"""A process is killed, anywhere; the other one goes on, and no block is lost."""

import random
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from ouro_core.contracts.packets import FlowEnd, Options, State
from ouro_core.model.errors import FlowDown

ROUNDS = 60
PATIENCE = Options(read_timeout=30.0, write_timeout=30.0)


def soon(kill: Callable[[], None]) -> threading.Thread:
    """Kill at a random time within a few thousand packets."""
    delay = random.uniform(0, 0.008)

    def run() -> None:
        time.sleep(delay)
        kill()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def numbers_until_down(end: FlowEnd, zero_copy: bool) -> int:
    number = 0
    try:
        while True:
            data = bytes(end.recv().payload) if zero_copy else end.read()
            assert int.from_bytes(data[4:8], "little") == number
            number += 1
    except FlowDown:
        return number


def write_numbers(end: FlowEnd, size: int) -> int:
    """In the form that `child.py` checks, until the flow is down: how many."""
    number = 0
    try:
        while True:
            body = number.to_bytes(4, "little") + bytes(size - 8)
            end.write(zlib.crc32(body).to_bytes(4, "little") + body)
            number += 1
    except FlowDown:
        return number


@pytest.mark.parametrize(("size", "batch"), [(64, 1), (64, 32), (1500, 1)])
def test_the_writer_is_killed(host: Any, zygote: Any, size: int, batch: int) -> None:
    seen = 0
    for n in range(ROUNDS):
        end, kill = zygote.start(host, "write", 0, size, batch)
        killer = soon(kill)
        seen += numbers_until_down(end, zero_copy=n % 2 == 1)
        killer.join()
        assert end.state & State.DEAD
        end.close()
        assert not host.used()
        host.end_all()
        assert host.broker.counters()["flows"] == 0
    assert seen, "no writer ever wrote"


@pytest.mark.parametrize("role", ["read", "recv"])
@pytest.mark.parametrize("size", [64, 1500])
def test_the_reader_is_killed(host: Any, zygote: Any, role: str, size: int) -> None:
    accepted = 0
    for _ in range(ROUNDS):
        end, kill = zygote.start(host, role)
        killer = soon(kill)
        accepted += write_numbers(end, size)
        killer.join()
        end.close()
        assert not host.used()
        host.end_all()
    assert accepted


@pytest.mark.parametrize("role", ["read", "write", "recv"])
def test_in_a_pool_that_is_smaller_than_the_ring(small: Any, zygote: Any, role: str) -> None:
    for _ in range(ROUNDS):
        end, kill = zygote.start(small, role, *((0, 1500) if role == "write" else ()))
        killer = soon(kill)
        if role == "write":
            numbers_until_down(end, zero_copy=False)
        else:
            write_numbers(end, 1500)
        killer.join()
        end.close()
        assert not small.used()
        small.end_all()


def test_a_bystander_in_the_same_pool_notices_nothing(small: Any, zygote: Any) -> None:
    stop = threading.Event()
    a, b = small.flow(one := small.client(), one)
    passed: list[int] = []

    def pass_packets() -> None:
        number = 0
        while not stop.is_set():
            a.write(number.to_bytes(8, "little") * 20)
            assert b.read() == number.to_bytes(8, "little") * 20
            number += 1
        passed.append(number)

    bystander = threading.Thread(target=pass_packets)
    bystander.start()
    for _ in range(40):
        end, kill = zygote.start(small, "write", 0, 100)
        killer = soon(kill)
        numbers_until_down(end, zero_copy=True)
        killer.join()
        end.close()
    stop.set()
    bystander.join()
    assert passed[0] > 0


def test_who_holds_packets_and_dies_gives_them_back(host: Any, zygote: Any, eventually: Any) -> None:
    end, kill = zygote.start(host, "recv")
    for number in range(3):
        body = number.to_bytes(4, "little")
        end.write(zlib.crc32(body).to_bytes(4, "little") + body)
    eventually(lambda: end.queued() == (0, 0))
    assert sum(host.used().values()) == 3
    kill()
    assert not host.used()


def test_a_sleeper_is_woken_by_a_death(host: Any, zygote: Any) -> None:
    for _ in range(20):
        end, kill = zygote.start(host, "idle")
        killer = soon(kill)
        with pytest.raises(FlowDown):
            end.read()
        killer.join()
        assert end.state == State.DEAD | State.DOWN
        host.end_all()


def test_an_event_set_tells_of_a_death(host: Any, zygote: Any) -> None:
    end, kill = zygote.start(host, "idle")
    client = host._clients[-1]
    events = client.event_set()
    events.add(end)
    killer = soon(kill)
    found = 0
    while not found & 16:
        found |= events.wait(30.0)[0][1]
    killer.join()
    assert found == 16 | 2

"""Handlers that raise, where nothing may be left half done."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from ouro_core.api.signals import block_signals, interruptible, undisturbed


class Raised(Exception):
    pass


def handler(*_: object) -> None:
    raise Raised


@pytest.fixture(autouse=True)
def _handled() -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, handler)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    signal.signal(signal.SIGUSR1, before)


def kick() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


def test_a_handler_runs_when_it_is_over() -> None:
    done = []

    def work() -> None:
        with undisturbed():
            kick()
            with undisturbed():
                done.append(1)
            done.append(2)

    with pytest.raises(Raised):
        work()
    assert done == [1, 2]


def test_a_handler_runs_in_the_interruptible_step_and_is_put_off_again_behind_it() -> None:
    done = []

    @undisturbed()
    def work() -> None:
        try:
            with interruptible():
                kick()
                done.append("not reached")
        finally:
            kick()
            done.append("cleaned up")

    with pytest.raises(Raised):
        work()
    assert done == ["cleaned up"]


def test_interruptible_on_its_own_and_other_threads_change_nothing() -> None:
    with pytest.raises(Raised), interruptible():
        kick()
    masks = []

    def other() -> None:
        with undisturbed(), interruptible():
            masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        block_signals()
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert signal.SIGUSR1 not in masks[0]
    assert {signal.SIGINT, signal.SIGUSR1, signal.SIGALRM} <= masks[1]
    assert signal.SIGSEGV not in masks[1]


def test_an_error_inside_passes() -> None:
    with pytest.raises(ValueError, match="x"), undisturbed():
        raise ValueError("x")

"""Signals and what must not be left half done.

Theory of operation. A handler of Python's may raise between any two steps of the main thread: KeyboardInterrupt does,
and whatever programs raise to limit times. A flow whose answer was read and not yet noted down would be lost. So
requests run `undisturbed`: signals are blocked in the main thread, but for the one step that can take long and loses
nothing, waiting for an answer, which is `interruptible`. What was put off happens when it is over. Other threads never
run handlers; those of ours block signals, so that none reaches the process through them.
"""

from __future__ import annotations

import signal
import threading

# That of `signal` makes a member of an enumeration of each number that was blocked: more work than all the rest.
from _signal import pthread_sigmask  # type: ignore[import-not-found]
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["block_signals", "interruptible", "undisturbed"]

_PUT_OFF: Final = {int(number) for number in (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF,
    signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD,
)}  # fmt: skip
"""Those that programs handle. Not faults of the processor: blocked, they kill without a word."""

_BLOCK: Final = int(signal.SIG_BLOCK)
_SET: Final = int(signal.SIG_SETMASK)

_mask: set[int] | None = None
"""What the main thread blocks otherwise; None: it is not undisturbed."""


def block_signals() -> None:
    """For good, in this thread."""
    pthread_sigmask(_BLOCK, _PUT_OFF)


@contextmanager
def undisturbed() -> Iterator[None]:
    """No handler runs inside. May be nested."""
    global _mask
    if _mask is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    mask = _mask = pthread_sigmask(_BLOCK, ())
    try:
        pthread_sigmask(_BLOCK, _PUT_OFF)  # runs handlers of signals that came before
        yield
    finally:
        _mask = None
        pthread_sigmask(_SET, mask)  # runs handlers of those that came since


@contextmanager
def interruptible() -> Iterator[None]:
    """Handlers run inside, within `undisturbed`."""
    if _mask is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        pthread_sigmask(_SET, _mask)
        yield
    finally:
        block_signals()

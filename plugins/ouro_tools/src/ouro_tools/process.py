"""What all tools have in common as processes: the announcement, and the signals that end them (spec: tools.md)."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from ouro_core import announce
from ouro_core.model.errors import OuroError
from ouro_core.model.log import setup_logging

__all__ = ["announced", "ended", "on_end", "say"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(text: object, error: bool = False) -> None:
    """Print one line in one write, so that the lines of several processes on one terminal do not mix."""
    (sys.stderr if error else sys.stdout).write(f"{text}\n")


def announced() -> bool:
    """Announce this process to the IRMd, so that it can be bound to names from now on. False: it said why it cannot.

    OURO_DEBUG names components whose protocol debugging goes to standard error.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to bring to an end
    if debug := os.environ.get("OURO_DEBUG"):
        setup_logging(debug=debug.split(","))
    try:
        announce()
    except OuroError as e:
        say(f"FATAL: Could not announce to IRMd.\n{e}", error=True)
        return False
    return True


def on_end(handler: Callable[[], None]) -> None:
    """Call `handler` in the main thread when a signal asks for the end; SIGPIPE is ignored."""
    for number in _SIGNALS:
        signal.signal(number, lambda *_: handler())
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def ended() -> None:
    """All is said: signals change nothing any more, also while the interpreter shuts down."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)

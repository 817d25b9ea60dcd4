"""What all tools have in common as processes: the announcement, and the signals that end them (spec: tools.md)."""

import signal
import sys
from collections.abc import Callable
from typing import Final

from ouro_core.api.process import current
from ouro_core.model.errors import OuroError

__all__ = ["announced", "on_end"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def announced() -> bool:
    """Announce this process to the IRMd, so that it can be bound to names from now on. False: it said why it cannot."""
    try:
        current()
    except OuroError as e:
        print("FATAL: Could not announce to IRMd.", file=sys.stderr)
        print(e, file=sys.stderr)
        return False
    return True


def on_end(handler: Callable[[], None]) -> None:
    """Call `handler` in the main thread when a signal asks for the end; SIGPIPE is ignored."""
    for number in _SIGNALS:
        signal.signal(number, lambda *_: handler())
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)

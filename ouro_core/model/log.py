"""Levels and names of the log.

Below DEBUG stands PP, the protocol debug level of the prototype: messages of protocols, in full. It is switched on by
component: `oap`, `dht`, `irmd`, `reg`, `ipcpd/eth-dix`, ... A logger is called `ouro.<component>`.
"""

import json
import logging
import sys
from collections.abc import Iterable
from typing import Final, TextIO

__all__ = ["PP", "JsonFormatter", "TextFormatter", "logger", "set_debug", "setup_logging"]

PP: Final = 5
"""Numeric level of protocol debugging."""

logging.addLevelName(PP, "PP")


_wanted: set[str] = set()


def logger(component: str) -> logging.Logger:
    """The logger of a component; `component` is the prefix of its lines in the log."""
    component = _dotless(component)
    found = logging.getLogger("ouro." + component)
    found.setLevel(PP if _is_wanted(component) else logging.NOTSET)
    return found


def _is_wanted(component: str) -> bool:
    return not _wanted.isdisjoint({"all", component, *component.split("/")})


def _dotless(component: str) -> str:
    """A dot would make a hierarchy of loggers."""
    return component.replace(".", "_")


_LETTERS: Final = {PP: "PP", logging.DEBUG: "DB", logging.INFO: "II", logging.WARNING: "WW", logging.ERROR: "EE"}
_COLOURS: Final = {PP: "\x1b[34m", logging.INFO: "\x1b[32m", logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m"}


class TextFormatter(logging.Formatter):
    """`==<pid, 5 digits>== <component>(<II|WW|EE|DB|PP>): <text>` (spec: irmd.md 9), coloured on a terminal."""

    def __init__(self, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        level = min(max(record.levelno, PP), logging.ERROR)
        head = f"=={record.process or 0:05d}== {component_of(record)}({_LETTERS.get(level, 'II')}): "
        lines = record.getMessage().splitlines() or [""]
        if record.exc_info:
            lines += self.formatException(record.exc_info).splitlines()
        body = "\n".join(head + line for line in lines)
        colour = _COLOURS.get(level) if self._colour else None
        return f"{colour}{body}\x1b[0m" if colour else body


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, pid, component, level, text, and exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": record.created,
            "pid": record.process,
            "component": component_of(record),
            "level": record.levelname,
            "text": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def component_of(record: logging.LogRecord) -> str:
    """The component a line comes from."""
    return record.name.removeprefix("ouro.")


def set_debug(components: Iterable[str]) -> None:
    """Protocol debugging for these components, INFO for the others.

    A word stands for the component of that name and for every one that has it as a part: "oap" for `irmd/oap`; "all"
    for everything.
    """
    _wanted.clear()
    _wanted.update(_dotless(c.strip()) for c in components if c.strip())
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("ouro."):
            logger(name.removeprefix("ouro."))


def setup_logging(form: str = "text", debug: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Log to `stream` (standard error) in the form "text" or "json", whoever logs, plugins by their own loggers too.
    Called by daemons, libraries never do; the last call counts.
    """
    out = stream or sys.stderr
    handler = _Handler(out)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter(colour=out.isatty()))
    root = logging.getLogger()
    for earlier in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    logging.getLogger("ouro").setLevel(logging.INFO)
    set_debug(debug)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, to be told from those that others put there."""

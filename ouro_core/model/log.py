"""Levels and names of the log.

Below DEBUG stands PP, the protocol debug level of the prototype: messages of protocols, in full. It is switched on by
component: `oap`, `dht`, `irmd`, `reg`, `ipcpd/eth-dix`, ... A logger is called `ouro.<component>`.
"""

import logging
from typing import Final

__all__ = ["PP", "logger"]

PP: Final = 5
"""Numeric level of protocol debugging."""

logging.addLevelName(PP, "PP")


def logger(component: str) -> logging.Logger:
    """The logger of a component; `component` is the prefix of its lines in the log."""
    return logging.getLogger("ouro." + component.replace(".", "_"))

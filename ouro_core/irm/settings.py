"""What can be configured of the IRM, and the times it goes by (spec: irmd.md 1)."""

from collections.abc import Callable
from typing import Final

from attrs import frozen

from ..model.config import boolean, option, text
from ..model.names import MAX_PATH

__all__ = ["IrmSettings"]

QUERY_TIMEOUT: Final = 0.2
"""Seconds an IPCP has for "is this name in your layer"."""
FLOW_ALLOC_TIMEOUT: Final = 20.0
"""Seconds for an allocation or join when the application does not say."""
ACCEPT_WINDOW: Final = 1.0
"""Seconds that a request waits for a process to accept."""
START_WINDOW: Final = 5.0
"""Seconds that it waits after a program was started for it. The prototype's second is short for interpreters."""
BOOTSTRAP_TIMEOUT: Final = 5.0
ENROLL_TIMEOUT: Final = 20.0
REG_TIMEOUT: Final = 20.0
CONNECT_TIMEOUT: Final = 20.0
DEALLOC_TIMEOUT: Final = 10.0
"""Seconds an IPCP has to give a flow's end back, on top of the linger time."""
STOP_TIMEOUT: Final = 3.0
"""Seconds an IPCP has to shut down before it is killed."""
DIRECT_MPL: Final = 1
"""ms, of flows without a layer."""
MAX_NAMES_PER_USER: Final = 1024
"""Names that one user other than an administrator may create."""
MAX_PROGRAMS_PER_NAME: Final = 64
MAX_ARGUMENTS: Final = 2**16
"""Bytes of all arguments of a program bound to a name."""
MAX_DATA: Final = 2**16 - 1
"""Bytes that an application may send along with a flow request or its answer (spec: oap.md 2)."""
MAX_LINGER: Final = 3600
"""Seconds that a layer may be asked to keep the endpoint of a flow."""
MAX_FLOWS_PER_USER: Final = 4096
"""Flows that one user other than an administrator may have at once."""
MAX_CLIENTS_PER_USER: Final = 1024
"""Clients that the processes of one user other than an administrator may be at once. A process that announces again is
one more: what the earlier one could write to comes back when the process ends.
"""
MAX_NAMES_PER_PROCESS: Final = 256
"""Names that a process other than an administrator's may be bound to."""
MAX_ACCEPTS_PER_USER: Final = 4096
"""Accept calls that all processes of one user other than an administrator may have under way."""
MAX_ACCEPTS_PER_PROCESS: Final = 1024
"""Accept calls that one process may have under way."""
MAX_PENDING_PER_NAME: Final = 1024
"""Requests that wait for somebody to accept for one name; more are refused."""


def _seconds(low: float, high: float) -> "Callable[[str], float]":
    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not low <= number <= high:
            raise ValueError(f"needs seconds from {low:g} to {high:g}")
        return number

    return parse


@frozen
class IrmSettings:
    """Table `[irmd]` of the configuration file."""

    direct: bool = option(True, parse=boolean, help="flows between processes of this host need no layer")
    security: str = option(
        "",
        parse=text(MAX_PATH),
        help="directory of security files; empty: /etc/ouroboros/security as root, else ~/.config/ouroboros/security",
    )
    packets: str = option("", parse=text(64), help="packet system; empty: ssm when it is installed, else heap")
    accept_window: float = option(
        ACCEPT_WINDOW, parse=_seconds(0, 60), unit="s", help="how long a flow request waits for a process to accept"
    )
    start_window: float = option(
        START_WINDOW, parse=_seconds(0, 60), unit="s", help="how long it waits for a program started for it"
    )

"""What can be configured of the IRM, and the times it goes by (spec: irmd.md 1)."""

from collections.abc import Callable
from typing import Final

from attrs import evolve, frozen

from ..contracts.packets import SHARED_GEOMETRY, USER_GEOMETRY, Geometry, SizeClass
from ..model.config import boolean, integer, option, text
from ..model.names import MAX_PATH

__all__ = ["IrmSettings"]

QUERY_TIMEOUT: Final = 0.2
"""Seconds an IPCP has for "is this name in your layer"."""
CAPABILITIES_TIMEOUT: Final = 1.0
"""Seconds an IPCP has to find out what a peer can do; who does not say is one of the prototype."""
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
ASK_TIMEOUT: Final = 10.0
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
MAX_WAITING_PER_PROCESS: Final = 64
"""Requests that wait for one process to announce itself; more are refused."""
MAX_PENDING_PER_NAME: Final = 1024
"""Requests that wait for somebody to accept for one name; more are refused."""
MAX_STARTED_PER_NAME: Final = 32
"""Programs that were started for one name and run: if that many do not accept, one more will not either."""


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


_PAYLOADS: Final = (64, 2**24)
_MOST_BLOCKS: Final = 2**24 - 1
_MOST_CLASSES: Final = 16


def _classes(value: str) -> tuple[SizeClass, ...]:
    """As "256:2048,512:1024": the largest payload of each class, and how many blocks it has."""
    found = {}
    for item in value.split(","):
        payload, _, blocks = item.partition(":")
        try:
            size, count = int(payload), int(blocks)
        except ValueError:
            raise ValueError(f'needs classes as PAYLOAD:BLOCKS, such as 256:2048,512:1024; "{item}" is none') from None
        if not _PAYLOADS[0] <= size <= _PAYLOADS[1]:
            raise ValueError(f"a class is of {_PAYLOADS[0]} to {_PAYLOADS[1]} bytes, not of {size}")
        if not 0 < count <= _MOST_BLOCKS:
            raise ValueError(f"a class has 1 to {_MOST_BLOCKS} blocks, not {count}; leave out what shall not be there")
        if size in found:
            raise ValueError(f"class {size} stands there twice")
        found[size] = count
    if len(found) > _MOST_CLASSES:
        raise ValueError(f"a pool has at most {_MOST_CLASSES} classes, not {len(found)}")
    return tuple(SizeClass(size, found[size]) for size in sorted(found))


def _show_classes(classes: tuple[SizeClass, ...]) -> str:
    return ",".join(f"{c.payload}:{c.blocks}" for c in classes)


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
    shared_pool: tuple[SizeClass, ...] = option(
        SHARED_GEOMETRY.classes,
        parse=_classes,
        show=_show_classes,
        help="blocks of the pool of root, the service user and group ouroboros, as PAYLOAD:BLOCKS,PAYLOAD:BLOCKS",
    )
    user_pool: tuple[SizeClass, ...] = option(
        USER_GEOMETRY.classes, parse=_classes, show=_show_classes, help="blocks of the pool of each other user"
    )
    shards: int = option(
        SHARED_GEOMETRY.shards, parse=integer(1, 16), help="parts of each class of a pool; blocks are their total"
    )
    accept_window: float = option(
        ACCEPT_WINDOW, parse=_seconds(0, 60), unit="s", help="how long a flow request waits for a process to accept"
    )
    start_window: float = option(
        START_WINDOW, parse=_seconds(0, 60), unit="s", help="how long it waits for a program started for it"
    )

    @property
    def shared_geometry(self) -> Geometry:
        """Of the shared pool."""
        return evolve(SHARED_GEOMETRY, classes=self.shared_pool, shards=self.shards)

    @property
    def user_geometry(self) -> Geometry:
        """Of each user's pool."""
        return evolve(USER_GEOMETRY, classes=self.user_pool, shards=self.shards)

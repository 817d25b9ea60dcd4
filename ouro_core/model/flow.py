"""Flows as the IRM sees them (spec: irmd.md 6)."""

from enum import IntEnum
from typing import Final

from attrs import frozen

from .qos import QosSpec

__all__ = ["MAX_FLOWS", "FlowInfo", "FlowState", "Grant"]

MAX_FLOWS: Final = 10240
"""Flow ids are 1 to MAX_FLOWS - 1."""


class FlowState(IntEnum):
    """Life of a flow record."""

    INIT = 0
    ALLOC_PENDING = 1
    ACCEPT_PENDING = 2
    ALLOCATED = 3
    DEALLOC_PENDING = 4
    DEALLOCATED = 5


@frozen
class FlowInfo:
    """A flow in a listing. `provider` is the IPCP that carries it, or 0 for a direct flow."""

    id: int
    state: FlowState
    pid: int
    peer_pid: int
    provider: int
    name: str
    qos: QosSpec
    mpl: int  # ms
    uid: int  # trust domain of the flow's pool


@frozen
class Grant:
    """All that a process needs to attach to a flow or a packet system.

    `data` is opaque, versioned and at most 256 bytes; `fds` stay the giver's (at most 10) and must be sent with
    SCM_RIGHTS in this order. Valid until the flow is destroyed; may be sent twice. Whoever receives one owns the
    descriptors that came with it.
    """

    data: bytes
    fds: tuple[int, ...] = ()

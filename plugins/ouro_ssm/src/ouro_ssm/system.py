"""The packet system `ssm`."""

import os
import platform
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ouro_core.contracts.packets import Geometry, PacketSystem

if TYPE_CHECKING:
    from .broker import SsmBroker
    from .client import SsmClient

__all__ = ["SsmPacketSystem"]


class SsmPacketSystem(PacketSystem):
    """Shared memory between the processes of one host."""

    name = "ssm"

    @classmethod
    def usable(cls) -> str | None:
        if sys.platform != "linux":
            return f"shared memory with futexes needs Linux, this is {sys.platform}"
        if platform.machine() not in ("x86_64", "aarch64") or sys.byteorder != "little":
            return f"only x86-64 and little-endian aarch64 are supported, this is {platform.machine()}"
        if not hasattr(os, "memfd_create") or not hasattr(os, "eventfd"):
            return "this Python was built without memfd_create or eventfd"
        try:
            from . import _kernel

            os.close(os.eventfd(0, os.EFD_CLOEXEC))
            os.close(_kernel.create_memory("ouroboros.test", 4096, os.geteuid(), os.getegid(), 0o600))
        except Exception as e:
            return f"the native kernel does not work here: {e}"
        return None

    @classmethod
    def broker(cls, shared: Geometry, user: Geometry) -> "SsmBroker":
        from .broker import SsmBroker

        return SsmBroker(shared, user)

    @classmethod
    def client(cls, data: bytes, fds: Sequence[int]) -> "SsmClient":
        from .client import SsmClient

        return SsmClient(data, fds)

    @classmethod
    def preload(cls) -> None:
        from . import client  # noqa: F401

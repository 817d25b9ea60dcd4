"""What this distribution gives to Ouro: the packet system `ssm`."""

from ouro_core.contracts.packets import PacketSystem
from ouro_core.hookspecs import hookimpl

__all__ = ["OURO_API", "ouro_register_pool_allocators"]

OURO_API = (1, 0)


@hookimpl
def ouro_register_pool_allocators() -> list[type[PacketSystem]]:
    """The system; its native part is loaded only when someone asks for it."""
    from .system import SsmPacketSystem

    return [SsmPacketSystem]

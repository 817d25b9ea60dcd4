"""`heap` fulfils the contract of packet systems."""

from ouro_core.builtin.heap import HeapPacketSystem
from ouro_core.testing.packets import PacketSystemContract


class TestHeap(PacketSystemContract):
    system = HeapPacketSystem


def test_the_parts_of_the_kit_hide_nothing() -> None:
    """Two parts with a test of the same name: only one of them would run."""
    parts = PacketSystemContract.__bases__
    names = [name for part in parts for name in vars(part) if name.startswith("test_")]
    assert len(names) == len(set(names))

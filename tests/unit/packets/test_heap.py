"""`heap` fulfils the contract of packet systems."""

from ouro_core.builtin.heap import HeapPacketSystem
from ouro_core.testing.packets import PacketSystemContract


class TestHeap(PacketSystemContract):
    system = HeapPacketSystem

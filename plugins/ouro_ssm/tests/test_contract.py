"""Every sentence of the packet contract, on shared memory."""

from ouro_ssm.system import SsmPacketSystem

from ouro_core.testing.packets import PacketSystemContract


class TestSsm(PacketSystemContract):
    system = SsmPacketSystem

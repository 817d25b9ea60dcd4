"""The kit of the core, on this policy."""

from ouro_dht.node import Dht

from ouro_core.testing.directory import DirectoryContract


class TestDht(DirectoryContract):
    policy = Dht

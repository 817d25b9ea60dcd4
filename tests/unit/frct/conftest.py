"""The real ciphers, by name."""

import pytest

from ouro_core.contracts.crypto import CipherSuite
from ouro_core.plugins import PluginHost

Ciphers = dict[str, CipherSuite]


@pytest.fixture(scope="session")
def ciphers() -> Ciphers:
    host = PluginHost.from_environment({})
    host.load_only("classic")
    return dict(host.cipher_suites)

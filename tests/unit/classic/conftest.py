"""The suites under test, by kind and by name, as a node finds them."""

from pathlib import Path

import pytest

from ouro_core.oap import OapSuites
from ouro_core.plugins import PluginHost

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="session")
def suites() -> OapSuites:
    "What the core alone brings, by the hooks."
    host = PluginHost(select=())
    return OapSuites.of(
        host.digests.values(),
        host.kdfs.values(),
        host.cipher_suites.values(),
        host.kex_suites.values(),
        host.authenticators.values(),
    )

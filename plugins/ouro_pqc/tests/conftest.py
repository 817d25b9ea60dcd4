"""The suites of a node with this plugin, and the prototype's data."""

import json
from pathlib import Path
from typing import Any

import pytest
from ouro_pqc import plugin

from ouro_core.oap import OapSuites
from ouro_core.plugins import PluginHost

DATA = Path(__file__).parent / "data"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test an answer or a flow."""
    if "case" in metafunc.fixturenames:
        cases = json.loads((DATA / "kem.json").read_text())["cases"]
        metafunc.parametrize("case", cases, ids=[case["kex"] for case in cases])
    if "flow" in metafunc.fixturenames:
        flows = json.loads((DATA / "handshakes.json").read_text())["flows"]
        metafunc.parametrize("flow", flows, ids=[f"{flow['medium']}-{flow['name']}" for flow in flows])


@pytest.fixture(scope="session")
def suites() -> OapSuites:
    """What the core brings, and this plugin."""
    host = PluginHost(select=())
    return OapSuites.of(
        host.digests.values(),
        host.kdfs.values(),
        host.cipher_suites.values(),
        [*host.kex_suites.values(), *plugin.ouro_register_kex_suites()],
        [*host.authenticators.values(), *plugin.ouro_register_authenticators()],
    )


@pytest.fixture(scope="session")
def data() -> Any:
    """Content of a file of the prototype's."""
    return lambda name: (DATA / name).read_bytes()

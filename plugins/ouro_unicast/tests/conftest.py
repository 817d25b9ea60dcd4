"""What tests of layers share. What stands beside this file can be imported, however the tests are started."""

import importlib
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ouro_core import Node

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture
def flood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the directory `flood`, for this process and those it starts."""
    site = tmp_path / "site"
    info = site / "ouro_flood-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ouro-flood\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ouro]\nflood = unicast_flood\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", f"{site}:{HERE}")
    importlib.invalidate_caches()


@pytest_asyncio.fixture(params=["heap", "ssm"])
async def net(flood: None, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    from unicast_net import Net

    if request.param == "ssm":
        pytest.importorskip("ouro_ssm")
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(Node(packets=request.param, direct=False))
        await node.irm.autoboot("lo", "local", "lo")
        yield Net(node)

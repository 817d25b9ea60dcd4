"""IPCPs in the loop of the caller."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ouro_core.ipcp.launcher import IpcpStart
from ouro_core.ipcp.near import LoopLauncher
from ouro_core.model.errors import IpcpError, IpcpTypeError, PacketsError
from ouro_core.model.flow import Grant
from ouro_core.model.ipcp_requests import IpcpBootstrap, IpcpQuery
from ouro_core.model.irm_requests import RibRead
from ouro_core.model.layer import LayerInfo
from ouro_core.plugins import PluginHost

WAIT = 10


@pytest.fixture
async def launcher() -> AsyncIterator[LoopLauncher]:
    launcher = LoopLauncher(PluginHost(select=()), random.Random(1))
    yield launcher
    await launcher.close()


@pytest.fixture
def start(irm: Any) -> IpcpStart:
    irm.admit(1)
    return IpcpStart(1, "local", "lo", "heap", irm.start.grant)


async def test_launch_call_stop(launcher: LoopLauncher, start: IpcpStart, irm: Any) -> None:
    handle = await launcher.launch(start, irm, irm.ended.put_nowait)
    assert handle.pid == os.getpid()
    await handle.call(IpcpBootstrap(LayerInfo("layer")))
    assert not (await handle.call(IpcpQuery(bytes(32)))).found
    await handle.stop(WAIT)
    assert irm.ended.get_nowait() == "it was shut down"
    with pytest.raises(IpcpError, match="lo is gone: it was shut down"):
        await handle.call(RibRead())
    await handle.stop(WAIT)
    handle.kill()
    await asyncio.sleep(0)
    assert irm.ended.empty()


async def test_kill(launcher: LoopLauncher, start: IpcpStart, irm: Any) -> None:
    handle = await launcher.launch(start, irm, irm.ended.put_nowait)
    handle.kill()
    assert irm.ended.empty()  # not from within the call
    assert await asyncio.wait_for(irm.ended.get(), WAIT) == "it was killed"


async def test_one_that_does_not_stop(launcher: LoopLauncher, start: IpcpStart, irm: Any) -> None:
    handle = await launcher.launch(start, irm, irm.ended.put_nowait)

    async def never() -> None:
        await asyncio.Event().wait()

    handle.host._ipcp.stop = never  # type: ignore[attr-defined]
    await handle.stop(0.05)
    assert irm.ended.get_nowait() == "it did not shut down within 0.05 s"


async def test_close_ends_all(launcher: LoopLauncher, start: IpcpStart, irm: Any) -> None:
    await launcher.launch(start, irm, irm.ended.put_nowait)
    await launcher.close()
    assert irm.ended.qsize() == 1
    await launcher.close()


async def test_what_cannot_be_launched(launcher: LoopLauncher, start: IpcpStart, irm: Any) -> None:
    with pytest.raises(IpcpTypeError, match="known: local"):
        await launcher.launch(IpcpStart(1, "lokal", "lo", "heap", start.grant), irm, irm.ended.put_nowait)
    before = sorted(os.listdir("/proc/self/fd"))
    fd = os.open("/dev/null", os.O_RDONLY)
    wrong = IpcpStart(1, "local", "lo", "heap", Grant(b"no grant", (fd,)))
    with pytest.raises(PacketsError):
        await launcher.launch(wrong, irm, irm.ended.put_nowait)
    os.close(fd)
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert irm.ended.empty()


async def test_a_seed_makes_randomness_repeat(irm: Any, start: IpcpStart) -> None:
    drawn = []
    for _ in range(2):
        launcher = LoopLauncher(PluginHost(select=()), random.Random(7))
        handle = await launcher.launch(start, irm, irm.ended.put_nowait)
        drawn.append(handle.host.context.random.random())  # type: ignore[attr-defined]
        handle.host._packets.close = lambda: None  # type: ignore[attr-defined]
        await launcher.close()
    assert drawn[0] == drawn[1]

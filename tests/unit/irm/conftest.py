"""A real IRM in this loop, and applications of several users."""

import asyncio
import grp
import itertools
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ouro_core.ipcp.launcher import Launcher
from ouro_core.ipcp.near import LoopLauncher
from ouro_core.irm.irm import Irm
from ouro_core.irm.sessions import Session
from ouro_core.irm.settings import IrmSettings
from ouro_core.model.irm_requests import Announce, Announced, FlowAccept, FlowAlloc, FlowDealloc
from ouro_core.model.request import Request
from ouro_core.plugins import PluginHost
from ouro_core.rpc.credentials import Credentials
from ouro_core.rpc.fds import close_grants
from ouro_core.rpc.near import NearCaller
from tests.unit.irm.network import Maker, Network, WithWorkers

ROOT, SERVICE, ALICE, BOB, MEMBER = 0, 990, 1000, 1001, 1002
GROUP = 4242
_pids = itertools.count(2**22 + 1)  # more than any process has


class App:
    """A process of a user, by its session with the IRM. Grants are closed: nobody here moves packets."""

    def __init__(self, irm: Irm, uid: int, groups: tuple[int, ...], pid: int = 0) -> None:
        self.pid = pid or next(_pids)
        self.uid = uid
        self.session: Session = irm.session(Credentials(self.pid, uid, uid, frozenset((uid, *groups))))
        self.caller = NearCaller(self.session.call)

    async def call(self, request: Request[Any]) -> Any:
        reply = await self.caller.call(request)
        close_grants(reply)
        return reply

    async def announce(self, program: str = "app") -> "App":
        reply = await self.call(Announce(program))
        assert isinstance(reply, Announced)
        return self

    def accept(self, **options: Any) -> "asyncio.Task[Any]":
        return asyncio.ensure_future(self.call(FlowAccept(**options)))

    def alloc(self, dst: str, **options: Any) -> "asyncio.Task[Any]":
        return asyncio.ensure_future(self.call(FlowAlloc(dst, **options)))

    async def dealloc(self, flow_id: int) -> None:
        await self.call(FlowDealloc(flow_id))


class Host:
    """The IRM and who talks to it. Users: root, the service user, alice, bob, and a member of group `ouroboros`."""

    def __init__(self, irm: Irm) -> None:
        self.irm = irm
        self.registry = irm.registry

    def app(self, uid: int, pid: int = 0) -> App:
        return App(self.irm, uid, (GROUP,) if uid == MEMBER else (77, 88), pid)

    @property
    def root(self) -> App:
        return self.app(ROOT)

    @property
    def alice(self) -> App:
        return self.app(ALICE)

    @property
    def bob(self) -> App:
        return self.app(BOB)


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a group `ouroboros`, and the IRM runs as the service user."""
    group = grp.struct_group(("ouroboros", "x", GROUP, []))

    def named(name: str) -> grp.struct_group:
        if name != "ouroboros":
            raise KeyError(name)
        return group

    monkeypatch.setattr(grp, "getgrnam", named)
    monkeypatch.setattr(os, "geteuid", lambda: SERVICE)


@pytest.fixture
async def make_host(users: None) -> AsyncIterator[Callable[..., Host]]:
    """`make_host(**settings)`; `launcher` makes IPCPs and workers, of a host of plugins."""
    made: list[Host] = []

    def make(launcher: Callable[[PluginHost], Launcher] = LoopLauncher, **settings: Any) -> Host:
        plugins = PluginHost(select=())
        options = IrmSettings(packets="heap", **({"accept_window": 0.2, "start_window": 0.2} | settings))
        made.append(Host(Irm(plugins, launcher(plugins), settings=options, in_process=True)))
        return made[-1]

    yield make
    for host in made:
        host.registry.check()
        await host.irm.close()
        host.registry.check()
        status = host.irm.status()
        assert (status.processes, status.ipcps, status.flows, status.blocks) == (0, 0, 0, 0)


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    """With the default settings, but short windows."""
    return make_host()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    root = logging.getLogger("ouro")
    before = root.level
    root.addHandler(caplog.handler)
    root.setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    propagates, root.propagate = root.propagate, False
    yield caplog
    root.removeHandler(caplog.handler)
    root.setLevel(before)
    root.propagate = propagates


@pytest.fixture
async def make_network(make_host: Callable[..., Any], tmp_path: Path, log: pytest.LogCaptureFixture) -> Maker:
    """`await make_network(layer=..., processes=...)`: the second, with workers."""

    async def make(layer: bool = False, processes: bool = False) -> Network:
        made: list[Any] = []

        def launcher(plugins: PluginHost) -> Any:
            made.append(WithWorkers(plugins) if processes else LoopLauncher(plugins))
            return made[-1]

        directory = tmp_path / "security"
        host = make_host(launcher, direct=not layer, security=str(directory), accept_window=5)
        network = Network(host, directory, log, made[0])
        await network.start(layer)
        return network

    return make


@pytest.fixture(params=["direct", "layer"])
async def network(request: pytest.FixtureRequest, make_network: Maker) -> Network:
    """Both ways of a flow on one host; slow cryptography in the loop."""
    return await make_network(request.param == "layer")

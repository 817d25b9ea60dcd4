"""IPCPs in the loop of whoever starts them: for a `Node`."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ..model.errors import IpcpError
from ..model.request import AsyncCaller, Request
from ..plugins import PluginHost
from ..rpc.fds import close_grants, dup_grant
from ..rpc.near import NearCaller
from .host import IpcpHost
from .launcher import IpcpHandle, IpcpStart, Launcher

__all__ = ["LoopLauncher"]

R = TypeVar("R")

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that `close` gives an IPCP."""


class _NearHandle(IpcpHandle):
    def __init__(self, name: str, on_end: Callable[[str], None]) -> None:
        self.pid = os.getpid()
        self.host: IpcpHost | None = None
        self._name = name
        self._on_end = on_end
        self._end = ""
        self._caller = NearCaller(self._answer)

    def _answer(self, request: Request[object]) -> object:
        if self.host is None:
            close_grants(request)
            raise IpcpError(f"IPCP {self._name} is gone: {self._end}")
        return self.host.answer(request)

    def call(self, request: Request[R]) -> Awaitable[R]:
        return self._caller.call(request)

    async def stop(self, timeout: float) -> None:
        if self.host is not None:
            stopping = asyncio.ensure_future(self.host.stop())
            await asyncio.wait({stopping}, timeout=timeout)
            if not stopping.done():
                stopping.cancel()
                self._abort(f"it did not shut down within {timeout:g} s")

    def kill(self) -> None:
        if self.host is not None:
            asyncio.get_running_loop().call_soon(self._abort, "it was killed")

    def _abort(self, reason: str) -> None:
        if self.host is not None:
            self.host.abort(reason)

    def ended(self, reason: str) -> None:
        self.host, self._end = None, reason
        self._on_end(reason)


class LoopLauncher(Launcher):
    """`rng` seeds the randomness of the IPCPs, for simulations that repeat."""

    def __init__(self, plugins: PluginHost, rng: random.Random | None = None) -> None:
        self._plugins = plugins
        self._rng = rng or random.Random()
        self._handles: set[_NearHandle] = set()

    async def launch(self, start: IpcpStart, irm: AsyncCaller, on_end: Callable[[str], None]) -> IpcpHandle:
        cls = self._plugins.get("ipcp_types", start.type)
        system = self._plugins.get("pool_allocators", start.system)
        grant = dup_grant(start.grant)
        packets = system.client(grant.data, grant.fds)
        handle = _NearHandle(start.name, on_end)

        def ended(reason: str) -> None:
            self._handles.discard(handle)
            handle.ended(reason)

        rng = random.Random(self._rng.getrandbits(64))
        handle.host = IpcpHost(cls, start, packets, self._plugins, NearCaller(irm.call), ended, rng)
        self._handles.add(handle)
        return handle

    async def close(self) -> None:
        await asyncio.gather(*(handle.stop(CLOSE_TIMEOUT) for handle in self._handles))

"""`Node`: a host of the network inside this process. No daemon, no root, no files.

Theory of operation. A node is the IRM, its IPCPs and one application, this one, all in the running loop; what are
sockets and processes elsewhere are calls here. Packets travel as the packet system has it: `ssm` when it is installed,
on memory that nobody else sees, or `heap`. Two nodes in one process are two hosts that know nothing of each other but
what their IPCPs hear over a network.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from typing import Any

from ouro_core.contracts.packets import PacketClient
from ouro_core.ipcp.near import LoopLauncher
from ouro_core.irm.irm import Irm
from ouro_core.irm.settings import IrmSettings
from ouro_core.model.errors import InvalidArgument
from ouro_core.model.irm_requests import Announce, Announced
from ouro_core.model.qos import QosSpec
from ouro_core.plugins import PluginHost
from ouro_core.rpc.credentials import own_credentials
from ouro_core.rpc.near import NearCaller

from .aio import AsyncFlow, Client
from .irm import IrmMethods

__all__ = ["Node"]


class Node:
    """A host of the network: `async with Node() as node:`. For asyncio only; all calls in the loop that entered it.

    `name` is what it calls itself, for people. `packets` names the packet system; None: the best one that works.
    `plugins`: a host of plugins that is there already. `direct` False: flows within the node, too, go through a layer.
    `security`: the directory of security files (docs/howto/security.md); None: there are none. Cryptography is done in
    the loop.
    ConfigError, PluginError: a packet system that cannot be used.
    """

    def __init__(
        self,
        name: str | None = None,
        packets: str | None = None,
        plugins: PluginHost | None = None,
        direct: bool = True,
        security: str | os.PathLike[str] | None = None,
    ) -> None:
        self.name = name or f"node-{os.getpid()}"
        self._settings = IrmSettings(
            packets=packets or "", direct=direct, security=os.fspath(security) if security else ""
        )
        self._plugins = plugins
        self._stack = AsyncExitStack()
        self._running: tuple[IrmMethods, Client] | None = None

    @property
    def irm(self) -> IrmMethods:
        "The node's IRM: IPCPs, names, bindings. The embedding program administers it."
        return self._parts()[0]

    @property
    def plugins(self) -> PluginHost:
        """What it loads plugins from."""
        if self._plugins is None:
            self._plugins = PluginHost.from_environment()
        return self._plugins

    @property
    def _client(self) -> Client:
        return self._parts()[1]

    def _parts(self) -> tuple[IrmMethods, Client]:
        if self._running is None:
            raise InvalidArgument(f'{self!r} is not running; use it inside "async with"')
        return self._running

    async def __aenter__(self) -> Node:
        async with AsyncExitStack() as stack:
            plugins = self.plugins
            irm = Irm(plugins, LoopLauncher(plugins), settings=self._settings, in_process=True)
            stack.push_async_callback(irm.close)
            session = irm.session(own_credentials())
            caller = NearCaller(session.call)
            packets = _client(plugins, await caller.call(Announce(self.name)))
            stack.callback(packets.close)
            client = Client(caller.call, packets, lambda _, name: plugins.get("cipher_suites", name))
            stack.push_async_callback(client.close)
            self._running = IrmMethods(caller), client
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self._running = None
        await self._stack.aclose()

    async def bind(self, name: str) -> None:
        """Let this node's application accept flows for a name."""
        await self.irm.bind_process(os.getpid(), name)

    async def flow_alloc(
        self, name: str, qos: QosSpec | None = None, timeout: float | None = None, data: bytes = b""
    ) -> AsyncFlow:
        """A flow to a name; as `aio.flow_alloc`. InvalidArgument, here and below: outside of `async with`."""
        return await self._client.flow_alloc(name, qos, timeout, data)

    async def flow_accept(self, timeout: float | None = None, data: bytes = b"") -> AsyncFlow:
        """The next flow for a name that this node's application is bound to; as `aio.flow_accept`."""
        return await self._client.flow_accept(timeout, data)

    async def flow_join(self, layer: str, timeout: float | None = None) -> AsyncFlow:
        """A flow to everybody in a broadcast layer; as `aio.flow_join`."""
        return await self._client.flow_join(layer, timeout)

    def __repr__(self) -> str:
        return f"<Node {self.name}>"


def _client(plugins: PluginHost, announced: Announced) -> PacketClient:
    system = plugins.get("pool_allocators", announced.system)
    client: PacketClient = system.client(announced.grant.data, announced.grant.fds)
    return client

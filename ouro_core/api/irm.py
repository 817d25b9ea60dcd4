"""The IRM for people who write programs: every request as a method, IPCPs by name.

The methods stand once, in `IrmMethods`, over anything that has a `call`: the IRM of a `Node`, the daemon's socket in
asyncio (`IrmClient`) and in synchronous code (`Irm`, whose methods have the same names and run to the end at once).
Functions that the prototype's Python binding has are called as there.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from attrs import evolve

from ouro_core.model import irm_requests as r
from ouro_core.model.capability import Capability
from ouro_core.model.errors import NotFound
from ouro_core.model.flow import FlowInfo
from ouro_core.model.layer import IpcpInfo, LayerInfo
from ouro_core.model.names import HashAlgorithm, NameInfo
from ouro_core.model.qos import RAW, QosSpec
from ouro_core.model.request import AsyncCaller, Request
from ouro_core.rpc.blocking import BlockingChannel, connect
from ouro_core.rpc.paths import irm_socket

__all__ = ["Irm", "IrmClient", "IrmMethods"]

P = ParamSpec("P")
R = TypeVar("R")

Ipcp: TypeAlias = str | int | IpcpInfo
"""An IPCP: its name (the first one that is called so), its id, or what `create_ipcp` returned."""


class IrmMethods:
    """All that can be asked of an IRM. Failures are `OuroError`s; NotPermitted: the caller does not administer it."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller

    async def call(self, request: Request[R]) -> R:
        """Any request of `model.irm_requests`."""
        return await self._caller.call(request)

    # ---- IPCPs

    async def create_ipcp(self, name: str, type: str) -> IpcpInfo:
        """A new IPCP. IpcpTypeError lists the known types."""
        return await self.call(r.CreateIpcp(type, name))

    async def destroy_ipcp(self, ipcp: Ipcp) -> None:
        """End an IPCP. Its flows go down. NotFound."""
        await self.call(r.DestroyIpcp(await self._ipcp(ipcp)))

    async def bootstrap_ipcp(
        self,
        ipcp: Ipcp,
        layer: str,
        options: Mapping[str, Any] | None = None,
        hash: HashAlgorithm = HashAlgorithm.SHA3_256,
    ) -> LayerInfo:
        """Make an IPCP the first member of a layer. `options` by field name of the type's configuration; values are
        sent as text. ConfigError lists the known ones. Returns the layer as the IPCP made it.
        """
        texts = {name: _text(value) for name, value in (options or {}).items()}
        return await self.call(r.BootstrapIpcp(await self._ipcp(ipcp), LayerInfo(layer, hash), texts))

    async def enroll_ipcp(self, ipcp: Ipcp, dst: str) -> LayerInfo:
        """Make an IPCP a member of a layer, with the help of the member that `dst` names, which may be the layer."""
        return await self.call(r.EnrollIpcp(await self._ipcp(ipcp), dst))

    async def connect_ipcp(self, ipcp: Ipcp, dst: str, component: str = "*", qos: QosSpec = RAW) -> None:
        """Connect a component ("Management", "Data Transfer"; "*": both) with that of the member `dst`. `qos` is for
        data transfer; of management, which is always raw, it has the time-out.
        """
        number = await self._ipcp(ipcp)
        for one in _components(component):
            of = qos if one == _TRANSFER else evolve(RAW, timeout=qos.timeout)
            await self.call(r.ConnectIpcp(number, dst, one, of))

    async def disconnect_ipcp(self, ipcp: Ipcp, dst: str, component: str = "*") -> None:
        """The reverse of `connect_ipcp`."""
        number = await self._ipcp(ipcp)
        for one in reversed(_components(component)):
            await self.call(r.DisconnectIpcp(number, dst, one))

    async def ask_ipcp(self, ipcp: Ipcp, component: str, *words: str) -> Any:
        """Put a question or command to a component of an IPCP ("directory"), in the component's own words. Returns
        plain values. InvalidArgument: there is no such component or question.
        """
        return json.loads((await self.call(r.AskIpcp(await self._ipcp(ipcp), component, words))).json)

    async def list_ipcps(self) -> tuple[IpcpInfo, ...]:
        """All IPCPs, in order of type and age."""
        return (await self.call(r.ListIpcps())).ipcps

    async def _ipcp(self, ipcp: Ipcp) -> int:
        if isinstance(ipcp, IpcpInfo):
            return ipcp.id
        if isinstance(ipcp, int):
            return ipcp
        found = await self.list_ipcps()
        for info in found:
            if info.name == ipcp:
                return info.id
        raise NotFound(f'no IPCP is called "{ipcp}"; there are: {", ".join(i.name for i in found) or "none"}')

    # ---- names and bindings

    async def create_name(self, name: str | NameInfo) -> None:
        """A name for the registry. One that exists already is left as it is: Exists, when `open` or security files were
        asked for that it does not have.
        """
        await self.call(r.CreateName(NameInfo(name) if isinstance(name, str) else name))

    async def destroy_name(self, name: str) -> None:
        """Take a name out of the registry, with its bindings. UnknownName."""
        await self.call(r.DestroyName(name))

    async def list_names(self) -> tuple[NameInfo, ...]:
        """All names, in order of their bytes."""
        return (await self.call(r.ListNames())).names

    async def reg_name(self, name: str, ipcp: Ipcp) -> None:
        """Make a name reachable in the layer of an IPCP. Creates the name when it is missing."""
        await self.call(r.RegName(name, await self._ipcp(ipcp)))

    async def unreg_name(self, name: str, ipcp: Ipcp) -> None:
        """The reverse of `reg_name`."""
        await self.call(r.UnregName(name, await self._ipcp(ipcp)))

    async def probe_name(self, name: str) -> Capability:
        """What the node can do beyond the prototype that a flow to this name would lead to; `Capability(0)`: it is one
        of the prototype, or does not answer. UnknownName, IpcpError: nobody knows the name.
        """
        return (await self.call(r.ProbeName(name))).capabilities

    async def bind_program(self, path: str, name: str, args: Iterable[str] = (), auto: bool = False) -> None:
        """Processes of this program may accept for the name; with `auto` it is started when nobody accepts."""
        await self.call(r.BindProgram(path, name, tuple(args), auto))

    async def unbind_program(self, program: str, name: str = "") -> None:
        """`program` is a path or a base name; an empty `name` stands for all its names."""
        await self.call(r.UnbindProgram(program, name))

    async def bind_process(self, pid: int, name: str) -> None:
        """Let a process accept flows for a name. Creates the name when it is missing. The process must have announced
        itself, as it does with its first flow, or do so within 5 s; this one is announced here.
        """
        if pid == os.getpid():
            await self._announce()
        await self.call(r.BindProcess(pid, name))

    async def _announce(self) -> None:
        """Make this process known to this IRM, if it is not."""

    async def unbind_process(self, pid: int, name: str = "") -> None:
        """An empty `name` stands for all names of the process."""
        await self.call(r.UnbindProcess(pid, name))

    async def bind_ipcp(self, ipcp: Ipcp, name: str) -> None:
        """`bind_process` for an IPCP."""
        await self.call(r.BindIpcp(await self._ipcp(ipcp), name))

    async def unbind_ipcp(self, ipcp: Ipcp, name: str = "") -> None:
        """An empty `name` stands for all names of the IPCP."""
        await self.call(r.UnbindIpcp(await self._ipcp(ipcp), name))

    # ---- several steps at once

    async def autoboot(
        self, name: str, type: str, layer: str, options: Mapping[str, Any] | None = None, bind: bool = True
    ) -> IpcpInfo:
        """A new IPCP, bootstrapped; with `bind` it accepts flows for its own name and that of the layer. An IPCP that
        cannot be bootstrapped is destroyed again.
        """
        ipcp = await self.create_ipcp(name, type)
        try:
            await self.bootstrap_ipcp(ipcp, layer, options)
            for bound in dict.fromkeys((name, layer)) if bind else ():
                await self.bind_ipcp(ipcp, bound)
        except BaseException:
            await self.destroy_ipcp(ipcp)
            raise
        return next(info for info in await self.list_ipcps() if info.id == ipcp.id)

    # ---- looking inside

    async def list_flows(self) -> tuple[FlowInfo, ...]:
        """All flows, in order of their ids."""
        return (await self.call(r.ListFlows())).flows

    async def rib_list(self, path: str = "") -> tuple[str, ...]:
        """What is below a path of the RIB; a name that ends in a slash has children itself. NotFound."""
        return (await self.call(r.RibList(path))).names

    async def rib_read(self, path: str = "") -> Any:
        """Everything at and below a path of the RIB, as JSON has it. NotFound."""
        return json.loads((await self.call(r.RibRead(path))).json)

    async def set_debug(self, components: Iterable[str]) -> None:
        """Protocol debugging in the log for these components, off for all others."""
        await self.call(r.SetDebug(tuple(components)))


_MANAGEMENT, _TRANSFER = "Management", "Data Transfer"


def _components(component: str) -> list[str]:
    return [_MANAGEMENT, _TRANSFER] if component == "*" else [component]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# ---------------------------------------------------------------- the daemon, in asyncio


class IrmClient(IrmMethods):
    """The IRMd, from asyncio: `async with IrmClient() as irm:`. All requests run at once on one connection.

    `path`: its socket, None for that of the runtime directory. IrmdError: nobody listens there.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    async def __aenter__(self) -> IrmClient:
        from ouro_core.rpc.channel import Channel

        self._channel = Channel(connect(self._path or irm_socket()))
        super().__init__(self._channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._channel.close()

    async def _announce(self) -> None:
        if self._path in (None, irm_socket()):
            from .aio import announced

            await announced()


# ---------------------------------------------------------------- the daemon, in synchronous code


def _run(coroutine: Coroutine[Any, Any, R]) -> R:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: R = done.value
        return result
    coroutine.close()
    raise AssertionError("a blocking request waited for a loop")


class _BlockingMethods(IrmMethods):
    """Coroutines that never wait."""

    def __init__(self, caller: _BlockingCaller, path: Path | None) -> None:
        super().__init__(caller)
        self._path = path

    async def _announce(self) -> None:
        if self._path in (None, irm_socket()):
            from .process import current

            current()


class _BlockingCaller:
    """A caller whose answers are there at once."""

    def __init__(self, path: Path | None) -> None:
        self.channel = BlockingChannel(connect(path or irm_socket()))

    def call(self, request: Request[R]) -> Awaitable[R]:
        return self._call(request)

    async def _call(self, request: Request[R]) -> R:
        return self.channel.call(request)


def _blocking(method: Callable[Concatenate[IrmMethods, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[Irm, P], R]:
    @functools.wraps(method)
    def run(self: Irm, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return _run(method(self._methods, *args, **kwargs))

    return run


class Irm:
    """The IRMd, from synchronous code: `with Irm() as irm:`. Methods as those of `IrmMethods`; one request at a time.

    `path`: its socket, None for that of the runtime directory. IrmdError: nobody listens there.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._caller = _BlockingCaller(path)
        self._methods = _BlockingMethods(self._caller, path)

    def call(self, request: Request[R]) -> R:
        """Any request of `model.irm_requests`."""
        return _run(self._methods.call(request))

    create_ipcp = _blocking(IrmMethods.create_ipcp)
    destroy_ipcp = _blocking(IrmMethods.destroy_ipcp)
    bootstrap_ipcp = _blocking(IrmMethods.bootstrap_ipcp)
    enroll_ipcp = _blocking(IrmMethods.enroll_ipcp)
    connect_ipcp = _blocking(IrmMethods.connect_ipcp)
    disconnect_ipcp = _blocking(IrmMethods.disconnect_ipcp)
    ask_ipcp = _blocking(IrmMethods.ask_ipcp)
    list_ipcps = _blocking(IrmMethods.list_ipcps)
    create_name = _blocking(IrmMethods.create_name)
    destroy_name = _blocking(IrmMethods.destroy_name)
    list_names = _blocking(IrmMethods.list_names)
    reg_name = _blocking(IrmMethods.reg_name)
    probe_name = _blocking(IrmMethods.probe_name)
    unreg_name = _blocking(IrmMethods.unreg_name)
    bind_program = _blocking(IrmMethods.bind_program)
    unbind_program = _blocking(IrmMethods.unbind_program)
    bind_process = _blocking(IrmMethods.bind_process)
    unbind_process = _blocking(IrmMethods.unbind_process)
    bind_ipcp = _blocking(IrmMethods.bind_ipcp)
    unbind_ipcp = _blocking(IrmMethods.unbind_ipcp)
    autoboot = _blocking(IrmMethods.autoboot)
    list_flows = _blocking(IrmMethods.list_flows)
    rib_list = _blocking(IrmMethods.rib_list)
    rib_read = _blocking(IrmMethods.rib_read)
    set_debug = _blocking(IrmMethods.set_debug)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._caller.channel.close()

    def __enter__(self) -> Irm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

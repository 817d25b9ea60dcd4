"""The IPC resource manager of one host: everything it is made of, and who may ask it what.

Theory of operation. An `Irm` lives in one asyncio loop. It owns the registry, the broker of the packet system, a
launcher of IPCPs, and the procedures over them. Nobody else calls those: all come through a `Session` (for a process
with its credentials) or an `IpcpSession`, whose one method `call` takes a request and checks what the caller may do.
The daemon makes a session for each connection; a `Node` makes one for itself.
"""

import asyncio
import grp
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import asdict, field, frozen

from .. import __version__
from ..contracts.packets import ClientRef, Domain, PacketBroker, PacketSystem, State
from ..ipcp.launcher import Launcher
from ..model.errors import ConfigError, NotFound, NotPermitted, OuroError, OutOfMemory
from ..model.irm_requests import Announced, RibRead
from ..model.log import logger
from ..model.names import check_name
from ..plugins import PluginHost
from ..plugins.suites import oap_suites
from ..rib import Rib, to_plain, word
from ..rpc.credentials import Credentials
from .allocation import Allocator
from .exchange import Exchanges
from .ipcps import IpcpManager
from .programs import Starter
from .registry import Flow, IpcpRecord, Name, Process, Registry
from .security import SecurityFiles, default_directory
from .sessions import IpcpSession, Session
from .settings import MAX_CLIENTS_PER_USER, MAX_WAITING_PER_PROCESS, IrmSettings
from .workers import WorkerPool

__all__ = ["Irm", "IrmStatus", "choose_system"]

log = logger("irmd")
ANNOUNCE_WINDOW = 5.0
"""Seconds that a process which is alive may take to announce, when somebody wants to bind it."""
RIB_TIMEOUT = 0.5
"""Seconds an IPCP has to show its part of the RIB."""


_DEFAULTS = IrmSettings()


@frozen
class IrmStatus:
    """What there is now, and what there was since the start."""

    version: str
    pid: int
    packets: str
    configured: bool = field(metadata={"help": "what the configuration file asks for is done"})
    uptime: float = field(metadata={"unit": "s"})
    processes: int
    ipcps: int
    names: int
    flows: int
    blocks: int = field(metadata={"help": "packet blocks in use, all pools"})
    flows_allocated: int
    flows_refused: int
    ipcps_created: int
    programs_started: int


def choose_system(plugins: PluginHost, wanted: str, in_process: bool) -> type[PacketSystem]:
    """The packet system: the configured one, else the first usable that fits, ssm before others.

    `in_process`: everything is in this process, so that `heap` does too. PluginError says what to install.
    """
    if wanted:
        system = plugins.get("pool_allocators", wanted)
        reason = system.usable()
        if reason is None and system.in_process and not in_process:
            reason = "it works within one process only"
        if reason is not None:
            raise ConfigError(f'packet system "{wanted}" cannot be used here: {reason}')
        chosen: type[PacketSystem] = system
        return chosen
    reasons = []
    for name, candidate in sorted(
        plugins.pool_allocators.items(), key=lambda item: (item[1].in_process, item[0] != "ssm")
    ):
        reason = candidate.usable()
        if reason is None and (in_process or not candidate.in_process):
            return candidate
        reasons.append(f"{name}: {reason or 'works within one process only'}")
    raise ConfigError(
        f"no packet system for several processes; install ouro-ssm ({'; '.join(reasons) or 'none known'})"
    )


class Irm:
    """One host's IRM. Make it in a running loop, `close` it at the end."""

    def __init__(
        self,
        plugins: PluginHost,
        launcher: Launcher,
        *,
        settings: IrmSettings = _DEFAULTS,
        environment: Mapping[str, str] | None = None,
        in_process: bool = False,
    ) -> None:
        plugins.load()
        self.plugins = plugins
        self.settings = settings
        self.registry = Registry()
        self.rib = Rib()
        self._system = choose_system(plugins, settings.packets, in_process)
        self.broker: PacketBroker = self._system.broker(settings.shared_geometry, settings.user_geometry)
        self.starter = Starter(environment or {}, settings.start_window)
        suites = oap_suites(plugins)
        self.security = SecurityFiles(_security_directory(settings, in_process), suites)
        self._check_store()
        self.workers = WorkerPool(launcher, suites)
        self.exchanges = Exchanges(self.registry, suites, self.security, self.workers, plugins)
        self.allocator = Allocator(self.registry, self.broker, self.exchanges, plugins, self.starter, settings)
        self.ipcps = IpcpManager(
            self.registry, self.broker, launcher, plugins, self._system.name,
            lambda record: IpcpSession(self, record), self._ipcp_gone,
        )  # fmt: skip
        self._ids = itertools.count(1)
        self._clients_of: Counter[int] = Counter()  # by uid: those that have not left the broker
        self._announcing: dict[int, set[asyncio.Future[None]]] = {}
        self._started = time.monotonic()
        self.configured = True
        """False while the daemon still makes what its configuration file asks for."""
        self._uid = os.geteuid()
        self._publish()

    def _check_store(self) -> None:
        """Say at the start what will fail later."""
        try:
            self.security.store()
        except OuroError as e:
            log.error("No flow whose peer shows a certificate will be allocated: %s", e)

    # ------------------------------------------------------------ who is who

    def session(self, credentials: Credentials) -> Session:
        """For one connection of a process."""
        return Session(self, credentials)

    def is_admin(self, credentials: Credentials) -> bool:
        """Root, the daemon's own user, and the group `ouroboros`."""
        return credentials.uid in (0, self._uid) or _service_group() in credentials.groups

    def new_ref(self, credentials: Credentials | None = None) -> ClientRef:
        """A client id and its trust domain; IPCPs (None) are in the shared one."""
        shared = credentials is None or self.is_admin(credentials)
        return ClientRef(next(self._ids), Domain(0 if shared or credentials is None else credentials.uid))

    # ------------------------------------------------------------ processes

    def announce(self, credentials: Credentials, program: str) -> tuple[Process, Announced]:
        """A process is there. An earlier announcement of the same process ends with this one."""
        check_name(program, "program")
        if credentials.pid <= 0:
            raise NotPermitted("this process is in another pid namespace than the IRMd, which could not see it die")
        earlier = self._announced(credentials.pid)
        if earlier is not None:
            self.process_left(earlier)
        ref = self.new_ref(credentials)
        if ref.domain.uid and self._clients_of[credentials.uid] >= MAX_CLIENTS_PER_USER:
            raise OutOfMemory(
                f"processes of user {credentials.uid} are {MAX_CLIENTS_PER_USER} clients already; end some of them"
            )
        process = Process(ref, credentials.pid, credentials.uid, program)
        grant = self.broker.admit(ref)
        self._clients_of[process.uid] += 1
        self.registry.add_process(process)
        log.debug("Process added: %d (%s).", process.pid, program)
        for future in self._announcing.pop(process.pid, ()):
            if not future.done():
                future.set_result(None)
        plugin = self.plugins.provider("pool_allocators", self._system.name)
        return process, Announced(ref.id, self._system.name, plugin, grant, __version__)

    def _announced(self, pid: int) -> Process | None:
        try:
            return self.registry.process(pid)
        except NotFound:
            return None

    async def announced(self, pid: int, uid: int | None = None) -> Process:
        """The process with this pid, when it announced, or soon does and is one of user `uid` (None: of anybody).
        NotFound; OutOfMemory: too many wait for it.
        """
        process = self._announced(pid)
        if process is None and _alive(pid, uid):
            waiting = self._announcing.setdefault(pid, set())
            if len(waiting) >= MAX_WAITING_PER_PROCESS:
                raise OutOfMemory(f"{len(waiting)} requests wait for process {pid} to announce itself already")
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.add(future)
            try:
                async with asyncio.timeout(ANNOUNCE_WINDOW):
                    await future
            except TimeoutError:
                pass
            finally:
                waiting.discard(future)
                if not waiting and self._announcing.get(pid) is waiting:
                    del self._announcing[pid]
        return self.registry.process(pid)

    def process_left(self, process: Process) -> None:
        """It does not want anything any more, or cannot: its flows end, its bindings go."""
        if process.id not in self.registry.processes:
            return
        for waiter in list(process.waiters):
            waiter.result.cancel()
        self.allocator.abandon(process)
        self.registry.remove_process(process)
        log.debug("Process removed: %d.", process.pid)

    def process_died(self, process: Process) -> None:
        """It cannot run any more: what it held in shared memory comes back."""
        self.broker.leave(process.ref, died=True)
        self._clients_of[process.uid] -= 1
        self.process_left(process)

    def process_closed(self, process: Process) -> None:
        """A client in this very process closed in order."""
        self.process_left(process)
        self.broker.leave(process.ref, died=False)
        self._clients_of[process.uid] -= 1

    def _ipcp_gone(self, record: IpcpRecord) -> None:
        self.broker.leave(record.process.ref, died=True)
        self.allocator.provider_gone(record)
        self.allocator.abandon(record.process)
        for waiter in list(record.process.waiters):
            waiter.result.cancel()
        self.registry.remove_ipcp(record)

    # ------------------------------------------------------------ looking inside

    def status(self) -> IrmStatus:
        """Counts for people and tests: after everything ended, processes, flows and blocks are 0."""
        registry = self.registry
        blocks = sum(v for k, v in self.broker.counters().items() if k.startswith("pool.") and k.endswith(".used"))
        return IrmStatus(
            __version__, os.getpid(), self._system.name, self.configured, time.monotonic() - self._started,
            len(registry.processes) - len(registry.ipcps), len(registry.ipcps), len(registry.names),
            len(registry.flows), blocks, self.allocator.allocated, self.exchanges.refused,
            self.ipcps.created, self.starter.started,
        )  # fmt: skip

    def _publish(self) -> None:
        registry = self.registry
        self.rib.publish("irm/status", self.status)
        self.rib.publish("irm/settings", self.settings)
        self.rib.publish("irm/security", lambda: {"directory": self.security.directory, **asdict(self.workers.view())})
        self.rib.publish("names", lambda: {word(n.name): _name_view(n) for n in registry.sorted_names()})
        self.rib.publish(
            "processes", lambda: {str(p.pid): _process_view(p) for p in registry.processes.values() if p.ipcp is None}
        )
        self.rib.publish("flows", lambda: {str(f.id): f.info for f in registry})
        self.rib.publish("ipcps", lambda: {word(i.name): _ipcp_view(i) for i in registry.sorted_ipcps()})
        self.rib.publish("packets", lambda: dict(self.broker.counters()))
        self.rib.publish("pools", lambda: dict(self.broker.view()))

    async def rib_read(self, path: str) -> Any:
        """A subtree of the RIB; parts of IPCPs are fetched from them."""
        parts = [p for p in path.split("/") if p]
        if len(parts) > 2 and parts[0] == "ipcps":
            record = self._ipcp_of(parts[1])
            ours = parts[2] in _ipcp_view(record)
            return self.rib.read(path) if ours else await self._rib_of(record, "/".join(parts[2:]))
        tree = self.rib.read(path)
        if not parts or parts[0] == "ipcps":
            shown = tree["ipcps"] if not parts else (tree if len(parts) == 1 else {parts[1]: tree})
            await asyncio.gather(*(self._graft(entry, name) for name, entry in shown.items()))
        return tree

    def _ipcp_of(self, name: str) -> IpcpRecord:
        for record in self.registry.sorted_ipcps():
            if word(record.name) == name:
                return record
        raise NotFound(f'the RIB has no IPCP "{name}"; see: ouro ipcp list')

    async def _graft(self, entry: dict[str, Any], name: str) -> None:
        try:
            inner = await self._rib_of(self._ipcp_of(name), "")
        except OuroError as e:
            entry["error"] = str(e)
        else:
            entry.update(inner)

    async def _rib_of(self, record: IpcpRecord, path: str) -> Any:
        if record.handle is None:
            raise NotFound(f"IPCP {record.name} is gone")
        try:
            async with asyncio.timeout(RIB_TIMEOUT):
                return json.loads((await record.handle.call(RibRead(path))).json)
        except TimeoutError:
            raise NotFound(f"IPCP {record.name} did not show its RIB within {RIB_TIMEOUT} s") from None

    # ------------------------------------------------------------ end

    async def close(self) -> None:
        """End IPCPs and programs, take all flows down, free everything."""
        self.starter.close()
        await self.workers.close()
        for process in [p for p in self.registry.processes.values() if p.ipcp is None]:
            for flow in list(process.flows.values()):
                _down(flow)
        await self.ipcps.close()
        for process in list(self.registry.processes.values()):
            self.process_left(process)
        await self.allocator.close()
        self.broker.close()


def _security_directory(settings: IrmSettings, in_process: bool) -> str:
    """The configured one, else a daemon's default; an IRM within one process reads no files unasked."""
    if settings.security:
        return os.path.abspath(os.path.expanduser(settings.security))
    return "" if in_process else default_directory()


def _down(flow: Flow) -> None:
    if flow.segment is not None:
        flow.segment.flow.down(State.DOWN)


def _alive(pid: int, uid: int | None) -> bool:
    """Whether there is such a process, of this user if one is given."""
    try:
        owner = os.stat(f"/proc/{pid}").st_uid if pid > 0 else None
    except OSError:
        return False
    return owner is not None and uid in (None, owner)


def _service_group() -> int:
    """The number of group `ouroboros`; one that nobody has when there is no such group."""
    try:
        return grp.getgrnam("ouroboros").gr_gid
    except KeyError:
        return -1


def _name_view(name: Name) -> dict[str, Any]:
    return {
        "info": name.info,
        "programs": [p.path for p in name.programs],
        "processes": sorted(p.pid for p in name.processes),
        "accepting": len(name.queue),
        "requests": len(name.waiting),
    }


def _ipcp_view(ipcp: IpcpRecord) -> dict[str, Any]:
    """What the IRM knows of it; it adds what it publishes itself."""
    components: dict[str, list[str]] = {}
    for dst, component in sorted(ipcp.connected):
        components.setdefault(word(dst), []).append(component)
    return {**to_plain(ipcp.info), "registered": sorted(ipcp.registered), "connected": components}


def _process_view(process: Process) -> dict[str, Any]:
    return {
        "client": process.id,
        "program": process.program,
        "uid": process.uid,
        "domain": process.ref.domain.uid,
        "names": sorted(process.names),
        "flows": sorted(process.flows),
        "accepting": len(process.waiters),
    }

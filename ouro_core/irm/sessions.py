"""Who may ask what: the IRM as one caller sees it (the plan's section "Who may do what").

A request is answered by the method that `_HANDLERS` names for its class. Methods that only look things up return the
reply at once; the others are coroutines. Root, the daemon's user and group `ouroboros` administer; everybody may
allocate and accept flows, create names (a bounded number), bind own processes to names that are theirs or open, and
programs to names that are theirs.
"""

import json
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve

from ..model import irm_requests as r
from ..model.errors import (
    Exists,
    InvalidArgument,
    NotFound,
    NotPermitted,
    NotSupported,
    OuroError,
    OutOfMemory,
    TooLong,
)
from ..model.log import logger, set_debug
from ..model.names import FILES, MAX_PATH, NameInfo, check_name
from ..model.request import Request
from ..rib import children
from ..rpc.credentials import Credentials
from ..rpc.fds import close_grants
from .programs import check_program
from .registry import IpcpRecord, Name, Process, Program
from .settings import MAX_ARGUMENTS, MAX_DATA, MAX_LINGER, MAX_NAMES_PER_USER

if TYPE_CHECKING:
    from .irm import Irm

__all__ = ["IpcpSession", "Session"]

log = logger("irmd")


class Session:
    """One connection of a process. `process` is its client once it announced, on this connection or another."""

    def __init__(self, irm: "Irm", credentials: Credentials) -> None:
        self._irm = irm
        self._credentials = credentials
        self._own: Process | None = None
        self.admin = irm.is_admin(credentials)

    @property
    def lifetime(self) -> Process | None:
        """The process, when this is its lifetime connection."""
        return self._own

    def call(self, request: Request[Any]) -> Any:
        """The reply, or an awaitable of it. OuroError; NotPermitted names what would be needed."""
        handler = _HANDLERS.get(type(request))
        if handler is None:
            close_grants(request)
            raise NotPermitted(f"{type(request).__name__} is not for applications")
        return handler(self, request)

    def undelivered(self, reply: object) -> None:
        """A reply that its caller did not wait for: a flow in it ends."""
        if isinstance(reply, r.Allocation):
            try:
                self._irm.allocator.dealloc(self._process(), reply.flow_id, 0.0)
            except OuroError:
                pass  # the process is gone, and its flows with it

    # ------------------------------------------------------------ rights

    def _administer(self) -> None:
        if not self.admin:
            raise NotPermitted(
                f"this needs root, the user of the IRMd, or membership in group ouroboros; user {self._credentials.uid}"
                " may run an IRMd of his own, in another OURO_RUNTIME_DIR"
            )

    def _process(self) -> Process:
        if self._own is not None and self._own.id in self._irm.registry.processes:
            return self._own
        try:
            found = self._irm.registry.process(self._credentials.pid)
        except NotFound:
            found = None
        if found is None or found.uid != self._credentials.uid:  # the number may be another process's by now
            raise InvalidArgument(f"process {self._credentials.pid} must announce first")
        return found

    def _own_name(self, name: str, *, bind: bool = False) -> Name:
        """A name the caller may change (or bind to); created as the caller's when it is missing."""
        known = self._irm.registry.names.get(check_name(name))
        if known is None:
            return self._create(NameInfo(name))
        info = known.info
        if self.admin or info.owner == self._credentials.uid or (bind and info.open):
            return known
        who = "it must be yours or marked open" if bind else "it must be yours"
        raise NotPermitted(f'name "{name}" belongs to user {info.owner}, you are user {self._credentials.uid}; {who}')

    def _create(self, info: NameInfo) -> Name:
        uid = self._credentials.uid
        names = self._irm.registry.names
        if not self.admin and self._irm.security.reserved(info.name):
            raise NotPermitted(f'name "{info.name}" has security files, so an administrator must create it')
        if not self.admin and sum(1 for n in names.values() if n.info.owner == uid) >= MAX_NAMES_PER_USER:
            raise OutOfMemory(f"user {uid} has {MAX_NAMES_PER_USER} names already")
        log.info("Created new name: %s.", info.name)
        return self._irm.registry.create_name(evolve(info, owner=uid))

    # ------------------------------------------------------------ applications

    def announce(self, request: r.Announce) -> r.Announced:
        if request.api[0] != r.API[0]:
            ours, theirs = (".".join(map(str, version)) for version in (r.API, request.api))
            raise NotSupported(f"this IRMd speaks version {ours}, the application {theirs}; update the older one")
        process, announced = self._irm.announce(self._credentials, request.program)
        self._own = process
        return announced

    def flow_alloc(self, request: r.FlowAlloc) -> r.Allocation | Awaitable[r.Allocation]:
        return self._irm.allocator.alloc(self._process(), _within_limits(request))

    def flow_accept(self, request: r.FlowAccept) -> Awaitable[r.Allocation]:
        return self._irm.allocator.accept(self._process(), _within_limits(request))

    def flow_join(self, request: r.FlowJoin) -> Awaitable[r.Allocation]:
        return self._irm.allocator.join(self._process(), _within_limits(request))

    def flow_dealloc(self, request: r.FlowDealloc) -> None:
        self._irm.allocator.dealloc(self._process(), request.flow_id, _within_limits(request).linger)

    # ------------------------------------------------------------ names and bindings

    def create_name(self, request: r.CreateName) -> None:
        info = request.info
        check_name(info.name)
        files = {attribute: getattr(info, attribute) for attribute in FILES}
        if any(files.values()) and not self.admin:
            self._administer()  # the IRMd reads these files with its own rights
        if any(len(f.encode()) > MAX_PATH for f in files.values()):
            raise InvalidArgument(f"a path of a security file is longer than {MAX_PATH} bytes")
        known = self._irm.registry.names.get(info.name)
        if known is None:
            self._create(info)
        elif (info.open and not known.info.open) or any(f and f != getattr(known.info, a) for a, f in files.items()):
            raise Exists(f'name "{info.name}" exists and stays as it is, unlike what was asked for; destroy it first')

    def destroy_name(self, request: r.DestroyName) -> None:
        self._irm.registry.name(request.name)
        self._own_name(request.name)
        self._irm.registry.destroy_name(request.name)
        log.info("Destroyed name: %s.", request.name)

    def list_names(self, _: r.ListNames) -> r.NameList:
        return r.NameList(tuple(self._shown(n.info) for n in self._irm.registry.sorted_names()))

    def _shown(self, info: NameInfo) -> NameInfo:
        """Where the security files of a name are is its owner's and the administrators' business."""
        if self.admin or info.owner == self._credentials.uid or not any(getattr(info, f) for f in FILES):
            return info
        hidden: dict[str, Any] = dict.fromkeys(FILES, "")
        return evolve(info, **hidden)

    def bind_program(self, request: r.BindProgram) -> None:
        uid = self._credentials.uid
        path = check_program(request.path, uid, request.auto)
        words = (path, *request.args)
        if sum(len(word.encode()) for word in words) > MAX_ARGUMENTS or any("\0" in word for word in words):
            raise InvalidArgument(f"the command line of {path!r} has a NUL, or more than {MAX_ARGUMENTS} bytes")
        self._own_name(request.name)
        self._irm.registry.bind_program(request.name, Program(path, request.args, request.auto, uid, self.admin))
        log.info("Bound program %s to name %s.", path, request.name)

    def unbind_program(self, request: r.UnbindProgram) -> None:
        if request.name:
            self._irm.registry.name(request.name)
            self._own_name(request.name)
        else:
            self._administer()
        self._irm.registry.unbind_program(request.program, request.name)

    async def bind_process(self, request: r.BindProcess) -> None:
        process = await self._irm.announced(request.pid, None if self.admin else self._credentials.uid)
        self._mine(process)
        self._own_name(request.name, bind=True)
        self._irm.registry.bind_process(process, request.name)
        log.info("Bound process %d to name %s.", request.pid, request.name)

    def unbind_process(self, request: r.UnbindProcess) -> None:
        process = self._irm.registry.process(request.pid)
        self._mine(process)
        self._irm.registry.unbind_process(process, request.name)

    def _mine(self, process: Process) -> None:
        if not self.admin and process.uid != self._credentials.uid:
            raise NotPermitted(f"process {process.pid} belongs to user {process.uid}")

    # ------------------------------------------------------------ IPCPs

    def bind_ipcp(self, request: r.BindIpcp) -> None:
        self._administer()
        ipcp = self._irm.registry.ipcp(request.ipcp)
        self._own_name(request.name)
        self._irm.registry.bind_process(ipcp.process, request.name)

    def unbind_ipcp(self, request: r.UnbindIpcp) -> None:
        self._administer()
        self._irm.registry.unbind_process(self._irm.registry.ipcp(request.ipcp).process, request.name)

    async def reg_name(self, request: r.RegName) -> None:
        self._administer()
        check_name(request.name)
        ipcp = self._irm.registry.ipcp(request.ipcp)
        await self._irm.ipcps.reg(ipcp, request.name)
        self._own_name(request.name)
        log.info("Registered %s with IPCP %d.", request.name, ipcp.process.pid)

    async def unreg_name(self, request: r.UnregName) -> None:
        self._administer()
        check_name(request.name)
        await self._irm.ipcps.unreg(self._irm.registry.ipcp(request.ipcp), request.name)

    async def probe_name(self, request: r.ProbeName) -> r.PeerCapabilities:
        self._administer()
        return r.PeerCapabilities(await self._irm.allocator.probe(check_name(request.name)))

    async def create_ipcp(self, request: r.CreateIpcp) -> Any:
        self._administer()
        record = await self._irm.ipcps.create(request.type, request.name, self._irm.new_ref())
        return record.info

    async def destroy_ipcp(self, request: r.DestroyIpcp) -> None:
        self._administer()
        await self._irm.ipcps.destroy(self._irm.registry.ipcp(request.ipcp))

    def list_ipcps(self, _: r.ListIpcps) -> r.IpcpList:
        return r.IpcpList(tuple(i.info for i in self._irm.registry.sorted_ipcps()))

    async def bootstrap_ipcp(self, request: r.BootstrapIpcp) -> Any:
        self._administer()
        return await self._irm.ipcps.bootstrap(self._irm.registry.ipcp(request.ipcp), request)

    async def enroll_ipcp(self, request: r.EnrollIpcp) -> Any:
        self._administer()
        return await self._irm.ipcps.enroll(self._irm.registry.ipcp(request.ipcp), request)

    async def connect_ipcp(self, request: r.ConnectIpcp) -> None:
        self._administer()
        await self._irm.ipcps.connect(self._irm.registry.ipcp(request.ipcp), request)

    async def disconnect_ipcp(self, request: r.DisconnectIpcp) -> None:
        self._administer()
        await self._irm.ipcps.disconnect(self._irm.registry.ipcp(request.ipcp), request)

    async def ask_ipcp(self, request: r.AskIpcp) -> r.RibText:
        self._administer()
        return await self._irm.ipcps.ask(self._irm.registry.ipcp(request.ipcp), request)

    # ------------------------------------------------------------ looking inside

    async def rib_list(self, request: r.RibList) -> r.RibNames:
        self._administer()
        return r.RibNames(children(await self._irm.rib_read(request.path)))

    async def rib_read(self, request: r.RibRead) -> r.RibText:
        self._administer()
        return r.RibText(json.dumps(await self._irm.rib_read(request.path)))

    def list_flows(self, _: r.ListFlows) -> r.FlowList:
        self._administer()
        return r.FlowList(tuple(f.info for f in self._irm.registry))

    async def set_debug(self, request: r.SetDebug) -> None:
        self._administer()
        set_debug(request.components)
        await self._irm.ipcps.set_debug(request)


_Bounded = TypeVar("_Bounded", r.FlowAlloc, r.FlowAccept, r.FlowJoin, r.FlowDealloc)


def _within_limits(request: _Bounded) -> _Bounded:
    """The request itself. InvalidArgument: a time that is none (comparisons are so that NaN is none); TooLong."""
    if isinstance(request, r.FlowDealloc):
        if not 0 <= request.linger <= MAX_LINGER:
            raise InvalidArgument(f"a linger time of {request.linger} s; 0 to {MAX_LINGER} is right")
        return request
    if request.timeout is not None and not request.timeout >= 0:
        raise InvalidArgument(f"a timeout of {request.timeout} s; 0 or more is right")
    if not isinstance(request, r.FlowJoin) and len(request.data) > MAX_DATA:
        raise TooLong(f"{len(request.data)} bytes of data; at most {MAX_DATA} go along with a flow request")
    return request


_HANDLERS: dict[type, Any] = {
    r.Announce: Session.announce,
    r.FlowAlloc: Session.flow_alloc,
    r.FlowAccept: Session.flow_accept,
    r.FlowJoin: Session.flow_join,
    r.FlowDealloc: Session.flow_dealloc,
    r.CreateName: Session.create_name,
    r.DestroyName: Session.destroy_name,
    r.ListNames: Session.list_names,
    r.BindProgram: Session.bind_program,
    r.UnbindProgram: Session.unbind_program,
    r.BindProcess: Session.bind_process,
    r.UnbindProcess: Session.unbind_process,
    r.BindIpcp: Session.bind_ipcp,
    r.UnbindIpcp: Session.unbind_ipcp,
    r.RegName: Session.reg_name,
    r.UnregName: Session.unreg_name,
    r.ProbeName: Session.probe_name,
    r.CreateIpcp: Session.create_ipcp,
    r.DestroyIpcp: Session.destroy_ipcp,
    r.ListIpcps: Session.list_ipcps,
    r.BootstrapIpcp: Session.bootstrap_ipcp,
    r.EnrollIpcp: Session.enroll_ipcp,
    r.ConnectIpcp: Session.connect_ipcp,
    r.DisconnectIpcp: Session.disconnect_ipcp,
    r.AskIpcp: Session.ask_ipcp,
    r.RibList: Session.rib_list,
    r.RibRead: Session.rib_read,
    r.ListFlows: Session.list_flows,
    r.SetDebug: Session.set_debug,
}
"""What applications and administrators may ask."""


class IpcpSession:
    """The IRM as an IPCP sees it: its layer's incoming flows, and flows of its own over other layers."""

    def __init__(self, irm: "Irm", ipcp: IpcpRecord) -> None:
        self._irm = irm
        self._ipcp = ipcp

    def call(self, request: Request[Any]) -> Any:
        """The reply, or an awaitable of it."""
        allocator, process = self._irm.allocator, self._ipcp.process
        match request:
            case r.FlowArrived():
                return allocator.arrived(self._ipcp, request)
            case r.FlowClosed():
                return allocator.closed(self._ipcp, request.flow_id)
            case r.FlowAlloc():
                return allocator.alloc(process, _within_limits(request))
            case r.FlowAccept():
                return allocator.accept(process, _within_limits(request))
            case r.FlowDealloc():
                return allocator.dealloc(process, request.flow_id, _within_limits(request).linger)
            case _:
                close_grants(request)
                raise NotPermitted(f"{type(request).__name__} is not for IPCPs")

"""The registry: what the IRM knows of names, programs, processes, IPCPs and flows, and nothing it does (spec: irmd.md
4-6).

No I/O, no clock, no waiting. Objects refer to each other both ways, and only the methods here change that, so what they
promise can be checked after any sequence of calls (`check`):

* a name is in a process's `names` exactly when the process is in the name's `processes`;
* every waiter of a process stands once in the queue of each of the process's names, and nowhere else;
* a flow is in the `flows` of its owner, who is registered, until it is disowned; and in those of its provider;
* its id is taken until it is removed; ids are the lowest free ones.
"""

import asyncio
import heapq
import os
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Any, Final

from attrs import define, field

from ..contracts.packets import BrokerFlow, ClientRef, Domain
from ..ipcp.launcher import IpcpHandle
from ..model.errors import Exists, InvalidArgument, NotAllocated, NotFound, OutOfMemory, UnknownName
from ..model.flow import MAX_FLOWS, FlowInfo, FlowState
from ..model.layer import IpcpInfo, IpcpState, LayerInfo
from ..model.names import HashAlgorithm, LoadBalance, NameInfo, hash_name
from ..model.qos import QosSpec
from .settings import MAX_ACCEPTS_PER_USER, MAX_FLOWS_PER_USER, MAX_NAMES_PER_PROCESS, MAX_PROGRAMS_PER_NAME

__all__ = ["Flow", "IpcpRecord", "Name", "Process", "Program", "Registry", "Segment", "Waiter"]


SHARED: Final = Domain()


@define(eq=False)
class Program:
    """A program bound to one name by user `uid`. `auto`: start it as that user when nobody accepts. `by_admin`: the
    binding is for the processes of all users, not only of that one.
    """

    path: str
    args: tuple[str, ...]
    auto: bool
    uid: int
    by_admin: bool = False

    @property
    def basename(self) -> str:
        """What processes of it announce."""
        return os.path.basename(self.path)


@define(eq=False)
class Waiter:
    """One accept call. `result` becomes an `Allocation`, or the error that ended the allocation."""

    process: "Process"
    result: "asyncio.Future[Any]" = field(repr=False)
    data: bytes = b""
    last: bool = False  # its time is over: the request that is under way for it is its last


@define(eq=False)
class Name:
    """A name. `queue` holds the waiters of its processes in the order in which they get flows: as keys, for one that
    leaves from the middle must not cost a search when there are thousands.
    """

    info: NameInfo
    programs: list[Program] = field(factory=list)
    processes: "set[Process]" = field(factory=set)
    queue: OrderedDict[Waiter, None] = field(factory=OrderedDict)
    waiting: "list[asyncio.Future[None]]" = field(factory=list, repr=False)  # requests that want a waiter

    @property
    def name(self) -> str:
        """The name itself."""
        return self.info.name

    def wake(self) -> None:
        """Requests that wait look again."""
        for future in self.waiting:
            if not future.done():
                future.set_result(None)
        self.waiting.clear()

    @property
    def first(self) -> Waiter | None:
        """The waiter that gets the next flow."""
        return next(iter(self.queue), None)

    def inherited_by(self, process: "Process") -> bool:
        """Whether a process that announces itself gets the name by one of the programs bound to it. What it announces
        is its own word, so it must be one that could be bound to the name, and that whoever bound the program could
        bind.
        """
        if not process.privileged and len(process.names) >= MAX_NAMES_PER_PROCESS:
            return False
        mine = process.privileged or self.info.open or self.info.owner == process.uid
        return mine and any(
            p.basename == process.program and (p.by_admin or p.uid == process.uid) for p in self.programs
        )


@define(eq=False)
class Process:
    """A client: an application that announced itself, or an IPCP (then `ipcp` is set)."""

    ref: ClientRef
    pid: int
    uid: int
    program: str
    names: set[str] = field(factory=set)
    flows: dict[int, "Flow"] = field(factory=dict)
    waiters: dict[Waiter, None] = field(factory=dict)  # oldest first
    ipcp: "IpcpRecord | None" = None

    @property
    def id(self) -> int:
        """The client id: never used twice."""
        return self.ref.id

    @property
    def privileged(self) -> bool:
        """Whether it is an administrator's, or an IPCP."""
        return self.ref.domain == SHARED


@define(eq=False)
class IpcpRecord:
    """An IPCP. It is a client too: `process`."""

    process: Process
    type: str
    name: str
    state: IpcpState = IpcpState.INIT
    layer: LayerInfo | None = None
    handle: IpcpHandle | None = field(default=None, repr=False)
    broadcast: bool = False
    carries: bool = True
    registered: set[str] = field(factory=set)
    connected: set[tuple[str, str]] = field(factory=set)
    """Destination and component of each connection that it was told to make."""
    flows: "set[Flow]" = field(factory=set, repr=False)  # of other processes, that it provides

    @property
    def id(self) -> int:
        """The same as its process's."""
        return self.process.id

    @property
    def info(self) -> IpcpInfo:
        """As in listings."""
        return IpcpInfo(self.id, self.process.pid, self.type, self.name, self.state, self.layer)


@define(eq=False)
class Segment:
    """The shared memory of one or two flow records: two when both applications of a local flow share it."""

    flow: BrokerFlow = field(repr=False)
    users: int = 1

    def release(self) -> None:
        """One record less; the last one destroys it."""
        self.users -= 1
        if self.users == 0:
            self.flow.destroy()


@define(eq=False)
class Flow:
    """One end of a flow, owned by a process. `provider` None: a direct flow."""

    id: int
    owner: Process
    name: str
    qos: QosSpec
    provider: IpcpRecord | None
    state: FlowState = FlowState.ALLOC_PENDING
    mpl: int = 0
    peer: "Flow | None" = None  # the other end, when it is on this host and shares the segment
    segment: Segment | None = None
    side: int = 0  # which end of the segment is the owner's
    at_layer: bool = False  # the provider has it, or may have it

    @property
    def info(self) -> FlowInfo:
        """As in listings."""
        peer_pid = self.peer.owner.pid if self.peer else (self.provider.process.pid if self.provider else 0)
        return FlowInfo(
            self.id, self.state, self.owner.pid, peer_pid, self.provider.id if self.provider else 0,
            self.name, self.qos, self.mpl, self.owner.ref.domain.uid,
        )  # fmt: skip


class Registry:
    """All of them. Methods raise `OuroError`s with the value that was wrong."""

    def __init__(self, max_flows: int = MAX_FLOWS) -> None:
        self.names: dict[str, Name] = {}
        self.processes: dict[int, Process] = {}
        self.ipcps: dict[int, IpcpRecord] = {}
        self.flows: dict[int, Flow] = {}
        self._by_pid: dict[int, Process] = {}
        self._by_hash: dict[HashAlgorithm, dict[bytes, Name]] = {}
        self._max_flows = max_flows
        self._free_ids: list[int] = []
        self._next_id = 1
        self._flows_of: Counter[int] = Counter()  # by uid
        self._accepts_of: Counter[int] = Counter()

    # ------------------------------------------------------------ names

    def create_name(self, info: NameInfo) -> Name:
        """The name, new or as it was."""
        known = self.names.get(info.name)
        if known is not None:
            return known
        name = self.names[info.name] = Name(info)
        for algorithm, table in self._by_hash.items():
            table[hash_name(info.name, algorithm)] = name
        return name

    def name(self, name: str) -> Name:
        """UnknownName when it is not in the registry."""
        found = self.names.get(name)
        if found is None:
            raise UnknownName(f'name "{name}" is not known here; see: ouro name list; or: ouro name create {name}')
        return found

    def name_of_hash(self, hash: bytes, algorithm: HashAlgorithm) -> Name:
        """The name that a layer means by a hash. UnknownName."""
        table = self._by_hash.get(algorithm)
        if table is None:
            table = self._by_hash[algorithm] = {hash_name(n.name, algorithm): n for n in self.names.values()}
        found = table.get(hash)
        if found is None:
            raise UnknownName(f"no name for hash {hash[:4].hex()}")
        return found

    def destroy_name(self, name: str) -> None:
        """Take it out, with all its bindings."""
        gone = self.name(name)
        for process in list(gone.processes):
            self.unbind_process(process, name)
        for algorithm, table in self._by_hash.items():
            table.pop(hash_name(name, algorithm), None)
        del self.names[name]
        gone.wake()

    def sorted_names(self) -> list[Name]:
        """In order of their bytes."""
        return [self.names[n] for n in sorted(self.names, key=str.encode)]

    # ------------------------------------------------------------ bindings

    def bind_program(self, name: str, program: Program) -> None:
        """Processes of the program inherit the name when they announce. Exists, when it is bound already; OutOfMemory,
        when too many are.
        """
        bound = self.name(name)
        if any(p.path == program.path for p in bound.programs):
            raise Exists(f'program {program.path} is bound to "{name}" already')
        if len(bound.programs) >= MAX_PROGRAMS_PER_NAME:
            raise OutOfMemory(f'{MAX_PROGRAMS_PER_NAME} programs are bound to "{name}" already; unbind one')
        bound.programs.append(program)

    def unbind_program(self, program: str, name: str = "") -> None:
        """By path or base name; from one name or from all. NotFound when there is nothing to unbind."""
        found = False
        for candidate in [self.name(name)] if name else list(self.names.values()):
            keep = [p for p in candidate.programs if program not in (p.path, p.basename)]
            found = found or len(keep) < len(candidate.programs)
            candidate.programs[:] = keep
        if not found:
            where = f' to "{name}"' if name else " to any name"
            raise NotFound(f"program {program} is not bound{where}")

    def bind_process(self, process: Process, name: str) -> None:
        """The process accepts flows for the name from now on, also with accept calls under way. Exists; OutOfMemory
        when it is bound to too many.
        """
        bound = self.name(name)
        if process in bound.processes:
            raise Exists(f'process {process.pid} is bound to "{name}" already')
        if not process.privileged and len(process.names) >= MAX_NAMES_PER_PROCESS:
            raise OutOfMemory(f"process {process.pid} is bound to {MAX_NAMES_PER_PROCESS} names already; unbind one")
        bound.processes.add(process)
        process.names.add(name)
        for waiter in process.waiters:
            _enqueue(bound, waiter)

    def unbind_process(self, process: Process, name: str = "") -> None:
        """From one name or from all. NotFound when it was not bound."""
        if name not in process.names if name else not process.names:
            where = f'"{name}"' if name else "any name"
            raise NotFound(f"process {process.pid} is not bound to {where}")
        self._unbind(process, [name] if name else list(process.names))

    def _unbind(self, process: Process, names: list[str]) -> None:
        for bound in names:
            record = self.names[bound]
            record.processes.discard(process)
            process.names.discard(bound)
            for waiter in process.waiters:
                del record.queue[waiter]

    # ------------------------------------------------------------ processes

    def add_process(self, process: Process) -> None:
        """An announcement: the process inherits names that its program is bound to (`Name.inherited_by`)."""
        self.processes[process.id] = process
        if process.ipcp is None:
            self._by_pid[process.pid] = process
            for name in self.names.values():
                if name.inherited_by(process):
                    self.bind_process(process, name.name)

    def process(self, pid: int) -> Process:
        """The application with this pid. NotFound when it did not announce."""
        found = self._by_pid.get(pid)
        if found is None:
            raise NotFound(f"process {pid} did not announce here; it must use Ouro with the same runtime directory")
        return found

    def _check_registered(self, process: Process) -> None:
        if self.processes.get(process.id) is not process:
            raise InvalidArgument(f"process {process.pid} ({process.program}) is not here, or not any more")

    def remove_process(self, process: Process) -> None:
        """It is gone: out of all names. Its flows must have been removed before."""
        if process.flows:
            raise InvalidArgument(f"process {process.pid} has flows: {sorted(process.flows)}")
        for waiter in list(process.waiters):
            self.withdraw(waiter)
        self._unbind(process, list(process.names))
        self.processes.pop(process.id, None)
        if self._by_pid.get(process.pid) is process:
            del self._by_pid[process.pid]

    # ------------------------------------------------------------ accepting

    def wait(self, waiter: Waiter) -> None:
        """An accept call begins. InvalidArgument when its process is gone; OutOfMemory when its user has too many."""
        process = waiter.process
        self._check_registered(process)
        if not process.privileged and self._accepts_of[process.uid] >= MAX_ACCEPTS_PER_USER:
            raise OutOfMemory(f"user {process.uid} has {MAX_ACCEPTS_PER_USER} accept calls under way already")
        self._accepts_of[process.uid] += 1
        process.waiters[waiter] = None
        for name in waiter.process.names:
            _enqueue(self.names[name], waiter)

    def withdraw(self, waiter: Waiter) -> None:
        """An accept call ends, or was given a flow."""
        if waiter in waiter.process.waiters:
            del waiter.process.waiters[waiter]
            self._accepts_of[waiter.process.uid] -= 1
            for name in waiter.process.names:
                del self.names[name].queue[waiter]

    def take(self, name: Name) -> Waiter | None:
        """The accept call that gets the next flow of a name; it is reserved: nobody else gets it."""
        waiter = name.first
        if waiter is not None:
            self.withdraw(waiter)
        return waiter

    # ------------------------------------------------------------ IPCPs

    def add_ipcp(self, ipcp: IpcpRecord) -> None:
        """A new IPCP, with its process."""
        ipcp.process.ipcp = ipcp
        self.ipcps[ipcp.id] = ipcp
        self.add_process(ipcp.process)

    def ipcp(self, number: int) -> IpcpRecord:
        """NotFound."""
        found = self.ipcps.get(number)
        if found is None:
            raise NotFound(f"there is no IPCP with id {number}; see: ouro ipcp list")
        return found

    def remove_ipcp(self, ipcp: IpcpRecord) -> None:
        """It is gone. Flows over it stay until their owners give them up."""
        self.ipcps.pop(ipcp.id, None)
        ipcp.state = IpcpState.NULL
        ipcp.handle = None
        self.remove_process(ipcp.process)

    def sorted_ipcps(self) -> list[IpcpRecord]:
        """In the order of listings, which is that of the search for a destination."""
        return sorted(self.ipcps.values(), key=lambda i: i.info.sort_key)

    # ------------------------------------------------------------ flows

    def create_flow(self, owner: Process, name: str, qos: QosSpec, provider: IpcpRecord | None) -> Flow:
        """With the lowest free id. OutOfMemory when there is none, or the owner's user has more than a fair share;
        InvalidArgument when the owner is gone.
        """
        self._check_registered(owner)
        if owner.ref.domain.uid and self._flows_of[owner.uid] >= MAX_FLOWS_PER_USER:
            raise OutOfMemory(f"user {owner.uid} has {MAX_FLOWS_PER_USER} flows already")
        if self._free_ids:
            number = heapq.heappop(self._free_ids)
        elif self._next_id < self._max_flows:
            number = self._next_id
            self._next_id += 1
        else:
            raise OutOfMemory(f"all {self._max_flows - 1} flow ids are in use")
        flow = self.flows[number] = Flow(number, owner, name, qos, provider)
        owner.flows[number] = flow
        self._flows_of[owner.uid] += 1
        if provider is not None:
            provider.flows.add(flow)
        return flow

    def flow(self, owner: Process, number: int) -> Flow:
        """A flow of this process. NotAllocated when it has none of that id."""
        found = owner.flows.get(number)
        if found is None or found.state is FlowState.DEALLOC_PENDING:
            raise NotAllocated(f"process {owner.pid} has no flow {number}")
        return found

    def disown(self, flow: Flow) -> None:
        """Its owner gave it up or died; the record stays until the layer is done with it."""
        flow.owner.flows.pop(flow.id, None)
        flow.state = FlowState.DEALLOC_PENDING

    def remove_flow(self, flow: Flow) -> None:
        """It is gone; its id is free. Idempotent."""
        if self.flows.pop(flow.id, None) is None:
            return
        flow.owner.flows.pop(flow.id, None)
        self._flows_of[flow.owner.uid] -= 1
        flow.state = FlowState.DEALLOCATED
        if flow.provider is not None:
            flow.provider.flows.discard(flow)
        if flow.peer is not None:
            flow.peer.peer = None
            flow.peer = None
        heapq.heappush(self._free_ids, flow.id)

    # ------------------------------------------------------------ what must always hold

    def check(self) -> None:
        """AssertionError when one of the promises in the head of this module is broken. For tests."""
        for key, name in self.names.items():
            assert key == name.name
            assert all(key in p.names and self.processes[p.id] is p for p in name.processes)
            waiters = [id(w) for p in name.processes for w in p.waiters]
            assert sorted(map(id, name.queue)) == sorted(waiters)
        for process in self.processes.values():
            assert all(process in self.names[n].processes for n in process.names)
            assert all(f.owner is process and self.flows[i] is f for i, f in process.flows.items())
            assert process.ipcp is None or self.ipcps[process.id] is process.ipcp
        for algorithm, table in self._by_hash.items():
            assert table == {hash_name(n, algorithm): name for n, name in self.names.items()}
        for number, flow in self.flows.items():
            assert flow.id == number < self._max_flows
            assert flow.provider is None or flow in flow.provider.flows
            assert flow.state is FlowState.DEALLOC_PENDING or self.processes[flow.owner.id].flows[number] is flow
        assert +self._flows_of == Counter(f.owner.uid for f in self.flows.values())
        assert +self._accepts_of == Counter(p.uid for p in self.processes.values() for _ in p.waiters)
        assert all(self.processes[i] is ipcp.process for i, ipcp in self.ipcps.items())
        assert all(self.processes[p.id] is p and p.pid == pid for pid, p in self._by_pid.items())
        assert sorted([*self.flows, *self._free_ids]) == list(range(1, self._next_id))

    def __iter__(self) -> Iterator[Flow]:
        """Flows in order of their ids."""
        return iter([self.flows[i] for i in sorted(self.flows)])


def _enqueue(name: Name, waiter: Waiter) -> None:
    name.queue[waiter] = None
    if name.info.balance is not LoadBalance.ROUND_ROBIN:
        name.queue.move_to_end(waiter, last=False)
    name.wake()

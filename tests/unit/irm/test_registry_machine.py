"""The registry against a model of it, after any sequence of calls."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ouro_core.contracts.packets import ClientRef, Domain
from ouro_core.irm.registry import Flow, IpcpRecord, Process, Program, Registry, Waiter
from ouro_core.model.errors import Exists, NotAllocated, NotFound, OutOfMemory, UnknownName
from ouro_core.model.names import HashAlgorithm, LoadBalance, NameInfo, hash_name
from ouro_core.model.qos import RAW

NAMES = st.sampled_from("abcd")
PROGRAMS = st.sampled_from(["x", "y"])
USERS = st.sampled_from([0, 1000, 1001])
MAX_FLOWS = 6


class Against(RuleBasedStateMachine):
    """`turn` says when each waiter came to each name: the oldest, or the youngest, is the next."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry(MAX_FLOWS)
        self.names: dict[str, NameInfo] = {}
        self.programs: dict[str, dict[str, int]] = {}  # name -> program -> who bound it
        self.bound: set[tuple[str, Process]] = set()
        self.processes: list[Process] = []
        self.ipcps: list[IpcpRecord] = []
        self.waiters: list[Waiter] = []
        self.turn: dict[tuple[str, Waiter], int] = {}
        self.flows: dict[int, Flow] = {}
        self.disowned: set[int] = set()
        self.clock = 0

    def _tick(self) -> int:
        self.clock += 1
        return self.clock

    def _clients(self) -> list[Process]:
        return self.processes + [ipcp.process for ipcp in self.ipcps]

    # ---- names

    @rule(name=NAMES, balance=st.sampled_from(LoadBalance), owner=USERS, opened=st.booleans())
    def create_name(self, name: str, balance: LoadBalance, owner: int, opened: bool) -> None:
        made = self.registry.create_name(NameInfo(name, balance, owner=owner, open=opened))
        self.names.setdefault(name, NameInfo(name, balance, owner=owner, open=opened))
        self.programs.setdefault(name, {})
        assert made.info == self.names[name]

    @rule(name=NAMES)
    def destroy_name(self, name: str) -> None:
        if self._expect(UnknownName, name not in self.names, lambda: self.registry.destroy_name(name)):
            del self.names[name], self.programs[name]
            self.bound = {(n, p) for n, p in self.bound if n != name}
            self.turn = {(n, w): t for (n, w), t in self.turn.items() if n != name}

    @rule(name=NAMES, algorithm=st.sampled_from([HashAlgorithm.SHA3_256, HashAlgorithm.MD5]))
    def find_by_hash(self, name: str, algorithm: HashAlgorithm) -> None:
        hashed = hash_name(name, algorithm)
        self._expect(UnknownName, name not in self.names, lambda: self.registry.name_of_hash(hashed, algorithm))

    # ---- programs

    @precondition(lambda self: self.names)
    @rule(data=st.data(), program=PROGRAMS, uid=USERS)
    def bind_program(self, data: st.DataObject, program: str, uid: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.names)))
        bound = Program(f"/bin/{program}", (), False, uid, uid == 0)
        if self._expect(Exists, program in self.programs[name], lambda: self.registry.bind_program(name, bound)):
            self.programs[name][program] = uid

    @rule(name=NAMES | st.just(""), program=PROGRAMS)
    def unbind_program(self, name: str, program: str) -> None:
        where = [n for n in (self.programs if not name else [name]) if program in self.programs.get(n, {})]
        wrong = UnknownName if name and name not in self.names else NotFound
        if self._expect(wrong, not where, lambda: self.registry.unbind_program(program, name)):
            for bound in where:
                del self.programs[bound][program]

    # ---- processes and IPCPs

    @precondition(lambda self: len(self._clients()) < 6)
    @rule(program=PROGRAMS, uid=USERS)
    def add_process(self, program: str, uid: int) -> None:
        number = self._tick()
        process = Process(ClientRef(number, Domain(uid)), 5000 + number, uid, program)
        self.registry.add_process(process)
        self.processes.append(process)
        for name, info in self.names.items():
            binder = self.programs[name].get(program)
            may = uid == 0 or info.open or info.owner == uid
            if binder is not None and may and binder in (0, uid):
                self.bound.add((name, process))
        assert self.registry.process(process.pid) is process

    @precondition(lambda self: len(self._clients()) < 6)
    @rule()
    def add_ipcp(self) -> None:
        number = self._tick()
        ipcp = IpcpRecord(Process(ClientRef(number, Domain()), 5000 + number, 0, "x"), "local", "x")
        self.registry.add_ipcp(ipcp)
        self.ipcps.append(ipcp)

    @precondition(lambda self: self._clients())
    @rule(data=st.data())
    def remove_client(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(self._clients()))
        for number in list(process.flows):
            self._disown(number)
        if process.ipcp is None:
            self.registry.remove_process(process)
            self.processes.remove(process)
        else:
            self.registry.remove_ipcp(process.ipcp)
            self.ipcps.remove(process.ipcp)
        self.bound = {(n, p) for n, p in self.bound if p is not process}
        for waiter in [w for w in self.waiters if w.process is process]:
            self._forget(waiter)

    # ---- bindings of processes

    @precondition(lambda self: self._clients() and self.names)
    @rule(data=st.data())
    def bind_process(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(self._clients()))
        name = data.draw(st.sampled_from(sorted(self.names)))
        is_bound = (name, process) in self.bound
        if self._expect(Exists, is_bound, lambda: self.registry.bind_process(process, name)):
            self.bound.add((name, process))
            for waiter in self.waiters:
                if waiter.process is process:
                    self.turn[name, waiter] = self._tick()

    @precondition(lambda self: self._clients())
    @rule(data=st.data(), name=NAMES | st.just(""))
    def unbind_process(self, data: st.DataObject, name: str) -> None:
        process = data.draw(st.sampled_from(self._clients()))
        wrong = not any(p is process and name in ("", n) for n, p in self.bound)
        if self._expect(NotFound, wrong, lambda: self.registry.unbind_process(process, name)):
            gone = {n for n, p in self.bound if p is process and name in ("", n)}
            self.bound = {(n, p) for n, p in self.bound if p is not process or n not in gone}
            self.turn = {(n, w): t for (n, w), t in self.turn.items() if w.process is not process or n not in gone}

    # ---- accepting

    @precondition(lambda self: self._clients())
    @rule(data=st.data())
    def wait(self, data: st.DataObject) -> None:
        waiter = Waiter(data.draw(st.sampled_from(self._clients())), None)  # type: ignore[arg-type]
        self.registry.wait(waiter)
        self.waiters.append(waiter)
        for name, process in self.bound:
            if process is waiter.process:
                self.turn[name, waiter] = self._tick()

    def _forget(self, waiter: Waiter) -> None:
        self.waiters.remove(waiter)
        self.turn = {(n, w): t for (n, w), t in self.turn.items() if w is not waiter}

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.waiters))
        self.registry.withdraw(waiter)
        self.registry.withdraw(waiter)
        self._forget(waiter)

    def _queue(self, name: str) -> list[Waiter]:
        turns = {w: t for (n, w), t in self.turn.items() if n == name}
        youngest_first = self.names[name].balance is LoadBalance.SPILLOVER
        return sorted(turns, key=lambda w: turns[w], reverse=youngest_first)

    @precondition(lambda self: self.names)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.names)))
        queue = self._queue(name)
        assert self.registry.take(self.registry.name(name)) is (queue[0] if queue else None)
        if queue:
            self._forget(queue[0])

    # ---- flows

    @precondition(lambda self: self._clients())
    @rule(data=st.data(), over_ipcp=st.booleans())
    def create_flow(self, data: st.DataObject, over_ipcp: bool) -> None:
        owner = data.draw(st.sampled_from(self._clients()))
        provider = data.draw(st.sampled_from(self.ipcps)) if over_ipcp and self.ipcps else None
        free = [n for n in range(1, MAX_FLOWS) if n not in self.flows]
        made: list[Flow] = []
        if self._expect(
            OutOfMemory, not free, lambda: made.append(self.registry.create_flow(owner, "n", RAW, provider))
        ):
            assert made[0].id == free[0]
            self.flows[free[0]] = made[0]
            assert self.registry.flow(owner, free[0]) is made[0]

    def _disown(self, number: int) -> None:
        self.registry.disown(self.flows[number])
        self.disowned.add(number)

    @precondition(lambda self: self.flows)
    @rule(data=st.data())
    def disown(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.flows)))
        flow = self.flows[number]
        self._disown(number)
        self._expect(NotAllocated, True, lambda: self.registry.flow(flow.owner, number))

    @precondition(lambda self: self.flows)
    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        one, other = (self.flows[data.draw(st.sampled_from(sorted(self.flows)))] for _ in range(2))
        if one is not other and one.peer is other.peer is None:
            one.peer, other.peer = other, one

    @precondition(lambda self: self.flows)
    @rule(data=st.data())
    def remove_flow(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.flows)))
        flow = self.flows.pop(number)
        self.disowned.discard(number)
        self.registry.remove_flow(flow)
        self.registry.remove_flow(flow)
        assert all(other.peer is not flow for other in self.flows.values())

    # ---- what must hold

    def _expect(self, error: type[Exception], fails: bool, call: Any) -> bool:
        """Whether the call was made, and had to succeed."""
        try:
            call()
        except error:
            assert fails
            return False
        assert not fails
        return True

    @invariant()
    def promises(self) -> None:
        self.registry.check()

    @invariant()
    def same(self) -> None:
        registry = self.registry
        assert {n.name: n.info for n in registry.sorted_names()} == self.names
        assert {(n, p.id) for n, p in self.bound} == {
            (n.name, p.id) for n in registry.names.values() for p in n.processes
        }
        assert set(registry.processes) == {p.id for p in self._clients()}
        assert [i.id for i in registry.sorted_ipcps()] == sorted(i.id for i in self.ipcps)
        assert {f.id for f in registry} == set(self.flows)
        for name in self.names:
            assert list(registry.name(name).queue) == self._queue(name)
            assert {p.basename for p in registry.name(name).programs} == set(self.programs[name])
        for process in self._clients():
            owned = {n for n, f in self.flows.items() if f.owner is process and n not in self.disowned}
            assert set(process.flows) == owned


TestAgainst = Against.TestCase
TestAgainst.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

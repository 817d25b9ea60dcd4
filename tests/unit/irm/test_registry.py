"""The registry by itself: names, bindings, whose turn it is, flow ids (irmd.md 4-6, and the cases listed there)."""

from typing import Any

import pytest
from attrs import evolve

from ouro_core.contracts.packets import ClientRef, Domain
from ouro_core.irm.registry import IpcpRecord, Process, Program, Registry, Segment, Waiter
from ouro_core.irm.settings import MAX_FLOWS_PER_USER, MAX_PROGRAMS_PER_NAME
from ouro_core.model.errors import Exists, InvalidArgument, NotAllocated, NotFound, OutOfMemory, UnknownName
from ouro_core.model.flow import FlowState
from ouro_core.model.layer import IpcpState, LayerInfo
from ouro_core.model.names import HashAlgorithm, LoadBalance, NameInfo, hash_name
from ouro_core.model.qos import DATA, RAW

RR, SPILL = LoadBalance.ROUND_ROBIN, LoadBalance.SPILLOVER
ROOT = Domain()


class Future:
    """All that the registry does with futures."""

    def __init__(self) -> None:
        self.woken = 0

    def done(self) -> bool:
        return self.woken > 0

    def set_result(self, _: None) -> None:
        assert not self.done()
        self.woken += 1


class Setup:
    """A registry and shorthand for what is in it."""

    def __init__(self, max_flows: int = 10240) -> None:
        self.registry = Registry(max_flows)
        self._next = 0

    def process(self, program: str = "app", uid: int = 0, domain: Domain | None = None) -> Process:
        self._next += 1
        process = Process(ClientRef(self._next, domain or Domain(uid)), 1000 + self._next, uid, program)
        self.registry.add_process(process)
        return process

    def ipcp(self, type: str = "local", name: str = "i", **options: Any) -> IpcpRecord:
        self._next += 1
        record = IpcpRecord(Process(ClientRef(self._next, ROOT), 1000 + self._next, 0, name), type, name, **options)
        self.registry.add_ipcp(record)
        return record

    def name(self, name: str = "n", *processes: Process, **info: Any) -> Any:
        made = self.registry.create_name(NameInfo(name, **info))
        for process in processes:
            self.registry.bind_process(process, name)
        return made

    def wait(self, process: Process) -> Waiter:
        waiter = Waiter(process, None)  # type: ignore[arg-type]
        self.registry.wait(waiter)
        return waiter


@pytest.fixture
def setup() -> Any:
    made = Setup()
    yield made
    made.registry.check()


# ---------------------------------------------------------------- names


def test_names(setup: Setup) -> None:
    registry = setup.registry
    first = registry.create_name(NameInfo("b", RR))
    assert registry.create_name(NameInfo("b", SPILL)) is first
    assert first.info.balance is RR
    for name in ("a", "é", "Z", "ab"):
        registry.create_name(NameInfo(name))
    assert [n.name for n in registry.sorted_names()] == ["Z", "a", "ab", "b", "é"]
    assert registry.name("b") is first
    registry.destroy_name("b")
    for lost in (registry.name, registry.destroy_name):
        with pytest.raises(
            UnknownName, match='name "b" is not known here; see: ouro name list; or: ouro name create b'
        ):
            lost("b")
    assert registry.create_name(NameInfo("b")) is not first


@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_names_by_hash(setup: Setup, algorithm: HashAlgorithm) -> None:
    registry = setup.registry
    early = setup.name("early")
    assert registry.name_of_hash(hash_name("early", algorithm), algorithm) is early
    late = setup.name("late")
    assert registry.name_of_hash(hash_name("late", algorithm), algorithm) is late
    registry.destroy_name("early")
    with pytest.raises(UnknownName, match="no name for hash"):
        registry.name_of_hash(hash_name("early", algorithm), algorithm)
    with pytest.raises(UnknownName, match=r"no name for hash $"):
        registry.name_of_hash(b"", algorithm)


def test_destroying_a_name_takes_its_bindings(setup: Setup) -> None:
    process = setup.process()
    setup.name("n", process)
    setup.name("m", process)
    waiter = setup.wait(process)
    future: Any = Future()  # of a request that wants somebody to accept
    setup.registry.name("n").waiting.append(future)
    setup.registry.destroy_name("n")
    assert process.names == {"m"}
    assert future.woken == 1
    assert setup.registry.take(setup.registry.name("m")) is waiter


# ---------------------------------------------------------------- bindings of processes


def test_binding_a_process(setup: Setup) -> None:
    process, other = setup.process(), setup.process()
    name = setup.name("n", process)
    assert name.processes == {process}
    with pytest.raises(Exists, match=f'process {process.pid} is bound to "n" already'):
        setup.registry.bind_process(process, "n")
    setup.registry.bind_process(other, "n")
    setup.registry.unbind_process(process, "n")
    assert name.processes == {other}
    with pytest.raises(NotFound, match=f'process {process.pid} is not bound to "n"'):
        setup.registry.unbind_process(process, "n")
    with pytest.raises(UnknownName):
        setup.registry.bind_process(process, "unknown")


def test_unbinding_from_all_names(setup: Setup) -> None:
    process = setup.process()
    names = [setup.name(n, process) for n in "abc"]
    setup.wait(process)
    setup.registry.unbind_process(process)
    assert process.names == set()
    assert all(not n.processes and not n.queue for n in names)
    with pytest.raises(NotFound, match=f"process {process.pid} is not bound to any name"):
        setup.registry.unbind_process(process)  # the process is still there, and so is its accept call
    assert len(process.waiters) == 1


def test_binding_reaches_accept_calls_under_way(setup: Setup) -> None:
    process = setup.process()
    first, second = setup.wait(process), setup.wait(process)
    for balance, order in ((RR, [first, second]), (SPILL, [second, first])):
        name = setup.name(f"n{balance}", balance=balance)
        name.waiting.append(Future())
        (future,) = name.waiting
        setup.registry.bind_process(process, name.name)
        assert list(name.queue) == order
        assert future.woken == 1
        assert name.waiting == []


# ---------------------------------------------------------------- bindings of programs


def test_a_program_gives_its_names_to_processes_that_announce_later(setup: Setup) -> None:
    early = setup.process("oping")
    for name in ("a", "b", "c"):
        setup.name(name)
    for name in ("a", "b"):
        setup.registry.bind_program(name, Program("/usr/bin/oping", (), False, 0, True))
    late, other = setup.process("oping"), setup.process("operf")
    assert (early.names, late.names, other.names) == (set(), {"a", "b"}, set())
    setup.registry.unbind_program("oping", "a")
    assert late.names == {"a", "b"}  # running processes keep theirs
    assert setup.process("oping").names == {"b"}


@pytest.mark.parametrize("word", ["oping", "/usr/bin/oping"])
def test_unbinding_a_program_by_path_or_base_name(setup: Setup, word: str) -> None:
    for name in ("a", "b"):
        setup.name(name)
        setup.registry.bind_program(name, Program("/usr/bin/oping", ("-l",), True, 0))
        setup.registry.bind_program(name, Program("/usr/bin/operf", (), False, 0))
    setup.registry.unbind_program(word, "a")
    assert [[p.path for p in setup.registry.name(n).programs] for n in "ab"] == [
        ["/usr/bin/operf"], ["/usr/bin/oping", "/usr/bin/operf"],
    ]  # fmt: skip
    with pytest.raises(NotFound, match=f'program {word} is not bound to "a"'):
        setup.registry.unbind_program(word, "a")
    setup.registry.unbind_program(word)
    with pytest.raises(NotFound, match=f"program {word} is not bound to any name"):
        setup.registry.unbind_program(word)
    with pytest.raises(UnknownName):
        setup.registry.unbind_program(word, "unknown")


def test_binding_a_program_twice(setup: Setup) -> None:
    setup.name("n")
    setup.registry.bind_program("n", Program("/bin/a", (), False, 0))
    with pytest.raises(Exists, match='program /bin/a is bound to "n" already'):
        setup.registry.bind_program("n", Program("/bin/a", ("x",), True, 0))
    with pytest.raises(UnknownName):
        setup.registry.bind_program("unknown", Program("/bin/a", (), False, 0))
    for number in range(1, MAX_PROGRAMS_PER_NAME):
        setup.registry.bind_program("n", Program(f"/bin/a{number}", (), False, 0))
    with pytest.raises(OutOfMemory, match=f'{MAX_PROGRAMS_PER_NAME} programs are bound to "n" already'):
        setup.registry.bind_program("n", Program("/bin/b", (), False, 0))


@pytest.mark.parametrize(
    ("owner", "opened", "binder", "by_admin", "uid", "inherits"),
    [
        (0, False, 0, True, 0, True),  # all root's
        (1000, False, 1000, False, 1000, True),  # all one user's
        (1000, False, 0, True, 1000, True),  # an administrator's help for that user
        (0, True, 0, True, 1000, True),  # a name for everybody
        (0, True, 1000, False, 1000, True),
        (0, False, 0, True, 1000, False),  # somebody who calls his program like root's
        (1001, False, 0, True, 1000, False),
        (1000, False, 1000, False, 0, False),  # root's server is not made to serve a name of somebody else
        (1000, True, 1000, False, 1001, False),
        (1000, True, 1000, False, 0, False),
    ],
)
def test_who_inherits(
    setup: Setup, owner: int, opened: bool, binder: int, by_admin: bool, uid: int, inherits: bool
) -> None:
    """What a process announces is its own word: it must be one that could be bound, by somebody who could bind it."""
    setup.name("n", owner=owner, open=opened)
    setup.registry.bind_program("n", Program("/bin/server", (), False, binder, by_admin))
    assert setup.process("server", uid).names == ({"n"} if inherits else set())


def test_members_of_the_service_group_are_administrators(setup: Setup) -> None:
    setup.name("n")
    setup.registry.bind_program("n", Program("/bin/server", (), False, 1000, True))
    assert setup.process("server", 1001, ROOT).names == {"n"}


# ---------------------------------------------------------------- processes


def test_processes(setup: Setup) -> None:
    process = setup.process()
    assert setup.registry.process(process.pid) is process
    again = Process(ClientRef(99, ROOT), process.pid, 0, "app")
    setup.registry.add_process(again)  # the number was given to another one
    assert setup.registry.process(process.pid) is again
    setup.registry.remove_process(process)
    assert setup.registry.process(process.pid) is again
    setup.registry.remove_process(again)
    with pytest.raises(NotFound, match=f"process {process.pid} did not announce here"):
        setup.registry.process(process.pid)


def test_a_process_that_is_gone_is_nowhere(setup: Setup) -> None:
    process, other = setup.process(), setup.process()
    names = [setup.name(n, process, other) for n in "ab"]
    setup.wait(process)
    setup.wait(process)
    kept = setup.wait(other)
    flow = setup.registry.create_flow(process, "n", RAW, None)
    with pytest.raises(InvalidArgument, match=f"process {process.pid} has flows: .1."):
        setup.registry.remove_process(process)
    setup.registry.disown(flow)
    setup.registry.remove_process(process)
    assert all(n.processes == {other} and list(n.queue) == [kept] for n in names)
    setup.registry.remove_flow(flow)
    assert setup.registry.flows == {}


def test_nothing_begins_for_a_process_that_is_gone(setup: Setup) -> None:
    """Nobody would ever end it."""
    process = setup.process()
    setup.registry.remove_process(process)
    with pytest.raises(InvalidArgument, match=r"process 1001 \(app\) is not here, or not any more"):
        setup.registry.create_flow(process, "n", RAW, None)
    with pytest.raises(InvalidArgument, match="not any more"):
        setup.wait(process)
    assert not setup.registry.flows


# ---------------------------------------------------------------- whose turn it is


@pytest.mark.parametrize(("balance", "first", "second"), [(RR, "A", "B"), (SPILL, "C", "C")])
def test_load_balance(setup: Setup, balance: LoadBalance, first: str, second: str) -> None:
    """The prototype's own case: A, B, B and C accept; the one that got a flow accepts again."""
    processes = {letter: setup.process(letter) for letter in "ABC"}
    name = setup.name("n", *processes.values(), balance=balance)
    for letter in "ABBC":
        setup.wait(processes[letter])
    assert len(name.queue) == 4
    taken = setup.registry.take(name)
    assert taken is not None
    assert taken.process.program == first
    assert len(name.queue) == 3
    setup.wait(taken.process)
    again = setup.registry.take(name)
    assert again is not None
    assert again.process.program == second


def test_round_robin_goes_round(setup: Setup) -> None:
    processes = [setup.process(letter) for letter in "ABC"]
    name = setup.name("n", *processes, balance=RR)
    for process in processes:
        setup.wait(process)
    served = ""
    for _ in range(7):
        taken = setup.registry.take(name)
        assert taken is not None
        served += taken.process.program
        setup.wait(taken.process)
    assert served == "ABCABCA"


def test_spillover_goes_on_when_one_is_busy(setup: Setup) -> None:
    processes = [setup.process(letter) for letter in "ABC"]
    name = setup.name("n", *processes, balance=SPILL)
    for process in processes:
        setup.wait(process)
    served = ""
    while (taken := setup.registry.take(name)) is not None:
        served += taken.process.program
    assert served == "CBA"
    assert setup.registry.take(name) is None


def test_an_accept_call_that_is_taken_is_out_of_all_queues(setup: Setup) -> None:
    """Two requests for two names of one process never get the same accept call."""
    process = setup.process()
    a, b = setup.name("a", process), setup.name("b", process)
    waiter = setup.wait(process)
    assert setup.registry.take(a) is waiter
    assert setup.registry.take(b) is None
    assert not process.waiters
    setup.registry.withdraw(waiter)  # the call ends: no error


def test_an_accept_call_wakes_requests_of_all_its_names(setup: Setup) -> None:
    process = setup.process()
    names = [setup.name(n, process) for n in "ab"]
    futures = []
    for name in names:
        name.waiting += [Future(), Future()]
        futures += name.waiting
    futures[0].set_result(None)  # timed out already
    waiter = setup.wait(process)
    assert [f.woken for f in futures] == [1, 1, 1, 1]
    assert all(n.waiting == [] for n in names)
    setup.registry.withdraw(waiter)
    assert all(not n.queue for n in names)


# ---------------------------------------------------------------- IPCPs


def test_ipcps(setup: Setup) -> None:
    made = [setup.ipcp(word, name) for word, name in (("udp4", "u"), ("local", "l"), ("eth-dix", "e"), ("local", "l2"))]
    assert [i.name for i in setup.registry.sorted_ipcps()] == ["l", "l2", "e", "u"]
    ipcp = made[0]
    assert setup.registry.ipcp(ipcp.id) is ipcp
    assert ipcp.info.state is IpcpState.INIT
    assert ipcp.info.layer_name == "Not enrolled."
    ipcp.layer, ipcp.state = LayerInfo("net", HashAlgorithm.MD5), IpcpState.OPERATIONAL
    assert (ipcp.info.layer_name, ipcp.info.pid) == ("net", ipcp.process.pid)
    assert ipcp.process.ipcp is ipcp
    assert ipcp.process.privileged
    setup.registry.remove_ipcp(ipcp)
    assert ipcp.state is IpcpState.NULL
    with pytest.raises(NotFound, match=f"there is no IPCP with id {ipcp.id}; see: ouro ipcp list"):
        setup.registry.ipcp(ipcp.id)


def test_ipcps_are_no_applications(setup: Setup) -> None:
    """They have names like one, but are not found by the number of the process, which may be that of the IRM."""
    ipcp = setup.ipcp(name="server")
    with pytest.raises(NotFound):
        setup.registry.process(ipcp.process.pid)
    name = setup.name("n", ipcp.process)
    waiter = setup.wait(ipcp.process)
    assert setup.registry.take(name) is waiter
    setup.registry.bind_program("n", Program("/bin/server", (), False, 0, True))
    assert setup.ipcp(name="server").process.names == set()
    setup.registry.remove_ipcp(ipcp)
    assert name.processes == set()


# ---------------------------------------------------------------- flows


def test_flow_ids_are_the_lowest_free_ones(setup: Setup) -> None:
    process = setup.process()
    flows = [setup.registry.create_flow(process, "n", RAW, None) for _ in range(5)]
    assert [f.id for f in flows] == [1, 2, 3, 4, 5]
    for number in (4, 2):
        setup.registry.remove_flow(flows[number - 1])
        setup.registry.remove_flow(flows[number - 1])  # idempotent: the id is not free twice
    assert [f.id for f in setup.registry] == [1, 3, 5]
    assert [setup.registry.create_flow(process, "n", RAW, None).id for _ in range(3)] == [2, 4, 6]


def test_all_ids_taken() -> None:
    setup = Setup(max_flows=4)
    process = setup.process()
    flows = [setup.registry.create_flow(process, "n", RAW, None) for _ in range(3)]
    with pytest.raises(OutOfMemory, match="all 3 flow ids are in use"):
        setup.registry.create_flow(process, "n", RAW, None)
    setup.registry.remove_flow(flows[1])
    assert setup.registry.create_flow(process, "n", RAW, None).id == 2
    setup.registry.check()


def test_a_users_share_of_flows(setup: Setup) -> None:
    user, same, root = setup.process(uid=1000), setup.process(uid=1000), setup.process()
    flows = [setup.registry.create_flow((user, same)[n % 2], "n", RAW, None) for n in range(MAX_FLOWS_PER_USER)]
    for process in (user, same):
        with pytest.raises(OutOfMemory, match=f"user 1000 has {MAX_FLOWS_PER_USER} flows already"):
            setup.registry.create_flow(process, "n", RAW, None)
    assert setup.registry.create_flow(root, "n", RAW, None)
    assert setup.registry.create_flow(setup.process(uid=1001), "n", RAW, None)
    setup.registry.disown(flows[0])
    with pytest.raises(OutOfMemory):  # the layer still has it
        setup.registry.create_flow(user, "n", RAW, None)
    setup.registry.remove_flow(flows[0])
    assert setup.registry.create_flow(user, "n", RAW, None).id == 1


def test_life_of_a_flow(setup: Setup) -> None:
    process, other, ipcp = setup.process(), setup.process(), setup.ipcp()
    flow = setup.registry.create_flow(process, "n", DATA, ipcp)
    states = [flow.state]
    assert setup.registry.flow(process, flow.id) is flow
    assert ipcp.flows == {flow}
    for who, number in ((other, flow.id), (process, 99), (process, 0), (process, -1)):
        with pytest.raises(NotAllocated, match=f"process {who.pid} has no flow {number}"):
            setup.registry.flow(who, number)
    setup.registry.disown(flow)
    with pytest.raises(NotAllocated):
        setup.registry.flow(process, flow.id)
    states.append(flow.state)
    assert setup.registry.create_flow(process, "n", RAW, None).id == 2  # the layer is not done with the first
    setup.registry.remove_flow(flow)
    states.append(flow.state)
    assert states == [FlowState.ALLOC_PENDING, FlowState.DEALLOC_PENDING, FlowState.DEALLOCATED]
    assert ipcp.flows == set()
    assert setup.registry.create_flow(process, "n", RAW, None).id == 1


def test_flows_outlive_their_ipcp(setup: Setup) -> None:
    process, ipcp = setup.process(), setup.ipcp()
    flow = setup.registry.create_flow(process, "n", RAW, ipcp)
    setup.registry.remove_ipcp(ipcp)
    assert setup.registry.flow(process, flow.id) is flow
    assert flow.info.provider == ipcp.id
    setup.registry.disown(flow)
    setup.registry.remove_flow(flow)


def test_both_ends_of_a_local_flow(setup: Setup) -> None:
    server, client = setup.process(), setup.process(uid=1000)
    accepted = setup.registry.create_flow(server, "n", RAW, None)
    requested = setup.registry.create_flow(client, "n", RAW, None)
    accepted.peer, requested.peer = requested, accepted
    assert (accepted.info.peer_pid, requested.info.peer_pid) == (client.pid, server.pid)
    assert (accepted.info.uid, requested.info.uid) == (0, 1000)
    setup.registry.remove_flow(requested)
    assert accepted.peer is None
    assert accepted.info.peer_pid == 0


def test_a_flow_in_a_listing(setup: Setup) -> None:
    process, ipcp = setup.process(uid=1000), setup.ipcp()
    flow = setup.registry.create_flow(process, "n", DATA, ipcp)
    flow.mpl = 60
    info = flow.info
    assert (info.id, info.pid, info.peer_pid, info.provider) == (1, process.pid, ipcp.process.pid, ipcp.id)
    assert (info.state, info.name, info.qos, info.mpl, info.uid) == (FlowState.ALLOC_PENDING, "n", DATA, 60, 1000)
    assert evolve(info, id=1) == info


def test_a_segment_goes_with_its_last_user() -> None:
    destroyed = []

    class Broken:
        def destroy(self) -> None:
            destroyed.append(1)

    segment = Segment(Broken(), 2)  # type: ignore[arg-type]
    segment.release()
    assert destroyed == []
    segment.release()
    assert destroyed == [1]

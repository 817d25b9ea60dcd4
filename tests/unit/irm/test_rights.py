"""Who may do what: sessions of root, the service user, a member of group `ouroboros`, and two ordinary users."""

import asyncio
import grp
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ouro_core.irm.settings import MAX_ARGUMENTS, MAX_NAMES_PER_USER
from ouro_core.model import irm_requests as r
from ouro_core.model.errors import (
    Exists,
    FlowTimeout,
    InvalidArgument,
    NotFound,
    NotPermitted,
    NotSupported,
    OuroError,
    OutOfMemory,
    UnknownName,
)
from ouro_core.model.flow import Grant
from ouro_core.model.ipcp_requests import IpcpFlowJoin, IpcpShutdown
from ouro_core.model.layer import LayerInfo
from ouro_core.model.names import LoadBalance, NameInfo
from ouro_core.model.qos import RAW
from ouro_core.model.zygote_requests import ChildEnded, ZygoteSpawn

ROOT, SERVICE, ALICE, BOB, MEMBER = 0, 990, 1000, 1001, 1002
ADMINISTRATORS = [ROOT, SERVICE, MEMBER]
PROGRAM = "/bin/sh"

ADMINISTRATION = [
    r.CreateIpcp("local", "i"),
    r.DestroyIpcp(1),
    r.BootstrapIpcp(1, LayerInfo("l")),
    r.EnrollIpcp(1, "dst"),
    r.ConnectIpcp(1, "dst", "Management"),
    r.DisconnectIpcp(1, "dst", "Management"),
    r.AskIpcp(1, "directory", ("lookup", "n")),
    r.BindIpcp(1, "n"),
    r.UnbindIpcp(1, "n"),
    r.RegName("n", 1),
    r.UnregName("n", 1),
    r.ProbeName("n"),
    r.RibList(),
    r.RibRead(),
    r.ListFlows(),
    r.SetDebug(("irmd",)),
    r.UnbindProgram(PROGRAM),
    r.CreateName(NameInfo("n", server_key="/etc/shadow")),
    r.CreateName(NameInfo("n", client_enc="/etc/shadow")),
]


@pytest.mark.parametrize("request_", ADMINISTRATION, ids=lambda q: type(q).__name__)
async def test_administration_is_for_administrators(host: Any, request_: Any) -> None:
    for app in (host.alice, await host.bob.announce()):
        with pytest.raises(NotPermitted, match="this needs root, the user of the IRMd, or membership in group ouro"):
            await app.call(request_)
    assert host.registry.names == {}
    assert host.registry.ipcps == {}
    for uid in ADMINISTRATORS:
        try:
            await host.app(uid).call(request_)
        except NotPermitted as e:
            pytest.fail(f"refused for user {uid}: {e}")
        except OuroError:
            pass  # there is no IPCP with that id, and no such program


@pytest.mark.parametrize("uid", [*ADMINISTRATORS, ALICE])
async def test_domains(host: Any, uid: int) -> None:
    """Administrators share the one pool, everybody else has his own."""
    app = await host.app(uid).announce()
    process = host.registry.process(app.pid)
    assert process.ref.domain.uid == (0 if uid in ADMINISTRATORS else uid)
    assert process.uid == uid


async def test_without_the_group_nobody_is_in_it(make_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(grp, "getgrnam", nothing)
    host = make_host()
    with pytest.raises(NotPermitted):
        await host.app(MEMBER).call(r.ListFlows())


async def test_everybody_may_look_at_ipcps_and_names(host: Any) -> None:
    await host.root.call(r.CreateName(NameInfo("n")))
    assert [n.name for n in (await host.alice.call(r.ListNames())).names] == ["n"]
    assert (await host.alice.call(r.ListIpcps())).ipcps == ()


@pytest.mark.parametrize(
    "request_",
    [
        r.FlowArrived(b"", RAW, 0, b""),
        r.FlowClosed(1),
        IpcpShutdown(),
        ChildEnded(1, 0),
        ZygoteSpawn("local", "i", 1, "heap", Grant(b""), Grant(b"")),
    ],
    ids=lambda q: type(q).__name__,
)
async def test_what_is_not_for_applications(host: Any, request_: Any) -> None:
    for app in (host.root, host.alice):
        with pytest.raises(NotPermitted, match=f"{type(request_).__name__} is not for applications"):
            await app.call(request_)


async def test_descriptors_of_what_is_not_for_applications(host: Any) -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with pytest.raises(NotPermitted):
            await host.alice.call(IpcpFlowJoin(1, b"", Grant(b"", (fd, fd))))
    assert sorted(os.listdir("/proc/self/fd")) == before
    os.close(fd)


# ---------------------------------------------------------------- announcing


@pytest.mark.parametrize(
    "request_",
    [r.FlowAlloc("n"), r.FlowAccept(), r.FlowJoin("l"), r.FlowDealloc(1)],
    ids=lambda q: type(q).__name__,
)
async def test_flows_are_for_processes_that_announced(host: Any, request_: Any) -> None:
    app = host.alice
    with pytest.raises(InvalidArgument, match=f"process {app.pid} must announce first"):
        await app.call(request_)


@pytest.mark.parametrize("program", ["", "x" * 256, "a\nb"])
async def test_programs_that_cannot_be(host: Any, program: str) -> None:
    with pytest.raises(InvalidArgument, match="program"):
        await host.alice.call(r.Announce(program))
    assert host.irm.status().processes == 0


async def test_announcements_of_another_version(host: Any) -> None:
    with pytest.raises(NotSupported, match=r"speaks version 1\.0, the application 2\.7; update the older one"):
        await host.alice.call(r.Announce("app", (2, 7)))
    assert host.irm.status().processes == 0
    await host.alice.call(r.Announce("app", (1, 99)))


async def test_a_process_from_another_pid_namespace(host: Any) -> None:
    app = host.alice
    app.session._credentials = type(app.session._credentials)(0, ALICE, ALICE, frozenset({ALICE}))
    with pytest.raises(NotPermitted, match="pid namespace"):
        await app.call(r.Announce("app"))


async def test_announcing_again_ends_what_was(host: Any) -> None:
    server = await host.alice.announce("server")
    await server.call(r.BindProcess(server.pid, "n"))
    waiting = server.accept()
    await asyncio.sleep(0)
    again = host.app(ALICE, server.pid)
    await again.announce("server")
    with pytest.raises((OuroError, asyncio.CancelledError)):
        await waiting
    assert host.irm.status().processes == 1
    assert host.registry.process(server.pid).names == set()
    # the first connection speaks for the process as it is now
    with pytest.raises(FlowTimeout):
        await server.call(r.FlowAccept(0.01))


async def test_all_connections_of_a_process_are_one(host: Any) -> None:
    first = await host.alice.announce()
    second = host.app(ALICE, first.pid)
    await second.call(r.BindProcess(first.pid, "n"))
    flow = second.accept()
    allocated = await host.root.announce()
    made = await allocated.alloc("n")
    accepted = await flow
    await first.dealloc(accepted.flow_id)
    await allocated.dealloc(made.flow_id)


async def test_a_number_that_is_another_users_by_now(host: Any) -> None:
    """The process died, its number went to a process of somebody else, and the news of the death are still to come."""
    alices = await host.alice.announce()
    await alices.call(r.BindProcess(alices.pid, "n"))
    bob = host.app(BOB, alices.pid)
    for request_ in (r.FlowAccept(0.0), r.FlowDealloc(1), r.FlowAlloc("n")):
        with pytest.raises(InvalidArgument, match="must announce first"):
            await bob.call(request_)


# ---------------------------------------------------------------- names


async def test_names_belong_to_who_created_them(host: Any) -> None:
    await host.alice.call(r.CreateName(NameInfo("hers", LoadBalance.ROUND_ROBIN, owner=ROOT)))
    info = host.registry.name("hers").info
    assert (info.owner, info.balance) == (ALICE, LoadBalance.ROUND_ROBIN)
    app = await host.alice.announce()
    others = await host.bob.announce()
    for request_ in (
        r.DestroyName("hers"),
        r.BindProgram(PROGRAM, "hers"),
        r.UnbindProgram(PROGRAM, "hers"),
        r.BindProcess(others.pid, "hers"),
    ):
        with pytest.raises(NotPermitted, match=f'name "hers" belongs to user {ALICE}') as caught:
            await others.call(request_)
        assert ("marked open" in str(caught.value)) == isinstance(request_, r.BindProcess)  # else it would not help
    await app.call(r.BindProcess(app.pid, "hers"))
    await app.call(r.DestroyName("hers"))
    assert host.registry.names == {}


@pytest.mark.parametrize("uid", ADMINISTRATORS)
async def test_administrators_may_change_every_name(host: Any, uid: int) -> None:
    await host.alice.call(r.CreateName(NameInfo("hers")))
    admin = await host.app(uid).announce()
    await admin.call(r.BindProcess(admin.pid, "hers"))
    await admin.call(r.BindProgram(PROGRAM, "hers"))
    await admin.call(r.UnbindProgram(PROGRAM, "hers"))
    await admin.call(r.DestroyName("hers"))


async def test_a_name_that_exists_stays_as_it_is(host: Any) -> None:
    await host.root.call(r.CreateName(NameInfo("n", LoadBalance.ROUND_ROBIN)))
    await host.alice.call(r.CreateName(NameInfo("n")))
    with pytest.raises(Exists):
        await host.alice.call(r.CreateName(NameInfo("n", open=True)))
    info = host.registry.name("n").info
    assert (info.owner, info.open, info.balance) == (ROOT, False, LoadBalance.ROUND_ROBIN)


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b", "\udcff"])
async def test_names_that_cannot_be(host: Any, name: str) -> None:
    app = await host.root.announce()
    for request_ in (
        r.CreateName(NameInfo(name)),
        r.BindProgram(PROGRAM, name),
        r.BindProcess(app.pid, name),
        r.FlowAlloc(name),
        r.FlowJoin(name),
        r.CreateIpcp("local", name),
        r.UnregName(name, 1),
    ):
        with pytest.raises(InvalidArgument):
            await app.call(request_)
    assert host.registry.names == {}


async def test_a_users_share_of_names(host: Any) -> None:
    app = await host.alice.announce()
    for number in range(MAX_NAMES_PER_USER):
        await app.call(r.CreateName(NameInfo(f"n{number}")))
    for request_ in (
        r.CreateName(NameInfo("more")),
        r.BindProcess(app.pid, "more"),
        r.BindProgram(PROGRAM, "more"),
    ):
        with pytest.raises(OutOfMemory, match=f"user {ALICE} has {MAX_NAMES_PER_USER} names already"):
            await app.call(request_)
    assert "more" not in host.registry.names
    await app.call(r.CreateName(NameInfo("n5")))  # exists
    await host.bob.call(r.CreateName(NameInfo("bobs")))
    await host.root.call(r.CreateName(NameInfo("roots")))
    await app.call(r.DestroyName("n5"))
    await app.call(r.CreateName(NameInfo("more")))


async def test_paths_of_security_files(host: Any) -> None:
    await host.root.call(r.CreateName(NameInfo("n", server_key="/etc/ouro/key.pem")))
    assert host.registry.name("n").info.server_key == "/etc/ouro/key.pem"
    with pytest.raises(InvalidArgument, match="longer than 511 bytes"):
        await host.root.call(r.CreateName(NameInfo("m", server_crt="/" + "x" * 511)))


# ---------------------------------------------------------------- processes


async def test_own_processes_only(host: Any) -> None:
    alice, bob = await host.alice.announce(), await host.bob.announce()
    with pytest.raises(NotPermitted, match=f"process {alice.pid} belongs to user {ALICE}"):
        await bob.call(r.BindProcess(alice.pid, "n"))
    await bob.call(r.BindProcess(bob.pid, "n"))
    assert host.registry.name("n").info.owner == BOB
    with pytest.raises(NotPermitted, match=f'name "n" belongs to user {BOB}'):
        await alice.call(r.BindProcess(alice.pid, "n"))
    with pytest.raises(NotPermitted, match=f"process {bob.pid} belongs to user {BOB}"):
        await alice.call(r.UnbindProcess(bob.pid, "n"))
    await host.root.call(r.BindProcess(alice.pid, "n"))  # an administrator may
    assert host.registry.process(alice.pid).names == {"n"}
    await alice.call(r.UnbindProcess(alice.pid))
    await host.root.call(r.UnbindProcess(bob.pid, "n"))
    assert host.registry.name("n").processes == set()


async def test_a_process_may_be_bound_by_another_one_of_its_user(host: Any) -> None:
    server = await host.alice.announce()
    await host.alice.call(r.BindProcess(server.pid, "n"))  # from a shell that did not announce
    assert host.registry.process(server.pid).names == {"n"}


async def test_open_names(host: Any) -> None:
    await host.root.call(r.CreateName(NameInfo("n", open=True)))
    alice, bob = await host.alice.announce("sh"), await host.bob.announce("sh")
    for app in (alice, bob):
        await app.call(r.BindProcess(app.pid, "n"))
    assert len(host.registry.name("n").processes) == 2
    for request_ in (r.DestroyName("n"), r.BindProgram(PROGRAM, "n"), r.UnbindProgram(PROGRAM, "n")):
        with pytest.raises(NotPermitted):
            await alice.call(request_)
    with pytest.raises(NotPermitted):
        await alice.call(r.UnbindProcess(bob.pid, "n"))
    await alice.call(r.UnbindProcess(alice.pid, "n"))


async def test_processes_that_did_not_announce(host: Any) -> None:
    for request_ in (r.BindProcess(2**22 + 99999, "n"), r.UnbindProcess(2**22 + 99999), r.BindProcess(-1, "n")):
        with pytest.raises(NotFound, match="did not announce here"):
            await host.root.call(request_)
    assert host.registry.names == {}


async def test_binding_waits_for_an_announcement(host: Any) -> None:
    """The process is alive, so it may be about to."""
    bound = asyncio.ensure_future(host.root.call(r.BindProcess(os.getpid(), "n")))
    await asyncio.sleep(0.05)
    assert not bound.done()
    await host.app(ROOT, os.getpid()).announce()
    await bound
    assert host.registry.process(os.getpid()).names == {"n"}


async def test_so_many_wait_for_an_announcement_and_nobody_for_that_of_another_user(host: Any) -> None:
    waiting = [asyncio.ensure_future(host.root.call(r.BindProcess(os.getpid(), f"n{i}"))) for i in range(70)]
    await asyncio.sleep(0.05)
    refused = [task for task in waiting if task.done()]
    assert len(refused) == 6
    for task in refused:
        with pytest.raises(OutOfMemory, match=f"64 requests wait for process {os.getpid()}"):
            await task
    async with asyncio.timeout(2):
        with pytest.raises(NotFound):
            await host.app(os.getuid() + 4711).call(r.BindProcess(os.getpid(), "n"))
    await host.app(ROOT, os.getpid()).announce()
    for task in waiting:
        if task not in refused:
            await task
    assert len(host.registry.process(os.getpid()).names) == 64
    assert not host.irm._announcing


async def test_unknown_bindings(host: Any) -> None:
    app = await host.root.announce()
    await app.call(r.BindProcess(app.pid, "n"))
    for request_, error in (
        (r.BindProcess(app.pid, "n"), Exists),
        (r.UnbindProcess(app.pid, "unknown"), NotFound),
        (r.UnbindProgram(PROGRAM, "n"), NotFound),
        (r.UnbindProgram(PROGRAM), NotFound),
        (r.UnbindProgram(PROGRAM, "unknown"), UnknownName),
        (r.DestroyName("unknown"), UnknownName),
    ):
        with pytest.raises(error):
            await app.call(request_)
    assert set(host.registry.names) == {"n"}


# ---------------------------------------------------------------- programs


async def test_programs_of_processes(host: Any) -> None:
    """What a process calls itself gives it nothing that could not be given to it."""
    await host.root.call(r.BindProgram(PROGRAM, "roots"))
    await host.app(SERVICE).call(r.BindProgram(PROGRAM, "services", ("-c", "true"), True))
    names = {}
    for uid in (ROOT, SERVICE, MEMBER, ALICE):
        app = await host.app(uid).announce("sh")
        names[uid] = host.registry.process(app.pid).names
    assert names == {uid: {"roots", "services"} for uid in ADMINISTRATORS} | {ALICE: set()}


@pytest.mark.parametrize("uid", [ROOT, ALICE])
async def test_an_irmd_that_is_not_root_starts_nothing_as_somebody_else(host: Any, uid: int) -> None:
    with pytest.raises(NotPermitted, match=f"runs as user {SERVICE} and cannot start programs as user {uid}"):
        await host.app(uid).call(r.BindProgram(PROGRAM, "n", (), True))
    await host.app(uid).call(r.BindProgram(PROGRAM, "n"))  # only to give processes the name


@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("sh", "is no absolute path"),
        ("/nothing/here", "does not exist"),
        ("/" + "x" * 5000, "does not exist"),
        ("/bin/sh\0", "does not exist"),
        ("/etc", "does not exist"),
        ("/etc/passwd", "Cannot execute /etc/passwd, please check permissions"),
    ],
)
async def test_programs_that_cannot_be_started(host: Any, path: str, message: str, auto: bool) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await host.app(SERVICE).call(r.BindProgram(path, "n", (), auto))
    assert host.registry.names == {}


@pytest.mark.parametrize("path", ["/etc/shadow", "/nothing/here"])
async def test_nobody_learns_from_us_what_files_there_are(host: Any, path: str) -> None:
    await host.alice.call(r.BindProgram(path, "n"))


async def test_arguments_that_cannot_be(host: Any) -> None:
    for words in (("a\0b",), ("x" * MAX_ARGUMENTS,), ("x" * 1000,) * 66):
        with pytest.raises(InvalidArgument, match=f"has a NUL, or more than {MAX_ARGUMENTS} bytes"):
            await host.app(SERVICE).call(r.BindProgram(PROGRAM, "n", words, True))
    with pytest.raises(InvalidArgument, match="has a NUL"):
        await host.alice.call(r.BindProgram("/bin/sh\0", "n"))
    assert host.registry.names == {}


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory in which everybody may write; those of pytest are for their owner."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)


async def _started(host: Any, uid: int, directory: Path) -> tuple[int, str]:
    """Who a program bound by this user runs as, and its environment."""
    told = directory / "told"
    await host.app(uid).call(r.BindProgram(PROGRAM, "n", ("-c", f"env > {told}.part; mv {told}.part {told}"), True))
    client = await host.root.announce()
    with pytest.raises(FlowTimeout, match=f'{PROGRAM}, started for "n", ended with status 0 before it accepted'):
        await client.alloc("n")
    assert host.irm.status().programs_started == 1
    async with asyncio.timeout(20):
        while not told.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return told.stat().st_uid, told.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start programs as somebody else")
async def test_programs_run_as_whoever_bound_them(
    make_host: Any, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    nobody = pwd.getpwnam("nobody")
    who, environment = await _started(make_host(), nobody.pw_uid, public)
    assert who == nobody.pw_uid
    assert f"HOME={nobody.pw_dir}" in environment


async def test_programs_run_as_the_irmds_own_user(
    make_host: Any, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert (await _started(make_host(), os.geteuid(), public))[0] == os.geteuid()

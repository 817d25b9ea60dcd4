"""IPCPs in processes of their own: real zygotes, real forks, real signals."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ouro_core.ipcp.launcher import IpcpHandle, IpcpStart
from ouro_core.ipcp.spawner import ZygoteLauncher
from ouro_core.ipcp.zygote import Zygote, _Child
from ouro_core.model.errors import ConfigError, InvalidArgument, IpcpError, IpcpTypeError, OuroError
from ouro_core.model.flow import Grant
from ouro_core.model.ipcp_requests import IpcpBootstrap, IpcpQuery, IpcpReg, IpcpUnreg
from ouro_core.model.irm_requests import RibRead
from ouro_core.model.layer import LayerInfo
from ouro_core.model.zygote_requests import ZygoteSpawn
from ouro_core.plugins import PluginHost
from ouro_core.rpc.fds import send
from ouro_core.wire.control import MAX_FRAME, Frame, Kind, encode, frame_bytes

WAIT = 30
LAYER = LayerInfo("layer")
HASH = bytes(32)

PLUGIN = """
import asyncio, os, sys, threading
from ouro_core.contracts.ipcp import Ipcp
from ouro_core.contracts.packets import PacketClient, PacketSystem
from ouro_core.hookspecs import hookimpl
from ouro_core.model.errors import ConfigError
from ouro_core.rpc.fds import close_fds

if os.environ.get("TEST_THREAD"):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
if os.environ.get("TEST_EXIT") and "zygote" in " ".join(sys.orig_argv):
    os._exit(9)

def refuse(*_):
    raise ConfigError("hollow carries no packets")

class Client(PacketClient):
    attach = pair = event_set = pump = forwarder = relay = refuse
    def counters(self): return {}
    def close(self): pass

class Hollow(PacketSystem):
    name = "hollow"
    usable = classmethod(lambda cls: None)
    broker = classmethod(refuse)
    @classmethod
    def client(cls, data, fds):
        close_fds(fds)
        return Client()

class Plain(Ipcp):
    name = "plain"
    async def bootstrap(self, layer, config): return layer
    async def reg(self, hash): self.known = hash
    async def query(self, hash): return True
    async def stop(self): pass

class Raises(Plain):
    name = "raises"
    def __init__(self, context): raise ConfigError("no such device")

class Breaks(Plain):
    name = "breaks"
    def __init__(self, context): raise KeyError("mistake")

class Exits(Plain):
    name = "exits"
    def __init__(self, context): sys.exit(4)

class Dies(Plain):
    name = "dies"
    def __init__(self, context): os._exit(5)

class Fails(Plain):
    name = "fails"
    async def reg(self, hash): self.ctx.spawn(self.task(), "reader")
    async def unreg(self, hash): os._exit(6)
    async def task(self): raise OSError("socket is gone")

class Stuck(Plain):
    name = "stuck"
    async def query(self, hash):
        while True: pass
    async def stop(self): await asyncio.Event().wait()

@hookimpl
def ouro_register_ipcp_types(): return [Plain, Raises, Breaks, Exits, Dies, Fails, Stuck]

@hookimpl
def ouro_register_pool_allocators(): return [Hollow]
"""


class Nobody:
    """An IRM that has no answers."""

    def call(self, request: Any) -> Any:
        raise ConfigError(f"{request}")


class Daemon:
    """A launcher and what it told about ends."""

    def __init__(self, launcher: ZygoteLauncher) -> None:
        self.launcher = launcher
        self.ends: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        self._ids = iter(range(1, 1000))

    async def launch(self, type_name: str = "plain") -> IpcpHandle:
        number = next(self._ids)
        start = IpcpStart(number, type_name, f"ipcp{number}", "hollow", Grant(b"grant"))
        return await self.launcher.launch(start, Nobody(), lambda reason: self.ends.put_nowait((number, reason)))

    async def end(self) -> str:
        return (await asyncio.wait_for(self.ends.get(), WAIT))[1]

    @property
    def zygote(self) -> Any:
        return self.launcher._zygote


def install(site: Path) -> dict[str, str]:
    """The plugin as a distribution; the environment that finds it and nothing else."""
    info = site / "ouro_test-1.dist-info"
    info.mkdir(parents=True)
    (site / "ouro_test_ipcps.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ouro-test\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ouro]\nouro-test = ouro_test_ipcps\n")
    return {**os.environ, "PYTHONPATH": str(site), "OURO_PLUGINS": "ouro-test"}


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "ouro_test_ipcps", raising=False)
    return install(site)


Start = Callable[..., Awaitable[Daemon]]


@pytest.fixture
async def start(environ: dict[str, str]) -> AsyncIterator[Start]:
    made: list[ZygoteLauncher] = []
    plugins = PluginHost(select=("ouro-test",))

    async def start(**more: str) -> Daemon:
        plugins.load()
        made.append(ZygoteLauncher(plugins, environ={**environ, **more}))
        return Daemon(made[-1])

    yield start
    for launcher in made:
        await launcher.close()


@pytest.fixture
async def daemon(start: Start) -> Daemon:
    return await start()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return state(pid) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def program(*arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, *arguments], **options)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def spare(zygote: int) -> int:
    """The child that waits to be used; there is one before long."""
    async with asyncio.timeout(WAIT):
        while True:
            for pid in children(zygote):
                with contextlib.suppress(OSError):
                    if comm(pid) == "ouro-spare" and alive(pid):
                        return pid
            await asyncio.sleep(0.01)


async def open_files(zygote: int) -> tuple[int, int]:
    """How many we have, and a zygote that has its spare child and rests."""
    await spare(zygote)
    async with asyncio.timeout(WAIT):
        while state(zygote) != "S":  # noqa: ASYNC110 another process
            await asyncio.sleep(0.05)
    return len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{zygote}/fd"))


async def gone(*pids: int) -> None:
    async with asyncio.timeout(WAIT):
        while any(map(alive, pids)):  # noqa: ASYNC110 other people's children
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------- life


async def test_launch_call_stop(daemon: Daemon) -> None:
    handle = await daemon.launch()
    assert handle.pid in children(daemon.zygote.process.pid)
    assert comm(handle.pid) == "ipcpd-plain"
    assert await handle.call(IpcpBootstrap(LAYER)) == LAYER
    assert (await handle.call(IpcpQuery(HASH))).found
    await handle.stop(WAIT)
    assert await daemon.end() == "it was shut down"
    assert not alive(handle.pid)
    with pytest.raises(IpcpError, match="ipcp1 is gone"):
        await handle.call(IpcpQuery(HASH))
    await handle.stop(WAIT)
    handle.kill()
    assert daemon.ends.empty()


async def test_it_holds_nothing_of_the_zygote(daemon: Daemon) -> None:
    handles = [await daemon.launch() for _ in range(3)]
    sockets = [
        {os.readlink(f"/proc/{h.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{h.pid}/fd") if int(fd) > 2}
        for h in handles
    ]
    zygote = daemon.zygote.process.pid
    own = {os.readlink(f"/proc/{zygote}/fd/{fd}") for fd in os.listdir(f"/proc/{zygote}/fd") if int(fd) > 2}
    named = [{link for link in links if ":[" in link and "anon" not in link} for links in sockets]
    assert all(not (links & own) for links in named)
    assert not (named[0] & named[1] | named[0] & named[2] | named[1] & named[2])


async def test_many_at_once(daemon: Daemon) -> None:
    handles = await asyncio.gather(*(daemon.launch() for _ in range(20)))
    assert len({h.pid for h in handles}) == 20
    await asyncio.gather(*(h.call(IpcpBootstrap(LAYER)) for h in handles))
    await daemon.launcher.close()
    assert daemon.ends.qsize() == 20
    assert not any(alive(h.pid) for h in handles)


async def test_fifty_leave_nothing_behind(daemon: Daemon) -> None:
    await (await daemon.launch()).stop(WAIT)
    zygote = daemon.zygote.process.pid
    before = await open_files(zygote)
    for i in range(50):
        if i % 10 == 9:
            with pytest.raises(IpcpError):
                await daemon.launch("dies")
            continue
        handle = await daemon.launch()
        if i % 2:
            handle.kill()
            await daemon.end()
        else:
            await handle.stop(WAIT)
    assert await open_files(zygote) == before
    assert children(zygote) == [await spare(zygote)]
    assert not daemon.launcher._processes


# ---------------------------------------------------------------- ends


async def test_killed(daemon: Daemon) -> None:
    handle = await daemon.launch()
    call = asyncio.ensure_future(handle.call(RibRead("info")))
    os.kill(handle.pid, signal.SIGKILL)
    assert await daemon.end() == "killed by signal 9"
    await asyncio.wait({call})


async def test_exit_in_the_middle(daemon: Daemon) -> None:
    handle = await daemon.launch("fails")
    await handle.call(IpcpBootstrap(LAYER))
    with pytest.raises(IpcpError, match="gone"):
        await handle.call(IpcpUnreg(HASH))
    assert await daemon.end() == "exit status 6"


async def test_a_failed_task_is_the_reason(daemon: Daemon) -> None:
    handle = await daemon.launch("fails")
    await handle.call(IpcpBootstrap(LAYER))
    await handle.call(IpcpReg(HASH))
    assert await daemon.end() == "its task reader failed: OSError('socket is gone')"


async def test_signals(daemon: Daemon) -> None:
    handle = await daemon.launch()
    os.kill(handle.pid, signal.SIGINT)
    await handle.call(RibRead("info"))
    os.kill(handle.pid, signal.SIGTERM)
    assert await daemon.end() == "it got SIGTERM"


async def test_one_that_does_not_stop_is_killed(daemon: Daemon) -> None:
    handle = await daemon.launch("stuck")
    await handle.stop(0.1)
    assert await daemon.end() == "it did not shut down within 0.1 s and was killed"
    assert not alive(handle.pid)


async def test_one_that_hangs_in_python_is_killed(daemon: Daemon) -> None:
    handle = await daemon.launch("stuck")
    await handle.call(IpcpBootstrap(LAYER))
    call = asyncio.ensure_future(handle.call(IpcpQuery(HASH)))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(call), 0.05)
    handle.kill()
    assert await daemon.end() == "killed by signal 9"
    with pytest.raises(IpcpError):
        await call


# ---------------------------------------------------------------- types that do not come up


@pytest.mark.parametrize(
    ("type_name", "error", "text"),
    [
        ("raises", InvalidArgument, "no such device"),
        ("breaks", IpcpError, "KeyError"),
        ("exits", IpcpError, "SystemExit"),
        ("dies", IpcpError, "did not come up: exit status 5"),
        ("unknown", IpcpTypeError, 'no IPCP type is called "unknown"'),
    ],
)
async def test_broken_types(daemon: Daemon, type_name: str, error: type[OuroError], text: str) -> None:
    with pytest.raises(error, match=text):
        await daemon.launch(type_name)
    assert daemon.ends.empty()
    await (await daemon.launch()).stop(WAIT)


async def test_a_launch_that_is_cancelled_leaves_no_process(daemon: Daemon) -> None:
    await daemon.launch()
    zygote = daemon.zygote.process.pid
    for delay in (0.0, 0.001, 0.002, 0.005):
        launch = asyncio.ensure_future(daemon.launch())
        await asyncio.sleep(delay)
        launch.cancel()
        await asyncio.wait({launch})
        if not launch.cancelled():
            await launch.result().stop(WAIT)
    async with asyncio.timeout(WAIT):
        while len(children(zygote)) > 2:  # noqa: ASYNC110 the first one, and a spare
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------- zygotes


async def test_ipcps_survive_their_zygote(daemon: Daemon) -> None:
    first = await daemon.launch()
    old = daemon.zygote.process.pid
    os.kill(old, signal.SIGKILL)
    await gone(old)
    second = await daemon.launch()
    assert daemon.zygote.process.pid != old
    assert await first.call(IpcpBootstrap(LAYER)) == LAYER
    assert await second.call(IpcpBootstrap(LAYER)) == LAYER
    first.kill()
    assert await daemon.end() == "its process ended"
    second.kill()
    assert await daemon.end() == "killed by signal 9"


async def test_the_spare_child_becomes_the_next_one(daemon: Daemon) -> None:
    await daemon.launch()
    zygote = daemon.zygote.process.pid
    ready = await spare(zygote)
    handle = await daemon.launch()
    assert handle.pid == ready
    assert comm(ready) == "ipcpd-plain"
    assert await handle.call(IpcpBootstrap(LAYER)) == LAYER
    links = {fd: os.readlink(f"/proc/{ready}/fd/{fd}") for fd in os.listdir(f"/proc/{ready}/fd")}
    theirs = {os.readlink(f"/proc/{zygote}/fd/{fd}") for fd in os.listdir(f"/proc/{zygote}/fd") if int(fd) > 2}
    assert not {link for link in links.values() if link.startswith(("socket", "pipe"))} & theirs
    assert await spare(zygote) != ready
    for count in range(3, 10):
        await spare(zygote)
        await daemon.launch()
        assert sum(comm(pid) == "ipcpd-plain" for pid in children(zygote)) == count  # none twice
    handle.kill()
    assert await daemon.end() == "killed by signal 9"


def test_a_spare_child_that_has_its_orders_is_not_taken_for_dead() -> None:
    """It closes its socket at once, while the zygote is not back from sending."""
    ours, theirs = socket.socketpair()
    heard = []

    class Hasty(socket.socket):
        def sendmsg(self, *arguments: Any) -> int:
            sent = super().sendmsg(*arguments)
            heard.append(theirs.recv(65536))
            theirs.close()
            return sent

    child = program("-c", "import time; time.sleep(60)")
    near, far = socket.socketpair()
    with near, far, open(os.devnull) as channel:
        zygote = Zygote(near, PluginHost())
        sock = Hasty(fileno=ours.detach())
        zygote._spare = _Child(child.pid, os.pidfd_open(child.pid), sock)
        request = ZygoteSpawn("plain", "one", 1, "hollow", Grant(b""), Grant(b"", (channel.fileno(),)), (), "text")
        assert zygote._used_spare(request) is not None
    assert len(heard) == 1
    child.kill()
    assert child.wait(WAIT) == -signal.SIGKILL


@pytest.mark.parametrize("noticed", [False, True])
async def test_a_spare_child_that_died_is_missed_by_nobody(daemon: Daemon, noticed: bool) -> None:
    await daemon.launch()
    zygote = daemon.zygote.process.pid
    dead = await spare(zygote)
    os.kill(dead, signal.SIGKILL)
    await gone(dead)
    while noticed and dead in children(zygote):  # noqa: ASYNC110 other people's children
        await asyncio.sleep(0.01)
    handle = await daemon.launch()
    assert handle.pid != dead
    assert await handle.call(IpcpBootstrap(LAYER)) == LAYER
    assert daemon.ends.empty()
    assert daemon.zygote.process.pid == zygote


async def test_the_spare_child_leaves_with_its_zygote(daemon: Daemon) -> None:
    await daemon.launch()
    old = daemon.zygote.process.pid
    waiting = await spare(old)
    os.kill(old, signal.SIGKILL)
    await gone(old, waiting)


async def test_a_zygote_that_is_killed_while_it_works(daemon: Daemon) -> None:
    launches = [asyncio.ensure_future(daemon.launch()) for _ in range(10)]
    await launches[0]
    os.kill(daemon.zygote.process.pid, signal.SIGKILL)
    handles = await asyncio.wait_for(asyncio.gather(*launches), WAIT)
    for handle in handles:
        assert await handle.call(IpcpBootstrap(LAYER)) == LAYER


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", (MAX_FRAME + 1).to_bytes(4, "big"), b"\0\0\0\4abcd"])
async def test_garbage_ends_the_zygote_alone(daemon: Daemon, garbage: bytes) -> None:
    handle = await daemon.launch()
    zygote = daemon.zygote
    zygote._sock.send(garbage)
    await gone(zygote.process.pid)
    assert await handle.call(IpcpBootstrap(LAYER)) == LAYER
    await daemon.launch()
    assert daemon.zygote is not zygote


async def test_restart(daemon: Daemon) -> None:
    first = await daemon.launch()
    old = daemon.zygote.process.pid
    daemon.launcher.restart()
    second = await daemon.launch()
    assert second.pid in children(daemon.zygote.process.pid)
    assert alive(old)
    assert await first.call(IpcpBootstrap(LAYER)) == LAYER
    os.kill(first.pid, signal.SIGKILL)
    assert await daemon.end() == "killed by signal 9"
    await gone(old)
    await second.call(RibRead("info"))


@pytest.mark.parametrize("obstacle", ["TEST_EXIT", "TEST_THREAD"])
async def test_without_a_zygote_ipcps_are_programs(start: Start, obstacle: str) -> None:
    daemon = await start(**{obstacle: "1"})
    handle = await daemon.launch()
    assert daemon.zygote is None
    assert handle.pid in children(os.getpid())
    assert await handle.call(IpcpBootstrap(LAYER)) == LAYER
    await handle.stop(WAIT)
    assert await daemon.end() == "it was shut down"
    assert handle.pid not in children(os.getpid())
    handle = await daemon.launch()
    os.kill(handle.pid, signal.SIGKILL)
    assert await daemon.end() == "killed by signal 9"
    with pytest.raises(IpcpError, match="exit status 5"):
        await daemon.launch("dies")


IRM = """
import asyncio, os, sys
from ouro_core.ipcp.launcher import IpcpStart
from ouro_core.ipcp.spawner import ZygoteLauncher
from ouro_core.ipcp.zygote import Zygote, _Child
from ouro_core.model.flow import Grant
from ouro_core.plugins import PluginHost

class Nobody:
    def call(self, request): raise ValueError

async def main(launcher):
    pids = [launcher._zygote.process.pid]
    for number, word in enumerate(("plain", "plain", "stuck")):
        start = IpcpStart(number, word, word, "hollow", Grant(b""))
        pids.append((await launcher.launch(start, Nobody(), lambda reason: None)).pid)
    print(*pids, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(ZygoteLauncher(PluginHost.from_environment())))
"""


async def test_everything_leaves_when_the_irm_is_killed(environ: dict[str, str]) -> None:
    irm = program("-c", IRM, env=environ, stdout=subprocess.PIPE)
    assert irm.stdout is not None
    with irm.stdout:
        pids = [int(word) for word in (await asyncio.to_thread(irm.stdout.readline)).split()]
    assert len(pids) == 4
    assert all(map(alive, pids))
    irm.kill()
    irm.wait()
    await gone(*pids)


async def test_zygote_refuses_what_is_no_spawn(environ: dict[str, str]) -> None:
    ours, theirs = socket.socketpair()
    fd = theirs.fileno()
    zygote = program(
        "-m", "ouro_core.ipcp.zygote", str(fd), "text", pass_fds=(fd,), env=environ, stderr=subprocess.PIPE
    )
    theirs.close()
    name, body, _ = encode(RibRead("info"))
    send(ours, frame_bytes(Frame(Kind.REQUEST, 1, name, body)), [])
    _, errors = await asyncio.to_thread(zygote.communicate, None, WAIT)
    assert b"RibRead is no request for a zygote" in errors
    assert zygote.returncode == 1
    ours.close()

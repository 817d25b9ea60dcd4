"""IPCPs and workers in processes of their own, forked by a zygote.

Theory of operation. The zygote (`zygote.py`) is started when the launcher is made, before there is a loop. A launch
sends it one end of a socket pair; the other end is the channel to the new IPCP, and the pidfd that comes back says when
it ended. How it ended the zygote reports; the reports are waited for a moment, since the pidfd may be faster.

A zygote that dies is replaced at once. Its IPCPs live on: they hang on their channels and pidfds, not on it. Only how
they end nobody knows then. A zygote that dies before it ever answered, twice running, is given up: from then on IPCPs
are started as programs (`process.py`), until `restart`.
"""

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TextIO, TypeVar

from ..model.errors import IpcpError, NotPermitted, OuroError, OutOfMemory
from ..model.flow import Grant
from ..model.ipcp_requests import IpcpShutdown
from ..model.irm_requests import RibRead
from ..model.log import logger
from ..model.request import AsyncCaller, Request
from ..model.zygote_requests import ChildEnded, IpcpEnding, ZygoteSpawn, ZygoteWorker
from ..plugins import PluginHost
from ..rpc.channel import Channel
from ..wire.control import encode
from .launcher import IpcpHandle, IpcpStart, Launcher

__all__ = ["ZygoteLauncher"]

R = TypeVar("R")

READY: Final = 10.0
"""Seconds an IPCP has to come up."""
LEAVE: Final = 5.0
"""Seconds it has to leave after its channel closed, and at `close`."""
STATUS: Final = 0.5
"""Seconds that a report of the zygote may be later than the pidfd."""
RETIRED: Final = 1.0
"""Seconds that a zygote without children has to leave; the loop waits for it."""
ATTEMPTS: Final = 2
"""Zygotes that may die before their first answer."""
_log = logger("irmd/ipcp")


class _NoZygote(IpcpError):
    """The zygote ended before it answered."""


def _describe(status: int | None) -> str:
    """`status` as os.waitpid gives it; None: nobody knows."""
    if status is None:
        return "its process ended"
    code = os.waitstatus_to_exitcode(status)
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


class _Process(IpcpHandle):
    """One IPCP or worker; `name` is what messages call it. `on_end` is told only from the moment that it is set."""

    def __init__(self, name: str, irm: AsyncCaller | None, sock: socket.socket) -> None:
        self.pid = 0
        self.on_end: Callable[[str], None] | None = None
        self.forget: Callable[[], object] = lambda: None
        self.gone = asyncio.Event()
        self.reason = ""
        self.zygote: _Zygote | None = None
        self.name = name
        self._irm = irm
        self._loop = asyncio.get_running_loop()
        self._pidfd = -1
        self._status: int | None = None
        self._program: subprocess.Popen[bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._channel = Channel(sock, self._answer, on_close=self._closed, closed_error=self._error)

    def call(self, request: Request[R]) -> Awaitable[R]:
        return self._channel.call(request)

    def _answer(self, request: Request[Any]) -> Any:
        if isinstance(request, IpcpEnding):
            self.reason = self.reason or request.reason
            return None
        if self._irm is None:
            raise NotPermitted(f"{self.name} asks nothing of the IRM")
        return self._irm.call(request)

    def _error(self) -> OuroError:
        return IpcpError(f"{self.name} is gone: {self.reason or 'its channel closed'}")

    def kill(self) -> None:
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass  # ended meanwhile

    async def stop(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                try:
                    await self.call(IpcpShutdown())
                except OuroError:
                    pass  # ending already, or unable to answer
                await self.gone.wait()
        except TimeoutError:
            self.reason = f"it did not shut down within {timeout:g} s and was killed"
            self.kill()
            await self.gone.wait()

    async def came_up(self) -> None:
        """Returns when it answers. IpcpError, or what the type raised."""
        try:
            async with asyncio.timeout(READY):
                await self.call(RibRead("info"))
        except TimeoutError:
            raise IpcpError(f"{self.name} did not come up within {READY:g} s") from None
        except OuroError:
            if not self._channel.closed:
                raise
            await self.gone.wait()
            raise IpcpError(f"{self.name} did not come up: {self.reason}") from None
        if self.gone.is_set():
            raise IpcpError(f"{self.name} ended at once: {self.reason}")

    async def discard(self) -> None:
        """Nobody wants it. Returns when it cannot run any more."""
        self.on_end = None
        self.kill()
        self._channel.close()
        if self._pidfd >= 0:
            await self.gone.wait()

    # ------------------------------------------------------------ its process

    def watch(self, pid: int, pidfd: int, zygote: "_Zygote | None", program: "subprocess.Popen[bytes] | None") -> None:
        """From here on its end is noticed. The pidfd is taken over."""
        self.pid, self._pidfd, self.zygote, self._program = pid, pidfd, zygote, program
        self._loop.add_reader(pidfd, self._exited)
        if self._channel.closed:
            self._closed()

    def _closed(self) -> None:
        if self._pidfd >= 0:
            self._timer = self._loop.call_later(LEAVE, self.kill)

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._stop_timer()
        if self._program is not None:
            code = self._program.wait()
            self._status = -code if code < 0 else code << 8
        if self._status is None and self.zygote is not None and self.zygote.alive:
            self._timer = self._loop.call_later(STATUS, self._end)
        else:
            self._end()

    def ended(self, status: int | None) -> None:
        """The zygote's report; None: there will be none."""
        if status is not None:
            self._status = status
        if self._pidfd < 0 and not self.gone.is_set():
            self._end()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._stop_timer()
        self.reason = self.reason or _describe(self._status)
        self._channel.close()
        self.gone.set()
        self.forget()
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end(self.reason)


class _Zygote:
    """One fork server: its process and, once there is a loop, the channel to it."""

    def __init__(self, environ: Mapping[str, str], log: str, output: TextIO | None) -> None:
        self._sock, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ouro_core.ipcp.zygote", str(fd), log],
                pass_fds=(fd,), env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        self.alive = True
        self.answered = False
        self.channel: Channel | None = None

    def connect(self, answer: Callable[[Request[Any]], Any], on_close: Callable[["_Zygote"], None]) -> Channel:
        """The channel; made at the first call."""
        if self.channel is None:
            self.channel = Channel(self._sock, answer, on_close=lambda: on_close(self), closed_error=_NoZygote)
        return self.channel

    def retire(self) -> None:
        """It leaves when its last child has."""
        self.process.terminate()

    def end(self) -> None:
        """End it, with its spare child, and forget it; its other children live on."""
        self.alive = False
        self.process.terminate()
        try:
            self.process.wait(RETIRED)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.channel is not None:
            self.channel.close()
        self._sock.close()


class ZygoteLauncher(Launcher):
    """To be made before the loop runs, while the process has few threads and descriptors.

    `debug` and `log` are what `setup_logging` of the IPCPs gets, `output` is where they write (None: as we). They
    make their own plugin host `from_environment` of `environ`, which is ours by default.
    """

    processes = True

    def __init__(
        self,
        plugins: PluginHost,
        *,
        debug: Iterable[str] = (),
        log: str = "text",
        output: TextIO | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.debug = tuple(debug)
        self._plugins = plugins
        self._log = log
        self._output = output
        self._environ = dict(os.environ if environ is None else environ)
        self._processes: dict[int, _Process] = {}
        self._retired: set[_Zygote] = set()
        self._failures = 0
        self._closing = False
        self._zygote: _Zygote | None = None
        self._start()

    # ------------------------------------------------------------ zygotes

    def _start(self) -> None:
        try:
            self._zygote = _Zygote(self._environ, self._log, self._output)
        except OSError as e:
            self._zygote = None
            _log.error("Cannot start the zygote: %s", e.strerror)

    def restart(self) -> None:
        """A new zygote, as after a change of the plugins. IPCPs that are there go on as they are."""
        old, self._failures = self._zygote, 0
        if old is not None:
            if old.channel is None:
                old.end()
            else:
                self._retired.add(old)
                old.retire()
        self._start()

    def _from_zygote(self, request: Request[Any]) -> None:
        if isinstance(request, ChildEnded):
            if request.pid in self._processes:
                self._report(request)
            else:  # its launch has the reply already, but was not resumed yet
                asyncio.get_running_loop().call_soon(self._report, request)

    def _report(self, request: ChildEnded) -> None:
        process = self._processes.get(request.pid)
        if process is not None:
            process.ended(request.status)

    def _zygote_closed(self, zygote: _Zygote) -> None:
        if not zygote.alive:
            return
        zygote.end()
        for process in list(self._processes.values()):
            if process.zygote is zygote:
                process.ended(None)
        self._retired.discard(zygote)
        if zygote is not self._zygote or self._closing:
            return
        self._zygote = None
        self._failures = 0 if zygote.answered else self._failures + 1
        if self._failures < ATTEMPTS:
            _log.warning("The zygote ended; there is a new one.")
            self._start()
        else:
            _log.error("The zygote does not come up: IPCPs are started as programs, which takes longer.")

    # ------------------------------------------------------------ launching

    async def launch(self, start: IpcpStart, irm: AsyncCaller, on_end: Callable[[str], None]) -> IpcpHandle:
        self._plugins.get("ipcp_types", start.type)

        def request(channel: Grant) -> ZygoteSpawn:
            return ZygoteSpawn(
                start.type, start.name, start.id, start.system, start.grant, channel, self.debug, self._log
            )

        return await self._launch(f"IPCP {start.name}", request, irm, on_end)

    async def worker(self, on_end: Callable[[str], None]) -> IpcpHandle:
        return await self._launch("worker", lambda channel: ZygoteWorker(channel, self.debug, self._log), None, on_end)

    async def _launch(
        self,
        name: str,
        make: Callable[[Grant], ZygoteSpawn | ZygoteWorker],
        irm: AsyncCaller | None,
        on_end: Callable[[str], None],
    ) -> IpcpHandle:
        while True:
            try:
                ours, theirs = socket.socketpair()
            except OSError as e:
                raise OutOfMemory(f"no descriptor left for {name}: {e.strerror}") from None
            process = _Process(name, irm, ours)
            try:
                with theirs:
                    await self._spawn(process, make(Grant(b"", (theirs.fileno(),))))
                if irm is not None:
                    await process.came_up()
            except _NoZygote:
                # It may have forked before it ended: this channel is not for a second process.
                await process.discard()
            except BaseException:
                await process.discard()
                raise
            else:
                process.on_end = on_end
                return process

    async def _spawn(self, process: _Process, request: ZygoteSpawn | ZygoteWorker) -> None:
        zygote = self._zygote
        if zygote is None:
            self._execute(process, request)
            return
        spawned = await zygote.connect(self._from_zygote, self._zygote_closed).call(request)
        zygote.answered = True
        self._watch(process, spawned.pid, spawned.pidfd.fds[0], zygote, None)

    def _execute(self, process: _Process, request: ZygoteSpawn | ZygoteWorker) -> None:
        _, body, fds = encode(request)
        program_name = "worker" if isinstance(request, ZygoteWorker) else "process"
        try:
            program = subprocess.Popen(
                [sys.executable, "-P", "-m", f"ouro_core.ipcp.{program_name}", *map(str, fds)],
                pass_fds=fds, env=self._environ, stdin=subprocess.PIPE, stdout=self._output, stderr=self._output,
                start_new_session=True,
            )  # fmt: skip
            pidfd = os.pidfd_open(program.pid)
        except OSError as e:
            raise IpcpError(f"cannot start {process.name}: {e.strerror}") from None
        self._watch(process, program.pid, pidfd, None, program)
        assert program.stdin is not None
        try:
            program.stdin.write(body)
            program.stdin.close()
        except BrokenPipeError:
            pass  # it ended already; the pidfd says so

    def _watch(
        self,
        process: _Process,
        pid: int,
        pidfd: int,
        zygote: _Zygote | None,
        program: "subprocess.Popen[bytes] | None",
    ) -> None:
        self._processes[pid] = process
        process.forget = lambda: self._processes.pop(pid, None)
        process.watch(pid, pidfd, zygote, program)

    # ------------------------------------------------------------ end

    async def close(self) -> None:
        self._closing = True
        await asyncio.gather(*(process.stop(LEAVE) for process in list(self._processes.values())))
        for zygote in itertools.chain((self._zygote,) if self._zygote else (), self._retired):
            zygote.end()
        self._zygote = None
        self._retired.clear()

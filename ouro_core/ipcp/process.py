"""An IPCP in a process of its own: forked by the zygote, or started as `python -m ouro_core.ipcp.process`.

It lives as long as its channel to the IRM. Whatever closes that (the IRM's end, in order or by a kill -9) ends it.

Started as a program it reads the message `ZygoteSpawn` from standard input; the numbers of the descriptors that belong
to it are the arguments, in order.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from typing import Any, Final

from ..model.errors import IpcpError, OuroError
from ..model.irm_requests import RibRead, RibText
from ..model.log import logger, setup_logging
from ..model.zygote_requests import IpcpEnding, ZygoteSpawn
from ..plugins import PluginHost
from ..rpc.channel import Channel
from ..rpc.fds import close_grants
from ..wire.control import decode
from .host import IpcpHost
from .launcher import IpcpStart

__all__ = ["processor_time", "run", "set_comm", "warm_up"]

LEAVE: Final = 2.0
"""Seconds to free everything when the IRM is gone, and to say good-bye when it is there."""
_SCHEDULED: Final = 2
"""Which of a process's clocks: the time that it ran. The kernel's number for it is below the inverted pid."""
_log = logger("ipcpd/ipcp")


def run(spawn: ZygoteSpawn, plugins: PluginHost) -> int:
    """Be this IPCP until it ends; the exit status of the process. The descriptors of `spawn` are taken over."""
    set_comm(f"ipcpd-{spawn.type}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for the IRMd, which ends us in order
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    setup_logging(spawn.log, spawn.debug)
    # No asyncio.run: it would wait for threads that somebody left in the loop's executor.
    status = asyncio.new_event_loop().run_until_complete(_Process(spawn, plugins).live())
    logging.shutdown()
    return status


def warm_up() -> None:
    """Touch what `run` needs: pages of a forked process are copied when they are written to for the first time."""
    loop = asyncio.new_event_loop()
    ours, theirs = socket.socketpair()

    async def talk() -> None:
        asked, asking = Channel(ours, lambda _: RibText("")), Channel(theirs)
        await asking.call(RibRead("info"))
        asking.close()
        asked.close()

    loop.run_until_complete(talk())
    loop.close()


def set_comm(name: str) -> None:
    """The name of this process in listings; 15 bytes are shown."""
    with open("/proc/self/comm", "w") as comm:
        comm.write(name[:15])


def processor_time(pid: int) -> float:
    """Seconds of processor time that a process has used; 0.0 where the system does not say, or it is gone."""
    try:
        return time.clock_gettime(~pid << 3 | _SCHEDULED)
    except OSError:
        return 0.0


class _Process:
    def __init__(self, spawn: ZygoteSpawn, plugins: PluginHost) -> None:
        self._spawn = spawn
        self._plugins = plugins
        self._host: IpcpHost | None = None
        self._ended: asyncio.Future[Any]
        self._error: OuroError = IpcpError()

    async def live(self) -> int:
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        lost: asyncio.Future[Any] = loop.create_future()
        (fd,) = self._spawn.channel.fds
        channel = Channel(
            socket.socket(fileno=fd), self._answer, on_close=lambda: lost.set_result(None), discarded=self._discarded
        )
        try:
            self._host = host = self._make(channel)
        except OuroError as e:
            self._error = e
            await asyncio.wait({lost}, timeout=LEAVE)
            return 1
        loop.add_signal_handler(signal.SIGTERM, host.end, "it got SIGTERM")
        await asyncio.wait({self._ended, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not self._ended.done():
            host.end("the IRM is gone")
            await asyncio.wait({self._ended}, timeout=LEAVE)
        elif not lost.done():
            await asyncio.wait({asyncio.ensure_future(self._farewell(channel))}, timeout=LEAVE)
        return 1 if host.failed or not self._ended.done() else 0

    def _make(self, channel: Channel) -> IpcpHost:
        spawn = self._spawn
        cls = self._plugins.get("ipcp_types", spawn.type)
        system = self._plugins.get("pool_allocators", spawn.system)
        start = IpcpStart(spawn.id, spawn.type, spawn.name, spawn.system, spawn.grant)
        try:
            packets = system.client(spawn.grant.data, spawn.grant.fds)
            return IpcpHost(cls, start, packets, self._plugins, channel, self._ended.set_result)
        except OuroError:
            raise
        except (Exception, SystemExit) as e:
            _log.error("IPCP %s did not come up: %r", spawn.name, e, exc_info=e)
            raise IpcpError(f"IPCP {spawn.name} did not come up: {e!r}; its log says where") from e

    def _answer(self, request: object) -> object:
        if self._host is None:
            close_grants(request)
            raise self._error
        return self._host.answer(request)  # type: ignore[arg-type]

    def _discarded(self, value: object) -> None:
        if self._host is not None:
            self._host.context.discarded(value)

    async def _farewell(self, channel: Channel) -> None:
        try:
            await channel.call(IpcpEnding(self._ended.result()))
        except OuroError:
            pass  # the IRM closed meanwhile


def main() -> int:
    fds = [int(word) for word in sys.argv[1:]]
    for fd in fds:
        os.set_inheritable(fd, False)
    spawn = decode("ZygoteSpawn", sys.stdin.buffer.read(), fds)
    return run(spawn, PluginHost.from_environment())


if __name__ == "__main__":
    os._exit(main())

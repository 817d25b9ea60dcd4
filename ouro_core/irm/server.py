"""The IRM behind a socket: connections, the sessions they get, and the deaths of processes.

Theory of operation. Every connection has a `Channel` and a `Session` with the kernel's word on who connected. A process
announces on one of them, its lifetime connection, and the server keeps its pidfd. When the lifetime connection closes
the process wants nothing any more: flows end at once. When the pidfd says that it cannot run any more, what it held in
shared memory comes back; never earlier, because until then it could still write there. One does not wait for the other.
"""

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import Any, Final

from attrs import define

from ..model.errors import IrmdError, OutOfMemory
from ..model.irm_requests import Announce
from ..model.log import logger
from ..model.request import Request
from ..rpc.budget import Budget
from ..rpc.channel import Channel
from ..rpc.credentials import peer_credentials
from ..rpc.fds import close_fds
from .irm import Irm
from .registry import Process

__all__ = ["IrmServer"]

log = logger("irmd")
MAX_CONNECTIONS_PER_USER: Final = 2048
"""Connections of one user other than root; more are closed at once."""
MAX_WAITING_PER_USER: Final = 64 * 2**20
"""Bytes that all connections of one user other than root may have waiting here (see `Budget`)."""


@define
class _User:
    """The connections of one user."""

    budget: Budget | None
    connections: int = 0
    warned: bool = False


class IrmServer:
    """Serves one `Irm` on a Unix socket at `path`, whose directory must exist."""

    def __init__(self, irm: Irm, path: Path) -> None:
        self._irm = irm
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._channels: set[Channel] = set()
        self._users: dict[int, _User] = {}
        self._watched: dict[int, Process] = {}  # by pidfd
        self._listener = self._listen()
        self._inode = _inode(path)
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _listen(self) -> socket.socket:
        """Anybody may connect: what he may do is decided for each request."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._path.unlink(missing_ok=True)
            listener.bind(os.fspath(self._path))
            os.chmod(self._path, 0o666)
            listener.listen(1024)
        except OSError as e:
            listener.close()
            raise IrmdError(f"cannot listen at {self._path}: {e.strerror or e}") from None
        return listener

    # ------------------------------------------------------------ connections

    def _accept(self) -> None:
        for _ in range(64):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as e:
                # no descriptors left: leave the others to the backlog and breathe, instead of spinning on the listener
                log.error("Cannot accept connections: %s.", e.strerror)
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(0.1, self._loop.add_reader, self._listener.fileno(), self._accept)
                return
            try:
                self._serve(sock)
            except OSError as e:
                log.debug("A connection ended before it began: %s", e)
                sock.close()

    def _serve(self, sock: socket.socket) -> None:
        credentials = peer_credentials(sock)
        uid = credentials.uid
        user = self._users.setdefault(uid, _User(Budget(MAX_WAITING_PER_USER) if uid else None))
        if uid != 0 and user.connections >= MAX_CONNECTIONS_PER_USER:
            if not user.warned:  # once, for it costs a user nothing to come again and again
                user.warned = True
                log.warning("User %d has %d connections; no more are accepted.", uid, MAX_CONNECTIONS_PER_USER)
            sock.close()
            return
        session = self._irm.session(credentials)

        def answer(request: Request[Any]) -> Any:
            reply = session.call(request)
            if isinstance(request, Announce) and session.lifetime is not None:
                self._watch(sock, session.lifetime)
            return reply

        def closed() -> None:
            self._channels.discard(channel)
            user.connections -= 1
            user.warned = user.warned and user.connections > MAX_CONNECTIONS_PER_USER // 2
            if not user.connections:
                del self._users[uid]
            if session.lifetime is not None:
                self._irm.process_left(session.lifetime)

        channel = Channel(sock, answer, on_close=closed, undelivered=session.undelivered, budget=user.budget)
        self._channels.add(channel)
        user.connections += 1

    # ------------------------------------------------------------ deaths

    def _watch(self, sock: socket.socket, process: Process) -> None:
        try:
            pidfd = peer_credentials(sock, pidfd=True).pidfd
        except OSError as e:
            self._irm.process_died(process)  # or is not to begin: it has not got its grant yet
            if e.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise OutOfMemory(f"no descriptor left to watch process {process.pid}: {e.strerror}") from None
            return
        self._watched[pidfd] = process
        self._loop.add_reader(pidfd, self._died, pidfd)

    def _died(self, pidfd: int) -> None:
        process = self._watched.pop(pidfd)
        self._loop.remove_reader(pidfd)
        close_fds([pidfd])
        if process.id in self._irm.registry.processes:
            log.info("Process %d died.", process.pid)
        self._irm.process_died(process)

    # ------------------------------------------------------------ end

    def close(self) -> None:
        """No new connections, none of the old ones."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for channel in list(self._channels):
            channel.close()
        for pidfd in self._watched:
            self._loop.remove_reader(pidfd)
            close_fds([pidfd])
        self._watched.clear()
        if _inode(self._path) == self._inode:  # somebody who removed the directory may have another IRMd there by now
            self._path.unlink(missing_ok=True)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

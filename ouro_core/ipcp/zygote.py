"""The zygote: a process with everything imported and nothing running. It forks IPCPs and workers within milliseconds.

Theory of operation. `python -m ouro_core.ipcp.zygote FD` is started before the IRM has a loop, imports every plugin,
freezes what the garbage collector knows and then serves one socket, single-threaded, with `poll`. A fork copies only
the calling thread, so nothing here may have threads, a loop or mappings; a plugin that starts a thread when it is
imported makes the zygote refuse to run.

For each `ZygoteSpawn` and `ZygoteWorker` it forks and opens the pidfd itself: as the parent, which reaps only between
two requests, it cannot meet a number that was used again. A child that ended is reported with `ChildEnded`. SIGTERM
retires the zygote: it leaves when its last child has. End of file means that the IRM is gone: the children see that too
and leave, and who has not after `GRACE` seconds is killed. Anything malformed ends the zygote alone; its children live
on.

Most of what a fork costs comes after it, when the child writes to its pages and each is copied. So there is a *spare*:
a child that was forked while nobody waited for one, has touched what every child needs, and waits at a socket to be
told what it is. A moment after it was used there is another. The IRM knows nothing of it; it leaves with its zygote.
"""

import gc
import logging
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import frozen

from ..model.errors import OuroError, OutOfMemory, WireError
from ..model.flow import Grant
from ..model.log import logger, setup_logging
from ..model.zygote_requests import ChildEnded, Spawned, ZygoteSpawn, ZygoteWorker
from ..plugins import PluginHost
from ..rpc.fds import MAX_FDS, close_fds, close_grants, receive, send
from ..wire.control import Frame, FrameDecoder, Kind, decode, encode, frame_bytes
from . import process, worker
from .process import set_comm

__all__ = ["Zygote"]

GRACE: Final = 5.0
"""Seconds that IPCPs have to leave by themselves when the IRM is gone."""
SPARE: Final = 100
"""Milliseconds without a request after which a spare child is made: those who come up need the processors more."""
_log = logger("zygote")


@frozen
class _Child:
    """A child as its parent holds it; `sock` is a spare's."""

    pid: int
    pidfd: int
    sock: socket.socket | None = None

    def forget(self) -> None:
        close_fds((self.pidfd,))
        if self.sock is not None:
            self.sock.close()


class Zygote:
    """Serves one socket until its end."""

    def __init__(self, sock: socket.socket, plugins: PluginHost) -> None:
        self._sock = sock
        self._plugins = plugins
        self._decoder = FrameDecoder()
        self._received: deque[int] = deque()
        self._children: set[int] = set()
        self._retired = False
        self._reports = 0
        self._spare: _Child | None = None
        self._wants_spare = True
        self._bell, self._hammer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def serve(self) -> None:
        """Until the other end closes, or the last child has left a retired zygote. WireError."""
        signal.set_wakeup_fd(self._hammer, warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._retire)
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        try:
            while not self._retired or self._children:
                ready = [fd for fd, _ in poll.poll(SPARE if self._wants_spare and not self._retired else None)]
                if not ready and not self._retired:
                    self._prepare()
                if self._bell in ready:
                    self._reap()
                if self._sock.fileno() in ready and not self._read():
                    break
        except (BrokenPipeError, ConnectionResetError):
            pass
        self._leave()

    def _retire(self, *_: object) -> None:
        self._retired = True

    # ------------------------------------------------------------ the socket

    def _read(self) -> bool:
        data, fds = receive(self._sock)
        self._received.extend(fds)
        for frame in self._decoder.feed(data):
            if frame.kind is Kind.REQUEST:
                self._request(frame)
        if len(self._received) > MAX_FDS:
            raise WireError("descriptors came that belong to no message")
        return bool(data)

    def _request(self, frame: Frame) -> None:
        if frame.fds > len(self._received):
            raise WireError(f"{frame.fds} descriptors announced, {len(self._received)} came")
        request = decode(frame.type, frame.body, [self._received.popleft() for _ in range(frame.fds)])
        if not isinstance(request, ZygoteSpawn | ZygoteWorker) or len(request.channel.fds) != 1:
            raise WireError(f"{frame.type or 'nothing'} is no request for a zygote")
        spawned = None
        try:
            spawned = self._spawn(request)
            name, body, fds = encode(spawned)
            reply = Frame(Kind.REPLY, frame.id, name, body, fds=len(fds))
        except OuroError as e:
            reply, fds = Frame(Kind.ERROR, frame.id, code=e.code, text=str(e)), []
        finally:
            close_grants(request)
        try:
            self._send(reply, fds)
        finally:
            close_grants(spawned)

    def _send(self, frame: Frame, fds: list[int]) -> None:
        data = frame_bytes(frame)
        sent = send(self._sock, data, fds)
        if sent < len(data):
            self._sock.sendall(data[sent:])

    # ------------------------------------------------------------ children

    def _spawn(self, request: ZygoteSpawn | ZygoteWorker) -> Spawned:
        child = self._used_spare(request) or self._fork(lambda: self._become(request))
        self._children.add(child.pid)
        self._wants_spare = True
        return Spawned(child.pid, Grant(b"", (child.pidfd,)))

    def _fork(self, live: Callable[[], int], sock: socket.socket | None = None) -> _Child:
        """A child that does this; the exit status is what it returns. OutOfMemory."""
        try:
            pid = os.fork()
        except OSError as e:
            raise OutOfMemory(f"cannot fork a process: {e.strerror}") from None
        if pid == 0:
            self._child(live)
        try:
            return _Child(pid, os.pidfd_open(pid), sock)
        except OSError as e:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise OutOfMemory(f"no descriptor left for a process: {e.strerror}") from None

    def _child(self, live: Callable[[], int]) -> None:
        """In the child. Never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            self._sock.close()
            close_fds((self._bell, self._hammer, *self._received))
            if self._spare is not None:
                self._spare.forget()
            status = live()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _become(self, request: ZygoteSpawn | ZygoteWorker) -> int:
        run = worker.run if isinstance(request, ZygoteWorker) else process.run
        return run(request, self._plugins)  # type: ignore[arg-type]

    # ------------------------------------------------------------ the spare child

    def _prepare(self) -> None:
        self._wants_spare = False
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            return  # no descriptor left; who asks next is told
        with theirs:
            try:
                self._spare = self._fork(lambda: self._stand_by(ours, theirs), ours)
            except OutOfMemory as e:
                ours.close()
                _log.debug("No spare child: %s", e)

    def _stand_by(self, ours: socket.socket, theirs: socket.socket) -> int:
        """In the spare child."""
        ours.close()
        set_comm("ouro-spare")
        process.warm_up()
        decoder, fds = FrameDecoder(), list[int]()
        while True:
            data, more = receive(theirs)
            fds += more
            if not data:
                return 0  # the zygote is gone
            for frame in decoder.feed(data):
                theirs.close()
                request: ZygoteSpawn | ZygoteWorker = decode(frame.type, frame.body, fds)
                return self._become(request)

    def _used_spare(self, request: ZygoteSpawn | ZygoteWorker) -> _Child | None:
        """The spare child has become this one. None: there is none, or it ended."""
        spare, self._spare = self._spare, None
        if spare is None or spare.sock is None:
            return None
        name, body, fds = encode(request)
        data = frame_bytes(Frame(Kind.REQUEST, 0, name, body, fds=len(fds)))
        try:
            sent = send(spare.sock, data, fds)
            if sent < len(data):  # it may be gone from its end of the socket once it has all
                spare.sock.sendall(data[sent:])
        except OSError:
            os.kill(spare.pid, signal.SIGKILL)  # not reaped yet, or we would know; there must never be two of one
            spare.forget()
            return None
        spare.sock.close()
        return spare

    def _reap(self) -> None:
        try:
            os.read(self._bell, 4096)
        except BlockingIOError:
            pass
        while self._children or self._spare is not None:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._spare is not None and pid == self._spare.pid:
                self._spare.forget()
                self._spare = None
                continue
            self._children.discard(pid)
            self._reports += 1
            name, body, _ = encode(ChildEnded(pid, status))
            self._send(Frame(Kind.REQUEST, self._reports, name, body), [])

    def _leave(self) -> None:
        """The IRM is gone. What is not reaped yet cannot have lost its number to another process."""
        if self._spare is not None:
            self._spare.forget()
            self._children.add(self._spare.pid)
        deadline = time.monotonic() + GRACE
        while self._children:
            for pid in list(self._children):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    self._children.discard(pid)
            if time.monotonic() > deadline:
                for pid in self._children:
                    os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.01)


def _load() -> PluginHost:
    """All plugins, with everything they register, and what the children need at once."""
    logging.getLogger("ouro").addHandler(logging.NullHandler())  # the IRM says what is broken
    plugins = PluginHost.from_environment()
    for kind in plugins.kinds():
        plugins.registry(kind)
    for system in plugins.registry("pool_allocators").values():
        try:
            system.preload()
        except Exception:  # it does not work here, and the IRM takes another
            _log.debug("Packet system %s cannot be loaded.", system.name, exc_info=True)
    return plugins


def main() -> int:
    set_comm("ouro-zygote")
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    try:
        plugins = _load()
    except OuroError:
        return 1  # OURO_STRICT: the IRM meets the same error, and says it
    setup_logging(sys.argv[2])
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        _log.error("A plugin started %d threads when it was imported: a fork would lose them.", threads - 1)
        return 1
    gc.collect()
    gc.freeze()
    try:
        Zygote(sock, plugins).serve()
    except WireError as e:
        _log.error("Zygote ends: %s", e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""This process as the IRMd knows it, for synchronous code.

Theory of operation. The first allocation connects to the IRMd and announces the process; that connection stays open as
long as the process lives, and its end is how either side learns that the other is gone. Requests travel on connections
of their own, one at a time on each, kept for the next one. To cancel a request is to close its connection. As the
answer may be under way by then, closing waits for what the IRMd still says: a flow that came too late is deallocated,
and so is one whose arrival was interrupted.

When the IRMd went away its IPCPs go too: flows over layers are down, direct flows go on between their two processes.
The next allocation announces the process anew to whoever listens then. After a fork the child is a process of its own:
the flows of its parent raise, the parent's connections are closed in the child, and its first allocation announces it.
"""

from __future__ import annotations

import atexit
import os
import select
import socket
import sys
import threading
import weakref
from collections import deque
from pathlib import Path
from time import monotonic
from typing import Final, TypeVar

from ouro_core.contracts.packets import Options, PacketClient
from ouro_core.frct.ordered import FrctPipeline
from ouro_core.model.errors import Exists, IrmdError, OuroError, PacketsError
from ouro_core.model.irm_requests import (
    Allocation,
    Announce,
    Announced,
    BindProcess,
    FlowDealloc,
)
from ouro_core.model.qos import QosSpec
from ouro_core.model.request import Request
from ouro_core.rpc import fds
from ouro_core.rpc.blocking import BlockingChannel, connect
from ouro_core.rpc.paths import irm_socket
from ouro_core.wire.control import Frame, Kind, decode

from .flow import Flow, accept_request, alloc_request, attach, join_request, plugin_host, text
from .signals import interruptible, undisturbed
from .watches import Keeper

__all__ = ["Process", "announce", "current", "flow_accept", "flow_alloc", "flow_join", "packet_client", "program_name"]

R = TypeVar("R")

_IDLE: Final = 8
"""Request connections that are kept."""
_GRACE: Final = 5.0
"""Seconds that the IRMd may be late with an answer before we believe that it hangs."""
_LAST_WORDS: Final = 1.0
"""Seconds to wait for the answer to a request that we gave up."""


def program_name(argv0: str) -> str:
    """What a process with this `sys.argv[0]` announces: the base name of its program, for bindings (irmd.md 5)."""
    path = Path(argv0)
    if path.name == "__main__.py":  # python -m package
        path = path.parent
    return path.name if path.name not in ("", "-c", "-m") else Path(sys.executable or "python").name


def packet_client(announced: Announced) -> PacketClient:
    """This process's view of the packet system that the IRM uses. PacketsError: it does not work here."""
    try:
        host = plugin_host()
        host.load_only(announced.plugin)
        system = host.get("pool_allocators", announced.system)
        obstacle = system.usable()
        if obstacle:
            raise PacketsError(f'the IRMd uses the packet system "{announced.system}", which does not work: {obstacle}')
    except BaseException:
        fds.close_grants(announced)
        raise
    client: PacketClient = system.client(announced.grant.data, announced.grant.fds)
    return client


class RequestChannel(BlockingChannel):
    """A connection that knows what the IRMd answered, also when whoever asked does not: time is up, or it was
    interrupted.
    """

    def __init__(self, path: Path) -> None:
        self.socket = connect(path)
        super().__init__(self.socket)
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN)
        self._asking = False
        self.answer: Frame | None = None

    def call(self, request: Request[R], timeout: float | None = None) -> R:
        self.answer, self._asking = None, True
        try:
            return super().call(request, timeout)
        finally:
            self._asking = False

    def _read(self, deadline: float | None) -> Frame:
        with interruptible():
            if not self._poll.poll(None if deadline is None else max(deadline - monotonic(), 0) * 1000):
                raise TimeoutError
        self.answer = super()._read(deadline)
        return self.answer

    def close(self) -> None:
        try:
            if self._asking and self.answer is None and not self.closed:
                self._hear_out()
        except (OuroError, OSError):
            pass  # nothing came, or nothing that can be read
        finally:
            super().close()

    def _hear_out(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)  # which cancels
        self.socket.settimeout(_LAST_WORDS)
        while True:
            data, received = fds.receive(self.socket)
            self._received.extend(received)
            if not data:
                return
            for frame in self._decoder.feed(data):
                self.answer = frame

    def allocated(self) -> int | None:
        """The id of the flow in the last answer. Its descriptors are not looked at."""
        frame = self.answer
        if frame is None or frame.kind is not Kind.REPLY:
            return None
        value = decode(frame.type, frame.body, [-1] * frame.fds)
        return value.flow_id if isinstance(value, Allocation) else None

    def alive(self) -> bool:
        """Whether the IRMd has not closed it."""
        try:
            return self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False


class Process:
    """This process, announced to one IRMd in one of its lives. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Announce. IrmdError: nobody listens. NotPermitted, PacketsError: the process cannot take part."""
        self.path = path
        self.flows: weakref.WeakSet[Flow] = weakref.WeakSet()
        self._channels: set[RequestChannel] = set()
        self._idle: deque[RequestChannel] = deque()
        self._owed: deque[FlowDealloc] = deque()  # flows that the IRMd believes we have
        self._lifetime = self._connect()
        try:
            self.client = packet_client(
                self._lifetime.call(Announce(program_name(sys.argv[0] if sys.argv else "")), _GRACE)
            )
        except BaseException:
            self._lifetime.close()
            raise
        self._keeper = Keeper(self._lifetime.socket, self.lost)

    def alive(self) -> bool:
        """Whether that IRMd still is there."""
        return self._lifetime.alive()

    def bind(self, name: str) -> None:
        """Accept flows for a name from now on. Bound already: no error."""
        with undisturbed():
            channel = self._take()
            try:
                channel.call(BindProcess(os.getpid(), name), _GRACE)
            except Exists:
                pass
            finally:
                self._give_back(channel)

    # ---- flows

    def flow(self, request: Request[Allocation], timeout: float | None) -> Flow:
        """A flow by one of the three requests. `timeout`: seconds after which the IRMd must have answered.

        However it ends, no flow is left that nobody knows of.
        """
        flow: Flow | None = None
        try:
            with undisturbed():
                flow = self._flow(request, None if timeout is None else timeout + _GRACE)
            return flow
        except BaseException:
            if flow is not None:
                flow.close()
            raise

    def _flow(self, request: Request[Allocation], timeout: float | None) -> Flow:
        self._settle()
        channel = self._take()
        try:
            allocation = channel.call(request, timeout)
            options = Options()
            end, path = attach(self.client, allocation, options)
        except BaseException:
            flow_id = channel.allocated()
            if flow_id is not None:
                self._owed.append(FlowDealloc(flow_id))
            raise
        finally:
            self._give_back(channel)
            self._settle()
        flow = Flow(allocation, self.client, end, path, options, self._closed)
        self.flows.add(flow)
        self._keeper.add(end, allocation.qos.timeout / 1000)
        if isinstance(path, FrctPipeline):
            self._keeper.drive(end, path)
        return flow

    def _closed(self, flow: Flow) -> None:
        self._keeper.remove(flow._end)
        self._owed.append(FlowDealloc(flow.flow_id, flow._quarantine()))
        self._settle()

    def _settle(self) -> None:
        """Give the IRMd back what it believes we have."""
        while self._owed:
            try:
                request = self._owed.popleft()
            except IndexError:
                return  # another thread does it
            try:
                channel = self._take()
            except IrmdError:
                return  # it took its flows along
            try:
                channel.call(request, _GRACE)
            except OuroError:
                if channel.answer is None:
                    return  # the IRMd hangs, or went away and took its flows along
            finally:
                if channel.answer is None:
                    self._owed.append(request)  # the next request sees to it
                self._give_back(channel)

    # ---- connections

    def _connect(self) -> RequestChannel:
        channel = RequestChannel(self.path)
        self._channels.add(channel)
        return channel

    def _take(self) -> RequestChannel:
        if not self.alive():  # where it was another one may listen now, who knows nothing of us and our flows
            raise IrmdError("the IRMd of this flow went away")
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _give_back(self, channel: RequestChannel) -> None:
        if not channel.closed and len(self._idle) < _IDLE:
            self._idle.append(channel)
        else:
            self._channels.discard(channel)
            channel.close()

    # ---- end

    def lost(self) -> None:
        """The IRMd is gone, and with it the IPCPs: flows over layers are down. Direct flows go on."""
        for flow in list(self.flows):
            flow._lost()

    def close(self) -> None:
        """Drop all connections: for the IRMd that is the end of this process."""
        for channel in list(self._channels):
            BlockingChannel.close(channel)
        self._channels.clear()
        self._idle.clear()


# ---------------------------------------------------------------- the one of this process

_lock = threading.Lock()
_process: Process | None = None
_others: list[Process] = []
"""Earlier ones: of a parent, or of an IRMd that went away. What they map stays, for flows may be left."""


def current() -> Process:
    """This process, announced, to a new IRMd when the last one went away. IrmdError."""
    global _process
    with _lock:
        if _process is not None and not _process.alive():
            _process.lost()
            _process.close()
            _others.append(_process)
            _process = None
        if _process is None:
            _process = Process(irm_socket())
        return _process


def _all() -> list[Process]:
    return _others if _process is None else [*_others, _process]


def _forked() -> None:
    global _lock, _process
    _lock = threading.Lock()
    for process in _all():
        for flow in list(process.flows):
            flow._orphan()
        process.close()
    if _process is not None:
        _others.append(_process)
        _process = None


def _exit() -> None:
    for process in _all():
        for flow in list(process.flows):
            if flow._once.acquire(blocking=False):
                flow._path.close()
        process.close()


os.register_at_fork(after_in_child=_forked)
atexit.register(_exit)


# ---------------------------------------------------------------- the public functions


def announce(*names: str) -> None:
    """Make this process known to the IRMd, which allocations do by themselves, and bind it to `names`.

    A server that calls this with its name needs nobody to bind it. IrmdError; NotPermitted: a name belongs to somebody
    else and is not open.
    """
    checked = [text("name", name) for name in names]
    process = current()
    for name in checked:
        process.bind(name)


def flow_alloc(name: str, qos: QosSpec | None = None, timeout: float | None = None, data: bytes = b"") -> Flow:
    """A flow to a name. `qos` None: `RAW`. `timeout` in seconds, None: the IRMd's 20. `data` goes along to the peer.

    UnknownName, IpcpError (no layer knows it), FlowTimeout, NotPermitted, CryptError, AuthenticationFailed;
    IrmdError.
    """
    request = alloc_request(name, qos, timeout, data)
    return current().flow(request, timeout)


def flow_accept(timeout: float | None = None, data: bytes = b"") -> Flow:
    """The next flow for a name that this process is bound to. `timeout` in seconds, None: for ever. `data` goes along
    with the answer. FlowTimeout, IrmdError.
    """
    request = accept_request(timeout, data)
    return current().flow(request, timeout)


def flow_join(layer: str, timeout: float | None = None) -> Flow:
    """A flow to everybody in a broadcast layer. `timeout` in seconds, None: the IRMd's 20. IpcpError (no such layer),
    NotAllocated (refused), FlowTimeout, IrmdError.
    """
    request = join_request(layer, timeout)
    return current().flow(request, timeout)

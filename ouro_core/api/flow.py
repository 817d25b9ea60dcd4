"""`Flow`: one end of a flow, for synchronous code; and what it shares with its sister in asyncio.

A raw flow has nothing between the application and the packet system: `read`, `readinto`, `read_many`, `write` and
`write_many` of a `Flow` *are* the methods of the native end. Only encryption and a QoS that asks for a CRC put a
`Pipeline` there.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

import attrs

from ouro_core.contracts.crypto import CipherSuite
from ouro_core.contracts.packets import Buffer, Event, FlowEnd, Options, PacketClient, State
from ouro_core.frct.ordered import FrctPipeline, above
from ouro_core.frct.pipeline import FindSuite, Pipeline, stages_for
from ouro_core.model.errors import BadDescriptor, FlowDown, InvalidArgument, NotPermitted, OuroError
from ouro_core.model.irm_requests import Allocation, FlowAccept, FlowAlloc, FlowJoin
from ouro_core.model.qos import RAW, QosSpec
from ouro_core.rpc.fds import close_fds

from .flowset import FlowSet
from .signals import interruptible, undisturbed

if TYPE_CHECKING:
    from ouro_core.plugins import PluginHost

    from .stream import FlowFile

__all__ = [
    "Access",
    "Flow",
    "FlowBase",
    "accept_request",
    "alloc_request",
    "attach",
    "join_request",
    "load_suite",
    "plugin_host",
    "text",
]

Access: TypeAlias = Literal["r", "w", "rw"]
"""What an application does with a flow: read it, write it, or both."""


@functools.cache
def plugin_host() -> PluginHost:
    "The plugins of this process. None is loaded but those that somebody needed."
    from ouro_core.plugins import PluginHost  # raw flows do without

    return PluginHost.from_environment()


def load_suite(plugin: str, name: str) -> CipherSuite:
    """A cipher, from the one plugin that has it; no other is imported."""
    host = plugin_host()
    host.load_only(plugin)
    suite: CipherSuite = host.get("cipher_suites", name)
    return suite


def attach(
    client: PacketClient, allocation: Allocation, options: Options, find: FindSuite = load_suite
) -> tuple[FlowEnd, FlowEnd | Pipeline]:
    """The native end of a new flow, and what the application reads and writes: the end itself, or a pipeline on it.

    Takes the descriptors of the grant over. NotSupported, CryptError: the flow needs what is not there, or came without
    a key; it must be deallocated.
    """
    try:
        stages = stages_for(allocation, find)
    except BaseException:
        close_fds(allocation.grant.fds)
        raise
    end = client.attach(allocation.grant.data, allocation.grant.fds, options)
    return end, above(end, stages, allocation, options)


def alloc_request(name: str, qos: QosSpec | None, timeout: float | None, data: Buffer) -> FlowAlloc:
    """What the arguments of a `flow_alloc` ask for. TypeError names the argument that is wrong."""
    spec = RAW if qos is None else qos
    if not isinstance(spec, QosSpec):
        raise TypeError(f"qos is {spec!r:.80}; it needs a QosSpec, such as ouro_core.RAW, or None")
    return FlowAlloc(text("name", name), spec, _seconds(timeout), _bytes(data))


def accept_request(timeout: float | None, data: Buffer) -> FlowAccept:
    """Those of a `flow_accept`."""
    return FlowAccept(_seconds(timeout), _bytes(data))


def join_request(layer: str, timeout: float | None) -> FlowJoin:
    """Those of a `flow_join`."""
    return FlowJoin(text("layer", layer), _seconds(timeout))


def text(what: str, value: object) -> str:
    """A str, or TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is {value!r:.80}; it needs a str")
    return value


def _seconds(value: object) -> float | None:
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise TypeError(f"timeout is {value!r:.80}; it needs seconds, or None")
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"data is {value!r:.80}; it needs bytes")
    return bytes(value)


class FlowBase:
    """What every flow has, in synchronous code and in asyncio. A flow has no other attributes than these."""

    __slots__ = {  # noqa: RUF023 - those for everybody come first
        "flow_id": "The number of the flow on this host.",
        "name": "The name it was allocated to; at an acceptor the name it was accepted for.",
        "qos": "What the requester asked for.",
        "mpl": "Maximum packet lifetime of the layer, in milliseconds.",
        "data": "What the peer's application sent along with the allocation.",
        "direct": "Whether no layer is between: both ends are on this host.",
        "_once": "Taken by whoever closes the flow, and never given back.",
        "_client": "",
        "_end": "",
        "_path": "",
        "_options": "",
        "_access": "",
        "__weakref__": "",
    }
    flow_id: int
    name: str
    qos: QosSpec
    mpl: int
    data: bytes
    direct: bool

    def __init__(
        self,
        allocation: Allocation,
        client: PacketClient,
        end: FlowEnd,
        path: FlowEnd | Pipeline,
        options: Options,
    ) -> None:
        self._once = threading.Lock()
        self.flow_id = allocation.flow_id
        self.name = allocation.name
        self.qos = allocation.qos
        self.mpl = allocation.mpl
        self.data = allocation.data
        self.direct = allocation.direct
        self._client = client
        self._end = end
        self._path = path
        self._options = options
        self._access: Access = "rw"

    @property
    def closed(self) -> bool:
        "Whether it was closed by this side."
        return self._once.locked()

    @property
    def state(self) -> State:
        "How the flow is, seen from here. BadDescriptor after `close`."
        return self._end.state

    @property
    def queued(self) -> tuple[int, int]:
        """(packets to read, packets the other end has not read). Keep-alives and what FRCT says count, which no read
        gives: that something is queued does not mean that a read does not wait.
        """
        to_read, unread = self._end.queued()
        return to_read + (self._path.frct.ready if isinstance(self._path, FrctPipeline) else 0), unread

    @property
    def counters(self) -> dict[str, int]:
        """Packets and bytes: tx tx_bytes rx rx_bytes rejected sleeps wakes; packets dropped: damaged on a flow with a
        CRC, undecryptable on an encrypted one; with FRCT retransmitted, duplicates, gaps and more.
        """
        found = dict(self._end.counters())
        if isinstance(self._path, Pipeline):
            found |= self._path.counters
        return found

    @property
    def down(self) -> bool:
        "Whether the flow is down. Setting it puts both directions down or up, and tells the other end (FLOWFDOWN)."
        return bool(self._end.state & State.DOWN)

    @down.setter
    def down(self, down: bool) -> None:
        if down:
            self._end.mark(set=State.DOWN)
        else:
            self._end.mark(clear=State.DOWN)

    @property
    def access(self) -> Access:
        """ "r": writing raises NotPermitted. "w": the other end's writes raise NotAllocated. "rw": both ways, as at the
        start (FLOWFRDONLY, FLOWFWRONLY, FLOWFRDWR)."""
        return self._access

    @access.setter
    def access(self, access: Access) -> None:
        if access not in ("r", "w", "rw"):
            raise InvalidArgument(f'access {access!r} is none of "r", "w" and "rw"')
        if access == "w":
            self._end.mark(set=State.READ_ONLY)
        else:
            self._end.mark(clear=State.READ_ONLY)
        self._access = access
        self._bind()

    @property
    def partial_read(self) -> bool:
        """What `readinto` does with a packet longer than the buffer: True, keep the rest for the next call (and return
        0 after a packet that filled the buffer exactly); False, drop it and raise TooLong (FLOWFRNOPART).
        """
        return self._options.partial_read

    @partial_read.setter
    def partial_read(self, partial: bool) -> None:
        self._set_options(partial_read=partial)

    # ---- FRCT

    def _frct(self) -> FrctPipeline:
        if not isinstance(self._path, FrctPipeline):
            raise NotPermitted(f"flow {self.flow_id} has no FRCT; allocate it with a QoS that has in_order=1")
        return self._path

    @property
    def rtx(self) -> bool:
        "Whether lost packets are sent again (FRCTFRTX), as its QoS asks. NotPermitted, here and below: no FRCT."
        return self._frct().frct.reliable

    @property
    def rescntl(self) -> bool:
        "Whether writing respects the window of the peer (FRCTFRESCNTL). As a rule, yes."
        return self._frct().frct.sender.flow_control

    @rescntl.setter
    def rescntl(self, respected: bool) -> None:
        self._frct().frct.sender.flow_control = bool(respected)

    @property
    def linger(self) -> bool:
        """Whether `close` waits until the peer has all that was written, 30 s at most (FRCTFLINGER). As a rule, on
        reliable flows.
        """
        return self._frct().frct.linger

    @linger.setter
    def linger(self, linger: bool) -> None:
        self._frct().frct.linger = bool(linger)

    def _set_options(self, **changes: Any) -> None:
        self._options = attrs.evolve(self._options, **changes)
        self._path.set_options(self._options)

    def _write_methods(self) -> tuple[Callable[[Buffer], None], Callable[[Sequence[Buffer]], int]]:
        if self._access == "r":
            refuse = _refusal(NotPermitted, f"flow {self.flow_id} is for reading only; set its access to write")
            return refuse, refuse
        return self._path.write, self._path.write_many

    def _bind(self) -> None:
        "Put the methods of the path where the application finds them."
        raise NotImplementedError

    def _ended(self) -> bool:
        "Whether the other end was deallocated, in good order."
        return self._end.state & (State.CLOSED | State.DEAD) == State.CLOSED

    def _lost(self) -> None:
        "The IRM is gone, and its IPCPs with it."
        if not self.direct and not self.closed:
            with contextlib.suppress(BadDescriptor):  # closed just now
                self._end.mark(set=State.DOWN)

    def _quarantine(self) -> float:
        return self._path.quarantine if isinstance(self._path, FrctPipeline) else 0.0

    def _has_rest(self) -> bool:
        return isinstance(self._path, Pipeline) and self._path.has_rest

    def __repr__(self) -> str:
        state = "closed" if self.closed else str(self.state)
        return f"<{type(self).__name__} {self.flow_id} {self.name!r} {state}>"


class Flow(FlowBase):
    """One end of a flow. Made by `flow_alloc`, `flow_accept` and `flow_join`. A context manager: it deallocates.

    One `write` is one packet; packets are never split or joined. Reading and writing wait, unless `read_blocking` and
    `write_blocking` say otherwise, as long as `read_timeout` and `write_timeout` allow (seconds; None: for ever).
    What is queued can be read also after the flow went down. Iterating gives packets until the other end deallocates.

    Errors: WouldBlock, FlowTimeout; FlowDown, FlowPeer once nothing is queued; TooLong; BadDescriptor after `close`.
    Thread-safe; `close` wakes whoever waits. In a forked child every method raises BadDescriptor.
    """

    __slots__ = {  # noqa: RUF023 - those for everybody come first
        "read": "`read()` -> bytes: one packet.",
        "readinto": """`readinto(buffer)` -> int: one packet into a buffer; its size. `partial_read` says what happens
when it does not fit.""",
        "read_many": "`read_many(most=32)` -> list[bytes]: at least one packet, waits only for the first.",
        "write": "`write(data)`: send one packet. Accepted, or raises: it is never lost silently on this host.",
        "write_many": "`write_many(packets)` -> int: send packets; how many were accepted, at least one.",
        "_dealloc": "",
        "_set": "The set it is in.",
        "_own": "A set that holds nothing else, made by `fileno`.",
    }
    read: Callable[[], bytes]
    readinto: Callable[[Buffer], int]
    read_many: Callable[..., list[bytes]]
    write: Callable[[Buffer], None]
    write_many: Callable[[Sequence[Buffer]], int]

    def __init__(
        self,
        allocation: Allocation,
        client: PacketClient,
        end: FlowEnd,
        path: FlowEnd | Pipeline,
        options: Options,
        dealloc: Callable[[Flow], None],
    ) -> None:
        super().__init__(allocation, client, end, path, options)
        self._dealloc = dealloc
        self._set: FlowSet | None = None
        self._own: FlowSet | None = None
        self._bind()

    def _bind(self) -> None:
        self.read, self.readinto, self.read_many = self._path.read, self._path.readinto, self._path.read_many
        self.write, self.write_many = self._write_methods()

    # ---- options

    @property
    def read_timeout(self) -> float | None:
        "Longest time a read waits, in seconds. None: for ever."
        return self._options.read_timeout

    @read_timeout.setter
    def read_timeout(self, seconds: float | None) -> None:
        self._set_options(read_timeout=_not_negative(seconds))

    @property
    def write_timeout(self) -> float | None:
        "Longest time a write waits, in seconds. None: for ever."
        return self._options.write_timeout

    @write_timeout.setter
    def write_timeout(self, seconds: float | None) -> None:
        self._set_options(write_timeout=_not_negative(seconds))

    @property
    def read_blocking(self) -> bool:
        "Whether reads wait (not FLOWFRNOBLOCK). If not they raise WouldBlock."
        return self._options.read_blocking

    @read_blocking.setter
    def read_blocking(self, blocking: bool) -> None:
        self._set_options(read_blocking=blocking)

    @property
    def write_blocking(self) -> bool:
        "Whether writes wait (not FLOWFWNOBLOCK). If not they raise WouldBlock."
        return self._options.write_blocking

    @write_blocking.setter
    def write_blocking(self, blocking: bool) -> None:
        self._set_options(write_blocking=blocking)

    @property
    def blocking(self) -> bool:
        "Whether reads and writes both wait. Setting it sets both."
        return self.read_blocking and self.write_blocking

    @blocking.setter
    def blocking(self, blocking: bool) -> None:
        self._set_options(read_blocking=blocking, write_blocking=blocking)

    def stream(self, packet_size: int = 1400) -> FlowFile:
        """A file object over this flow, for bytes without packets: `read`, `readline`, `write`, `flush`, `close`, which
        deallocates; `read_message`, `write_message`. It ends when the other end deallocates. Packets have at most
        `packet_size` bytes, which the layers must be able to carry. NotPermitted: not a reliable flow. The flow must
        not be used otherwise any more.
        """
        from .stream import file_for

        return file_for(self, packet_size)

    # ---- selectors

    def fileno(self) -> int:
        """For select, poll and epoll: readable when there is an event. Call `events` after it became readable, always:
        it stays readable until then. Puts the flow in a set of its own. NotPermitted: it is in a `FlowSet`, which has
        a descriptor itself. BadDescriptor after `close`.
        """
        if self.closed:
            raise BadDescriptor(f"flow {self.flow_id} is closed; allocate a new one")
        if self._own is None:
            self._own = FlowSet((self,))
        return self._own.fileno()

    def events(self) -> Event:
        "What there is now, perhaps nothing; re-arms `fileno`, which must have been called."
        if self._own is None:
            raise InvalidArgument("nobody asked for this flow's descriptor; call fileno() first, or use a FlowSet")
        return next((events for _, events in self._own.poll()), Event(0))

    # ---- end

    def close(self) -> None:
        """Deallocate the flow. What was written is still delivered; with `linger` this waits until it was. Idempotent;
        a lost IRMd is no error, for it took its flows along.
        """
        if self.closed:
            return
        with undisturbed():
            if self._once.acquire(blocking=False):
                self._close()

    def _close(self) -> None:
        try:
            if isinstance(self._path, FrctPipeline):
                with interruptible():
                    self._path.finish()
        finally:
            self._release()

    def _release(self) -> None:
        if self._own is not None:
            self._own.close()
        elif self._set is not None:
            self._set.remove(self)
        self._path.close()
        self._dealloc(self)

    dealloc = close

    def __enter__(self) -> Flow:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                packet = self.read()
            except FlowDown:
                if self._ended():
                    return
                raise
            yield packet

    def __del__(self) -> None:
        if self.closed:
            return
        with undisturbed():
            if self._once.acquire(blocking=False):
                try:
                    warnings.warn(f"flow {self.flow_id} to {self.name!r} was not closed", ResourceWarning, 2, self)
                finally:
                    self._release()

    def _orphan(self) -> None:
        "The process was forked and this is the child: the flow is its parent's."
        self._once.acquire(blocking=False)
        refuse = _refusal(
            BadDescriptor, f"flow {self.flow_id} belongs to the parent process; allocate one in this process"
        )
        self.read = self.readinto = self.read_many = self.write = self.write_many = refuse


def _refusal(error: type[OuroError], message: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise error(message)

    return refuse


def _not_negative(seconds: float | None) -> float | None:
    if seconds is not None and not seconds >= 0:
        raise InvalidArgument(f"a time-out of {seconds} s makes no sense; give 0 or more, or None to wait for ever")
    return seconds

"""Packets: how a packet system, the IRM, IPCPs and applications share the data plane.

Units: bytes; seconds (float) in signatures; all counters are unsigned and wrap at 2**64 (sequence words at 2**32).
Threads: unless a docstring says otherwise a method may be called from any thread, and one object's methods exclude
each other by a lock of that object. "Broker side" objects belong to the thread of the IRM's loop.
Source: the design of the data plane (docs/explanation/packets.md).
Errors, from `ouro_core.model.errors`: `FlowDown`, `FlowPeer`, `NotAllocated`, `WouldBlock`, `FlowTimeout`, `TooLong`
(codes -1005, -1006, -1000, -11, -110, -90), `BadDescriptor` after `close`; `PacketsError` for everything that is wrong
with a grant, a program or the machine.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from enum import IntFlag
from typing import ClassVar, Final, TypeAlias

from attrs import field, frozen

from ..model.flow import Grant
from .programs import ForwardProgram, Group, PumpProgram, Route

__all__ = [
    "SHARED_GEOMETRY",
    "USER_GEOMETRY",
    "BrokerFlow",
    "Buffer",
    "ClientRef",
    "Domain",
    "End",
    "Event",
    "EventSet",
    "FlowEnd",
    "Forwarder",
    "Geometry",
    "Grant",
    "ManagementFrame",
    "Mover",
    "MoverEvent",
    "Options",
    "Packet",
    "PacketBroker",
    "PacketClient",
    "PacketSystem",
    "Pump",
    "SizeClass",
    "State",
]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What is taken for a packet. Native ends accept every object with the buffer protocol."""

# ---------------------------------------------------------------- values that cross borders


@frozen
class Domain:
    """A UNIX trust domain. uid 0 is the shared one (GSPP): root, the service user, group `ouroboros`. Any other uid is
    that user's own (PUP).
    """

    uid: int = 0

    def poorer(self, other: "Domain") -> "Domain":
        """The domain whose pool a flow between both uses. Two different users: ValueError (a local IPCP's pump joins
        them).
        """
        if self.uid and other.uid and self.uid != other.uid:
            raise ValueError("two users share no pool")
        return self if self.uid else other


@frozen
class ClientRef:
    """Who holds an end: one application process or one IPCP. `id` is 1..2**31-1, given by the IRM, never used twice
    while the IRM runs. One process may hold several (a Node hosting IPCPs holds one for each, and one for itself).
    """

    id: int
    domain: Domain


@frozen
class SizeClass:
    payload: int  # largest payload; head and tail room come on top
    blocks: int  # over all shards


@frozen
class Geometry:
    """Of one pool. 0 blocks: the class is absent."""

    classes: tuple[SizeClass, ...]
    head_room: int = 256
    tail_room: int = 32
    receive_share: float = 0.25  # of every class, which applications' writes leave to receivers
    shards: int = 4  # parts of every class, so that clients do not fight for the same words; `blocks` is their total


SHARED_GEOMETRY: Final = Geometry(
    tuple(
        SizeClass(payload, blocks)
        for payload, blocks in (
            (256, 2048), (512, 1024), (1024, 768), (2048, 1536), (4096, 512), (16384, 128), (65536, 64),
            (262144, 32), (1048576, 16),
        )
    )
)  # fmt: skip
"""Of the shared pool, unless configured: a packet of 1500 bytes is the common case, so that class has most memory."""

USER_GEOMETRY: Final = Geometry(tuple(SizeClass(c.payload, c.blocks // 4) for c in SHARED_GEOMETRY.classes[:-1]))
"""Of each other user's pool, unless configured."""


class State(IntFlag):
    """Seen from one end; str() says it in words that go on from "the flow is". DOWN: neither direction works (link
    down, IPCP gone, FLOWSFLAGS DOWN). PEER: the other end timed out. READ_ONLY: the other end does not read, writes
    raise NotAllocated. CLOSED: the other end was deallocated. DEAD: its process ended without. What is queued is always
    delivered before a read raises.
    """

    UP = 0
    READ_ONLY = 1
    DOWN = 2
    PEER = 4
    CLOSED = 8
    DEAD = 16

    def __str__(self) -> str:
        head = "down" if self & (State.DOWN | State.CLOSED | State.DEAD) else "up"
        reasons = ", ".join(reason for flag, reason in _REASONS.items() if flag & self)
        return f"{head}: {reasons}" if reasons else head

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


_REASONS: Final = {
    State.READ_ONLY: "the other end does not read",
    State.PEER: "nothing is heard of the other end",
    State.CLOSED: "the other end was deallocated",
    State.DEAD: "the other end's process ended",
}


class Event(IntFlag):
    """Numbers of the flow event API."""

    PACKET = 1
    DOWN = 2
    UP = 4
    ALLOC = 8
    DEALLOC = 16
    PEER = 32
    SPACE = 64  # ours: a full ring is half empty again


@frozen
class Options:
    """Read by the native calls on every packet, so they live with the end and not above it. Timeouts: None = for
    ever.
    """

    read_timeout: float | None = None
    write_timeout: float | None = None
    read_blocking: bool = True
    write_blocking: bool = True
    partial_read: bool = True  # flows.md 3.3
    deliver_empty: bool = False  # True at IPCPs: empty packets (keep-alives) are data there
    spin: float = 100e-6  # busy wait before sleep, paid from credit; longer where that promises success; 0 = never


# ---------------------------------------------------------------- ends


class Packet(ABC):
    """A block in the hand of this process; a writable buffer over its payload. Freed with the last reference, or by
    `send`.
    """

    @property
    def payload(self) -> memoryview:
        """The payload, writable; valid until it is changed, sent or released. A class in plain Python has no buffer
        protocol before Python 3.12 and must override this.
        """
        return memoryview(self)  # type: ignore[arg-type]

    @abstractmethod
    def push(self, n: int) -> memoryview:
        """n bytes more in front (head room); TooLong when there is none."""

    @abstractmethod
    def pull(self, n: int) -> memoryview:
        """n bytes less in front; returns them, valid until `send` or release."""

    @abstractmethod
    def append(self, n: int) -> memoryview:
        """n bytes more behind (tail room)."""

    @abstractmethod
    def trim(self, n: int) -> None:
        """n bytes less behind."""

    @abstractmethod
    def release(self) -> None:
        """Give the block back now. Twice is harmless."""


class End(ABC):
    """What reads and writes packets: a native `FlowEnd`, or a `Pipeline` of stages on one. One packet a write; never
    split or joined.
    """

    @abstractmethod
    def read(self) -> bytes:
        """One packet. WouldBlock, FlowTimeout; FlowDown/FlowPeer once nothing is queued."""

    @abstractmethod
    def read_many(self, most: int = 32) -> list[bytes]:
        """At least one, waits only for the first; `most` 0: nothing, at once. InvalidArgument: less than that."""

    @abstractmethod
    def write(self, data: Buffer) -> None:
        """Waits for a block and a slot. Never loses silently: accepted, or raises."""

    @abstractmethod
    def write_many(self, packets: Iterable[Buffer]) -> int:
        """How many were accepted; raises only if none was. Waits, if at all, for the first. One wake-up a call. Takes
        one packet after the other, at most one more than it accepts.
        """

    @property
    @abstractmethod
    def state(self) -> State:
        """Now."""

    @abstractmethod
    def set_options(self, options: Options) -> None:
        """Takes effect with the next call."""


class FlowEnd(End):
    """One end of a flow in shared memory. Single producer and single consumer: one process an end, its threads under
    one lock a direction. While bound to a pump, forwarder or relay (`owner` is not None) reads and writes raise
    PacketsError; state, counters and options work.
    """

    flow_id: int
    owner: str | None

    @abstractmethod
    def readinto(self, buffer: Buffer) -> int:
        """Like read; partial-read rule of flows.md 3.3."""

    @abstractmethod
    def alloc(self, n: int) -> Packet:
        """A block with n payload bytes, in the flow's pool."""

    @abstractmethod
    def send(self, packet: Packet) -> None:
        """Hand over without a copy if the block is of the flow's pool, else with one."""

    @abstractmethod
    def recv(self) -> Packet:
        """One packet without a copy."""

    @abstractmethod
    def queued(self) -> tuple[int, int]:
        """(packets to read, packets the other end has not read)."""

    @abstractmethod
    def sequence(self) -> tuple[int, int]:
        """(packets ever sent, packets ever arrived) modulo 2**32, keep-alives included, read or not. Two loads, no
        clock: the liveness timer samples it (section 5.8).
        """

    @abstractmethod
    def keepalive(self) -> None:
        """Send an empty packet if there is a slot; never waits. Uses no block."""

    @abstractmethod
    def mark(self, set: State = State.UP, clear: State = State.UP) -> None:
        """DOWN: both directions, the other end gets DOWN or UP on a change. READ_ONLY: our receive ring. PEER: our
        side only.
        """

    @abstractmethod
    def counters(self) -> Mapping[str, int]:
        """tx tx_bytes rx rx_bytes rejected sleeps wakes"""

    @abstractmethod
    def claim(self, owner: str) -> "FlowEnd":
        """For a mover written in Python: take the end over under the name `owner`. Returns a view of the same end
        whose reads and writes work, while those of this object raise PacketsError. PacketsError when it is owned
        already or in an event set.
        """

    @abstractmethod
    def unclaim(self) -> None:
        """Give the end back: the view is dead, `owner` is None. Idempotent."""

    @abstractmethod
    def close(self) -> None:
        """Unmap. Tells the other end CLOSED. The broker frees what is left. Idempotent."""


class EventSet(ABC):
    """For code that reads many ends itself. An end is in at most one set, pump, forwarder or relay (PacketsError
    otherwise).
    """

    @abstractmethod
    def add(self, end: FlowEnd) -> None:
        """What is so already, a packet queued or the flow DOWN, is an event at once."""

    @abstractmethod
    def remove(self, end: FlowEnd) -> None: ...
    @abstractmethod
    def wait(self, timeout: float | None = None) -> list[tuple[FlowEnd, Event]]:
        """One entry an end, all its events or-ed: PACKET as long as there are some, the others once, when they
        happen, so DEALLOC may come with packets that are still to be read. FlowTimeout. Spins on credit, then sleeps.
        """

    @abstractmethod
    def poll(self) -> list[tuple[FlowEnd, Event]]:
        """What there is now; re-arms fileno()."""

    @abstractmethod
    def spin(self) -> bool:
        """Busy wait on credit; True when there is an event: for selectors, before they block. `poll` is called then,
        for which fileno() need not be readable.
        """

    @abstractmethod
    def fileno(self) -> int:
        """An eventfd, readable after an event while armed, until `poll` returns nothing. For add_reader; always poll()
        after it.
        """

    @abstractmethod
    def close(self) -> None: ...


# ---------------------------------------------------------------- movers


@frozen
class MoverEvent:
    """UNBOUND: value = packets of the application that were not sent. CLOSED, DEAD, DOWN, UP: the other end of a bound
    end changed. REPORT (forwarder): value = ece to send to the flow's peer. FAILED: value = errno of the socket;
    the mover goes on if it can. `key` is that of `bind`; in a forwarder the port; in a relay 0 or 1.
    """

    kind: str
    key: int
    value: int = 0
    end: FlowEnd | None = field(default=None, repr=False)


@frozen
class ManagementFrame:
    frame: bytes  # header and payload, padding cut off
    source: bytes = b""  # raw sockaddr when `addressed`


class Mover(ABC):
    """A thread that moves packets, a native one without the GIL. One a client. It runs from the beginning: management
    frames come before the first flow does. It holds no Python reference but ends.
    """

    @abstractmethod
    def fileno(self) -> int:
        """Readable when `events` or `management` has something."""

    @abstractmethod
    def events(self) -> list[MoverEvent]:
        """All there are; never blocks. Bounded: merged per key and kind."""

    @abstractmethod
    def counters(self) -> Mapping[str, int]:
        """Read without a lock; single words are consistent, sums need not be."""

    @abstractmethod
    def flow_counters(self, key: int) -> Mapping[str, int]:
        """tx tx_bytes rx rx_bytes dropped"""

    @abstractmethod
    def stop(self) -> None:
        """Ends the thread, gives up all ends unread. Blocks until it is gone: 1 s at most, as a rule less than a
        millisecond, so a loop may call it. Idempotent.
        """


class Pump(Mover):
    """Datagram socket <-> flows. Counters: rx rx_bytes tx tx_bytes short foreign bad_length management
    management_dropped unknown_key bad_source ring_full no_block too_long tx_again tx_no_buffer tx_error
    socket_dropped sleeps stalls.
    """

    @abstractmethod
    def bind(self, key: int, end: FlowEnd, route: Route | None = None) -> None:
        """Received packets for `key` go to `end` from now on. Without a route nothing is sent: the application's ring
        fills and it waits (a flow whose reply is outstanding). KeyError if the key is taken. Any time, any thread
        but the mover's.
        """

    @abstractmethod
    def set_route(self, key: int, route: Route | None) -> None:
        """Atomic: each frame has the old header or the new one."""

    @abstractmethod
    def unbind(self, key: int, drain: float = 0.0) -> None:
        """At once: nothing more is received for `key`. Then, within `drain` seconds, what the application has written
        is sent. Then the event UNBOUND carries the end back. The key is free when that event was taken, not before.
        """

    @abstractmethod
    def management(self, most: int = 32) -> list[ManagementFrame]:
        """First come first served; never blocks. Sending is the IPCP's own sendto on its socket."""


class Forwarder(Mover):
    """Flows <-> flows by address. A port is a small int, never used twice within 2**16. Counters: forwarded local
    originated ttl no_route no_eid short ring_full no_block down keepalives sleeps stalls; per cube with the suffix
    .0 .1 .2.
    """

    @abstractmethod
    def add_network(self, end: End, cube: int = 0) -> int:
        """A N-1 flow for data transfer. `end`: FlowEnd, or one end of a `pair` with a relay behind it."""

    @abstractmethod
    def add_flow(self, eid: int, end: FlowEnd, destination: int, remote_eid: int, cube: int = 0) -> int:
        """A N+1 flow. eid >= first_flow_eid. Packets for it are delivered from now on."""

    @abstractmethod
    def set_peer(self, port: int, destination: int, remote_eid: int) -> None:
        """Where a N+1 flow sends to, once the far end has said so: atomic as `Pump.set_route`. KeyError, PacketsError:
        there is no such port, or it is no flow's.
        """

    @abstractmethod
    def add_component(self, eid: int, end: FlowEnd) -> int:
        """Packets for this EID come out of the other end of the `pair`, without PCI. What the component writes must
        begin with a complete PCI; it is routed as originated here: TTL kept, ECN or-ed.
        """

    @abstractmethod
    def remove(self, port: int, drain: float = 0.0) -> None:
        """As Pump.unbind; event UNBOUND. Its EID is unknown at once, groups skip it."""

    @abstractmethod
    def set_routes(self, cube: int, routes: Mapping[int, Group]) -> None:
        """Replaces the whole table of one cube, atomically."""

    @abstractmethod
    def feedback(self, eid: int, ece: int) -> None:
        """An UPDATE came for this flow."""


# ---------------------------------------------------------------- systems


class PacketClient(ABC):
    """One ClientRef's view. What `ctx.packets` is for an IPCP."""

    ref: ClientRef

    @abstractmethod
    def attach(self, data: bytes, fds: Sequence[int], options: Options = Options()) -> FlowEnd:
        """Takes the descriptors over and closes those it does not keep, also when it raises. PacketsError: other
        layout version, size, seal, owner or mode of a segment not as granted. Attaching an end twice is an error
        while it is open.
        """

    @abstractmethod
    def pair(self) -> tuple[FlowEnd, FlowEnd]:
        """A flow inside this process, in this client's own pool. Nobody else is told."""

    @abstractmethod
    def event_set(self) -> EventSet: ...
    @abstractmethod
    def pump(self, program: PumpProgram, fd: int) -> Pump:
        """fd: a bound, non-blocking datagram socket; stays the caller's, must outlive the pump."""

    @abstractmethod
    def forwarder(self, program: ForwardProgram) -> Forwarder: ...
    @abstractmethod
    def relay(self, a: End, b: End, batch: int = 32) -> Mover:
        """A Python thread that moves batches both ways: what joins a `Pipeline` to a pair, or two users' flows.

        Keys of its events and counters: 0 for `a`, 1 for `b`; `rx` counts what was read there, `tx` what was written.
        CLOSED or DEAD of one comes after its last packet was moved to the other.
        """

    @abstractmethod
    def counters(self) -> Mapping[str, int]:
        """pool.<uid>.<payload>.used / .failed, summed over the pools mapped here."""

    @abstractmethod
    def close(self) -> None: ...


class BrokerFlow(ABC):
    """Broker side. Ends are 0 and 1."""

    @abstractmethod
    def grant(self, end: int, flow_id: int | None = None) -> Grant:
        """For the client named at creation, nobody else. `flow_id`: the number that this end shows, in its errors too;
        None: that of the flow.
        """

    @abstractmethod
    def down(self, state: State = State.DOWN) -> None:
        """Set on both rings, wake both sides, also sleepers. Idempotent, never blocks. DEAD changes nothing on a flow
        with an end that was closed, or died: how a flow ended first is how it ended. The same holds for `leave`.
        """

    @abstractmethod
    def up(self) -> None:
        """Clears DOWN; refused after CLOSED or DEAD."""

    @abstractmethod
    def destroy(self) -> None:
        """Both ends DOWN and CLOSED, blocks freed once both clients are gone or have closed. Idempotent."""


class PacketBroker(ABC):
    """In the IRM. Creates everything, maps everything, touches no packet."""

    @abstractmethod
    def admit(self, ref: ClientRef) -> Grant:
        """Once a client, before its first flow: its id, its own pool."""

    @abstractmethod
    def create_flow(self, flow_id: int, a: ClientRef, b: ClientRef) -> BrokerFlow:
        """Pool of the poorer domain (created on first use). PacketsError: no memory, no descriptors."""

    @abstractmethod
    def leave(self, ref: ClientRef, died: bool) -> Sequence[int]:
        """The client ended. Marks its ends CLOSED or DEAD, wakes the others, frees what it held; returns the flow ids
        it was in. Call once its process cannot run any more (pidfd), never earlier.
        """

    @abstractmethod
    def counters(self) -> Mapping[str, int]: ...
    def view(self) -> Mapping[str, object]:
        """For the RIB, where it is `pools`: what there is to say of the memory beyond `counters`, such as JSON can say
        it. Empty when a system has nothing to say.
        """
        return {}

    @abstractmethod
    def close(self) -> None: ...


class PacketSystem(ABC):
    """What `ouro_register_pool_allocators` returns: a class. `heap`: one process. `ssm`: shared memory."""

    name: str

    in_process: ClassVar[bool] = False
    """True: both ends of a flow must be in one process."""

    @classmethod
    @abstractmethod
    def usable(cls) -> str | None:
        """None, or why not here (kernel, architecture, not the same process)."""

    @classmethod
    @abstractmethod
    def broker(cls, shared: Geometry, user: Geometry) -> PacketBroker: ...
    @classmethod
    @abstractmethod
    def client(cls, data: bytes, fds: Sequence[int]) -> PacketClient:
        """From the Grant of `admit`."""

    @classmethod  # noqa: B027 - nothing to do is right for many
    def preload(cls) -> None:
        """Import what `client` needs: for a process without threads or mappings, which forks others that become
        clients. Starts and maps nothing.
        """

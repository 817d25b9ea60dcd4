"""Programs of movers: plain data that says how datagrams become packets of flows, and how a layer forwards.

No callback and no code: a native thread executes them. Units: bytes, seconds. Source: docs/explanation/packets.md.
"""

from enum import IntEnum

from attrs import frozen

__all__ = [
    "Field",
    "ForwardProgram",
    "Group",
    "Match",
    "Mode",
    "PumpProgram",
    "Route",
    "Source",
    "Window",
]

# ---------------------------------------------------------------- programs: data only


@frozen
class Field:
    """An unsigned integer in a header."""

    offset: int
    width: int  # 1, 2, 4, 8
    order: str = "big"  # or "little"
    bias: int = 0  # value in the header = meaning + bias
    bit_reversed: bool = False  # width 1 only


@frozen
class Match:
    """These bytes at this offset (at most 16)."""

    offset: int
    value: bytes


@frozen
class Source:
    """What tells a flow's peer: header slices (offset, length) in this order, then the socket address if `address`."""

    slices: tuple[tuple[int, int], ...] = ()
    address: bool = False  # family, port, IP address and scope; not the IPv6 flow label


@frozen
class PumpProgram:
    """How datagrams of one socket become packets of flows and back. Tests run in this order, the first that fails
    names the counter: length >= header (short), all of `require` and one of `accept` (foreign), `length`
    (bad_length), `management` (goes to Python), `key` (unknown_key), `source` of the flow (bad_source).

    `join` concerns sockets of UDP and pumps that can: a system call then carries several datagrams of one flow and
    length, by UDP_SEGMENT and UDP_GRO. Each is a datagram of its own on the wire, and in every test and counter.
    """

    header: int  # bytes before the payload, at most 64
    key: Field
    max_payload: int  # longer ones of an application are dropped: too_long
    length: Field | None = None  # payload bytes; None: the rest of the datagram. Bytes behind it are padding
    require: tuple[Match, ...] = ()
    accept: tuple[Match, ...] = ()  # destination addresses, any of
    management: tuple[Match, ...] = ()  # all of: the frame is management
    management_min: int = 0  # payload bytes; shorter: short
    source: Source | None = None
    addressed: bool = False  # frames carry a socket address (recvfrom/sendto): sockaddr_in or sockaddr_in6, no other
    pad_to: int = 0  # zeros up to this frame size when sending
    send_flags: int = 0  # sendmsg flags
    join: bool = True  # where it can (UDP), the kernel takes and gives several datagrams at once; the wire is the same
    copy_break: int = 256  # received payloads up to this move to a small block
    management_queue: int = 256  # frames; more are dropped: management_dropped
    stall: float = 0.002  # s that it waits for the full ring of a reader (docs/explanation/packets.md 4.3), ...
    stall_alone: float = 0.050  # ... and where that reader's flow is the only one


@frozen
class Route:
    """How to reach a flow's peer, and from where it must speak."""

    header: bytes  # complete, length field zero
    to: bytes = b""  # raw sockaddr_in or sockaddr_in6 when `addressed`, else empty
    source: bytes = b""  # what `PumpProgram.source` must give, all of it; empty: not checked


class Mode(IntEnum):
    FIRST = 0
    ROTATE = 1  # packet by packet
    FIRST_UP = 2  # the first port that is not DOWN, else the first


@frozen
class Group:
    """Next hops for one destination."""

    ports: tuple[int, ...]
    mode: Mode = Mode.FIRST


@frozen
class Window:
    """A sender's window in slots of 2**slot_shift ns, and when a receiver reports marks: unicast.md 7.2 - 7.6 with
    these numbers. It delays its own flow only; nothing is dropped for it.
    """

    slot_shift: int = 24
    limit: int = 65536  # bytes a slot at the start
    increment: int = 65536
    min_packets: int = 8
    max_packets: int = 64
    stale: int = 32  # packets after which a report counts as none
    decrease_shift: int = 13
    report_every: int = 8
    report_decay: int = 5
    end_decay: int = 2
    burst: int = 16
    """Packets of a slot that go out at once; the others go at twice the slot's rate, some at a time, so that forwarders
    on the way do not take a slot for congestion. 0: as fast as the slot permits, as in the prototype.
    """


@frozen
class ForwardProgram:
    """A layer's PCI and what is done with it. QoS cube, TTL and ECN are one byte each."""

    header: int
    destination: Field
    cube: int  # offsets
    ttl: int
    ecn: int
    eid: Field
    address: int  # our own
    max_ttl: int = 60
    ecn_shift: int | None = 4  # mark = min(255, packets in the ring to the next hop >> ecn_shift); or-ed. None: never
    # For what begins here, the packets above `window.max_packets`: one slot of a sender is no congestion.
    first_flow_eid: int = 64  # below: components
    window: Window | None = Window()  # None: congestion policy "none"
    cubes: int = 3  # queues, served from the highest down
    stall: float = 0.002
    stall_alone: float = 0.050

"""Congestion avoidance (unicast.md 7): `none` and `mb-ecn`; and what runs a policy written in Python.

mb-ecn is numbers (`Window`), which the forwarder executes natively: `ouro_core.builtin.movers.window` is the same in
readable form. Each forwarder or-s the length of the queue to the next hop, in sixteenths of packets, into the ECN byte
of a packet; the receiver keeps a decaying sum of these marks (about 32 times a steady one) and reports it with every
eighth packet, and when congestion begins and ends; the sender counts the bytes of each time slot and waits for the next
slot when they exceed its limit, which grows and shrinks with the reports. Nothing is ever dropped for it. A slot
does not go out in one burst, and where packets begin, as many as one slot holds are not marked: a sender whose own
bursts counted as congestion would never speed up.

A policy in Python delays packets in a thread of the flow's own (`PacedFlow`): a relay reads the end of the N+1 flow no
faster than the policy permits, and moves what it reads to one end of a pair, whose other end the forwarder has.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable

from ouro_core.contracts.packets import Buffer, End, FlowEnd, Options, PacketClient, State
from ouro_core.contracts.programs import Window
from ouro_core.model.errors import BadDescriptor, FlowTimeout, OuroError
from ouro_core.model.log import logger

from .contracts import CongestionPolicy, CongestionSender

__all__ = ["POLICIES", "MbEcn", "NoCongestionAvoidance", "PacedEnd", "PacedFlow", "reports_only"]

_LONGEST_WAIT = 1_000_000_000  # ns
_PATIENCE = 0.25  # seconds

_log = logger("ca")


class NoCongestionAvoidance(CongestionPolicy):
    """Nobody waits, marks or reports."""

    name = "none"
    ecn_shift = None
    window = None

    def __init__(self) -> None:
        _log.debug("Disabling congestion control.")


class MbEcn(CongestionPolicy):
    """Multi-bit ECN with the constants of the prototype."""

    name = "mb-ecn"
    window = Window()

    def __init__(self) -> None:
        _log.debug("Using multi-bit ECN.")


POLICIES: tuple[type[CongestionPolicy], ...] = (NoCongestionAvoidance, MbEcn)


def reports_only(
    every: int = Window().report_every, decay: int = Window().report_decay, end_decay: int = Window().end_decay
) -> Window:
    """A window whose receiver reports, and whose sender never waits: for policies that bring a sender of their own."""
    return Window(
        limit=1 << 46, increment=0, min_packets=1, max_packets=(1 << 31) - 1,
        report_every=every, report_decay=decay, end_decay=end_decay, burst=0,
    )  # fmt: skip


class PacedEnd(End):
    """The end of a N+1 flow whose packets are read no sooner than `sender` permits. For one reading thread; the others
    are free. Takes `end` over; `close` gives it back.
    """

    def __init__(self, end: FlowEnd, sender: CongestionSender) -> None:
        self._end = end.claim("congestion avoidance")
        self._given = end
        self._sender = sender
        self._lock = threading.Lock()  # of the sender
        self._held: deque[bytes] = deque()
        self._due: int | None = None  # ns: when the first of them may go; None: not asked yet
        self._closed = threading.Event()
        self._patience = _PATIENCE

    def feedback(self, ece: int) -> None:
        """The flow's receiver reported this level of congestion."""
        with self._lock:
            self._sender.feedback(ece, time.monotonic_ns())

    def read(self) -> bytes:
        return self.read_many(1)[0]

    def read_many(self, most: int = 32) -> list[bytes]:
        """Packets that may go now, at least one. FlowTimeout when the first has to wait for longer than the options
        say; it is kept.
        """
        if most < 1:
            return []
        if not self._held:
            self._held.extend(self._end.read_many(most))
        self._await_first()
        ready: list[bytes] = []
        while self._held and len(ready) < most and self._may_go():
            ready.append(self._held.popleft())
            self._due = None
        return ready

    def _may_go(self) -> bool:
        """Whether the first held packet may go. The sender is asked once for each packet."""
        now = time.monotonic_ns()
        if self._due is None:
            with self._lock:
                wait = self._sender.packet(len(self._held[0]), now)
            self._due = now + min(max(wait, 0), _LONGEST_WAIT)
        return self._due <= now

    def _await_first(self) -> None:
        until = time.monotonic() + self._patience
        while not self._may_go():
            assert self._due is not None  # _may_go asked
            left = min(self._due * 1e-9, until) - time.monotonic()
            if self._closed.wait(max(left, 0.0)):
                raise BadDescriptor
            if time.monotonic() >= until and not self._may_go():
                raise FlowTimeout("the flow's congestion window is shut")

    def waiting(self) -> int:
        """Packets that were written to the flow and not read here; 0 once it is closed."""
        try:
            return self._end.queued()[0] + len(self._held)
        except OuroError:
            return 0

    def write(self, data: Buffer) -> None:
        self._end.write(data)

    def write_many(self, packets: Iterable[Buffer]) -> int:
        return self._end.write_many(packets)

    @property
    def state(self) -> State:
        return self._end.state

    def set_options(self, options: Options) -> None:
        self._patience = options.read_timeout if options.read_timeout is not None else _PATIENCE
        self._end.set_options(options)

    def close(self) -> None:
        """Wake whoever reads, with BadDescriptor, and give the end back. Packets that had to wait are lost."""
        self._closed.set()
        self._given.unclaim()


class PacedFlow:
    """A N+1 flow whose sender is code. `end`: for the forwarder, instead of the flow's own."""

    def __init__(self, client: PacketClient, eid: int, end: FlowEnd, sender: CongestionSender) -> None:
        self.eid = eid
        self._paced = PacedEnd(end, sender)
        self.end, self._inner = client.pair()
        self._relay = client.relay(self._paced, self._inner)

    def feedback(self, ece: int) -> None:
        """The flow's receiver reported this level of congestion."""
        self._paced.feedback(ece)

    def waiting(self) -> int:
        """Packets of the application that the forwarder has not got yet."""
        read, written = self._relay.flow_counters(0), self._relay.flow_counters(1)
        return self._paced.waiting() + max(0, read["rx"] - written["tx"] - written["dropped"])

    def close(self) -> int:
        """Give the flow's end back. How many packets of the application are lost with it. Idempotent."""
        lost = self.waiting()
        self._paced.close()  # first: it wakes the relay
        self._relay.stop()
        return lost

"""The contract kit of congestion avoidance.

    from ouro_unicast.testing.congestion import CongestionContract

    class TestMine(CongestionContract):
        policy = MyCongestion

`Bottleneck` is what a sender's policy is tried against, and good for trying out numbers by hand.
"""

from typing import ClassVar

import pytest
from attrs import evolve

from ouro_core.builtin.heap import HeapPacketSystem
from ouro_core.builtin.movers.window import Receiver, Sender
from ouro_core.contracts.packets import PacketSystem
from ouro_core.testing.packets.bench import Bench
from ouro_core.testing.packets.forwarder import Node
from ouro_core.testing.packets.programs import dt

from ..contracts import CongestionPolicy, CongestionSender

__all__ = ["Bottleneck", "CongestionContract"]

SECOND = 1_000_000_000


class Bottleneck:
    """Flows that share one queue, of `room` packets, to a link of `rate` bytes/s; reports come back after `delay` ns.

    Each flow always has a packet of `size` bytes to send; a sender that never waits is as fast as `speed` such links.
    Virtual time in ns.
    """

    def __init__(
        self,
        policy: CongestionPolicy,
        flows: int = 1,
        rate: int = 12_500_000,
        size: int = 1000,
        delay: int = 1_000_000,
        speed: int = 2,
    ) -> None:
        self.queue = 0.0  # bytes
        self.longest = 0.0
        self.delivered = [0] * flows
        self.now = 0
        self._policy, self._rate, self._size, self._delay, self._speed = policy, rate, size, delay, speed
        self._senders = [self._sender() for _ in range(flows)]
        self._receivers = [Receiver(policy.window) if policy.window else None for _ in range(flows)]
        self._next = [self._wait(flow) for flow in range(flows)]
        self._reports: list[tuple[int, int, int]] = []

    def _sender(self) -> CongestionSender | Sender | None:
        code = self._policy.sender(self.now)
        if code is None and self._policy.window is not None:
            return Sender(self._policy.window, self.now)
        return code

    def _wait(self, flow: int) -> int:
        """When a flow's next packet goes."""
        sender, now = self._senders[flow], self.now + self._size * SECOND // (self._speed * self._rate)
        wait = sender.packet(self._size, now) if sender is not None else 0
        if not wait and isinstance(sender, Sender):
            wait = sender.pace(now)
        return now + min(wait, SECOND)

    def run(self, seconds: float, room: int = 1023) -> None:
        """Let time pass. Packets that find no room are lost."""
        end = self.now + int(seconds * SECOND)
        while (at := min(self._next)) <= end:
            flow = self._next.index(at)
            self._report(at)
            self.queue = max(0.0, self.queue - (at - self.now) * self._rate / SECOND)
            self.now = at
            packets = int(self.queue) // self._size
            if packets < room:
                self._deliver(flow, packets)
            self._next[flow] = self._wait(flow)
        self.now = end

    def _deliver(self, flow: int, packets: int) -> None:
        self.queue += self._size
        self.longest = max(self.longest, self.queue)
        self.delivered[flow] += self._size
        receiver, shift = self._receivers[flow], self._policy.ecn_shift
        if receiver is not None:
            ece = receiver.packet(min(255, packets >> shift) if shift is not None else 0)
            if ece is not None:
                self._reports.append((self.now + self._delay, flow, ece))

    def _report(self, at: int) -> None:
        while self._reports and self._reports[0][0] <= at:
            when, flow, ece = self._reports.pop(0)
            sender = self._senders[flow]
            if isinstance(sender, CongestionSender):
                sender.feedback(ece, when)
            elif sender is not None:
                sender.feedback(ece)


class CongestionContract:
    """Subclass it and set `policy`."""

    policy: ClassVar[type[CongestionPolicy]]
    packets: ClassVar[type[PacketSystem]] = HeapPacketSystem
    avoids: ClassVar[bool] = True
    """Whether it avoids congestion at all. False: the queue may stay full, and flows need not share."""
    uses: ClassVar[float] = 0.5 * 12_500_000
    """Bytes a second that a flow alone gets at least of a link of 12.5 MB/s."""

    def test_a_forwarder_takes_its_numbers(self) -> None:
        policy = self.policy()
        shift = policy.ecn_shift
        assert shift is None or (isinstance(shift, int) and 0 <= shift < 32), "`ecn_shift` is None, or 0 to 31"
        bench = Bench(self.packets)
        try:
            node = Node(bench, evolve(dt(1, window=policy.window), ecn_shift=shift))
            node.forwarder.stop()
        finally:
            bench.close()

    def test_waits_are_never_negative_and_nobody_starves(self) -> None:
        bottleneck = Bottleneck(self.policy())
        sender = self.policy().sender(0)
        if sender is not None:
            for i in range(1, 2000):
                wait = sender.packet(1000, i * 10_000)
                assert isinstance(wait, int), f"packet {i} has to wait for {wait!r}, which is no whole number of ns"
                assert wait >= 0, f"packet {i} is to go {-wait} ns ago"
        bottleneck.run(20.0)
        assert bottleneck.delivered[0] > 0

    @pytest.mark.parametrize("ece", [0, 1, 1000, 65535])
    def test_any_report_is_survived(self, ece: int) -> None:
        sender = self.policy().sender(0)
        if sender is None:
            return
        now = 0
        for i in range(500):
            now += 1_000_000
            sender.feedback(ece, now)
            assert sender.packet(1 if i % 2 else 60_000, now) >= 0

    def test_the_link_is_used(self) -> None:
        bottleneck = Bottleneck(self.policy())
        bottleneck.run(10.0)
        before = bottleneck.delivered[0]
        bottleneck.run(20.0)
        rate = (bottleneck.delivered[0] - before) / 20.0
        assert rate > self.uses, f"a flow alone gets {rate:.0f} of 12500000 bytes/s; `uses` says how many it should"

    def test_the_queue_does_not_stay_full(self) -> None:
        if not self.avoids:
            return
        bottleneck = Bottleneck(self.policy(), flows=4)
        bottleneck.run(10.0)
        bottleneck.longest = 0.0
        bottleneck.run(20.0)
        assert bottleneck.longest < 1000 * 1000, "the queue is full again and again; see `avoids`"

    def test_flows_share(self) -> None:
        """No flow gets less than a tenth of its part."""
        if not self.avoids:
            return
        bottleneck = Bottleneck(self.policy(), flows=4)
        bottleneck.run(10.0)
        before = list(bottleneck.delivered)
        bottleneck.run(40.0)
        got = [now - then for now, then in zip(bottleneck.delivered, before, strict=True)]
        assert min(got) > sum(got) / 4 / 10, f"bytes of the four flows: {got}"

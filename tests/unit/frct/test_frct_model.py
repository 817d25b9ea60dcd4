"""A sender, a receiver and a hostile link: whatever the link does, once it delivers again, all arrives, in order, once.

The link keeps every packet ever sent for as long as a packet may live, and delivers any of them, at any time, as often
as it likes, in any order, or not at all. What the schedules did: pytest --hypothesis-show-statistics.
"""

from itertools import pairwise

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ouro_core.frct.frct import Frct

MPL = 30.0
LIFE = 100.0
"""Seconds that a schedule lasts at most: less than a packet is sent again for."""

sides = st.sampled_from([0, 1])


class HostileLink(RuleBasedStateMachine):
    reliable = True

    @initialize(starts=st.tuples(*[st.sampled_from([0, 2**24 - 5, 2**31 - 5, 2**32 - 5])] * 2))
    def begin(self, starts: tuple[int, int]) -> None:
        self.now = 0.0
        self.ends = [Frct(self.reliable, MPL, lambda start=start: start) for start in starts]  # type: ignore[misc]
        self.sent: tuple[list[bytes], list[bytes]] = [], []
        self.got: tuple[list[bytes], list[bytes]] = [], []
        self.flying: tuple[list[tuple[float, bytes]], list[tuple[float, bytes]]] = [], []

    def _send_own(self, side: int) -> None:
        self.flying[side].extend((self.now, packet) for packet in self.ends[side].outgoing(self.now))

    @rule(side=sides, count=st.integers(1, 90))
    def write(self, side: int, count: int) -> None:
        end = self.ends[side]
        for _ in range(count):
            if not end.room(self.now):
                break
            payload = b"%d" % len(self.sent[side])
            packet = end.send(payload, self.now)
            assert packet is not None
            self.flying[side].append((self.now, packet))
            self.sent[side].append(payload)
        self._send_own(side)

    @rule(side=sides, count=st.integers(1, 5))
    def take_back(self, side: int, count: int) -> None:
        end = self.ends[side]
        done = 0
        while done < count and end.room(self.now):
            end.send(b"never", self.now)
            done += 1
        end.take_back(done)

    @rule(side=sides, count=st.integers(1, 300))
    def read(self, side: int, count: int) -> None:
        self.got[side].extend(self.ends[side].take_many(count))
        self._send_own(side)

    @rule(side=sides, which=st.integers(0, 10**6), count=st.integers(1, 40), keep=st.booleans())
    def deliver(self, side: int, which: int, count: int, keep: bool) -> None:
        """Some packets in a row, from anywhere among those in flight; `keep`: they may come once more."""
        flying, other = self.flying[side], self.ends[1 - side]
        flying[:] = [(at, packet) for at, packet in flying if at + MPL > self.now]
        if not flying:
            return
        first = which % len(flying)
        for _, packet in flying[first : first + count]:
            other.receive(packet, self.now)
        if not keep:
            del flying[first : first + count]
        self._send_own(1 - side)

    @rule(side=sides)
    def lose_everything(self, side: int) -> None:
        self.flying[side].clear()

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.1, 1.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.now = min(self.now + seconds, LIFE)
        for side in (0, 1):
            self.ends[side].handle_timeout(self.now)
            self._send_own(side)

    @invariant()
    def nothing_wrong_arrived(self) -> None:
        if not hasattr(self, "ends"):
            return
        for side in (0, 1):
            self.check(self.sent[1 - side], self.got[side])
            assert self.ends[side].ready <= 256
            assert self.ends[side].unacknowledged <= 256

    def check(self, sent: list[bytes], got: list[bytes]) -> None:
        assert got == sent[: len(got)]

    def teardown(self) -> None:
        """The link delivers again."""
        if not hasattr(self, "ends"):
            return
        for _ in range(10_000):
            for side in (0, 1):
                flying = self.flying[side]
                for _, packet in flying:
                    self.ends[1 - side].receive(packet, self.now)
                flying.clear()
                self.got[1 - side].extend(self.ends[1 - side].take_many(1000))
                self._send_own(1 - side)
            if not any(self.flying):
                if self.finished():
                    break
                self.now = max(self.now, min(end.next_timeout() for end in self.ends))
                for side in (0, 1):
                    self.ends[side].handle_timeout(self.now)
                    self._send_own(side)
        else:
            raise AssertionError("no end in sight")
        self.nothing_wrong_arrived()
        for what in ("retransmitted", "duplicates", "out_of_window", "rendezvous"):
            count = sum(end.counters()[what] for end in self.ends)
            event(f"{what}: {'none' if not count else '1 to 9' if count < 10 else '10 and more'}")
        count = sum(map(len, self.got))
        event(f"packets delivered: {'none' if not count else '1 to 99' if count < 100 else '100 and more'}")

    def finished(self) -> bool:
        return (
            self.got[0] == self.sent[1] and self.got[1] == self.sent[0] and not any(e.unacknowledged for e in self.ends)
        )


class HostileLinkUnreliable(HostileLink):
    """Packets may be lost; the order holds, nothing comes twice."""

    reliable = False

    def check(self, sent: list[bytes], got: list[bytes]) -> None:
        numbers = [int(payload) for payload in got]
        assert all(before < after for before, after in pairwise(numbers))
        assert not numbers or numbers[-1] < len(sent)

    def finished(self) -> bool:
        return True


SETTINGS = settings(max_examples=300, stateful_step_count=60, deadline=None)

TestReliable = HostileLink.TestCase
TestReliable.settings = SETTINGS
TestUnreliable = HostileLinkUnreliable.TestCase
TestUnreliable.settings = SETTINGS

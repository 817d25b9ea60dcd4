"""One flow against a model: two deques and a few bits, in any order of calls."""

from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ouro_core.contracts.packets import Event, Options, State
from ouro_core.model.errors import FlowDown, FlowPeer, NotAllocated, OuroError, WouldBlock

from .bench import Bench, Kit

_PACKETS = st.binary(min_size=1, max_size=40)
_SIDES = st.sampled_from((0, 1))
_OPTIONS = Options(read_blocking=False, write_blocking=False, deliver_empty=True)


class FlowMachine(RuleBasedStateMachine):
    """Both ends see empty packets and never wait. `queues[n]` is what end n has to read."""

    kit: Kit

    @initialize()
    def start(self) -> None:
        self.bench = Bench(self.kit.system, uid=self.kit.user_uid)
        self.ends = self.bench.joined(options=_OPTIONS)
        self.sets = [client.event_set() for client in self.bench.clients]
        for events, end in zip(self.sets, self.ends, strict=True):
            events.add(end)
        self.queues: tuple[deque[bytes], deque[bytes]] = deque(), deque()
        self.sent = [0, 0]
        self.down = False
        self.peer = [False, False]
        self.refuses = [False, False]

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.bench.close()

    def _refusal(self, side: int) -> type[OuroError] | None:
        """What a write at this side raises."""
        if self.down:
            return FlowDown
        return NotAllocated if self.refuses[1 - side] else None

    def _emptiness(self, side: int) -> type[OuroError]:
        """What a read at this side raises when nothing is queued."""
        if self.down:
            return FlowDown
        return FlowPeer if self.peer[side] else WouldBlock

    @rule(side=_SIDES, packet=_PACKETS)
    def write(self, side: int, packet: bytes) -> None:
        self._write(side, [packet], lambda: self.ends[side].write(packet))

    @rule(side=_SIDES, packets=st.lists(_PACKETS, min_size=1, max_size=5))
    def write_many(self, side: int, packets: list[bytes]) -> None:
        self._write(side, packets, lambda: self.ends[side].write_many(packets))

    @rule(side=_SIDES)
    def keepalive(self, side: int) -> None:
        self._write(side, [b""], self.ends[side].keepalive)

    @rule(side=_SIDES, packet=_PACKETS)
    def send(self, side: int, packet: bytes) -> None:
        if self._refusal(side) is not None:
            return
        made = self.ends[side].alloc(len(packet))
        made.payload[:] = packet
        self._write(side, [packet], lambda: self.ends[side].send(made))

    def _write(self, side: int, packets: list[bytes], call: Callable[[], object]) -> None:
        expected = self._refusal(side)
        if expected is not None:
            with pytest.raises(expected):
                call()
            return
        call()
        self.queues[1 - side].extend(packets)
        self.sent[side] += len(packets)

    @rule(side=_SIDES)
    def read(self, side: int) -> None:
        self._read(side, 1, lambda: [self.ends[side].read()])

    @rule(side=_SIDES, most=st.integers(1, 6))
    def read_many(self, side: int, most: int) -> None:
        self._read(side, most, lambda: self.ends[side].read_many(most))

    @rule(side=_SIDES)
    def recv(self, side: int) -> None:
        self._read(side, 1, lambda: [bytes(self.ends[side].recv().payload)])

    def _read(self, side: int, most: int, call: Callable[[], list[bytes]]) -> None:
        queue = self.queues[side]
        expected = [queue.popleft() for _ in range(min(most, len(queue)))]
        if expected:
            assert call() == expected
        else:
            with pytest.raises(self._emptiness(side)):
                call()

    @rule(side=_SIDES, down=st.booleans())
    def mark_down(self, side: int, down: bool) -> None:
        self.down = down
        self.ends[side].mark(*((State.DOWN, State.UP) if down else (State.UP, State.DOWN)))

    @rule(down=st.booleans())
    def broker_down(self, down: bool) -> None:
        self.down = down
        if down:
            self.bench.flows[0].down()
        else:
            self.bench.flows[0].up()

    @rule(side=_SIDES, peer=st.booleans())
    def mark_peer(self, side: int, peer: bool) -> None:
        self.peer[side] = peer
        self.ends[side].mark(*((State.PEER, State.UP) if peer else (State.UP, State.PEER)))

    @rule(side=_SIDES, refuses=st.booleans())
    def mark_read_only(self, side: int, refuses: bool) -> None:
        self.refuses[side] = refuses
        self.ends[side].mark(*((State.READ_ONLY, State.UP) if refuses else (State.UP, State.READ_ONLY)))

    @rule(side=_SIDES)
    def poll(self, side: int) -> None:
        told = self.sets[side].poll()
        assert len(told) <= 1
        assert bool(self.queues[side]) == any(event & Event.PACKET for _, event in told)

    @rule(side=_SIDES)
    def claim_and_give_back(self, side: int) -> None:
        self.sets[side].remove(self.ends[side])
        self.ends[side].claim("machine")
        self.ends[side].unclaim()
        self.ends[side].set_options(_OPTIONS)
        self.sets[side].add(self.ends[side])

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "bench"):
            return
        used = sum(self.bench.used().values())
        assert used == sum(1 for queue in self.queues for packet in queue if packet)
        for side, end in enumerate(self.ends):
            assert end.queued() == (len(self.queues[side]), len(self.queues[1 - side]))
            assert end.sequence() == (self.sent[side], self.sent[1 - side])
            state = State.DOWN if self.down else State.UP
            state |= State.PEER if self.peer[side] else State.UP
            state |= State.READ_ONLY if self.refuses[1 - side] else State.UP
            assert end.state == state


class MachineContract(Kit):
    def test_a_flow_behaves_like_its_model(self) -> None:
        class Machine(FlowMachine):
            kit = self

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=60,
                stateful_step_count=40,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

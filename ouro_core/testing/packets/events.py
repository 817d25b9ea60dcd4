"""Event sets: many ends in one place, by waiting, by polling, by a selector, by asyncio."""

import asyncio
import select
from collections.abc import Iterator

import pytest

from ouro_core.contracts.packets import Event, EventSet, FlowEnd, State
from ouro_core.model.errors import FlowDown, FlowTimeout, OuroError, PacketsError, WouldBlock

from .bench import NON_BLOCKING, Background, Bench, Kit, drain, eventually, fill

Ends = tuple[FlowEnd, FlowEnd]
_ROUNDS = 300


def _readable(events: EventSet) -> bool:
    return bool(select.select([events.fileno()], [], [], 0)[0])


def _quiet(events: EventSet) -> bool:
    """The set has nothing and its descriptor says so. Spurious readiness is allowed once."""
    return not events.poll() and not _readable(events)


class EventSetContract(Kit):
    @pytest.fixture
    def events(self, bench: Bench, ends: Ends) -> Iterator[EventSet]:
        """A set of the client of `ends[1]`, nothing in it."""
        events = bench.clients[1].event_set()
        yield events
        events.close()

    def test_nothing_happens(self, events: EventSet, ends: Ends) -> None:
        events.add(ends[1])
        assert events.poll() == []
        for timeout in (0.0, 0.02):
            with pytest.raises(FlowTimeout):
                events.wait(timeout)
        assert events.spin() is False

    def test_a_packet_is_an_event_until_it_is_read(self, events: EventSet, ends: Ends) -> None:
        a, b = ends
        events.add(b)
        a.write(b"1")
        a.write(b"2")
        for left in (2, 1):
            assert events.wait(10.0) == [(b, Event.PACKET)]
            assert events.wait(10.0) == [(b, Event.PACKET)]
            assert events.spin() is True
            assert b.queued()[0] == left
            b.read()
        with pytest.raises(FlowTimeout):
            events.wait(0.02)

    def test_a_packet_that_was_there_before_is_an_event_at_once(self, events: EventSet, ends: Ends) -> None:
        a, b = ends
        a.write(b"early")
        events.add(b)
        assert events.wait(10.0) == [(b, Event.PACKET)]

    def test_a_thread_that_waits_is_woken(self, events: EventSet, ends: Ends) -> None:
        a, b = ends
        events.add(b)
        for _ in range(5):
            waiter = Background(lambda: events.wait(10.0)).settle()
            a.write(b"x")
            assert waiter.result() == [(b, Event.PACKET)]
            b.read()

    def test_states_are_told_once_and_merged(self, bench: Bench, events: EventSet, ends: Ends) -> None:
        a, b = ends
        events.add(b)
        a.write(b"x")
        a.mark(State.DOWN)
        assert events.wait(10.0) == [(b, Event.PACKET | Event.DOWN)]
        assert events.wait(10.0) == [(b, Event.PACKET)]
        assert b.read() == b"x"
        a.mark(clear=State.DOWN)
        assert events.wait(10.0) == [(b, Event.UP)]
        bench.flows[0].down()
        assert events.wait(10.0) == [(b, Event.DOWN)]
        with pytest.raises(FlowTimeout):
            events.wait(0.02)

    def test_the_other_end_closes(self, events: EventSet, ends: Ends) -> None:
        a, b = ends
        events.add(b)
        a.close()
        [(end, event)] = events.wait(10.0)
        assert end is b
        assert event & Event.DEALLOC

    def test_the_peer_times_out(self, events: EventSet, ends: Ends) -> None:
        events.add(ends[1])
        ends[1].mark(State.PEER)
        assert events.wait(10.0) == [(ends[1], Event.PEER)]

    def test_an_end_that_is_down_already(self, events: EventSet, ends: Ends) -> None:
        ends[0].mark(State.DOWN)
        for _ in range(2):
            events.add(ends[1])
            assert events.wait(10.0) == [(ends[1], Event.DOWN)]
            events.remove(ends[1])

    def test_space_comes_when_a_full_ring_is_half_empty(self, events: EventSet, ends: Ends) -> None:
        a, b = ends
        ring = fill(b)
        events.add(b)
        with pytest.raises(WouldBlock):
            b.write(b"full")
        a.read_many(ring // 4)
        assert events.poll() == []
        a.read_many(ring // 4 + 8)
        assert events.wait(10.0) == [(b, Event.SPACE)]
        b.write(b"goes")

    def test_space_comes_when_a_pool_has_blocks_again(self, small: Bench) -> None:
        a, b = small.joined()
        with_events = small.clients[1].event_set()
        with_events.add(b)
        fill(b)
        drain(a)
        assert with_events.wait(10.0) == [(b, Event.SPACE)]
        b.write(b"goes")
        drain(a)

    def test_one_entry_an_end(self, bench: Bench) -> None:
        mine = bench.client()
        flows = [bench.flow(bench.client(), mine) for _ in range(70)]
        events = mine.event_set()
        for _, b in flows:
            events.add(b)
        for a, _ in flows[::3]:
            a.write(b"1")
            a.write(b"2")
        found = eventually(lambda: (told := events.wait(10.0)) and len(told) == len(flows[::3]) and told)
        assert {end.flow_id for end, _ in found} == {b.flow_id for _, b in flows[::3]}
        assert {event for _, event in found} == {Event.PACKET}

    def test_several_sets_of_one_client(self, bench: Bench) -> None:
        mine = bench.client()
        other = bench.client()
        flows = [bench.flow(other, mine) for _ in range(3)]
        sets = [mine.event_set() for _ in flows]
        for events, (_, b) in zip(sets, flows, strict=True):
            events.add(b)

        def serve(events: EventSet, b: FlowEnd) -> None:
            for n in range(_ROUNDS):
                assert events.wait(10.0) == [(b, Event.PACKET)]
                assert b.read() == b"%d" % n

        servers = [
            Background(lambda events=events, b=b: serve(events, b))  # type: ignore[misc]
            for events, (_, b) in zip(sets, flows, strict=True)
        ]
        for n in range(_ROUNDS):
            for a, _ in flows:
                a.write(b"%d" % n)
        for server in servers:
            server.result()

    def test_an_end_is_in_one_set_at_most(self, bench: Bench, events: EventSet, ends: Ends) -> None:
        _, b = ends
        other = bench.clients[1].event_set()
        events.add(b)
        for again in (events, other):
            with pytest.raises(PacketsError):
                again.add(b)
        with pytest.raises(PacketsError):
            b.claim("test")
        events.remove(b)
        other.add(b)
        other.close()
        view = b.claim("test")
        with pytest.raises(PacketsError):
            events.add(b)
        events.add(view)
        ends[0].write(b"to the owner")
        assert events.wait(10.0) == [(view, Event.PACKET)]
        events.remove(view)
        b.unclaim()

    def test_a_removed_end_is_not_told(self, events: EventSet, ends: Ends) -> None:
        a, b = ends
        events.add(b)
        a.write(b"x")
        events.remove(b)
        assert events.poll() == []
        with pytest.raises(FlowTimeout):
            events.wait(0.02)

    def test_a_closed_end_leaves_its_set(self, events: EventSet, ends: Ends) -> None:
        events.add(ends[1])
        ends[0].write(b"x")
        ends[1].close()
        assert events.poll() == []

    def test_a_closed_set_lets_its_ends_go(self, bench: Bench, events: EventSet, ends: Ends) -> None:
        a, b = ends
        events.add(b)
        events.close()
        events.close()
        with pytest.raises(OuroError):
            events.poll()
        another = bench.clients[1].event_set()
        another.add(b)
        a.write(b"x")
        assert another.wait(10.0) == [(b, Event.PACKET)]
        another.close()

    # ---- descriptors

    def test_the_descriptor_is_readable_when_there_is_something(self, events: EventSet, ends: Ends) -> None:
        a, b = ends
        events.add(b)
        eventually(lambda: _quiet(events))
        for expected in (Event.PACKET, Event.DOWN, Event.UP):
            if expected is Event.PACKET:
                a.write(b"x")
            else:
                a.mark(*((State.DOWN, State.UP) if expected is Event.DOWN else (State.UP, State.DOWN)))
            assert select.select([events.fileno()], [], [], 10.0)[0]
            assert events.poll() == [(b, expected)]
            if expected is Event.PACKET:
                b.read()
            eventually(lambda: _quiet(events))

    def test_a_selector_that_reads_one_packet_a_time_misses_none(self, events: EventSet, ends: Ends) -> None:
        a, b = ends
        events.add(b)
        writer = Background(lambda: [a.write(b"%d" % n) for n in range(_ROUNDS)])
        got: list[bytes] = []
        while len(got) < _ROUNDS:
            assert select.select([events.fileno()], [], [], 10.0)[0], f"no wake-up after {len(got)} packets"
            if events.poll():
                got.append(b.read())
        writer.result()
        assert got == [b"%d" % n for n in range(_ROUNDS)]

    async def test_asyncio(self, events: EventSet, ends: Ends) -> None:
        a, b = ends
        events.add(b)
        b.set_options(NON_BLOCKING)
        got: list[bytes] = []
        finished = asyncio.Event()

        def look() -> None:
            for end, event in events.poll():
                if event & Event.PACKET:
                    got.append(end.read())
                if len(got) == _ROUNDS and end.state & State.CLOSED:
                    finished.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(events.fileno(), look)
        try:
            for n in range(_ROUNDS):
                a.write(b"%d" % n)
                if n % 10 == 0:
                    await asyncio.sleep(0)
            a.close()
            await asyncio.wait_for(finished.wait(), 10.0)
        finally:
            loop.remove_reader(events.fileno())
        assert got == [b"%d" % n for n in range(_ROUNDS)]
        with pytest.raises(FlowDown):
            b.read()

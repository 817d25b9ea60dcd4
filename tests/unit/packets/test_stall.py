"""How long a mover waits for an application (packets.md 4.3), with a clock of the test."""

from collections.abc import Iterator

import pytest

from ouro_core.builtin.heap import HeapPacketSystem
from ouro_core.builtin.movers.stall import HALF, Delivery
from ouro_core.contracts.packets import FlowEnd, State
from ouro_core.contracts.programs import Field, PumpProgram
from ouro_core.testing.packets.bench import NON_BLOCKING, Bench, fill

PROGRAM = PumpProgram(header=4, key=Field(0, 4), max_payload=1000)
NEVER = float("-inf")


@pytest.fixture
def ends() -> Iterator[tuple[FlowEnd, FlowEnd]]:
    """The view of the mover and the application."""
    bench = Bench(HeapPacketSystem)
    app, end = bench.joined(options=NON_BLOCKING)
    yield end.claim("test"), app
    bench.close()


def test_alone_it_waits_50_ms_then_drops_until_half_empty(ends: tuple[FlowEnd, FlowEnd]) -> None:
    view, app = ends
    delivery = Delivery(view, PROGRAM)
    ring = fill(view)
    assert delivery.offer(b"1", 10.0, NEVER) is None
    assert delivery.until == pytest.approx(10.05)
    assert delivery.offer(b"1", 10.049, NEVER) is None
    assert delivery.offer(b"1", 10.051, NEVER) == "ring_full"
    assert delivery.offer(b"2", 10.052, NEVER) == "ring_full", "no second wait"
    app.read_many(ring - HALF - 1)
    assert delivery.offer(b"3", 10.053, NEVER) == "ring_full", "not half empty"
    app.read_many(1)
    assert delivery.offer(b"4", 10.054, NEVER) == ""
    fill(view)
    assert delivery.offer(b"5", 10.1, NEVER) is None, "a new wait"


def test_a_wait_ends_when_the_ring_is_half_empty(ends: tuple[FlowEnd, FlowEnd]) -> None:
    view, app = ends
    delivery = Delivery(view, PROGRAM)
    ring = fill(view)
    assert delivery.offer(b"last", 10.0, NEVER) is None
    app.read_many(10)
    assert delivery.offer(b"last", 10.01, NEVER) is None, "room, but not half of the ring"
    app.read_many(ring - HALF)
    assert delivery.offer(b"last", 10.02, NEVER) == ""
    assert delivery.until is None


def test_beside_others_it_waits_on_credit(ends: tuple[FlowEnd, FlowEnd]) -> None:
    """2 ms at first; an eighth of the time since the last wait began comes back."""
    view, app = ends
    delivery = Delivery(view, PROGRAM)
    now = 10.0
    for credit in (0.002, 0.010 / 8, 0.00925 / 8):
        fill(view)
        assert delivery.offer(b"x", now, now - 0.05) is None
        assert delivery.until == pytest.approx(now + credit)
        assert delivery.until is not None
        now = delivery.until
        assert delivery.offer(b"x", now, now) == "ring_full"
        app.read_many(1024)
        assert delivery.offer(b"x", now, now) == ""
        now += 0.008


def test_no_block_is_like_a_full_ring() -> None:
    bench = Bench(HeapPacketSystem)
    hog = bench.client()
    app, end = bench.flow(bench.client(), hog, NON_BLOCKING)
    held = [hog.pair()[0].alloc(20000 // 2) for _ in range(40)]
    view = end.claim("test")
    delivery = Delivery(view, PROGRAM)
    view.set_options(NON_BLOCKING)
    taken = [view.alloc(10000) for _ in range(24)]
    assert delivery.offer(bytes(10000), 10.0, NEVER) is None
    assert delivery.offer(bytes(10000), 10.051, NEVER) == "no_block"
    assert delivery.offer(b"small", 10.052, NEVER) == ""
    taken.pop().release()
    assert delivery.offer(bytes(10000), 10.053, NEVER) == ""
    assert app.read_many() == [b"small", bytes(10000)]
    for packet in (*held, *taken):
        packet.release()
    bench.close()


def test_a_flow_that_is_down_or_closed_costs_no_wait(ends: tuple[FlowEnd, FlowEnd]) -> None:
    view, app = ends
    delivery = Delivery(view, PROGRAM)
    fill(view)
    assert delivery.offer(b"x", 10.0, NEVER) is None
    app.mark(State.DOWN)
    app.read_many(1024)
    assert delivery.offer(b"x", 10.001, NEVER) == "down"
    assert delivery.down()
    app.mark(clear=State.DOWN)
    assert not delivery.down()
    assert delivery.offer(b"", 10.002, NEVER) == ""
    assert app.sequence()[1] == 1025

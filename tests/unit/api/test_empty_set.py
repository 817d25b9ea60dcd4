"""A `FlowSet` that has no flow yet: it has no events, and waits for the first flow."""

import select
import threading
from collections.abc import Callable

import pytest

from ouro_core import BadDescriptor, Event, FlowSet, FlowTimeout

from .conftest import Pair

LONG = 20.0


def test_nothing_happens_in_an_empty_set() -> None:
    with FlowSet() as flows:
        assert flows.poll() == []
        with pytest.raises(FlowTimeout):
            flows.wait(0.01)
        assert select.select([flows], [], [], 0)[0] == []
    with pytest.raises(BadDescriptor):
        flows.wait(0)


def test_a_flow_that_another_thread_adds_wakes_who_waits(make_pair: Callable[..., Pair]) -> None:
    a, b = make_pair().flows
    with FlowSet() as flows:
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.extend(flows.wait(LONG)))
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
        flows.add(b)
        a.write(b"x")
        thread.join(LONG)
        assert found == [(b, Event.PACKET)]


def test_closing_wakes_who_waits() -> None:
    flows = FlowSet()
    seen: list[BaseException] = []

    def wait() -> None:
        try:
            flows.wait(LONG)
        except BadDescriptor as e:
            seen.append(e)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.05)
    flows.close()
    thread.join(LONG)
    assert seen


def test_a_descriptor_that_was_asked_for_before_the_first_flow(make_pair: Callable[..., Pair]) -> None:
    a, b = make_pair().flows
    with FlowSet() as flows:
        fd = flows.fileno()
        flows.add(b)
        assert flows.fileno() == fd
        for _ in range(3):
            assert flows.poll() == []
            assert select.select([fd], [], [], 0)[0] == []
            a.write(b"x")
            assert select.select([fd], [], [], LONG)[0] == [fd]
            assert flows.poll() == [(b, Event.PACKET)]
            b.read()
            flows.poll()

"""Keep-alives and the time-out of a peer, in virtual time."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.frct.liveness import Liveness, LivenessAction

NONE, KEEPALIVE, TIMED_OUT = LivenessAction.NONE, LivenessAction.KEEPALIVE, LivenessAction.PEER_TIMED_OUT


class End:
    """One end of a flow as its timer sees it."""

    def __init__(self, timeout: float) -> None:
        self.liveness = Liveness(timeout)
        self.sent = self.arrived = 0
        self.keepalives: list[float] = []
        self.timed_out: float | None = None

    def sample(self, now: float) -> None:
        action = self.liveness.sample((self.sent % 2**32, self.arrived % 2**32), now)
        if action is KEEPALIVE:
            self.keepalives.append(now)
            self.sent += 1
        elif action is TIMED_OUT:
            assert self.timed_out is None, "told once"
            self.timed_out = now


def run(end: End, until: float, sends: list[float] = [], arrivals: list[float] = [], start: float = 0.0) -> None:  # noqa: B006
    "Sample whenever asked to; packets go and come at the given times, before a sample at the same time."
    events = sorted([(time, "sent") for time in sends] + [(time, "arrived") for time in arrivals])
    end.sample(start)
    while (due := end.liveness.next_timeout()) is not None and due <= until:
        assert due > start, "time goes on"
        while events and events[0][0] <= due:
            setattr(end, events[0][1], getattr(end, events.pop(0)[1]) + 1)
        start = due
        end.sample(due)


def test_idle_flow_sends_keepalives_and_gives_its_peer_up() -> None:
    end = End(120.0)
    run(end, 1000.0)
    assert end.keepalives == [30.0, 60.0, 90.0]
    assert end.timed_out == 120.0
    assert end.liveness.next_timeout() is None
    assert end.liveness.sample((9, 9), 2000.0) is NONE


def test_a_peer_that_keeps_alive_is_alive() -> None:
    end = End(16.0)
    run(end, 200.0, arrivals=[4.0 * i for i in range(1, 60)])
    assert end.timed_out is None
    assert end.keepalives == [4.0 * i for i in range(1, 51)]


def test_a_sender_needs_no_keepalive() -> None:
    end = End(16.0)
    run(end, 100.0, sends=[3.0 * i for i in range(40)], arrivals=[5.0 * i for i in range(30)])
    assert end.keepalives == []


def test_two_ends_keep_each_other_alive() -> None:
    ends = End(16.0), End(16.0)
    for tick in range(400):
        for end, other in (ends, ends[::-1]):
            other.arrived = end.sent
            due = end.liveness.next_timeout()
            assert due is not None
            if due <= tick:
                end.sample(float(tick))
    for end in ends:
        assert end.timed_out is None
        assert 90 <= len(end.keepalives) <= 100


@pytest.mark.parametrize("timeout", [0, 0.0, -1.0])
def test_no_timeout_no_timer(timeout: float) -> None:
    liveness = Liveness(timeout)
    assert liveness.next_timeout() is None
    assert liveness.sample((0, 0), 0.0) is NONE
    assert liveness.sample((0, 0), 1e9) is NONE


def test_looks_every_sixteenth_but_not_more_than_200_times_a_second() -> None:
    for timeout, interval in ((160.0, 10.0), (0.016, 0.004)):
        liveness = Liveness(timeout)
        assert liveness.sample((0, 0), 5.0) is NONE
        assert liveness.next_timeout() == pytest.approx(5.0 + interval)
    liveness = Liveness(0.04)
    liveness.sample((0, 0), 5.0)
    assert liveness.next_timeout() == pytest.approx(5.005)


def test_sample_at_once() -> None:
    due = Liveness(1.0).next_timeout()
    assert due is not None
    assert due < 0.0


def test_counters_wrap() -> None:
    end = End(16.0)
    end.sent = end.arrived = 2**32 - 3
    run(end, 60.0, arrivals=[4.0 * i for i in range(1, 15)])
    assert end.timed_out is None


def test_a_timer_that_slept_gives_nobody_up_who_spoke_meanwhile() -> None:
    liveness = Liveness(16.0)
    liveness.sample((0, 0), 0.0)
    assert liveness.sample((5, 5), 100.0) is KEEPALIVE
    assert liveness.sample((6, 5), 115.0) is KEEPALIVE
    assert liveness.sample((7, 5), 116.0) is TIMED_OUT


@given(
    st.floats(0.1, 1000.0),
    st.lists(st.floats(0.0, 3.0), max_size=40),
    st.lists(st.floats(0.0, 3.0), max_size=40),
)
def test_never_too_early_and_late_by_one_look_at_most(
    timeout: float, sends: list[float], arrivals: list[float]
) -> None:
    sends, arrivals = [sorted(t * timeout for t in times) for times in (sends, arrivals)]
    end = End(timeout)
    run(end, 5 * timeout, sends, arrivals)
    slack, look = timeout * 1e-9, max(timeout / 16, 0.005)

    assert end.timed_out is not None
    quiet = [b - a for a, b in zip([0.0, *arrivals], [*arrivals, end.timed_out], strict=True) if b <= end.timed_out]
    assert max(quiet) <= timeout + look + slack, "given up at last"
    last = max([0.0, *(time for time in arrivals if time <= end.timed_out)])
    assert end.timed_out - last >= timeout - slack, "not given up too early"

    active = sorted([0.0, *(t for t in sends if t <= end.timed_out), *end.keepalives, end.timed_out])
    assert max(b - a for a, b in pairwise(active)) <= timeout / 4 + look + slack

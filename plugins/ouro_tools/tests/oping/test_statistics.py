"""Statistics and the lines they make."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ouro_tools.oping.statistics import Statistics, shown


def of(*times: float, sent: int | None = None) -> Statistics:
    found = Statistics()
    for ms in times:
        found.add(ms)
    found.sent = len(times) if sent is None else sent
    return found


@given(st.lists(st.floats(0, 1e4), min_size=2, max_size=50))
def test_one_pass_gives_what_two_give(times: list[float]) -> None:
    found = of(*times)
    assert found.mean == pytest.approx(statistics.fmean(times), abs=1e-6)
    assert found.deviation == pytest.approx(statistics.stdev(times), abs=1e-6)
    assert (found.lowest, found.highest) == (min(times), max(times))


def test_summary_in_milliseconds() -> None:
    assert of(0.42, 0.5, 0.644).summary("oping.x", 401.3334).splitlines() == [
        "",
        "--- oping.x ping statistics ---",
        "3 packets transmitted, 3 received, 0 out-of-order, 0% packet loss, time: 401.333 ms",
        "rtt min/avg/max/mdev = 0.420/0.521/0.644/0.114 ms",
    ]


def test_summary_in_microseconds() -> None:
    assert of(0.010, 0.020).summary("x", 1).splitlines()[-1] == "rtt min/avg/max/mdev = 10.000/15.000/20.000/7.071 µs"


def test_one_packet_has_no_deviation() -> None:
    assert of(0.2).summary("x", 1).splitlines()[-1] == "rtt min/avg/max/mdev = 0.200/0.200/0.200/NaN ms"


def test_nothing_received() -> None:
    lines = of(sent=3).summary("x", 1).splitlines()
    assert lines[-1] == "3 packets transmitted, 0 received, 0 out-of-order, 100% packet loss, time: 1.000 ms"


@pytest.mark.parametrize(("received", "sent", "loss"), [(2, 3, 34), (999, 1000, 1), (0, 0, 0), (2, 2, 0)])
def test_loss_is_rounded_up(received: int, sent: int, loss: int) -> None:
    assert of(*[0.1] * received, sent=sent).loss == loss


def test_times_with_their_units() -> None:
    assert [shown(0.0994), shown(0.1), shown(12.5)] == ["99.400 µs", "0.100 ms", "12.500 ms"]

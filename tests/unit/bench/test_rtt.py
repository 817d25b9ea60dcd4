"""What oping prints at its end."""

import pytest

from tests.bench.rtt import average
from tests.bench.sides import Unable

SUMMARY = """
--- oping ping statistics ---
4 packets transmitted, 4 received, 0 out-of-order, 0% packet loss, time: 401.333 ms
rtt min/avg/max/mdev = {}
"""


@pytest.mark.parametrize(
    ("line", "microseconds"),
    [("9.000/42.432/1217.000/89.622 µs", 42.432), ("0.420/0.509/0.644/0.100 ms", 509.0), ("1/2/3/NaN µs", 2.0)],
)
def test_the_average_in_microseconds(line: str, microseconds: float) -> None:
    assert average(SUMMARY.format(line)) == pytest.approx(microseconds)


def test_no_answer_is_no_figure() -> None:
    with pytest.raises(Unable, match="Server timed out"):
        average("Server timed out.\n")

"""The links for tests keep their promises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.testing.links import Faulty, Link

PACKETS = [i.to_bytes(4, "big") * 4 for i in range(2000)]


def run(link: Link) -> list[tuple[float, bytes]]:
    "What arrives of PACKETS, sent one a millisecond, in order of arrival."
    arrivals = [arrival for i, packet in enumerate(PACKETS) for arrival in link.transmit(packet, i / 1000)]
    return sorted(arrivals, key=lambda arrival: arrival[0])


def test_a_perfect_link() -> None:
    link = Link(delay=0.5)
    assert run(link) == [(i / 1000 + 0.5, packet) for i, packet in enumerate(PACKETS)]
    assert link.statistics.sent == 2000


def test_without_faults_it_is_perfect() -> None:
    assert [packet for _, packet in run(Faulty(1))] == PACKETS


def test_loss() -> None:
    link = Faulty(1, loss=0.25)
    arrived = [packet for _, packet in run(link)]
    assert 1400 < len(arrived) < 1600
    assert link.statistics.lost == 2000 - len(arrived)
    assert arrived == sorted(arrived)


def test_duplication() -> None:
    link = Faulty(1, duplication=0.25)
    arrived = [packet for _, packet in run(link)]
    assert 2400 < len(arrived) < 2600
    assert link.statistics.duplicated == len(arrived) - 2000
    assert set(arrived) == set(PACKETS)


def test_reordering() -> None:
    link = Faulty(1, reordering=0.25)
    arrived = [packet for _, packet in run(link)]
    assert arrived != PACKETS
    assert sorted(arrived) == PACKETS
    assert 400 < link.statistics.reordered < 600


def test_corruption() -> None:
    link = Faulty(1, corruption=0.25)
    damaged = [packet for _, packet in run(link) if packet not in set(PACKETS)]
    assert link.statistics.corrupted == len(damaged)
    assert 400 < len(damaged) < 600
    assert any(len(packet) < 16 for packet in damaged)
    assert link.transmit(b"", 0.0) == [(0.001, b"")]


@pytest.mark.parametrize("fault", ["loss", "duplication", "reordering", "corruption"])
def test_the_text_of_a_link_repeats_it(fault: str) -> None:
    link = Faulty(7, delay=0.25, late=3.0)
    setattr(link, fault, 0.5)
    again = eval(repr(link))
    assert "seed=7" in repr(link)
    assert run(link) == run(again) != run(Faulty(8, delay=0.25, late=3.0))


@given(st.integers(), st.binary(max_size=50), st.floats(0, 1e6))
def test_nothing_arrives_before_its_time(seed: int, data: bytes, now: float) -> None:
    link = Faulty(seed, loss=0.1, duplication=0.5, reordering=0.5, corruption=0.5)
    for arrival, packet in link.transmit(data, now):
        assert arrival >= now + link.delay
        assert len(packet) <= len(data)

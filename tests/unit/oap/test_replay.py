"""Replays, clocks that disagree, and floods."""

from random import Random

import pytest

from ouro_core.model.errors import AuthenticationFailed
from ouro_core.oap import ReplayGuard

NOW = 1_795_332_721_000_000_000
MS = 1_000_000
A, B = b"a" * 16, b"b" * 16


def refused(guard: ReplayGuard, ident: bytes, stamp: int, now: int) -> str:
    with pytest.raises(AuthenticationFailed) as caught:
        guard.admit(ident, stamp, now)
    assert caught.value.code == -1009
    return str(caught.value)


def test_once_only() -> None:
    guard = ReplayGuard()
    guard.admit(A, NOW, NOW)
    assert "known already" in refused(guard, A, NOW, NOW)
    guard.admit(A, NOW + 1, NOW)
    guard.admit(B, NOW, NOW)
    assert len(guard) == 3


@pytest.mark.parametrize("age", [-100 * MS, -101 * MS + 1, 0, 20_000 * MS, 20_001 * MS - 1])
def test_inside_the_window(age: int) -> None:
    guard = ReplayGuard()
    guard.admit(A, NOW - age, NOW)
    assert "known already" in refused(guard, A, NOW - age, NOW)


@pytest.mark.parametrize(
    ("age", "why"),
    [
        (-101 * MS, "from 101 ms in the future"),
        (-1000 * MS, "from 1000 ms in the future"),
        (20_001 * MS, "20001 ms old"),
        (30_000 * MS, "30000 ms old"),
        (NOW, "ms old"),
        (NOW - 2**64 + 1, "in the future"),
    ],
)
def test_outside_the_window(age: int, why: str) -> None:
    guard = ReplayGuard()
    assert why in refused(guard, A, NOW - age, NOW)
    assert len(guard) == 0


def test_a_replay_is_refused_for_as_long_as_its_time_is_good() -> None:
    guard = ReplayGuard()
    stamp = NOW + 100 * MS
    guard.admit(A, stamp, NOW)
    for later in range(0, 20_101, 50):
        assert "known already" in refused(guard, A, stamp, NOW + later * MS)
    assert "ms old" in refused(guard, A, stamp, NOW + 20_101 * MS)


def test_what_cannot_come_back_is_forgotten() -> None:
    guard = ReplayGuard()
    for i in range(100):
        guard.admit(i.to_bytes(16, "big"), NOW + i * MS, NOW + i * MS)
    guard.admit(A, NOW + 20_050 * MS, NOW + 20_050 * MS)
    assert len(guard) == 51
    guard.admit(B, NOW + 60_000 * MS, NOW + 60_000 * MS)
    assert len(guard) == 1


def test_a_flood_narrows_the_window_and_never_admits_twice() -> None:
    random = Random(7)
    guard = ReplayGuard(capacity=500)
    admitted: list[tuple[bytes, int]] = []
    refusals: set[bool] = set()
    now = NOW
    for _ in range(5000):
        now += 100_000
        request = random.randbytes(16), now - random.randrange(-100 * MS, 20_000 * MS)
        try:
            guard.admit(*request, now)
        except AuthenticationFailed as error:
            refusals.add("too many requests" in str(error))
        else:
            admitted.append(request)
        assert len(guard) <= 500
    assert refusals == {True}
    for ident, stamp in admitted:
        refused(guard, ident, stamp, now)

    guard.admit(A, now + 100 * MS, now)  # as fresh as can be: still served
    later = now + 25_000 * MS
    guard.admit(B, later - 19_000 * MS, later)  # and the whole window, after the flood


def test_full_of_the_newest_the_newest_still_passes_once() -> None:
    guard = ReplayGuard(capacity=1)
    guard.admit(A, NOW, NOW)
    guard.admit(B, NOW + 1, NOW)
    assert "too many" in refused(guard, A, NOW, NOW)
    assert "known" in refused(guard, B, NOW + 1, NOW)
    assert "too many" in refused(guard, b"c" * 16, NOW, NOW)
    assert len(guard) == 1

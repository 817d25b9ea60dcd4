"""Directory and endpoints."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.model.errors import OutOfMemory
from ouro_core.shim import Directory, Endpoints
from ouro_core.shim.directory import MAX_ADDRESSES, MAX_HASHES


def test_what_was_learnt_last_is_found_first() -> None:
    directory: Directory[str] = Directory()
    assert directory.find(b"h") is None
    for address in ("a", "b", "a"):
        directory.learn(b"h", address)
    assert directory.find(b"h") == "a"
    assert directory.entries() == {b"h": ("a", "b")}
    assert directory.forget(b"h", "a")
    assert directory.find(b"h") == "b"
    assert not directory.forget(b"h", "a")
    assert not directory.forget(b"other", "b")
    assert directory.forget(b"h", "b")
    assert directory.find(b"h") is None
    assert directory.entries() == {}


def test_others_cannot_fill_memory() -> None:
    directory: Directory[int] = Directory()
    directory.learn(b"mine", 1)
    for i in range(2 * MAX_HASHES):
        directory.learn(i.to_bytes(4, "big"), i)
        directory.find(b"mine")  # in use, so it stays
    assert len(directory) == MAX_HASHES
    assert directory.find(b"mine") == 1
    for i in range(100):
        directory.learn(b"mine", i)
    assert len(directory.entries()[b"mine"]) == MAX_ADDRESSES


def test_an_endpoint_comes_again_only_after_all_others() -> None:
    endpoints = Endpoints(2, 5)
    assert [endpoints.take() for _ in range(4)] == [2, 3, 4, 5]
    with pytest.raises(OutOfMemory, match="all 4 endpoints"):
        endpoints.take()
    endpoints.free(3)
    endpoints.free(3)
    endpoints.free(2)
    assert len(endpoints) == 2
    assert [endpoints.take(), endpoints.take()] == [2, 3]


def test_where_endpoints_begin() -> None:
    endpoints = Endpoints(64, 66, start=66)
    assert [endpoints.take() for _ in range(3)] == [66, 64, 65]
    for wrong in ((0, 5, None), (5, 4, None), (5, 9, 4), (5, 9, 10)):
        with pytest.raises(ValueError, match="endpoints"):
            Endpoints(*wrong)


def test_endpoints_that_nobody_can_guess() -> None:
    first, second = (Endpoints(64, 2**31 - 1, rng=Random(seed)) for seed in (1, 2))
    drawn = [endpoints.take() for endpoints in (first, second) for _ in range(200)]
    assert len(set(drawn)) == 400
    assert all(64 <= n < 2**31 for n in drawn)
    few = Endpoints(1, 5, rng=Random(3))
    assert {few.take() for _ in range(5)} == {1, 2, 3, 4, 5}


@given(st.lists(st.integers(0, 3), max_size=60))
def test_no_endpoint_is_taken_twice(steps: list[int]) -> None:
    endpoints = Endpoints(2, 9)
    taken: list[int] = []
    for step in steps:
        if step and len(taken) < endpoints.most:
            taken.append(endpoints.take())
            assert len(set(taken)) == len(taken)
            assert all(2 <= n <= 9 for n in taken)
        elif taken:
            endpoints.free(taken.pop(0))
        assert len(endpoints) == len(taken)

"""What all suites have in common."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ouro_core.contracts.crypto import Suite

__all__ = ["SuiteContract", "damage", "few", "views"]

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
"""For hypothesis: slow suites are tested, too, and one test serves many suites."""


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """What happens to bytes on their way: up to four change. For data whose length differs from time to time."""
    changes = draw(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(1, 255)), min_size=1, max_size=4))

    def apply(data: bytes) -> bytes:
        damaged = bytearray(data)
        for place, change in changes:
            damaged[place % len(damaged)] ^= change
        return bytes(damaged)

    return apply


def views(data: bytes) -> list[Any]:
    """The same bytes in each form that a Buffer may have."""
    return [data, bytearray(data), memoryview(data), memoryview(b"-" + data + b"-")[1:-1]]


class SuiteContract:
    """Subclass one of the kits and set `suites`."""

    suites: ClassVar[Sequence[Any]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test a suite."""
        if "suite" in metafunc.fixturenames:
            assert metafunc.cls is not None
            marked = [
                pytest.param(
                    suite,
                    id=suite.name,
                    marks=pytest.mark.skipif(suite.unavailable is not None, reason=str(suite.unavailable)),
                )
                for suite in metafunc.cls.suites
            ]
            metafunc.parametrize("suite", marked)

    def test_the_attributes(self, suite: Suite) -> None:
        assert suite.name.split() == [suite.name]
        assert suite.name.isprintable()
        assert 1 <= suite.nid <= 65535
        assert suite.rank >= 1
        assert suite.unavailable is None
        assert isinstance(suite.provider, str)
        assert suite.name in repr(suite)
        assert str(suite.nid) in repr(suite)

    def test_names_and_numbers_are_unique(self) -> None:
        for values in ([s.name for s in self.suites], [s.nid for s in self.suites]):
            assert len(set(values)) == len(values)

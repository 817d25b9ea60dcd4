"""A network that no other test has. Helpers have names that no other plugin has: to pytest all of them are `tests`."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ouro_core.testing.netns import Namespace, unusable


@contextmanager
def network() -> Iterator[Namespace]:
    """This thread in a network of its own."""
    reason = unusable()
    if reason:
        pytest.skip(reason)
    with Namespace() as namespace, namespace.inside():
        yield namespace

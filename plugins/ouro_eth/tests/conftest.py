"""Devices that no other test has."""

from collections.abc import Iterator

import pytest

from ouro_core.testing.netns import Namespace, join, unusable


@pytest.fixture
def private() -> Iterator[Namespace]:
    """This thread in a network of its own, with `lo`, and `v0` joined to `v1`."""
    reason = unusable()
    if reason:
        pytest.skip(reason)
    with Namespace() as namespace:
        join(namespace, "v0", namespace, "v1")
        with namespace.inside():
            yield namespace

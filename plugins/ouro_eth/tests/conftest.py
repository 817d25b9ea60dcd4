"""Devices that no other test has."""

from collections.abc import Iterator

import pytest

from ouro_core.testing.netns import Namespace, hub, join

from .ethernet_network import network


@pytest.fixture
def private() -> Iterator[Namespace]:
    """`lo`, and `v0` joined to `v1`."""
    with network() as namespace:
        join(namespace, "v0", namespace, "v1")
        yield namespace


@pytest.fixture
def segment() -> Iterator[Namespace]:
    """`v0`, `v1` and `v2`, which all get what any of them sends."""
    with network() as namespace:
        hub(namespace, "v0", "v1", "v2")
        yield namespace

"""A real daemon for each test that asks for one."""

from collections.abc import Iterator

import pytest

from ouro_core.testing.host import Host


@pytest.fixture
def host() -> Iterator[Host]:
    """A running daemon in a runtime directory of its own."""
    with Host() as running:
        yield running


@pytest.fixture
def layered() -> Iterator[Host]:
    """A running daemon whose flows go over the layer `lo`, never directly, with the name `srv` registered there."""
    config = '[irmd]\ndirect = false\n[name.srv]\n[local.lo]\nbootstrap = "lo"\nreg = ["srv"]\n'
    with Host(config=config) as running:
        yield running

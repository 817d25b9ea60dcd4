"""Links of a layer over Ethernet that are cut and mended in any order: what a member knows is right soon after."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest

from ouro_core.testing.host import eventually
from ouro_core.testing.netns import unusable

from .hosts import OuroHost
from .lines import UNICAST, Line

for plugin in ("ouro_eth", "ouro_unicast", "ouro_dht"):
    pytest.importorskip(plugin)
if reason := unusable():
    pytest.skip(reason, allow_module_level=True)

HOSTS: Final = 4
LINKS: Final = range(1, HOSTS)
SOON: Final = 8.0
"""Seconds; far less than the fifteen after which links are advertised again. It takes one at most, on a quiet machine:
the kernel lets carriers come up up to a second late, one end before the other.
"""


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    with ExitStack() as stack:
        line = Line([stack.enter_context(OuroHost()) for _ in range(HOSTS)])
        line.build()
        line.hosts[-1].serve("far", UNICAST)
        yield line


def member(line: Line, n: int) -> Any:
    """What a member shows; they are counted from 1."""
    host = line.hosts[n - 1]
    assert isinstance(host, OuroHost)
    return host.host.rib(f"ipcps/n{n}/member")


def reached(line: Line, n: int) -> int:
    return len(member(line, n)["table"]["all"])


def right(line: Line) -> bool:
    """Whether every member reaches all others."""
    return all(reached(line, n) == HOSTS - 1 for n in range(1, HOSTS + 1))


def mended(line: Line, links: list[int]) -> None:
    for link in links:
        line.mend(link)
    eventually(lambda: right(line), SOON, f"all is right again after {links} were mended")


def test_what_happened_elsewhere_while_a_link_was_down(line: Line) -> None:
    """The far link goes, then the near one; the far one comes back, and only then can it be told here."""
    eventually(lambda: right(line))
    for _ in range(3):
        line.cut(3)
        eventually(lambda: reached(line, 1) == 2)
        line.cut(1)
        line.mend(3)
        eventually(lambda: reached(line, 2) == 2)
        mended(line, [1])


@pytest.mark.parametrize("seed", range(10))
def test_any_cuts_and_repairs(line: Line, seed: int) -> None:
    rng = random.Random(seed)
    links = rng.sample(LINKS, rng.randrange(1, HOSTS))
    for link in links:
        line.cut(link)
    rng.shuffle(links)
    mended(line, links)
    assert line.pings(1, "far").returncode == 0


def test_nothing_was_aged_out_or_made_anew(line: Line) -> None:
    """Links came back by what routing said, not by their age, and over the flows that there were."""
    for n in range(1, HOSTS + 1):
        seen = member(line, n)
        assert seen["connections"]["remade"] == 0
        assert seen["routing"]["counters"]["aged"] == 0

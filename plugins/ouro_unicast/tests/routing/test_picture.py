"""The picture of a layer's graph."""

from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ouro_unicast.routing.picture import picture
from ouro_unicast.testing.layer import grid, line, random_graph

PAIRS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")))


def drawn(links: list[tuple[int, int]], here: int = 1, half: list[tuple[int, int]] = []) -> str:  # noqa: B006
    both = [(str(a), str(b)) for a, b in links]
    return picture([*both, *[(b, a) for a, b in both], *[(str(a), str(b)) for a, b in half]], str(here))


def expect(text: str) -> str:
    return dedent(text).lstrip("\n")


def test_alone() -> None:
    assert picture([], "1") == "1 (here)\n"


def test_line_from_its_middle() -> None:
    assert drawn(line(5), here=3) == expect("""
        3 (here)
        ├── 2
        │   └── 1
        └── 4
            └── 5
    """)


def test_ring() -> None:
    assert drawn([(1, 2), (2, 3), (3, 4), (4, 5), (5, 1)]) == expect("""
        1 (here)
        ├── 2
        │   └── 3
        └── 5
            └── 4 ~ 3
        ~ another link
    """)


def test_grid() -> None:
    assert drawn(grid(2, 3)) == expect("""
        1 (here)
        ├── 2
        │   ├── 3
        │   │   └── 6
        │   └── 5 ~ 6
        └── 4 ~ 5
        ~ another link
    """)


def test_what_one_end_says_and_what_is_not_reached() -> None:
    assert drawn([(1, 2), (8, 9)], half=[(2, 7)]) == expect("""
        1 (here)
        └── 2 ? 7
        not reached from here:
        7
        8
        └── 9
        ? a link that one end alone advertises
    """)


@pytest.mark.parametrize("n", [200, 2000])
def test_big_layers(n: int) -> None:
    for links in (line(n), random_graph(n, n // 2, 1)):
        assert len(drawn(links).splitlines()) in (n, n + 1)


@given(PAIRS, st.sampled_from("abcdefgh"))
def test_every_member_has_a_line_and_every_link_is_told_once(links: list[tuple[str, str]], here: str) -> None:
    links = [(a, b) for a, b in links if a != b]
    lines = picture(links, here).splitlines()
    own = [line.strip("│├└─ ") for line in lines]
    names = [line[0] for line in own if len(line) == 1 or line[1:3] in (" ~", " ?", " (")]
    names = [name for name in names if name in "abcdefgh"]
    assert sorted(names) == sorted({here, *(end for link in links for end in link)})
    both = {frozenset(link) for link in links if link[::-1] in links}
    half = {frozenset(link) for link in links} - both
    branches = sum("── " in line for line in lines)
    extra = sum(line.count(" ~ ") for line in own)
    assert branches + extra == len(both)
    assert sum(line.count(" ? ") for line in own) == len(half)

"""Command lines of the tools."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ouro_tools.options import BadOption, UnknownUnit, duration, number, split

FLAGS = {"-l": "listen", "--listen": "listen"}
VALUES = {"-n": "name", "--server-name": "name"}


def test_words_are_compared_as_they_are() -> None:
    assert list(split(["-n", "-l", "--listen"], FLAGS, VALUES)) == [("name", "-l"), ("listen", "")]


@pytest.mark.parametrize("words", [["-n"], ["--server-name=x"], ["-ln", "x"], ["x"], [""], ["--help"]])
def test_anything_else_is_bad(words: list[str]) -> None:
    with pytest.raises(BadOption):
        list(split(words, FLAGS, VALUES))


@pytest.mark.parametrize(
    ("text", "ms"), [("0", 0), ("250", 250), ("250ms", 250), ("2s", 2000), ("1m", 60_000), ("1h", 3_600_000),
                     ("1d", 86_400_000)],
)  # fmt: skip
def test_durations(text: str, ms: int) -> None:
    assert duration(text) == ms


def test_units_and_digits() -> None:
    with pytest.raises(UnknownUnit) as e:
        duration("3weeks")
    assert str(e.value) == "Unknown time unit: weeks."
    with pytest.raises(BadOption):
        duration("s")
    with pytest.raises(BadOption):
        number("-1")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (duration, number):
        try:
            assert read(text) >= 0
        except (BadOption, UnknownUnit):
            pass

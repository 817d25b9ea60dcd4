"""The grammar: prefixes, order of tables, pairs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.cli.keywords import Keyword, Refused, match, parse
from ouro_core.cli.session import matches
from ouro_core.cli.tables import table

IPCP = ("create", "destroy", "bootstrap", "enroll", "connect", "disconnect", "list", "help")
BOOTSTRAP = (
    "type", "layer", "name", "hash", "ip", "dns", "device", "ethertype", "addr", "eid", "ttl", "port", "autobind",
    "addr_auth", "directory", "dht_alpha", "dht_k", "dht_t_expire", "dht_t_refresh", "dht_t_replicate", "routing",
    "ls_t_timeo", "ls_t_update", "ls_t_recalc", "congestion",
)  # fmt: skip


@pytest.mark.parametrize(
    ("word", "entry"),
    [("c", "create"), ("d", "destroy"), ("di", "disconnect"), ("con", "connect"), ("list", "list"), ("lists", None)],
)
def test_the_first_entry_that_begins_with_the_word_wins(word: str, entry: str | None) -> None:
    assert match(word, IPCP) == entry


@pytest.mark.parametrize(
    ("word", "entry"),
    [("t", "type"), ("d", "dns"), ("dev", "device"), ("e", "ethertype"), ("ei", "eid"), ("i", "ip"), ("p", "port"),
     ("a", "addr"), ("au", "autobind"), ("addr_", "addr_auth"), ("di", "directory"), ("l", "layer"), ("tt", "ttl"),
     ("ls_t_u", "ls_t_update"), ("dht", "dht_alpha"), ("x", None), ("", None)],
)  # fmt: skip
def test_abbreviations_of_bootstrap(word: str, entry: str | None) -> None:
    assert match(word, BOOTSTRAP) == entry


def test_a_whole_word_stands_for_itself() -> None:
    """Also behind a longer one, where a type of IPCP has an option that abbreviates another type's."""
    words = (*BOOTSTRAP, "dir")
    assert match("dir", words) == "dir"
    assert match("di", words) == match("dire", words) == "directory"
    assert all(match(word, words) == word for word in words)


def test_pairs_flags_and_the_rest() -> None:
    keys = (Keyword("program"), Keyword("name"), Keyword("auto", flag=True, exact=True))
    given = parse(["prog", "/bin/cat", "n", "a", "auto", "n", "b", "--", "name", "-u"], keys, "{}?", rest=True)
    assert given.get("program") == "/bin/cat"
    assert given.all("name") == ["a", "b"]
    assert given.get("name") == "b"
    assert "auto" in given
    assert given.rest == ("name", "-u")


def test_an_exact_key_is_not_abbreviated() -> None:
    with pytest.raises(Refused) as e:
        parse(["aut"], (Keyword("auto", flag=True, exact=True),), '"{}" is unknown.')
    assert e.value.lines == ('"aut" is unknown.',)


def test_a_missing_value_is_a_usage_error() -> None:
    with pytest.raises(Refused) as e:
        parse(["name"], (Keyword("name"),), "{}?")
    assert e.value.usage


@given(st.lists(st.text(max_size=6), max_size=8))
def test_any_words_are_parsed_or_refused(words: list[str]) -> None:
    try:
        parse(words, (Keyword("name"), Keyword("layer"), Keyword("auto", flag=True)), '"{}" is unknown.', rest=True)
    except Refused:
        pass


@pytest.mark.parametrize(
    ("pattern", "text", "yes"),
    [("*", "", True), ("l*1", "layer1", True), ("l*1", "layer2", False), ("l", "layer", False), ("a.c", "abc", False),
     ("*net*", "my net 1", True), ("[a]*", "[a]b", True)],
)  # fmt: skip
def test_a_star_stands_for_any_characters(pattern: str, text: str, yes: bool) -> None:
    assert matches(pattern, text) is yes


def test_longer_values_overflow_their_column() -> None:
    assert table([("a", 3), ("b", 2)], [("12345", 1)]).splitlines() == [
        "+-----+----+",
        "|   a |  b |",
        "+-----+----+",
        "| 12345 |  1 |",
        "+-----+----+",
    ]

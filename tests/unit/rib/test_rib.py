"""One tree of state and counters."""

import itertools
import json
from enum import Enum, IntEnum
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.model.errors import NotFound
from ouro_core.rib import Rib, children, to_plain


class Colour(Enum):
    RED = "r"


class Level(IntEnum):
    LOW = 1


@attrs.frozen
class Inner:
    packets: int = attrs.field(default=3, metadata={"unit": "packets"})


@attrs.frozen
class Status:
    name: str = "n"
    inner: Inner = Inner()
    level: Level = Level.LOW
    secret: bytes = attrs.field(default=b"key", repr=False)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (5, 5),
        (1.5, 1.5),
        ("text", "text"),
        (b"\x01\xff", "01ff"),
        (bytearray(b"a"), "61"),
        (Colour.RED, "RED"),
        (Level.LOW, "LOW"),
        ((1, [b"\0"], {"a"}), [1, ["00"], ["a"]]),
        ({1: Colour.RED, "b": None}, {"1": "RED", "b": None}),
        (Status(), {"name": "n", "inner": {"packets": 3}, "level": "LOW"}),
        (ValueError("x"), "x"),
    ],
)
def test_plain_values(value: object, plain: object) -> None:
    assert to_plain(value) == plain
    json.dumps(to_plain(value))


def test_values_are_made_when_somebody_looks() -> None:
    rib = Rib()
    count = itertools.count(1)
    rib.publish("irm/status", lambda: {"looks": next(count)})
    assert rib.read("irm/status") == {"looks": 1}
    assert rib.read("irm/status/looks") == 2
    assert rib.read() == {"irm": {"status": {"looks": 3}}}
    assert rib.json("irm") == '{"status": {"looks": 4}}'
    rib.read() and rib.names()
    assert rib.read("irm/status/looks") == 7


def test_only_what_is_asked_for_is_made() -> None:
    rib = Rib()
    rib.publish("a/x", lambda: 1 // 0)
    rib.publish("a/y", 2)
    rib.publish("ab", 3)
    assert rib.read("a/y") == 2
    assert rib.read("ab") == 3
    with pytest.raises(ZeroDivisionError):
        rib.read("a")


def test_nodes() -> None:
    rib = Rib()
    shim = rib.at("ipcps").at("/eth0/")
    shim.publish("flows/5", Inner(1))
    shim.publish("", {"state": "boot"})
    shim.at("flows").publish("6", lambda: Inner(2))
    assert rib.read("ipcps/eth0") == shim.read() == {
        "state": "boot", "flows": {"5": {"packets": 1}, "6": {"packets": 2}},
    }  # fmt: skip
    assert rib.names() == ("ipcps/",)
    assert shim.names() == ("flows/", "state")
    assert shim.names("flows") == ("5/", "6/")
    assert shim.names("flows/5") == ("packets",)
    assert shim.names("flows/5/packets") == ()
    shim.withdraw("flows/5")
    assert shim.names("flows") == ("6/",)
    shim.withdraw()
    assert rib.read() == {}


def test_withdrawing_takes_what_is_below_and_nothing_beside() -> None:
    rib = Rib()
    for path in ("a", "a/b", "a/b/c", "ab", "b"):
        rib.publish(path, {"x": path})
    rib.withdraw("a")
    assert rib.read() == {"ab": {"x": "ab"}, "b": {"x": "b"}}
    rib.withdraw("nothing")
    assert rib.names() == ("ab/", "b/")


def test_the_root_is_always_there() -> None:
    assert Rib().read() == {}
    assert Rib().names() == ()
    rib = Rib()
    rib.publish("", {"version": "1"})
    assert rib.read("version") == "1"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", 'the RIB has no "nothing"; in its root there is: a, b'),
        ("a/y", 'the RIB has no "a/y"; in "a" there is: x, z'),
        ("a/x/z", 'the RIB has no "a/x/z"; in "a/x" there is: nothing'),
        ("b/c/d", 'the RIB has no "b/c/d"; in "b/c" there is: nothing'),
        ("b/d", 'the RIB has no "b/d"; in "b" there is: c'),
    ],
)
def test_what_is_not_there(path: str, message: str) -> None:
    rib = Rib()
    rib.publish("a", {"x": 5})
    rib.publish("a/z", 6)
    rib.publish("b/c", {})
    for look in (rib.read, rib.names, rib.json):
        with pytest.raises(NotFound) as raised:
            look(path)
        assert str(raised.value) == message


def test_slashes_do_not_matter() -> None:
    rib = Rib()
    rib.publish("/a//b/", 1)
    assert rib.read("a/b") == rib.read("//a/b/") == 1


@given(st.permutations(["a", "a/b", "a/b/c", "a/d/e"]))
def test_the_order_of_publishing_does_not_matter(order: list[str]) -> None:
    values: dict[str, Any] = {"a": {"b": 1, "x": 2}, "a/b": {"y": 3}, "a/b/c": 4, "a/d/e": 5}
    rib = Rib()
    for path in order:
        rib.publish(path, values[path])
    assert rib.read() == {"a": {"b": {"y": 3, "c": 4}, "x": 2, "d": {"e": 5}}}


def test_a_scalar_with_something_below_it() -> None:
    rib = Rib()
    rib.publish("a/b/c", 1)
    rib.publish("a/b", 2)
    assert rib.read("a") == {"b": {"value": 2, "c": 1}}
    assert rib.names("a/b") == ("c", "value")


def test_children() -> None:
    assert children({"b": {}, "a": 1, "c": [1]}) == ("a", "b/", "c")
    assert children(5) == children([1]) == ()


def test_a_source_is_replaced() -> None:
    rib = Rib()
    rib.publish("a", {"x": 1})
    rib.publish("a", {"y": 2})
    assert rib.read("a") == {"y": 2}


def test_what_is_read_is_a_copy() -> None:
    rib = Rib()
    source = {"x": [1]}
    rib.publish("a", source)
    rib.publish("a/y", 5)
    rib.read("a")["x"].append(2)
    assert source == {"x": [1]}

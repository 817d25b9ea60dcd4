"""What is wrong with a call is said at once, by name; an attribute that is misspelt is no attribute."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from ouro_core import (
    RAW,
    AsyncFlow,
    Flow,
    InvalidArgument,
    Node,
    QosSpec,
    State,
    aio,
    announce,
    flow_accept,
    flow_alloc,
    flow_join,
)

from .conftest import Pair


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: flow_alloc(5), "name is 5; it needs a str"),  # type: ignore[arg-type]
        (lambda: flow_alloc("e", "raw"), "qos is 'raw'; it needs a QosSpec"),  # type: ignore[arg-type]
        (lambda: flow_alloc("e", RAW, "1"), "timeout is '1'; it needs seconds"),  # type: ignore[arg-type]
        (lambda: flow_alloc("e", data="x"), "data is 'x'; it needs bytes"),  # type: ignore[arg-type]
        (lambda: flow_accept("e"), "timeout is 'e'"),  # type: ignore[arg-type]
        (lambda: announce("e", b"e"), "name is b'e'; it needs a str"),  # type: ignore[arg-type]
        (lambda: asyncio.run(aio.announce(["e"])), "name is .'e'.; it needs a str"),  # type: ignore[arg-type]
        (lambda: flow_join(b"layer"), "layer is b'layer'"),  # type: ignore[arg-type]
        (lambda: QosSpec(loss="0"), "loss is '0'; it needs an int"),  # type: ignore[arg-type]
    ],
)
def test_arguments_of_other_types(call: Callable[[], object], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        call()


def test_a_qos_out_of_range() -> None:
    with pytest.raises(InvalidArgument, match="loss is -1; 0 to 4294967295 is right"):
        QosSpec(loss=-1)


@pytest.mark.parametrize("name", ["read_timout", "blockin", "note"])
def test_misspelt_attributes(make_pair: Callable[..., Pair], name: str) -> None:
    a, _ = make_pair().flows
    with pytest.raises(AttributeError):
        setattr(a, name, 1)


def test_help_shows_what_reads_and_writes() -> None:
    for name in ("read", "readinto", "read_many", "write", "write_many", "flow_id"):
        assert len(inspect.getdoc(getattr(Flow, name)) or "") > 10, name
        assert inspect.getdoc(getattr(AsyncFlow, name)), name


def test_a_state_is_shown_in_words(make_pair: Callable[..., Pair]) -> None:
    a, b = make_pair().flows
    assert (str(a.state), repr(a)) == ("up", "<Flow 1 'name' up>")
    a.close()
    assert str(b.state) == "down: the other end was deallocated"
    assert str(State.DEAD | State.READ_ONLY) == "down: the other end does not read, the other end's process ended"


async def test_a_node_outside_its_block(system: Any) -> None:
    node = Node("n", packets=system.name)
    for _ in range(2):
        for call in (lambda: node.flow_alloc("x"), lambda: node.bind("x")):
            with pytest.raises(InvalidArgument, match='<Node n> is not running; use it inside "async with"'):
                await call()
        async with node:
            assert await node.irm.list_ipcps() == ()

"""`Node`, and asyncio flows through it, over both packet systems."""

import asyncio
import gc
import os
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ouro_core import (
    BEST_EFFORT,
    DATA,
    RAW,
    RAW_NO_ERRORS,
    VIDEO,
    VOICE,
    AsyncFlow,
    BadDescriptor,
    FlowDown,
    FlowPeer,
    FlowTimeout,
    IpcpTypeError,
    Node,
    NotFound,
    NotPermitted,
    QosSpec,
    State,
    TooLong,
    UnknownName,
)
from ouro_core.model.layer import IpcpState
from ouro_core.plugins import PluginHost

LONG = 30
QOS = pytest.mark.parametrize("qos", [RAW, RAW_NO_ERRORS], ids=["raw", "crc"])


@pytest.fixture
async def node(system: Any, plugins: PluginHost) -> AsyncIterator[Node]:
    async with asyncio.timeout(LONG), Node("test", packets=system.name, plugins=plugins) as node:
        await node.bind("server")
        yield node
        await nothing_left(node)
        held.clear()


held: list[AsyncFlow] = []
"""Flows of the running test, so that none is closed by a finalizer."""


async def nothing_left(node: Node) -> None:
    """Every flow ends in the IRM too, and its blocks come back."""
    for flow in list(node._client._flows):
        await flow.close()
    await flows_are(node, 0)
    for _ in range(1000):
        if not (await node.irm.rib_read("irm/status"))["blocks"]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"blocks are held: {await node.irm.rib_read('packets')}")


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


async def flows_are(node: Node, number: int) -> None:
    """Wait until the IRM has this many flows."""
    for _ in range(1000):
        if len(await node.irm.list_flows()) == number:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not {number} flows: {await node.irm.list_flows()}")


async def flow_pair(node: Node, qos: QosSpec = RAW) -> tuple[AsyncFlow, AsyncFlow]:
    async with asyncio.TaskGroup() as group:
        accepting = group.create_task(node.flow_accept())
        allocating = group.create_task(node.flow_alloc("server", qos))
    pair = allocating.result(), accepting.result()
    held.extend(pair)
    return pair


@QOS
async def test_packets(node: Node, qos: QosSpec) -> None:
    a, b = await flow_pair(node, qos)
    assert a.qos == b.qos == qos
    async with a, b:
        await a.write(b"one")
        assert await a.write_many([b"two", b"three"]) == 2
        assert await b.read() == b"one"
        assert await b.read_many() == [b"two", b"three"]
        await b.write(b"0123456789")
        buffer = bytearray(6)
        assert [await a.readinto(buffer), await a.readinto(buffer)] == [6, 4]


@QOS
async def test_many_round_trips(node: Node, qos: QosSpec) -> None:
    a, b = await flow_pair(node, qos)

    async def echo() -> None:
        async for packet in b:
            await b.write(packet)

    async with asyncio.TaskGroup() as group:
        group.create_task(echo())
        for number in range(200):
            await a.write(b"%d" % number)
            assert await a.read() == b"%d" % number
        await a.close()
    await b.close()


async def test_data_goes_along_both_ways(node: Node) -> None:
    async with asyncio.TaskGroup() as group:
        accepting = group.create_task(node.flow_accept(data=b"answer"))
        allocating = group.create_task(node.flow_alloc("server", data=b"request"))
    async with allocating.result() as a, accepting.result() as b:
        assert (a.data, b.data) == (b"answer", b"request")


@QOS
async def test_a_writer_waits_for_room(node: Node, qos: QosSpec) -> None:
    a, b = await flow_pair(node, qos)
    packets = [b"%d" % n for n in range(5000)]

    async def write() -> None:
        for packet in packets:
            await a.write(packet)

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write())
        await asyncio.sleep(0.05)
        assert not writing.done(), "the ring has room for all"
        assert [await b.read() for _ in packets] == packets


async def test_a_writer_waits_while_packets_come_that_nobody_reads(node: Node) -> None:
    a, b = await flow_pair(node)
    a._path.write_many([b"x"] * 2000)
    await b.write(b"unread")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await a.write(b"y")
    async with asyncio.TaskGroup() as group:
        group.create_task(a.write(b"last"))
        await asyncio.sleep(0.02)
        while await b.read() != b"last":
            pass
    assert await a.read() == b"unread"


async def test_a_cancelled_read_loses_nothing(node: Node) -> None:
    a, b = await flow_pair(node)
    for number in range(50):
        reading = asyncio.create_task(b.read())
        await asyncio.sleep(0)
        await a.write(b"%d" % number)
        if number % 3 == 0:
            await asyncio.sleep(0)
        reading.cancel()
        try:
            assert await reading == b"%d" % number
        except asyncio.CancelledError:
            assert await b.read() == b"%d" % number
    for _ in range(100):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await b.read()
    assert not b._readers


async def test_several_readers_of_one_flow(node: Node) -> None:
    a, b = await flow_pair(node)
    readers = [asyncio.create_task(b.read()) for _ in range(5)]
    await asyncio.sleep(0)
    for number in range(5):
        await a.write(b"%d" % number)
    assert sorted(await asyncio.gather(*readers)) == [b"0", b"1", b"2", b"3", b"4"]


async def test_packets_that_nobody_reads_do_not_keep_the_loop_busy(node: Node) -> None:
    a, b = await flow_pair(node)
    reading = asyncio.create_task(b.read())
    await asyncio.sleep(0)
    await a.write(b"1")
    assert await reading == b"1"
    await a.write(b"2")
    calls = 0
    poll = node._client._set.poll
    events = node._client._events

    def counted() -> None:
        nonlocal calls
        calls += 1
        events()

    loop = asyncio.get_running_loop()
    loop.add_reader(node._client._set.fileno(), counted)
    await asyncio.sleep(0.1)
    assert calls <= 3
    assert poll() == []
    loop.add_reader(node._client._set.fileno(), events)
    assert await b.read() == b"2"


async def test_close_wakes_those_who_wait(node: Node) -> None:
    a, b = await flow_pair(node)
    a._path.write_many([b"x"] * 2000)
    waiting = [asyncio.create_task(a.write(b"y")), asyncio.create_task(a.read())]
    await asyncio.sleep(0.02)
    await a.close()
    await a.close()
    for task in waiting:
        with pytest.raises(BadDescriptor):
            await task
    assert a.closed
    with pytest.raises(BadDescriptor):
        await a.read()
    assert await b.read() == b"x"


async def test_reading_ends_after_what_is_queued(node: Node) -> None:
    a, b = await flow_pair(node)
    reading = asyncio.create_task(b.read())
    await asyncio.sleep(0)
    await a.write(b"1")
    await a.write(b"2")
    await a.close()
    assert await reading == b"1"
    assert [packet async for packet in b] == [b"2"]
    with pytest.raises(FlowDown):
        await b.write(b"x")


async def test_options_and_errors(node: Node) -> None:
    a, b = await flow_pair(node)
    with pytest.raises(TooLong):
        await a.write(bytes(2**21))
    b.partial_read = False
    await a.write(b"long")
    with pytest.raises(TooLong):
        await b.readinto(bytearray(2))
    a.access = "r"
    with pytest.raises(NotPermitted):
        await a.write(b"x")
    a.down = True
    with pytest.raises(FlowDown):
        await b.read()
    a.down = False
    assert b.state == State.UP
    assert b.queued == (0, 0)


async def test_peer_that_times_out(node: Node) -> None:
    a, b = await flow_pair(node, QosSpec(timeout=100))
    await asyncio.sleep(0.3)
    assert a.state == b.state == State.UP, "keep-alives keep it up"
    node._client._keeper.remove(a._end)  # as if its process hung
    with pytest.raises(FlowPeer):
        await b.read()


async def test_no_timer_without_a_flow_that_has_a_timeout(node: Node) -> None:
    assert node._client._timer is None
    a, _b = await flow_pair(node, QosSpec(timeout=0))
    assert node._client._timer is None
    await a.close()
    await flow_pair(node)
    assert node._client._timer is not None


# ---------------------------------------------------------------- FRCT


FRCT = pytest.mark.parametrize("qos", [DATA, BEST_EFFORT, VIDEO, VOICE], ids=["data", "best", "video", "voice"])


@FRCT
async def test_packets_in_order_both_ways(node: Node, qos: QosSpec) -> None:
    a, b = await flow_pair(node, qos)
    packets = [b"%d" % n for n in range(3000)]

    async def write(flow: AsyncFlow, batch: int) -> None:
        left = packets
        while left:
            left = left[await flow.write_many(left[:batch]) :]

    async def read(flow: AsyncFlow) -> None:
        got: list[bytes] = []
        while len(got) < len(packets):
            got += await flow.read_many()
        assert got == packets

    async with asyncio.TaskGroup() as group:
        for task in (write(a, 1), write(b, 20), read(a), read(b)):
            group.create_task(task)
    assert (a.rtx, b.rtx) == (qos.loss == 0,) * 2


async def test_what_nobody_reads_is_acknowledged_by_the_loop(node: Node) -> None:
    a, b = await flow_pair(node, DATA)
    await a.write(b"x")
    await until(lambda: not a._path.frct.unacknowledged)  # type: ignore[union-attr]
    assert await b.read() == b"x"


async def test_a_shut_window_opens_for_a_writer_who_waits(node: Node) -> None:
    a, b = await flow_pair(node, DATA)

    async def fill() -> None:
        for n in range(300):
            await a.write(b"%d" % n)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(fill(), 0.5)
    writing = asyncio.create_task(a.write(b"256"))
    await asyncio.sleep(0)
    assert [await b.read() for _ in range(257)] == [b"%d" % n for n in range(257)]
    await writing


async def test_closing_lingers_until_all_is_acknowledged(node: Node) -> None:
    a, b = await flow_pair(node, DATA)
    for n in range(100):
        await a.write(b"%d" % n)
    await a.close()
    assert a._path.frct.unacknowledged == 0  # type: ignore[union-attr]
    assert [packet async for packet in b] == [b"%d" % n for n in range(100)]


async def test_a_quiet_flow_needs_no_clock(node: Node) -> None:
    a, b = await flow_pair(node, DATA)
    await a.write(b"x")
    assert await b.read() == b"x"
    tickers = [node._client._tickers[flow._end] for flow in (a, b)]
    await until(lambda: all(ticker._timer is None for ticker in tickers))
    await b.write(b"y")
    assert await a.read() == b"y"


# ---------------------------------------------------------------- allocation


async def test_unknown_name_and_nobody_accepting(node: Node) -> None:
    with pytest.raises(UnknownName):
        await node.flow_alloc("nobody")
    with pytest.raises(FlowTimeout):
        await node.flow_accept(timeout=0.01)


async def test_cancelled_allocations_leave_nothing(node: Node) -> None:
    for hops in range(30):
        accepting = asyncio.create_task(node.flow_accept())
        allocating = asyncio.create_task(node.flow_alloc("server"))
        for _ in range(hops // 2):
            await asyncio.sleep(0)
        (allocating if hops % 2 else accepting).cancel()
        done, _ = await asyncio.wait({accepting, allocating}, timeout=0.05)
        for task in {accepting, allocating} - done:
            task.cancel()
        for outcome in await asyncio.gather(accepting, allocating, return_exceptions=True):
            if isinstance(outcome, AsyncFlow):
                await outcome.close()
    await nothing_left(node)


async def test_forgotten_flow_is_deallocated(node: Node) -> None:
    a, b = await flow_pair(node)
    gone = weakref.ref(a)
    held.clear()
    with pytest.warns(ResourceWarning, match="was not closed"):
        del a
    gc.collect()
    assert gone() is None
    with pytest.raises(FlowDown):
        await b.read()
    await b.close()
    await nothing_left(node)


async def test_closing_goes_on_when_it_is_cancelled(node: Node) -> None:
    a, _b = await flow_pair(node)
    closing = asyncio.create_task(a.close())
    await asyncio.sleep(0)
    closing.cancel()
    await flows_are(node, 1)


# ---------------------------------------------------------------- nodes


async def test_leaving_a_node_closes_its_flows(system: Any, plugins: PluginHost) -> None:
    before = set(os.listdir("/proc/self/fd"))
    async with asyncio.timeout(LONG):
        for _ in range(3):
            async with Node(packets=system.name, plugins=plugins) as node:
                await node.bind("server")
                a, b = await flow_pair(node)
                reading = asyncio.create_task(b.read())
                await asyncio.sleep(0)
            with pytest.raises(BadDescriptor):
                await reading
            assert a.closed
    held.clear()
    del node, a, b, reading
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) == before


async def test_two_nodes_are_two_hosts(system: Any, plugins: PluginHost) -> None:
    async with (
        asyncio.timeout(LONG),
        Node("one", packets=system.name, plugins=plugins) as one,
        Node("two", packets=system.name, plugins=plugins) as two,
    ):
        await one.bind("only here")
        with pytest.raises(UnknownName):
            await two.flow_alloc("only here")
        assert [n.name for n in await one.irm.list_names()] == ["only here"]
        assert await two.irm.list_names() == ()
        assert "one" in repr(one)


async def test_a_layer_in_a_node(node: Node) -> None:
    ipcp = await node.irm.autoboot("local", "local", "layer")
    assert (ipcp.name, ipcp.type, ipcp.state, ipcp.layer_name) == ("local", "local", IpcpState.OPERATIONAL, "layer")
    assert await node.irm.list_ipcps() == (ipcp,)
    await node.irm.reg_name("server", "local")
    a, b = await flow_pair(node)
    async with a, b:
        await a.write(b"x")
        assert await b.read() == b"x"
    await node.irm.destroy_ipcp("local")
    assert await node.irm.list_ipcps() == ()
    with pytest.raises(NotFound, match="no IPCP"):
        await node.irm.destroy_ipcp("local")


async def test_autoboot_leaves_nothing_when_it_fails(node: Node) -> None:
    from ouro_core import ConfigError

    with pytest.raises(ConfigError):
        await node.irm.autoboot("broken", "local", "layer", {"no such option": 1})
    assert await node.irm.list_ipcps() == ()
    with pytest.raises(IpcpTypeError, match="local"):
        await node.irm.create_ipcp("x", "no such type")

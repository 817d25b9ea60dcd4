"""Streams of bytes over reliable flows."""

import asyncio
import hashlib
import random
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ouro_core import BEST_EFFORT, DATA, RAW, FlowDown, FlowTimeout, InvalidArgument, Node, NotPermitted, TooLong
from ouro_core.api.aio import AsyncFlow
from ouro_core.api.flow import Flow
from ouro_core.api.stream import FlowTransport
from ouro_core.plugins import PluginHost

from .conftest import Pair

LONG = 30
FILE = random.Random(1).randbytes(3_000_001)


# ---------------------------------------------------------------- synchronous


def test_a_file_both_ways(make_pair: Any) -> None:
    pair: Pair = make_pair(DATA)
    a, b = pair.flows
    digest = hashlib.sha256()

    def receive(flow: Flow) -> None:
        with flow.stream() as stream:
            assert stream.readline() == b"3000001\n"
            left = 3_000_001
            while left:
                chunk = stream.read(min(left, 100_000))
                digest.update(chunk)
                left -= len(chunk)
            stream.write(b"thanks\n")

    thread = threading.Thread(target=receive, args=(b,), daemon=True)
    thread.start()
    stream = a.stream(8000)
    stream.write(b"3000001\n")
    stream.write(FILE)
    stream.flush()
    assert stream.readline() == b"thanks\n"
    assert stream.read() == b"", "the other end deallocated"
    stream.close()
    thread.join(LONG)
    assert digest.digest() == hashlib.sha256(FILE).digest()
    assert sorted(pair.deallocated) == [1, 2]


@pytest.mark.parametrize("qos", [RAW, BEST_EFFORT], ids=["raw", "best"])
def test_not_over_a_flow_that_may_lose(make_pair: Any, qos: Any) -> None:
    with pytest.raises(NotPermitted, match="DATA"):
        make_pair(qos).flows[0].stream()


def test_a_size_that_makes_no_sense(make_pair: Any) -> None:
    with pytest.raises(InvalidArgument):
        make_pair(DATA).flows[0].stream(0)


def test_messages_of_any_length(make_pair: Any) -> None:
    a, b = (flow.stream(packet_size=1000) for flow in make_pair(DATA).flows)
    messages = [b"", b"x", FILE[:999], FILE[:500_000], b"end"]

    def send() -> None:
        for message in messages:
            a.write_message(message)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    assert [b.read_message() for _ in messages] == messages
    thread.join(LONG)
    a.close()
    with pytest.raises(EOFError):
        b.read_message()


def test_a_message_that_says_it_is_too_long(make_pair: Any) -> None:
    a, b = make_pair(DATA).flows
    a.write(b"\xff\xff\xff\xff")
    with pytest.raises(TooLong, match="4294967295"):
        b.stream().read_message()


def test_a_stream_that_ends_within_a_message(make_pair: Any) -> None:
    a, b = make_pair(DATA).flows
    a.write(b"\0\0\0\x09")
    a.write(b"half")
    a.linger = False
    a.close()
    with pytest.raises(EOFError, match="4 of 9"):
        b.stream().read_message()


def test_what_a_flush_that_timed_out_left_is_written_by_the_next_one(make_pair: Any) -> None:
    a, b = make_pair(DATA).flows
    a.write_timeout = 0.05
    stream = a.stream(1000)
    stream.write(FILE[:74_000])  # the window is shut after 64 packets
    with pytest.raises(FlowTimeout):
        stream.flush()
    there = b.stream()
    assert there.read(64_000) == FILE[:64_000]
    stream.flush()
    assert there.read(10_000) == FILE[64_000:74_000]
    a.linger = False  # nobody drives the clocks here


def test_a_read_that_timed_out(make_pair: Any) -> None:
    a, b = make_pair(DATA).flows
    stream = b.stream()
    b.read_timeout = 0.05
    a.write(b"half")
    a.linger = False
    with pytest.raises(FlowTimeout):
        stream.read(10)
    with pytest.raises(InvalidArgument, match="timed out"):
        stream.read(10)


def test_a_stream_that_does_not_wait(make_pair: Any) -> None:
    a, b = make_pair(DATA).flows
    a.blocking = b.blocking = False
    there, stream = b.stream(), a.stream(1000)
    assert there.read(10) is None
    with pytest.raises(BlockingIOError):
        stream.write(FILE)
    assert there.read(1000) == FILE[:1000]
    a.linger = False


# ---------------------------------------------------------------- asyncio


@pytest.fixture
async def flows(system: Any, plugins: PluginHost) -> AsyncIterator[tuple[AsyncFlow, AsyncFlow]]:
    async with asyncio.timeout(LONG), Node("test", packets=system.name, plugins=plugins) as node:
        await node.bind("server")
        async with asyncio.TaskGroup() as group:
            accepting = group.create_task(node.flow_accept())
            allocating = group.create_task(node.flow_alloc("server", DATA))
        yield allocating.result(), accepting.result()


async def test_reader_and_writer(flows: tuple[AsyncFlow, AsyncFlow]) -> None:
    (reader, writer), (there, back) = flows[0].stream(), flows[1].stream(20_000)

    async def serve() -> None:
        size = int(await there.readline())
        back.write(hashlib.sha256(await there.readexactly(size)).digest())
        await back.drain()
        back.close()
        await back.wait_closed()

    serving = asyncio.create_task(serve())
    writer.write(b"%d\n" % len(FILE))
    for at in range(0, len(FILE), 50_000):
        writer.write(FILE[at : at + 50_000])
        await writer.drain()
        assert writer.transport.get_write_buffer_size() <= 2**16
    assert await reader.read() == hashlib.sha256(FILE).digest()
    assert reader.at_eof()
    writer.close()
    await writer.wait_closed()
    await serving
    assert flows[0].closed
    assert flows[1].closed


async def test_a_reader_who_does_not_read_holds_the_writer_back(flows: tuple[AsyncFlow, AsyncFlow]) -> None:
    (_, writer), (there, back) = flows[0].stream(), flows[1].stream()

    async def write() -> None:
        for _ in range(1000):
            writer.write(bytes(10_000))
            await writer.drain()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(write(), 0.5)
    assert await there.readexactly(100_000) == bytes(100_000)
    writer.transport.abort()
    await writer.wait_closed()
    back.close()


async def test_what_was_written_before_the_close_arrives(flows: tuple[AsyncFlow, AsyncFlow]) -> None:
    (_, writer), (there, back) = flows[0].stream(), flows[1].stream()
    writer.write(FILE[:200_000])
    writer.close()
    assert await there.read() == FILE[:200_000]
    await writer.wait_closed()
    back.close()
    await back.wait_closed()


async def test_messages_and_small_writes(flows: tuple[AsyncFlow, AsyncFlow]) -> None:
    (_, writer), (there, back) = flows[0].stream(1000), flows[1].stream()
    for n in range(500):
        writer.write_message(b"%d" % n)
    writer.write_message(FILE[:300_000])
    for n in range(500):
        assert await there.read_message() == b"%d" % n
    assert await there.read_message() == FILE[:300_000]
    assert flows[1].counters["rx"] < 400, "small writes share packets"
    writer.write(b"\xff\xff\xff\xff")
    with pytest.raises(TooLong):
        await there.read_message()
    writer.close()
    with pytest.raises(EOFError):
        await there.read_message()
    back.close()


async def test_small_writes_while_the_writer_waits_for_room(flows: tuple[AsyncFlow, AsyncFlow]) -> None:
    """What is added to a packet that is about to be sent is neither lost nor sent twice."""
    (_, writer), (there, back) = flows[0].stream(100), flows[1].stream()

    async def write() -> None:
        for at in range(0, 200_000, 37):
            writer.write(FILE[at : min(at + 37, 200_000)])
            if at % 10 == 0:
                await asyncio.sleep(0)
        await writer.drain()
        writer.close()

    writing = asyncio.create_task(write())
    got = bytearray()
    while chunk := await there.read(1000):
        got += chunk
        await asyncio.sleep(0)
    assert bytes(got) == FILE[:200_000]
    await writing
    back.close()


class Failing(asyncio.Protocol):
    """Does not take data."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        raise ZeroDivisionError

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def test_a_protocol_that_fails(flows: tuple[AsyncFlow, AsyncFlow]) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    protocol = Failing()
    transport = FlowTransport(flows[0], protocol, 1000)
    await flows[1].write(b"x")
    assert isinstance(await protocol.lost, ZeroDivisionError)
    assert [type(e) for e in told] == [ZeroDivisionError]
    assert transport.is_closing()
    assert flows[0].closed


async def test_a_protocol_without_more_to_say_is_closed_at_the_end(flows: tuple[AsyncFlow, AsyncFlow]) -> None:
    protocol = Failing()
    FlowTransport(flows[0], protocol, 1000)
    await flows[1].close()
    assert await protocol.lost is None
    assert flows[0].closed


async def test_a_reading_pause(flows: tuple[AsyncFlow, AsyncFlow]) -> None:
    got: list[bytes] = []

    class Pausing(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            got.append(data)
            self.transport.pause_reading()

    protocol = Pausing()
    transport = FlowTransport(flows[0], protocol, 1000)
    for n in range(5):
        await flows[1].write(b"%d" % n)
    for n in range(5):
        await asyncio.sleep(0.02)
        assert got == [b"%d" % m for m in range(n + 1)]
        assert not transport.is_reading()
        transport.resume_reading()
    transport.abort()


async def test_a_flow_that_goes_down_under_a_stream(flows: tuple[AsyncFlow, AsyncFlow]) -> None:
    (reader, writer), _ = flows[0].stream(), flows[1]
    flows[1].down = True
    with pytest.raises(FlowDown):
        await reader.read()
    with pytest.raises(FlowDown):
        await writer.wait_closed()

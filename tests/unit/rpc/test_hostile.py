"""What a channel does about peers that send nonsense: it closes, and keeps nothing."""

import asyncio
import os
import resource
import socket
import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouro_core.model.errors import IrmdError
from ouro_core.model.flow import Grant
from ouro_core.model.ipcp_requests import IpcpFlowJoin
from ouro_core.model.irm_requests import Allocation, FlowAccept, ListIpcps, RibText
from ouro_core.model.qos import RAW
from ouro_core.model.zygote_requests import Spawned
from ouro_core.rpc.budget import Budget
from ouro_core.rpc.channel import Channel
from ouro_core.rpc.fds import MAX_FDS, close_grants
from ouro_core.wire.control import MAX_FRAME, Frame, Kind, encode, frame_bytes

REQUEST = frame_bytes(Frame(Kind.REQUEST, 1, "RibRead"))


def _answer(request: Any) -> Any:
    close_grants(request)
    return RibText("x")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\0",
        b"\0\0\0\5\xff\xff\xff\xff\xff",
        struct.pack("!I", MAX_FRAME + 1),
        b"\xff" * 100,
        REQUEST + b"\xff" * 10,
        frame_bytes(Frame(Kind.REPLY, 1, "Nothing")),
        frame_bytes(Frame(Kind.REPLY, 1, "Found", b"\xff")),
        frame_bytes(Frame(Kind.REPLY, 1, "", b"body")),
        frame_bytes(Frame(Kind.REQUEST, 1, "RibRead", fds=1)),
        frame_bytes(Frame(Kind.REPLY, 1, "Found", fds=2**32 - 1)),
        frame_bytes(Frame(Kind.ERROR, 1, code=-1, fds=1)),
        frame_bytes(Frame(Kind.CANCEL, 1, fds=1)),
    ],
)
async def test_garbage(against: Any, until: Any, kept: Any, data: bytes) -> None:
    with kept():
        closed = []
        raw, channel = against(_answer, on_close=lambda: closed.append(1))
        raw.send(data)
        await until(lambda: channel.closed)
        assert closed == [1]
        raw.close()


@pytest.mark.parametrize("cut", [1, 3, 4, 5, len(REQUEST) - 1])
async def test_half_sent(against: Any, until: Any, kept: Any, cut: int) -> None:
    """It waits for the rest; when the peer goes instead, that is its end."""
    with kept():
        raw, channel = against(_answer)
        raw.send(REQUEST[:cut])
        await until(lambda: channel._decoder.unfinished == cut)
        raw.send(REQUEST[cut:])
        assert (await raw.read()).kind is Kind.REPLY
        raw.send(REQUEST[:cut])
        raw.sock.shutdown(socket.SHUT_WR)
        await until(lambda: channel.closed)
        raw.close()


async def test_requests_with_one_number(against: Any, until: Any) -> None:
    cancelled = []

    async def answer(request: Any) -> Any:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append(request)

    raw, channel = against(answer)
    raw.send(REQUEST + REQUEST)
    await until(lambda: channel.closed)
    await until(lambda: len(cancelled) == 1)


async def test_requests_to_somebody_who_only_asks(against: Any, until: Any) -> None:
    raw, channel = against(None)
    raw.send(REQUEST)
    await until(lambda: channel.closed)


async def test_answers_that_nobody_asked_for(against: Any, until: Any, kept: Any) -> None:
    with kept():
        discarded: list[Any] = []
        raw, channel = against(_answer, discarded=discarded.append)
        r, w = os.pipe()
        name, body, fds = encode(Allocation(7, Grant(b"", (r, w)), RAW, 5, "n"))
        raw.frame(Frame(Kind.REPLY, 99, name, body, fds=2), tuple(fds))
        raw.frame(Frame(Kind.ERROR, 98, code=-1))
        raw.frame(Frame(Kind.REPLY, 97))
        raw.send(REQUEST)
        assert (await raw.read()).kind is Kind.REPLY
        assert [value.flow_id for value in discarded] == [7]
        channel.close()
        raw.close()
        os.close(r)
        os.close(w)


JOIN = encode(IpcpFlowJoin(1, b"hash", Grant(b"", (3, 4))))[1]


@pytest.mark.parametrize(
    ("frame", "sent"),
    [
        (Frame(Kind.REQUEST, 1, "RibRead"), 1),  # with descriptors that the frame does not announce
        (Frame(Kind.REQUEST, 1, "IpcpFlowJoin", JOIN, fds=2), 3),
        (Frame(Kind.REQUEST, 1, "IpcpFlowJoin", JOIN, fds=2), 1),  # fewer than announced
        (Frame(Kind.REPLY, 1, "", fds=2), 2),  # no value that could own them
        (Frame(Kind.ERROR, 1, code=-1, fds=2), 2),
        (Frame(Kind.CANCEL, 1, fds=2), 2),
        (Frame(Kind.CANCEL, 1), 2),
        (Frame(Kind.REPLY, 1, "Found", fds=2), 2),
        (Frame(Kind.REQUEST, 1, "RibRead"), MAX_FDS + 1),  # more than fit: the kernel cuts them off
        (Frame(Kind.REQUEST, 1, "RibRead"), 200),
    ],
)
async def test_descriptors_that_belong_to_nobody(against: Any, until: Any, kept: Any, frame: Frame, sent: int) -> None:
    with kept():
        raw, channel = against(_answer)
        r, w = os.pipe()
        raw.frame(frame, (r, w) * (sent // 2) + (r,) * (sent % 2))
        await until(lambda: channel.closed)
        raw.close()
        os.close(r)
        os.close(w)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Kind.REQUEST, 1, "RibRead", fds=2),  # has no grant
        Frame(Kind.REQUEST, 1, "Allocation", fds=2),  # no request
        Frame(Kind.REQUEST, 1, "Nothing", fds=2),
        Frame(Kind.REQUEST, 1, "IpcpFlowJoin", b"\xff", fds=2),
        Frame(Kind.REQUEST, 1, "", fds=2),
    ],
)
async def test_descriptors_of_refused_requests(against: Any, kept: Any, frame: Frame) -> None:
    with kept():
        raw, channel = against(_answer)
        r, w = os.pipe()
        for _ in range(100):
            raw.frame(frame, (r, w))
            assert (await raw.read()).kind is Kind.ERROR
        channel.close()
        raw.close()
        os.close(r)
        os.close(w)


async def test_a_flood_of_descriptors(against: Any, until: Any, kept: Any) -> None:
    """A frame that never gets whole, and each byte of it brings descriptors."""
    with kept():
        raw, channel = against(_answer)
        r, w = os.pipe()
        raw.send(struct.pack("!I", 1000), (r, w))
        most = 0
        for _ in range(1000):
            try:
                raw.send(b"x", (r, w) * 8)
            except (BrokenPipeError, ConnectionResetError):
                break
            await asyncio.sleep(0)
            most = max(most, len(channel._received))
        assert most <= MAX_FDS
        assert channel.closed
        raw.close()
        os.close(r)
        os.close(w)


async def test_too_many_requests_with_descriptors(against: Any, until: Any, kept: Any) -> None:
    gate = asyncio.Event()

    async def answer(request: Any) -> Any:
        try:
            await gate.wait()
        finally:
            close_grants(request)

    with kept():
        raw, channel = against(answer)
        r, w = os.pipe()
        for n in range(1026):
            raw.frame(Frame(Kind.REQUEST, n + 1, "IpcpFlowJoin", JOIN, fds=2), (r, w))
            await asyncio.sleep(0)
        for _ in range(2):
            frame = await raw.read()
            assert (frame.kind, frame.code) == (Kind.ERROR, -12)
        raw.close()
        await until(lambda: channel.closed and not channel._tasks)
        os.close(r)
        os.close(w)


async def test_no_descriptor_left_for_a_send_that_waits(against: Any, kept: Any) -> None:
    """The frame cannot be kept, so the stream ends: a peer would wait for ever for what is missing in it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with kept():
        raw, channel = against()
        r, w = os.pipe()
        calls = [channel.call(FlowAccept(data=b"x" * 2**20))]
        assert channel._unsent
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (w + 2, hard))
            calls.append(channel.call(IpcpFlowJoin(1, b"", Grant(b"", (r, w)))))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert channel.closed
        assert all(call.exception() for call in calls)
        raw.close()
        os.close(r)
        os.close(w)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([REQUEST, REQUEST[:-1]]), max_size=5))
def test_any_bytes(chunks: list[bytes]) -> None:
    """Nothing but its own end comes of them."""
    raised: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: raised.append(context))
        a, b = socket.socketpair()
        with a:
            channel = Channel(b, _answer)
            for chunk in chunks:
                try:
                    a.send(chunk, socket.MSG_NOSIGNAL)
                except OSError:
                    break
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            a.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(20):
                while not channel.closed:  # noqa: ASYNC110
                    await asyncio.sleep(0)

    asyncio.run(main())
    assert raised == []


async def test_an_answer_of_another_type(against: Any, until: Any, kept: Any) -> None:
    """Whoever is asked for one thing and says another loses the connection; the descriptors in it are closed."""
    with kept():
        raw, channel = against(None)
        asked = asyncio.ensure_future(channel.call(ListIpcps()))
        await asyncio.sleep(0)
        r, w = os.pipe()
        name, body, fds = encode(Allocation(7, Grant(b"", (r, w)), RAW, 5, "n"))
        raw.frame(Frame(Kind.REPLY, 1, name, body, fds=2), tuple(fds))
        with pytest.raises(IrmdError):
            await asked
        assert channel.closed
        raw.close()
        os.close(r)
        os.close(w)


async def test_what_one_peer_keeps_waiting_is_bounded(against: Any, until: Any) -> None:
    """Over all its connections: unfinished frames, requests under way, replies that are not read and their descriptors.
    All of it counts no more when a connection closes.
    """
    budget = Budget(300_000)
    r, w = os.pipe()

    async def never(request: Any) -> Any:
        if isinstance(request, ListIpcps):
            return Spawned(1, Grant(b"", (r,)))
        await asyncio.get_running_loop().create_future()

    connections = [against(never, budget=budget) for _ in range(4)]
    (half, first), (busy, second), (deaf, third), (last, fourth) = connections
    half.send(struct.pack("!I", 1_000_000) + bytes(100_000))
    await until(lambda: budget.used == 100_004)
    name, body, _ = encode(FlowAccept(None, bytes(100_000)))
    busy.send(frame_bytes(Frame(Kind.REQUEST, 1, name, body)))
    await until(lambda: budget.used == 100_004 + len(body))
    name, body, _ = encode(ListIpcps())
    number = 0
    while not third.closed:  # until its replies and their descriptors fill the socket, and then the budget
        number += 1
        deaf.send(frame_bytes(Frame(Kind.REQUEST, number, name, body)))
        await asyncio.sleep(0)
        assert number < 10_000
    assert not first.closed
    assert not second.closed
    await until(lambda: budget.used < 210_000)
    last.send(struct.pack("!I", 1_000_000) + bytes(150_000))
    await until(lambda: fourth.closed)
    half.close()
    busy.close()
    await until(lambda: first.closed and second.closed)
    await until(lambda: budget.used == 0)
    os.close(r)
    os.close(w)


async def test_who_asks_much_lets_others_go_first(against: Any, until: Any) -> None:
    """However many connections he has, and however many requests are in one piece of what comes."""
    budget = Budget(2**24)
    answered = 0

    def slow(request: Any) -> Any:
        nonlocal answered
        answered += 1
        time.sleep(0.001)
        return RibText("x")

    greedy = [against(slow, budget=budget) for _ in range(5)]
    other, _ = against(_answer)
    for raw, _ in greedy:
        raw.send(b"".join(frame_bytes(Frame(Kind.REQUEST, number, "RibRead")) for number in range(200)))
    other.send(REQUEST)
    assert (await other.read()).kind is Kind.REPLY
    assert answered < 100
    greedy[0][1].close()  # what waits of a connection that ends is nobody's any more
    for raw, _ in greedy[1:]:
        assert [(await raw.read()).id for _ in range(200)] == list(range(200))
    assert answered < 1000
    assert budget.used == 0
    greedy[1][0].send(REQUEST)
    assert (await greedy[1][0].read()).kind is Kind.REPLY

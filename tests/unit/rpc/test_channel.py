"""Requests and replies over a real socket, when both ends behave."""

import asyncio
import os
from typing import Any

import pytest

from ouro_core.model.errors import InvalidArgument, IpcpError, IrmdError, OuroError, OutOfMemory, UnknownName, WireError
from ouro_core.model.flow import Grant
from ouro_core.model.ipcp_requests import FlowReply, Found, IpcpFlowJoin, IpcpQuery, IpcpReg
from ouro_core.model.irm_requests import Allocation, DestroyName, FlowAccept, RibRead, RibText
from ouro_core.model.qos import RAW
from ouro_core.model.zygote_requests import Spawned, ZygoteSpawn
from ouro_core.rpc.channel import MAX_OUTSTANDING, MAX_UNSENT
from ouro_core.rpc.fds import close_grants
from ouro_core.wire.control import MAX_FRAME, Frame, Kind, encode


def _allocation(*fds: int) -> Allocation:
    return Allocation(1, Grant(b"grant", fds), RAW, 5, "name")


async def test_replies(peers: Any) -> None:
    asked = []

    def answer(request: Any) -> Any:
        asked.append(request)
        return None if isinstance(request, DestroyName) else RibText("{}")

    client, _ = peers(answer)
    assert await client.call(RibRead("a")) == RibText("{}")
    assert await client.call(DestroyName("n")) is None
    assert asked == [RibRead("a"), DestroyName("n")]


async def test_both_ends_may_ask(peers: Any) -> None:
    a, b = peers(lambda request: RibText("b"), lambda request: RibText("a"))
    assert [await call for call in (a.call(RibRead()), b.call(RibRead()))] == [RibText("b"), RibText("a")]


@pytest.mark.parametrize(
    ("raised", "seen", "text"),
    [
        (UnknownName("who?"), UnknownName, "^who[?]$"),
        (OuroError("strange", errno=4711), OuroError, "^strange$"),
        (KeyError("k"), IpcpError, "internal error: KeyError"),
    ],
)
async def test_errors(peers: Any, raised: Exception, seen: type[OuroError], text: str) -> None:
    def now(request: Any) -> Any:
        raise raised

    async def later(request: Any) -> Any:
        await asyncio.sleep(0)
        raise raised

    for answer in (now, later):
        client, _ = peers(answer)
        with pytest.raises(seen, match=text) as caught:
            await client.call(RibRead())
        assert type(caught.value) is seen
        assert caught.value.errno == (raised.errno if isinstance(raised, OuroError) else 1003)


async def test_late_replies_come_in_any_order(peers: Any, until: Any) -> None:
    gates: dict[str, asyncio.Future[RibText]] = {}

    def answer(request: RibRead) -> Any:
        gates[request.path] = asyncio.get_running_loop().create_future()
        return gates[request.path]

    client, _ = peers(answer)
    calls = [client.call(RibRead(str(n))) for n in range(MAX_OUTSTANDING)]
    await until(lambda: len(gates) == MAX_OUTSTANDING)
    with pytest.raises(OutOfMemory, match="more than 1024 requests at once"):
        await client.call(RibRead("one more"))
    for path in sorted(gates, key=lambda path: path[::-1]):
        gates[path].set_result(RibText(path))
    async with asyncio.timeout(20):
        assert [r.json for r in await asyncio.gather(*calls)] == [str(n) for n in range(MAX_OUTSTANDING)]
    assert "one more" not in gates


async def test_a_cancelled_call_cancels_the_work(peers: Any, until: Any) -> None:
    events = []

    async def answer(request: Any) -> Any:
        if request == RibRead():
            return RibText("still here")
        events.append("began")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    client, _ = peers(answer)
    call = client.call(RibRead("slow"))
    await until(lambda: events == ["began"])
    call.cancel()
    await until(lambda: events == ["began", "cancelled"])
    assert await client.call(RibRead()) == RibText("still here")


async def test_a_request_and_its_cancellation_may_come_at_once(against: Any) -> None:
    events = []

    async def answer(request: Any) -> Any:
        events.append("began")
        try:
            await asyncio.sleep(60)
        finally:
            events.append("ended")

    raw, _ = against(answer)
    raw.frame(Frame(Kind.REQUEST, 5, "RibRead"))
    raw.frame(Frame(Kind.CANCEL, 5))
    frame = await raw.read()
    assert (frame.kind, frame.id, frame.code) == (Kind.ERROR, 5, -125)
    assert events == ["began", "ended"]


async def test_cancelling_what_is_not_there(against: Any) -> None:
    raw, _ = against(lambda request: RibText("x"))
    raw.frame(Frame(Kind.CANCEL, 5))
    raw.frame(Frame(Kind.REQUEST, 5, "RibRead"))
    assert (await raw.read()).kind is Kind.REPLY
    raw.frame(Frame(Kind.CANCEL, 5))
    raw.frame(Frame(Kind.REQUEST, 5, "RibRead"))
    assert (await raw.read()).kind is Kind.REPLY


@pytest.mark.parametrize("who", ["client", "server"])
async def test_closing_ends_everything(peers: Any, until: Any, who: str) -> None:
    events: list[str] = []

    async def answer(request: Any) -> Any:
        events.append("began")
        try:
            await asyncio.sleep(60)
        finally:
            events.append("cancelled")

    options: dict[str, Any] = {"closed_error": lambda: IpcpError("gone")}
    client, server = peers(answer, answer, on_close=lambda: events.append("closed"), **options)
    calls = [client.call(RibRead(str(n))) for n in range(3)]
    back = server.call(RibRead())
    await until(lambda: events == ["began"] * 4)
    (client if who == "client" else server).close()
    for call in calls:
        with pytest.raises(IrmdError):
            await call
    with pytest.raises(IpcpError, match="gone"):
        await back
    await until(lambda: events.count("cancelled") == 4)
    assert events.count("closed") == 1
    for channel, error in ((client, IrmdError), (server, IpcpError)):
        assert channel.closed
        channel.close()
        with pytest.raises(error):
            await channel.call(RibRead())
    assert events.count("closed") == 1


# ---------------------------------------------------------------- descriptors


async def test_descriptors_pass(peers: Any, kept: Any) -> None:
    with kept():
        r, w = os.pipe()
        request = ZygoteSpawn("t", "n", 1, "s", Grant(b"there", (w,)), Grant(b""))

        def answer(request: ZygoteSpawn) -> Spawned:
            assert request.grant.data == b"there"
            assert not os.get_inheritable(request.grant.fds[0])
            os.write(request.grant.fds[0], b"hello")
            close_grants(request)
            return Spawned(1, Grant(b"grant", (r,)))

        client, server = peers(answer)
        reply = await client.call(request)
        assert reply.pidfd.data == b"grant"
        assert os.read(reply.pidfd.fds[0], 100) == b"hello"
        os.write(w, b"again")  # ours is open still
        assert os.read(r, 100) == b"again"
        close_grants(reply)
        client.close()
        server.close()
        os.close(r)
        os.close(w)


async def test_descriptors_of_an_answer_to_a_cancelled_call(peers: Any, until: Any, kept: Any) -> None:
    discarded: list[Any] = []
    with kept():
        r, w = os.pipe()
        client, server = peers(None, lambda request: _allocation(r), discarded=discarded.append)
        call = server.call(FlowAccept())
        call.cancel()  # the request is on its way
        await until(lambda: discarded)
        assert discarded[0].flow_id == 1
        os.write(w, b"x")
        assert os.read(r, 1) == b"x"
        client.close()
        server.close()
        os.close(r)
        os.close(w)


async def test_an_answer_that_nobody_waited_for(against: Any, until: Any) -> None:
    """The peer closes in the moment in which the answer is ready."""
    lost: list[Any] = []
    gate = asyncio.Event()

    async def answer(request: Any) -> Any:
        await gate.wait()
        return _allocation()

    raw, channel = against(answer, undelivered=lost.append)
    raw.frame(Frame(Kind.REQUEST, 1, "FlowAccept"))
    await until(lambda: channel._tasks)
    gate.set()
    raw.close()
    await until(lambda: channel.closed)
    await until(lambda: lost == [_allocation()])


async def test_an_answer_that_could_not_be_sent_any_more(against: Any, until: Any, kept: Any) -> None:
    """It waits behind others for a peer that does not read, when that peer closes."""
    lost: list[Any] = []
    with kept():
        r, w = os.pipe()
        raw, channel = against(
            lambda q: _allocation(r) if isinstance(q, FlowAccept) else RibText("x" * 2**20), undelivered=lost.append
        )
        for n in range(4):
            raw.frame(Frame(Kind.REQUEST, n, "RibRead"))
        raw.frame(Frame(Kind.REQUEST, 4, "FlowAccept"))
        await until(lambda: any(u.fds for u in channel._unsent))
        raw.close()
        await until(lambda: channel.closed)
        assert lost[-1] == _allocation(r)
        assert all(isinstance(value, RibText) for value in lost[:-1])
        os.close(r)
        os.close(w)


async def test_an_answer_that_cannot_be_sent_at_all(peers: Any) -> None:
    lost: list[Any] = []
    too_long = RibText("x" * MAX_FRAME)
    answers: dict[str, Any] = {"long": too_long, "strange": 5}
    client, _ = peers(lambda request: answers[request.path], undelivered=lost.append)
    with pytest.raises(WireError, match="is longer than"):
        await client.call(RibRead("long"))
    with pytest.raises(WireError, match="int is no control message"):
        await client.call(RibRead("strange"))
    assert lost == [too_long, 5]


async def test_sends_that_wait_keep_their_descriptors(against: Any, until: Any, kept: Any) -> None:
    """More than the socket holds: the rest is sent when there is room, with copies of descriptors closed meanwhile."""
    with kept():
        raw, channel = against()
        calls = []
        for n in range(40):
            r, w = os.pipe()
            os.write(w, b"%d" % n)
            os.close(w)
            calls.append(channel.call(IpcpFlowJoin(n, b"h" * 100_000, Grant(b"", (r,)))))
            os.close(r)
        assert channel._unsent
        for n in range(40):
            frame = await raw.read()
            assert (frame.type, frame.fds) == ("IpcpFlowJoin", 1)
            assert len(frame.body) > 100_000
            assert os.read(raw.fds[0], 10) == b"%d" % n
            os.close(raw.fds.pop(0))
            raw.frame(Frame(Kind.REPLY, frame.id, "FlowReply", encode(FlowReply(n, b""))[1]))
        assert [r.mpl for r in await asyncio.gather(*calls)] == list(range(40))
        assert not channel._unsent
        assert channel._unsent_bytes == 0
        assert raw.fds == []
        channel.close()
        raw.close()


async def test_a_peer_that_does_not_read(against: Any, kept: Any) -> None:
    with kept():
        r, w = os.pipe()
        raw, channel = against()
        calls = []
        while not channel.closed:
            calls.append(channel.call(IpcpFlowJoin(1, b"h" * 2**20, Grant(b"", (r, w)))))
            assert len(calls) < 2 * MAX_UNSENT / 2**20
        assert len(calls) > MAX_UNSENT / 2**20
        for call in calls:
            with pytest.raises(IrmdError):
                await call
        raw.close()
        os.close(r)
        os.close(w)


async def test_long_messages(peers: Any) -> None:
    hashed = b"h" * (MAX_FRAME - 100)

    def answer(request: IpcpQuery) -> Found:
        assert request.hash == hashed
        return Found(True)

    client, _ = peers(answer)
    assert await client.call(IpcpQuery(hashed)) == Found(True)
    with pytest.raises(WireError, match="is longer than"):
        client.call(IpcpReg(b"h" * MAX_FRAME))
    with pytest.raises(WireError, match="cannot send"):
        client.call(DestroyName("\udcff"))
    assert not client._calls
    assert await client.call(IpcpQuery(hashed)) == Found(True)


async def test_replies_are_no_requests(against: Any) -> None:
    """What is no request is refused without being decoded, and the connection stays."""
    raw, _ = against(lambda request: RibText("x"))
    for name in ("RibText", "Nothing", ""):
        raw.frame(Frame(Kind.REQUEST, 1, name))
        frame = await raw.read()
        assert frame.kind is Kind.ERROR
        assert isinstance(frame.error(), WireError)
    raw.frame(Frame(Kind.REQUEST, 1, "RibRead", b"\xff"))
    assert isinstance((await raw.read()).error(), WireError)
    raw.frame(Frame(Kind.REQUEST, 1, "RibRead"))
    assert (await raw.read()).kind is Kind.REPLY


async def test_requests_of_the_peer_own_their_descriptors(peers: Any, kept: Any) -> None:
    """Whoever answers has them, also when it refuses."""
    with kept():
        r, w = os.pipe()
        seen: list[int] = []

        async def answer(request: IpcpFlowJoin) -> Any:
            seen.extend(request.grant.fds)
            await asyncio.sleep(0)
            raise InvalidArgument("no")

        client, server = peers(answer)
        with pytest.raises(InvalidArgument):
            await client.call(IpcpFlowJoin(1, b"", Grant(b"", (r, w))))
        assert len(seen) == 2
        for fd in seen:
            os.close(fd)
        client.close()
        server.close()
        os.close(r)
        os.close(w)

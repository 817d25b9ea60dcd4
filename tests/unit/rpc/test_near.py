"""Requests within one process, and what happens to the descriptors of grants."""

import asyncio
import os
import resource
from typing import Any

import pytest

from ouro_core.model.errors import InvalidArgument, OutOfMemory
from ouro_core.model.flow import Grant
from ouro_core.model.ipcp_requests import IpcpFlowJoin
from ouro_core.model.irm_requests import Allocation, Arrival, FlowAccept, RibRead, RibText
from ouro_core.model.qos import RAW
from ouro_core.rpc.fds import close_fds, close_grants, dup_grant, dup_grants
from ouro_core.rpc.near import NearCaller


async def test_replies_and_errors() -> None:
    async def later(request: Any) -> RibText:
        await asyncio.sleep(0)
        return RibText("later")

    def refuse(request: Any) -> None:
        raise InvalidArgument("no")

    assert await NearCaller(lambda request: RibText("now")).call(RibRead()) == RibText("now")
    assert await NearCaller(later).call(RibRead()) == RibText("later")
    with pytest.raises(InvalidArgument, match="no"):
        await NearCaller(refuse).call(RibRead())


async def test_cancellation_passes_through() -> None:
    events = []

    async def answer(request: Any) -> None:
        events.append("began")
        try:
            await asyncio.sleep(60)
        finally:
            events.append("ended")

    task = asyncio.ensure_future(NearCaller(answer).call(FlowAccept()))
    while not events:  # noqa: ASYNC110
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["began", "ended"]


async def test_both_sides_have_descriptors_of_their_own(kept: Any) -> None:
    with kept():
        r, w = os.pipe()
        seen: list[Grant] = []

        def answer(request: Any) -> Allocation:
            seen.append(request.grant)
            return Allocation(1, Grant(b"mine", (r,)), RAW, 5, "n")

        reply: Any = await NearCaller(answer).call(IpcpFlowJoin(1, b"", Grant(b"yours", (w,))))
        assert seen[0].data == b"yours"
        assert w not in seen[0].fds
        assert reply.grant.data == b"mine"
        assert r not in reply.grant.fds
        os.write(seen[0].fds[0], b"hello")
        assert os.read(reply.grant.fds[0], 100) == b"hello"
        close_fds(seen[0].fds)
        close_grants(reply)
        os.write(w, b"still mine")
        assert os.read(r, 100) == b"still mine"
        os.close(r)
        os.close(w)


def test_what_has_no_grants_stays_as_it_is() -> None:
    for value in (None, RibRead("a"), Arrival(1, b"")):
        assert dup_grants(value) is value
        close_grants(value)


def _limit(room: int) -> int:
    """What RLIMIT_NOFILE must be so that just so many more descriptors can be had."""
    number = 0
    while room or os.path.lexists(f"/proc/self/fd/{number}"):
        room -= not os.path.lexists(f"/proc/self/fd/{number}")
        number += 1
    return number


def test_no_descriptor_left(kept: Any) -> None:
    """All or nothing: what was copied before the last one is closed."""
    with kept():
        r, w = os.pipe()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        arrival = Arrival(1, b"", Grant(b"", (r, w)), Grant(b"", (r, w)))
        try:
            for room in range(4):
                resource.setrlimit(resource.RLIMIT_NOFILE, (_limit(room), hard))
                with pytest.raises(OutOfMemory, match="ulimit -n"):
                    dup_grants(arrival)
            with pytest.raises(OutOfMemory):
                dup_grant(Grant(b"", (r, w, r, w)))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        copy = dup_grants(arrival)
        assert not {r, w} & {*copy.grant.fds, *copy.joined.fds}  # type: ignore[union-attr]
        close_grants(copy)
        close_grants(copy)  # closed already: no error
        os.close(r)
        os.close(w)

"""Coroutines that are begun without a task, and promises."""

import asyncio

import pytest

from ouro_core.model.errors import InvalidArgument
from ouro_core.rpc.steps import Promise, Rest, begin


async def test_what_need_not_wait_is_done_at_once() -> None:
    async def now() -> int:
        return 5

    async def refuse() -> int:
        raise InvalidArgument("no")

    assert begin(now()) == 5
    with pytest.raises(InvalidArgument, match="no"):
        begin(refuse())


async def test_the_rest_goes_on_where_it_waits() -> None:
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    steps = []

    async def work() -> str:
        steps.append(1)
        steps.append(await first)
        try:
            await second
        except InvalidArgument as e:
            return str(e)
        raise AssertionError

    rest = begin(work())
    assert isinstance(rest, Rest)
    assert steps == [1]
    first.set_result(2)
    loop.call_soon(second.set_exception, InvalidArgument("bad"))
    assert await rest == "bad"
    assert steps == [1, 2]


async def test_cancelling_the_rest_reaches_the_coroutine() -> None:
    future = asyncio.get_running_loop().create_future()
    ended = []

    async def work() -> None:
        try:
            await future
        finally:
            ended.append(True)

    rest = begin(work())
    assert isinstance(rest, Rest)
    task = asyncio.ensure_future(rest)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
    assert future.cancelled()


async def test_a_promise_that_was_kept_too_late_goes_back() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    back: list[int] = []
    task = asyncio.ensure_future(Promise(future, back.append))
    await asyncio.sleep(0)
    future.set_result(7)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert back == [7]


async def test_cancelling_a_promise_cancels_its_future() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    back: list[int] = []
    task = asyncio.ensure_future(Promise(future, back.append))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert future.cancelled()
    assert back == []

"""Awaitables that mostly cost no task and no turn of the loop."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

__all__ = ["Promise", "Rest", "begin"]

R = TypeVar("R")


class Promise(Awaitable[R], Generic[R]):
    """A reply that somebody else will bring: `future`, for those who prefer callbacks. It goes to `unwanted` when it
    came and whoever awaited it was cancelled in the same moment.
    """

    def __init__(self, future: "asyncio.Future[R]", unwanted: Callable[[R], None]) -> None:
        self.future = future
        self._unwanted = unwanted

    def __await__(self) -> Generator[Any, Any, R]:
        future = self.future
        try:
            return (yield from future.__await__())
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._unwanted(future.result())
            raise


class Rest(Awaitable[R], Generic[R]):
    """What is left of a coroutine that has to wait for `first`. To be awaited once."""

    def __init__(self, work: Coroutine[Any, Any, R], first: Any) -> None:
        self._work = work
        self._first = first

    def __await__(self) -> Generator[Any, Any, R]:
        waits = self._first
        step: Callable[[Any], Any]
        while True:
            try:
                got: Any = yield waits
                step = self._work.send
            except BaseException as e:
                got, step = e, self._work.throw
            try:
                waits = step(got)
            except StopIteration as done:
                result: R = done.value
                return result


def begin(work: Coroutine[Any, Any, R]) -> R | Rest[R]:
    """Run a coroutine up to where it has to wait first. Its result, or what is left of it; raises what it raises.

    That part runs in no task: it must not ask for its task, as `asyncio.timeout` does.
    """
    try:
        return Rest(work, work.send(None))
    except StopIteration as done:
        result: R = done.value
        return result

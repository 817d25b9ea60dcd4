"""Requests within one process: what a `Channel` is between two."""

import inspect
from collections.abc import Awaitable
from typing import Any, TypeVar

from ..model.request import Request
from .channel import Answer
from .fds import dup_grants

__all__ = ["NearCaller"]

R = TypeVar("R")


class NearCaller:
    """Calls `answer` directly. Grants get descriptors of their own on the way, as over a socket."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def call(self, request: Request[R]) -> Awaitable[R]:
        """The reply; errors and cancellation pass through."""
        return self._call(request)

    async def _call(self, request: Request[R]) -> R:
        result: Any = self._answer(dup_grants(request))
        if inspect.isawaitable(result):
            result = await result
        reply: R = dup_grants(result)
        return reply

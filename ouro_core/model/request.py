"""The one shape of control: a request is a value, and its class names the type of its reply.

So `call(request: Request[R]) -> R` is the whole interface, near or far: of the IRM in this process, of the daemon
behind a socket, of an IPCP here or in a process of its own. `wire/control.py` encodes by field name.
"""

from collections.abc import Awaitable
from functools import cache
from typing import Any, Generic, Protocol, TypeVar, get_args

__all__ = ["AsyncCaller", "Request", "reply_type"]

R = TypeVar("R")


class Request(Generic[R]):
    """Base of all requests; subclasses are frozen attrs classes. A reply of None means: done."""

    __slots__ = ()


@cache
def reply_type(request: type[Request[Any]]) -> type:
    """What a request of this class is answered with."""
    for base in getattr(request, "__orig_bases__", ()):
        for reply in get_args(base):
            if isinstance(reply, type):
                return reply
    return object


class AsyncCaller(Protocol):
    """Somebody who answers requests. Failures are `OuroError`s; cancelling the awaitable cancels the request."""

    def call(self, request: Request[R]) -> Awaitable[R]:
        """The reply, when it comes."""
        ...

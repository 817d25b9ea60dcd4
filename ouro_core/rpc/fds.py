"""Descriptors in messages: SCM_RIGHTS, and not losing any."""

import array
import contextlib
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import attrs

from ..model.errors import OutOfMemory, WireError
from ..model.flow import Grant

T = TypeVar("T")

__all__ = ["MAX_FDS", "close_fds", "close_grants", "dup_fds", "dup_grant", "dup_grants", "receive", "send"]

MAX_FDS: Final = 32
"""Most descriptors with one frame: three grants."""
_ANCILLARY: Final = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)
_READ: Final = 65536
# plain numbers: each operation with the enumerations of `socket` takes a microsecond
_NO_SIGNAL: Final = int(socket.MSG_NOSIGNAL)
_CLOSE_ON_EXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_CUT_OFF: Final = int(socket.MSG_CTRUNC)


def send(sock: socket.socket, data: bytes | memoryview, fds: Sequence[int]) -> int:
    """Send what goes, the descriptors with the first byte. Returns the bytes sent; as the socket blocks or not."""
    if not fds:
        return sock.send(data, _NO_SIGNAL)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
    return sock.sendmsg([data], rights, _NO_SIGNAL)


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Bytes (none: end of file) and the descriptors that came with them. WireError when some were cut off."""
    data, ancillary, flags, _ = sock.recvmsg(_READ, _ANCILLARY, _CLOSE_ON_EXEC)
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
            fds.extend(numbers)
    if flags & _CUT_OFF:
        close_fds(fds)
        raise WireError("descriptors of a message were cut off: too many of them, or no free number")
    return data, fds


def close_fds(fds: Iterable[int]) -> None:
    """Close descriptors; one that is closed already is no error."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def dup_fds(fds: Iterable[int]) -> tuple[int, ...]:
    """Descriptors of our own for the same files. OutOfMemory."""
    copies: list[int] = []
    try:
        for fd in fds:
            copies.append(os.dup(fd))
    except OSError as e:
        close_fds(copies)
        raise OutOfMemory(f"no descriptor left for a flow: {e.strerror}; raise the limit (ulimit -n)") from None
    return tuple(copies)


def dup_grant(grant: Grant) -> Grant:
    """A grant with descriptors of its own, for whoever attaches in the process that gave it. OutOfMemory."""
    return Grant(grant.data, dup_fds(grant.fds))


def _grants(value: Any) -> Iterator[tuple[str, Grant]]:
    if attrs.has(type(value)):
        for a in attrs.fields(type(value)):
            item = getattr(value, a.name)
            if isinstance(item, Grant):
                yield a.name, item


def dup_grants(value: T) -> T:
    """A request or reply whose grants have descriptors of their own. OutOfMemory."""
    copies: dict[str, Grant] = {}
    try:
        for name, grant in _grants(value):
            copies[name] = dup_grant(grant)
    except OutOfMemory:
        for copy in copies.values():
            close_fds(copy.fds)
        raise
    return attrs.evolve(value, **copies) if copies else value  # type: ignore[misc]


def close_grants(value: object) -> None:
    """Close the descriptors of all grants in a request or reply that nobody wants."""
    for _, grant in _grants(value):
        close_fds(grant.fds)

"""Errors: every failure of Ouro is an `OuroError` with a number that means the same on every node.

Numbers from 1000 on are Ouroboros' own (spec: irmd.md 1); the others are errno values of the host. On the wire and in
the output of the tools an error is the negated number: `code`. `error_from_code` is the way back.
"""

import errno as _errno
from typing import ClassVar

__all__ = [
    "AuthenticationFailed",
    "BadDescriptor",
    "BrokenPipe",
    "ConfigError",
    "CryptError",
    "Exists",
    "FlowDown",
    "FlowPeer",
    "FlowTimeout",
    "InvalidArgument",
    "IpcpError",
    "IpcpStateError",
    "IpcpTypeError",
    "IrmdError",
    "NotAllocated",
    "NotFound",
    "NotPermitted",
    "NotSupported",
    "OuroError",
    "OutOfMemory",
    "PacketsError",
    "PeerReset",
    "PluginError",
    "TooLong",
    "UnknownName",
    "WireError",
    "WouldBlock",
    "error_from_code",
    "raise_for_code",
]


class OuroError(Exception):
    """Base of all errors. `errno` is the positive number, `code` the negated one that crosses borders.

    The message says what went wrong, with which value, and what to do about it.
    """

    errno: int = 1
    _text: ClassVar[str] = "operation failed"

    def __init__(self, message: str = "", *, errno: int | None = None) -> None:
        super().__init__(message or self._text)
        if errno is not None:
            self.errno = errno

    @property
    def code(self) -> int:
        """The negated number, as it stands in messages and in the output of the tools."""
        return -self.errno

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), self.errno)


def _rebuild(cls: type[OuroError], message: str, errno: int) -> OuroError:
    return cls(message, errno=errno)


class NotAllocated(OuroError):
    """ENOTALLOC: no such flow, or the other end does not take packets."""

    errno = 1000
    _text = "flow is not allocated"


class IpcpTypeError(OuroError):
    """EIPCPTYPE: no such type of IPCP, or the wrong one for this operation."""

    errno = 1001
    _text = "unknown or unsuitable IPCP type"


class IrmdError(OuroError):
    """EIRMD: the IRMd cannot be reached, or went away."""

    errno = 1002
    _text = "failed to communicate with the IRMd; start it with: ouro irmd"


class IpcpError(OuroError):
    """EIPCP: no IPCP for this destination, or the IPCP failed."""

    errno = 1003
    _text = "no IPCP can do this"


class IpcpStateError(OuroError):
    """EIPCPSTATE: the IPCP is not in the state this operation needs."""

    errno = 1004
    _text = "the IPCP is in the wrong state for this operation"


class FlowDown(OuroError):
    """EFLOWDOWN: the flow does not work any more, in either direction."""

    errno = 1005
    _text = "flow is down"


class FlowPeer(OuroError):
    """EFLOWPEER: nothing was heard of the peer for longer than the QoS allows."""

    errno = 1006
    _text = "the peer of the flow timed out"


class UnknownName(OuroError):
    """ENAME: nobody knows this name."""

    errno = 1007
    _text = "name is not known"


class CryptError(OuroError):
    """ECRYPT: encryption was required and could not be agreed on, or failed."""

    errno = 1008
    _text = "encryption failed"


class AuthenticationFailed(OuroError):
    """EAUTH: a signature, certificate, time stamp or replay check failed."""

    errno = 1009
    _text = "authentication failed"


class NotPermitted(OuroError):
    """EPERM: the caller may not do this."""

    errno = _errno.EPERM
    _text = "operation not permitted"


class NotFound(OuroError):
    """ENOENT: no such object."""

    errno = _errno.ENOENT
    _text = "no such object"


class BadDescriptor(OuroError):
    """EBADF: the flow was closed, or never was."""

    errno = _errno.EBADF
    _text = "flow is closed"


class WouldBlock(OuroError):
    """EAGAIN: nothing to read, or no room to write, and the caller does not want to wait."""

    errno = _errno.EAGAIN
    _text = "operation would block"


class OutOfMemory(OuroError):
    """ENOMEM: no memory or no descriptors left."""

    errno = _errno.ENOMEM
    _text = "out of memory"


class Exists(OuroError):
    """EEXIST: the object exists already."""

    errno = _errno.EEXIST
    _text = "object exists already"


class InvalidArgument(OuroError):
    """EINVAL: the request makes no sense."""

    errno = _errno.EINVAL
    _text = "invalid argument"


class ConfigError(InvalidArgument):
    """EINVAL: a configuration value is unknown, out of range or contradicts another."""

    _text = "invalid configuration"


class BrokenPipe(OuroError):
    """EPIPE: the wait was ended from outside, for instance because the process goes away."""

    errno = _errno.EPIPE
    _text = "operation was cancelled"


class TooLong(OuroError):
    """EMSGSIZE: the packet or message is longer than the limit."""

    errno = _errno.EMSGSIZE
    _text = "packet is too long"


class NotSupported(OuroError):
    """ENOTSUP: this implementation, type or build does not do this."""

    errno = _errno.ENOTSUP
    _text = "operation not supported"


class PeerReset(OuroError):
    """ECONNRESET: the peer's window stayed shut for too long."""

    errno = _errno.ECONNRESET
    _text = "connection reset by the peer"


class FlowTimeout(OuroError, TimeoutError):
    """ETIMEDOUT: the time was over before it happened."""

    errno = _errno.ETIMEDOUT
    _text = "operation timed out"


class PacketsError(OuroError):
    """EIO: something is wrong with a grant, a program of a mover, or the machine."""

    errno = _errno.EIO
    _text = "packet system failure"


class WireError(OuroError, ValueError):
    """EPROTO: bytes that are no valid encoding. The only exception a decoder raises."""

    errno = _errno.EPROTO
    _text = "malformed message"


class PluginError(OuroError):
    """ELIBBAD: a plugin is broken, missing or does not fit this version."""

    errno = _errno.ELIBBAD
    _text = "plugin failure"


_BY_NUMBER: dict[int, type[OuroError]] = {
    cls.errno: cls
    for cls in (
        NotAllocated, IpcpTypeError, IrmdError, IpcpError, IpcpStateError, FlowDown, FlowPeer, UnknownName, CryptError,
        AuthenticationFailed, NotPermitted, NotFound, BadDescriptor, WouldBlock, OutOfMemory, Exists, InvalidArgument,
        BrokenPipe, TooLong, NotSupported, PeerReset, FlowTimeout, PacketsError, WireError, PluginError,
    )
}  # fmt: skip


def error_from_code(code: int, message: str = "") -> OuroError:
    """The exception for a result: `code` is the negated number (a positive one is taken as its absolute value).

    A number we do not know gives a plain `OuroError` that carries it.
    """
    number = abs(code) or 1
    return _BY_NUMBER.get(number, OuroError)(message, errno=number)


def raise_for_code(code: int, message: str = "") -> None:
    """Raise the error for a negative result; 0 and positive results are successes."""
    if code < 0:
        raise error_from_code(code, message)

"""Who is at the other end of a Unix socket."""

import errno
import os
import socket
import struct
from typing import Final

from attrs import field, frozen

__all__ = ["Credentials", "own_credentials", "peer_credentials"]

_SO_PEERPIDFD: Final = 77  # Linux 6.5; not in the socket module of 3.11
_SO_PEERGROUPS: Final = 59
_UCRED: Final = struct.Struct("3i")


@frozen
class Credentials:
    """A process: `groups` are its group and its supplementary groups, `pidfd` names it beyond doubt (-1: unknown)."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int]
    pidfd: int = field(default=-1, eq=False)


def own_credentials() -> Credentials:
    """Those of this process."""
    return Credentials(os.getpid(), os.geteuid(), os.getegid(), frozenset((os.getegid(), *os.getgroups())))


def peer_credentials(sock: socket.socket, pidfd: bool = False) -> Credentials:
    """Those of the process that connected the socket, from the kernel. OSError when it is gone.

    With `pidfd` the caller owns a descriptor that becomes readable when that process ends. Where the kernel cannot name
    the socket's peer by one (before 6.5), it is opened by number, and only kept if the peer was alive before and after:
    the socket still has its other end then, so the number cannot have been given to another process in between.
    """
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    groups = {gid}
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
        groups.update(struct.unpack(f"{len(raw) // 4}I", raw))
    except OSError:
        pass  # kernel before 4.13, or more than 256 groups: the primary group is all we go by
    return Credentials(pid, uid, gid, frozenset(groups), _peer_pidfd(sock, pid) if pidfd else -1)


def _peer_pidfd(sock: socket.socket, pid: int) -> int:
    try:
        fd = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as e:
        if e.errno != errno.ENOPROTOOPT:
            raise
        fd = os.pidfd_open(pid)
        if not _connected(sock):
            os.close(fd)
            raise ProcessLookupError(f"process {pid} is gone") from None
    os.set_inheritable(fd, False)
    return fd


def _connected(sock: socket.socket) -> bool:
    try:
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False

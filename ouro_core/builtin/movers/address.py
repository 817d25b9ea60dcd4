"""Socket addresses between the raw form of the packet contract and that of the socket module."""

from __future__ import annotations

import socket
import struct
from typing import TypeAlias

from ouro_core.contracts.programs import Source
from ouro_core.model.errors import PacketsError

__all__ = ["Address", "demanded", "pack", "peer", "unpack"]

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]

_FAMILY = struct.Struct("=H")
_INET = struct.Struct("!H4s8x")
_INET6 = struct.Struct("!HI16s")
_SCOPE = struct.Struct("=I")


def unpack(raw: bytes) -> Address:
    """The address of a sockaddr_in or sockaddr_in6. PacketsError for any other."""
    family = _FAMILY.unpack_from(raw)[0] if len(raw) >= 2 else socket.AF_UNSPEC
    body = raw[2:]
    if family == socket.AF_INET and len(body) == _INET.size:
        port, ip = _INET.unpack(body)
        return socket.inet_ntop(family, ip), port
    if family == socket.AF_INET6 and len(body) == _INET6.size + _SCOPE.size:
        port, label, ip = _INET6.unpack_from(body)
        return socket.inet_ntop(family, ip), port, label, _SCOPE.unpack_from(body, _INET6.size)[0]
    raise PacketsError(f"{raw.hex() or 'nothing'} is no complete sockaddr_in or sockaddr_in6; pumps send to no other")


def demanded(source: Source | None, value: bytes) -> tuple[bytes, bytes]:
    """The slices and the sockaddr (or nothing) that a peer must have, by the `source` of a program and of a route.

    PacketsError: the route demands what the program does not look at, and so would demand nothing.
    """
    if not value:
        return b"", b""
    size = sum(length for _, length in source.slices) if source is not None else 0
    slices, peer = value[:size], value[size:]
    if source is None or len(slices) < size or (peer and not source.address):
        looked = "nothing" if source is None else f"{size} bytes{' and the address' if source.address else ''}"
        raise PacketsError(f"the route demands the source {value.hex()}, of which the program looks at {looked}")
    if source.address:
        unpack(peer)
    return slices, peer


def pack(address: Address) -> bytes:
    """The sockaddr_in or sockaddr_in6 of an address as `recvfrom` gives it."""
    if len(address) == 2:
        return _FAMILY.pack(socket.AF_INET) + _INET.pack(address[1], socket.inet_pton(socket.AF_INET, address[0]))
    ip = socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0])
    return _FAMILY.pack(socket.AF_INET6) + _INET6.pack(address[1], address[2], ip) + _SCOPE.pack(address[3])


def peer(address: Address) -> tuple[str | int, ...]:
    """What tells a peer: everything but the IPv6 flow label."""
    return address if len(address) == 2 else (address[0].partition("%")[0], address[1], address[3])

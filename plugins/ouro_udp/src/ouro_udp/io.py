"""The socket of a member, and what its datagrams are to the pump (spec: shims.md 5.1 - 5.3)."""

import errno
import os
import socket
from collections.abc import Mapping
from random import Random
from typing import Final

from attrs import evolve

from ouro_core.contracts.packets import ManagementFrame
from ouro_core.contracts.programs import Field, Match, PumpProgram, Route, Source
from ouro_core.model.errors import ConfigError, NotPermitted
from ouro_core.shim import Endpoints, Medium

from .addresses import IPV4, IPV6, Address, Family
from .wire import EID, HEADER, UdpCodec

__all__ = ["MAX_MESSAGE", "UdpMedium"]

MAX_MESSAGE: Final = 2048
"""Longest management datagram: a node of the prototype writes what is longer beyond the end of its buffer."""
_FIRST_EID: Final = 64
_LAST_EID: Final = 2**31 - 1
_SOURCES: Final = 1024
_IP_MTU: Final = 14
_IPV6_MTU: Final = 24
_LEAST_MTU: Final = 576
"""What every path carries, by our reckoning: less is somebody's lie."""


def program(family: Family, check_source: bool) -> PumpProgram:
    """How the pump reads and writes datagrams."""
    return PumpProgram(
        header=EID.size,
        key=Field(0, EID.size),
        max_payload=family.longest,
        management=(Match(0, bytes(EID.size)),),
        management_min=HEADER - EID.size,
        source=Source(address=True) if check_source else None,
        addressed=True,
        management_queue=1024,  # anybody can send us such, so a burst of noise must not crowd out what is meant
    )


class UdpMedium(Medium[Address]):
    """A datagram socket at one address and port. Members are told by address, port and interface."""

    codec = UdpCodec()
    max_message = MAX_MESSAGE

    def __init__(self, own: Address, interface: str, check_source: bool, rng: Random) -> None:
        """`own` has its port, and is on `interface`. ConfigError: it cannot be used."""
        self.own = own
        self._interface = interface
        self._socket = _bound(own)
        self.fd = self._socket.fileno()
        self.program = program(own.family, check_source)
        self.endpoints = Endpoints(_FIRST_EID, _LAST_EID, rng=rng)
        self._sources: dict[bytes, Address] = {}  # as read before, since many messages come from few

    def route(self, peer: Address, remote: int, own: int) -> Route:
        there = peer.packed
        return Route(EID.pack(remote), to=there, source=there if self.program.source is not None else b"")

    def read(self, frame: ManagementFrame) -> tuple[Address, bytes]:
        address = self._sources.get(frame.source)
        if address is None:
            if len(self._sources) >= _SOURCES:
                self._sources.clear()
            address = self._sources[frame.source] = Address.unpack(frame.source)
        return address, frame.frame

    def send(self, to: Address, message: bytes) -> None:
        self._socket.sendto(message, socket.MSG_DONTWAIT, to.sockaddr)

    def room(self, peer: Address) -> int:
        """What goes to `peer` without being taken to pieces on the way, as far as is known here."""
        family = self.own.family
        mtu = _LEAST_MTU
        with socket.socket(family.af, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(evolve(self.own, port=0).sockaddr)
                probe.connect(peer.sockaddr)
                if family is IPV4:
                    mtu = probe.getsockopt(socket.IPPROTO_IP, _IP_MTU)
                else:
                    mtu = probe.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
            except OSError:
                pass  # sending fails in the same way, and says so
        return min(max(mtu, _LEAST_MTU) - family.headers, family.longest)

    def trouble(self, number: int) -> str:
        """The kernel does not say that our own address has gone: then no network is reachable, or an argument wrong."""
        text = os.strerror(number)
        try:
            with socket.socket(self.own.family.af, socket.SOCK_DGRAM) as probe:
                probe.bind(evolve(self.own, port=0).sockaddr)
        except OSError as e:
            if e.errno == errno.EADDRNOTAVAIL:
                return f"{text}; {self.own.ip} is no address of this machine any more"
        return text

    def show(self, address: Address) -> str:
        return str(address)

    def view(self) -> Mapping[str, object]:
        checked = self.program.source is not None
        return {
            "ip": self.own.ip, "port": self.own.port, "interface": self._interface, "sources_checked": checked,
            "longest_packet": self.own.family.longest, "longest_message": self.max_message,
        }  # fmt: skip

    def close(self) -> None:
        self._socket.close()


def _bound(own: Address) -> socket.socket:
    sock = socket.socket(own.family.af, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if own.family is IPV6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(own.sockaddr)
    except OSError as e:
        sock.close()
        what = f"cannot use {own}: {os.strerror(e.errno or 0)}"
        if e.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"{what}. Another program has this port; is there a second IPCP for this layer?"
            ) from None
        if e.errno in (errno.EACCES, errno.EPERM):
            raise NotPermitted(f"{what}. Ports below 1024 are for root; take another for the whole layer") from None
        raise ConfigError(f"{what}. Is the interface up, and the address ready?") from None
    return sock

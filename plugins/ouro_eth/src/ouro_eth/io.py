"""Sockets: the one with the frames, and the one that tells of changes to devices. Linux."""

import asyncio
import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from ouro_core.contracts.packets import ManagementFrame
from ouro_core.contracts.programs import Route
from ouro_core.model.errors import ConfigError, NotPermitted, NotSupported
from ouro_core.shim import Endpoints, Medium

from .device import Devices, Link, layer_mtu
from .wire import Framing, show_mac

__all__ = ["ETH_P_802_2", "Ethernet", "LinkMonitor", "open_socket"]

ETH_P_802_2: Final = 0x0004
"""What Linux calls frames with a length where others have an ethertype."""
MAX_MESSAGE: Final = 9000
"""Longest management message that a node of the prototype takes."""
_RTMGRP_LINK: Final = 1
_SO_ATTACH_FILTER: Final = 26
_FILTER: Final = (
    (0x20, 0, 0, 0xFFFFF004),  # load what kind of packet it is
    (0x25, 1, 0, 2),           # more than PACKET_MULTICAST: the line after the next
    (0x06, 0, 0, 0xFFFFFFFF),  # take all of it
    (0x06, 0, 0, 0),           # take nothing
)  # fmt: skip
"""Frames for this host and broadcasts (which on loopback devices count as multicast). What a device in promiscuous mode
hears is neither, nor are frames with a VLAN tag, which is not to be seen any more where a socket gets them.
"""


def open_socket(device: str, protocol: int) -> socket.socket:
    """A raw socket for the frames of one protocol on one device, non-blocking.

    Bound to exactly this protocol it does not wake for anything else, and gets no copies of what this host sends.
    NotSupported, NotPermitted, ConfigError.
    """
    if not sys.platform.startswith("linux"):
        raise NotSupported(f"an Ethernet layer needs Linux: there is no back end for {sys.platform} yet")
    try:
        # protocol 0 hears nothing: no frames of other devices before it is bound
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    except PermissionError:
        raise NotPermitted(
            f"no raw socket on {device}: this process lacks CAP_NET_RAW. Run the IRMd as root, or give it this one "
            "capability: setpriv --inh-caps +net_raw --ambient-caps +net_raw, or AmbientCapabilities in a systemd unit"
        ) from None
    try:
        _attach_filter(sock)
        sock.bind((device, protocol))
    except OSError as e:
        sock.close()
        raise ConfigError(f'device "{device}" cannot be used: {e.strerror}') from None
    return sock


def _attach_filter(sock: socket.socket) -> None:
    """Drop in the kernel what is for others: it must not even wake this process."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in _FILTER))
    program = struct.pack("@HP", len(_FILTER), ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


class Ethernet(Medium[bytes]):
    """A device as the medium of a layer. `A` is a MAC address.

    Endpoints begin anywhere: peers of an IPCP that was here before, or of another one on this device, send to this MAC
    as well, and what is for those flows must not end up in ours.
    """

    def __init__(self, framing: Framing, link: Link, sock: socket.socket, devices: Devices, rng: Random) -> None:
        self.framing = self.codec = framing
        self._socket = sock
        self._devices = devices
        self.mac = link.mac
        self.mtu = layer_mtu(link, framing.largest_mtu)
        self.fd = sock.fileno()
        self.program = framing.program(link.mac, self.mtu)
        self.follow(link)
        self.endpoints = Endpoints(*framing.endpoints, start=rng.randint(*framing.endpoints))

    def follow(self, link: Link) -> None:
        """The device as it is now. Management messages keep to what it takes, if that has become less."""
        self.link = link
        self.max_message = min(self.program.max_payload, link.mtu - self.framing.overhead, MAX_MESSAGE)

    def route(self, peer: bytes, remote: int, own: int) -> Route:
        return self.framing.route(self.mac, peer, remote, own)

    def read(self, frame: ManagementFrame) -> tuple[bytes, bytes]:
        return self.framing.open(frame.frame)

    def send(self, to: bytes, message: bytes) -> None:
        self._socket.send(self.framing.management_frame(self.mac, to, message))

    def show(self, address: bytes) -> str:
        return show_mac(address)

    def view(self) -> Mapping[str, object]:
        link = self.link
        return {
            "device": link.name,
            "index": link.index,
            "mac": show_mac(self.mac),
            "mtu": self.mtu,
            "device_mtu": link.mtu,
            "largest_packet": self.program.max_payload,
            "up": link.up,
            "carrier": link.carrier,
            "addresses": self._devices.addresses(link.name),
        }

    def close(self) -> None:
        self._socket.close()


class LinkMonitor:
    """Says when a device may have changed: `changed` is called in the loop, and looks itself.

    The kernel's messages are not read for what is in them. A lost one would have to be made good by looking anyway.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        flags = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, flags, socket.NETLINK_ROUTE)
        try:
            self._socket.bind((0, _RTMGRP_LINK))
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._socket, self._news)
        except BaseException:
            self._socket.close()
            raise

    def _news(self) -> None:
        while self._drain():
            pass
        self._changed()

    def _drain(self) -> bool:
        """Whether there may be more."""
        try:
            return bool(self._socket.recv(65536))
        except BlockingIOError:
            return False
        except OSError as e:
            return e.errno == errno.ENOBUFS  # messages were lost; what they said is to be seen

    def close(self) -> None:
        """Idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

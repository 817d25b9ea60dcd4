"""What there is to know of a network device: its number, MAC, MTU and flags.

One small interface, `Devices`, with what differs between systems below it: the numbers of two ioctl requests and the
size of their structure. MACs and addresses come from `netifaces`, which asks each system in its way. sysfs is not used:
in another network namespace it shows the devices of the one it was mounted in.
"""

import fcntl
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import netifaces
from attrs import frozen

from ouro_core.model.errors import ConfigError, NotSupported

__all__ = ["Devices", "Link", "System", "layer_mtu", "this_system"]

_IFF_UP: Final = 0x1
_IFF_RUNNING: Final = 0x40
_MAX_NAME: Final = 15
_LOOPBACK_MTU: Final = 9000
"""Of layers on a loopback device."""


@frozen
class Link:
    """A device as it is now. `mac`: 6 bytes; `mtu`: bytes of a frame behind its 14 bytes of header; `up`: switched on;
    `carrier`: and something is at the other end.
    """

    name: str
    index: int
    mac: bytes
    mtu: int
    up: bool
    carrier: bool

    @property
    def ready(self) -> bool:
        """Frames get somewhere."""
        return self.up and self.carrier


@frozen
class System:
    """How an operating system answers about devices: request numbers, and bytes of `struct ifreq`."""

    get_mtu: int
    get_flags: int
    ifreq: int


def _iowr(number: int, size: int) -> int:
    """A BSD's request number: reads and writes `size` bytes, group "i"."""
    return 0xC0000000 | size << 16 | ord("i") << 8 | number


LINUX: Final = System(0x8921, 0x8913, 40)
MACOS: Final = System(_iowr(51, 32), _iowr(17, 32), 32)
FREEBSD: Final = MACOS
OPENBSD: Final = System(_iowr(126, 32), _iowr(17, 32), 32)
NETBSD: Final = System(_iowr(126, 144), _iowr(17, 144), 144)
_SYSTEMS: Final[Mapping[str, System]] = {
    "linux": LINUX, "darwin": MACOS, "freebsd": FREEBSD, "dragonfly": FREEBSD, "openbsd": OPENBSD, "netbsd": NETBSD,
}  # fmt: skip


def this_system(platform: str = sys.platform) -> System:
    """That of `sys.platform`. NotSupported."""
    for word, system in _SYSTEMS.items():
        if platform.startswith(word):
            return system
    raise NotSupported(f"devices of {platform} cannot be looked at; known: {', '.join(_SYSTEMS)}")


def _ioctl(request: int, argument: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return fcntl.ioctl(any_socket, request, argument)


class Devices:
    """The devices of this host, in the network namespace of this process. The functions ask the system; tests give
    recorded answers.
    """

    def __init__(
        self,
        system: System | None = None,
        ioctl: Callable[[int, bytes], bytes] = _ioctl,
        addresses: Callable[[str], Mapping[int, Any]] = netifaces.ifaddresses,
        index: Callable[[str], int] = socket.if_nametoindex,
        name: Callable[[int], str] = socket.if_indextoname,
    ) -> None:
        self._system = this_system() if system is None else system
        self._ioctl = ioctl
        self._addresses = addresses
        self._index = index
        self._name = name

    def read(self, name: str) -> Link:
        """A device, by name. ConfigError: there is none, or it is no Ethernet device."""
        if not 0 < len(name.encode()) <= _MAX_NAME:
            raise ConfigError(f'invalid device name "{name}": it has 1 to {_MAX_NAME} bytes')
        try:
            index = self._index(name)
            mtu = self._ask(self._system.get_mtu, name, "i")
            flags = self._ask(self._system.get_flags, name, "H")
        except (OSError, ValueError) as e:
            raise ConfigError(f'there is no device "{name}" here ({_reason(e)}); see: ip link') from None
        return Link(name, index, self._mac(name), mtu, bool(flags & _IFF_UP), bool(flags & _IFF_RUNNING))

    def again(self, link: Link) -> Link:
        """A device that was read before, by its number: it may have another name now. ConfigError: it is not here any
        more.
        """
        try:
            name = self._name(link.index)
        except OSError:
            raise ConfigError(f'there is no device "{link.name}" here any more; see: ip link') from None
        return self.read(name)

    def addresses(self, name: str) -> list[str]:
        """Its IP addresses, to show; empty when it is gone."""
        found = self._entries(name)
        return [entry["addr"] for family in (socket.AF_INET, socket.AF_INET6) for entry in found.get(family, ())]

    def _entries(self, name: str) -> Mapping[int, Any]:
        """Its addresses of all families, as `netifaces` has them. None of any: it says that there is no device."""
        try:
            return self._addresses(name)
        except (OSError, ValueError):
            return {}

    def _ask(self, request: int, name: str, field: str) -> int:
        argument = name.encode().ljust(self._system.ifreq, b"\0")
        (value,) = struct.unpack_from(f"={field}", self._ioctl(request, argument), 16)
        return int(value)

    def _mac(self, name: str) -> bytes:
        for entry in self._entries(name).get(netifaces.AF_LINK, ()):
            try:
                mac = bytes.fromhex(entry.get("addr", "").replace(":", ""))
            except ValueError:
                continue
            if len(mac) == 6:
                return mac
        if name.startswith("lo"):  # BSDs give theirs no address
            return bytes(6)
        raise ConfigError(f'device "{name}" has no MAC address: it is no Ethernet device')


def layer_mtu(link: Link, largest: int) -> int:
    """The MTU of a layer on this device (shims.md 4.4)."""
    mtu = min(link.mtu, largest)
    return min(mtu, _LOOPBACK_MTU) if link.name.startswith("lo") else mtu


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)

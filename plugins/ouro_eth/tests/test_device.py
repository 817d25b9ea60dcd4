"""Devices: those of this host, and recorded answers of systems that are not at hand."""

import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any

import netifaces
import pytest
from ouro_eth import device
from ouro_eth.device import FREEBSD, LINUX, MACOS, NETBSD, OPENBSD, Devices, Link, System, layer_mtu, this_system

from ouro_core.model.errors import ConfigError, NotSupported
from ouro_core.testing.host import eventually
from ouro_core.testing.netns import Namespace

MAC = "a4:83:e7:01:02:03"


def recorded(system: System, name: str, mtu: int, flags: int, addresses: Mapping[int, Any]) -> Devices:
    """What a system says of one device: `struct ifreq` with the value behind 16 bytes of name."""

    def ioctl(request: int, argument: bytes) -> bytes:
        assert len(argument) == system.ifreq
        assert argument.rstrip(b"\0") == name.encode()
        value = {system.get_mtu: struct.pack("=i", mtu), system.get_flags: struct.pack("=H", flags)}[request]
        return (argument[:16] + value).ljust(system.ifreq, b"\0")

    def ask(wanted: str) -> Mapping[int, Any]:
        if wanted != name:
            raise ValueError("You must specify a valid interface name.")
        return addresses

    def index(wanted: str) -> int:
        if wanted != name:
            raise OSError(6, "Device not configured")
        return 4

    return Devices(system, ioctl, ask, index)


# platform, request numbers as the system's headers give them, flags as ifconfig shows them, link-level answer
SYSTEMS = [
    ("darwin", MACOS, (0xC0206933, 0xC0206911), 0x8863, [{"addr": MAC}]),
    ("freebsd14", FREEBSD, (0xC0206933, 0xC0206911), 0x8843, [{"addr": MAC}]),
    ("openbsd7", OPENBSD, (0xC020697E, 0xC0206911), 0x8843, [{"addr": MAC}]),
    ("netbsd10", NETBSD, (0xC090697E, 0xC0906911), 0x8843, [{"addr": ""}, {"addr": MAC}]),
    ("linux", LINUX, (0x8921, 0x8913), 0x1043, [{"addr": MAC, "broadcast": "ff:ff:ff:ff:ff:ff"}]),
]


@pytest.mark.parametrize(("platform", "system", "requests", "flags", "link"), SYSTEMS, ids=[s[0] for s in SYSTEMS])
def test_each_system(platform: str, system: System, requests: tuple[int, int], flags: int, link: Any) -> None:
    assert this_system(platform) == system
    assert (system.get_mtu, system.get_flags) == requests
    answers = {netifaces.AF_LINK: link, socket.AF_INET: [{"addr": "192.0.2.7", "netmask": "255.255.255.0"}]}
    devices = recorded(system, "en0", 9000, flags, answers)
    assert devices.read("en0") == Link("en0", 4, bytes.fromhex("a483e7010203"), 9000, True, True)
    assert devices.addresses("en0") == ["192.0.2.7"]
    assert devices.addresses("en1") == []
    assert not recorded(system, "en0", 1500, flags & ~1, answers).read("en0").up
    assert not recorded(system, "en0", 1500, flags & ~0x40, answers).read("en0").carrier


def test_an_unknown_system() -> None:
    with pytest.raises(NotSupported, match="plan9"):
        this_system("plan9")


def test_what_is_no_ethernet_device() -> None:
    devices = recorded(MACOS, "utun0", 1380, 0x8051, {socket.AF_INET: [{"addr": "192.0.2.1"}]})
    with pytest.raises(ConfigError, match='"utun0" has no MAC'):
        devices.read("utun0")
    with pytest.raises(ConfigError, match="no MAC"):
        recorded(LINUX, "ib0", 2044, 0x1043, {netifaces.AF_LINK: [{"addr": "80:00:02:08:fe:80:00:00"}]}).read("ib0")
    assert recorded(FREEBSD, "lo0", 16384, 0x8049, {}).read("lo0").mac == bytes(6)


def test_a_device_that_has_no_address_at_all(private: Namespace) -> None:
    try:
        private.ip("tuntap", "add", "tun7", "mode", "tun")
    except RuntimeError as e:
        pytest.skip(f"no tun devices here: {e}")
    with pytest.raises(ConfigError, match='"tun7" has no MAC address'):
        Devices().read("tun7")


@pytest.mark.parametrize("name", ["", "no-such-device-0", "x" * 16, "ü" * 8, "v0/../lo"])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        Devices().read(name)


def test_devices_of_this_host(private: Namespace) -> None:
    private.ip("link", "set", "v0", "mtu", "1400")
    private.ip("addr", "add", "192.0.2.1/24", "dev", "v0")
    here = Devices().read("v0")
    assert (here.mtu, here.up, here.carrier) == (1400, True, True)
    assert here.mac.hex(":") in private.ip("link", "show", "v0")
    assert here.index == socket.if_nametoindex("v0")
    assert "192.0.2.1" in Devices().addresses("v0")
    private.ip("link", "set", "v1", "down")
    eventually(lambda: not Devices().read("v0").carrier)
    assert Devices().read("v0").up
    private.ip("link", "set", "v0", "down")
    assert not Devices().read("v0").up
    loopback = Devices().read("lo")
    assert (loopback.mac, loopback.mtu) == (bytes(6), 65536)


@pytest.mark.parametrize(
    ("name", "mtu", "largest", "expected"),
    [
        ("eth0", 1500, 65535, 1500),
        ("eth0", 9000, 65535, 9000),
        ("eth0", 9000, 1500, 1500),
        ("eth0", 576, 1500, 576),
        ("lo", 65536, 65535, 9000),
        ("lo0", 16384, 65535, 9000),
        ("lo", 65536, 1500, 1500),
        ("eth0", 70000, 65535, 65535),
    ],
)
def test_the_mtu_of_the_layer(name: str, mtu: int, largest: int, expected: int) -> None:
    assert layer_mtu(Link(name, 1, bytes(6), mtu, True, True), largest) == expected


def test_ioctl_is_asked_of_this_network(private: Namespace) -> None:
    """Not of the one that /sys was mounted in."""
    argument = b"v1".ljust(LINUX.ifreq, b"\0")
    ask: Callable[[int, bytes], bytes] = device._ioctl
    assert struct.unpack_from("=i", ask(LINUX.get_mtu, argument), 16) == (1500,)

"""Socket addresses of members: as text, for the socket module, and raw as the packet contract has them.

An address is written `10.0.0.2`, `fd99::2` or, link-local, `fe80::2%eth0`; with another port than the layer's
`10.0.0.2:3436` and `[fd99::2]:3436`.
"""

import ipaddress
import socket
from typing import Final

from attrs import evolve, frozen

from ouro_core.builtin.movers import address as raw
from ouro_core.model.errors import ConfigError

__all__ = ["IPV4", "IPV6", "Address", "Family", "check_local"]


@frozen
class Family:
    """What differs between the two types."""

    name: str
    af: socket.AddressFamily
    record: str
    """Type of DNS record."""
    headers: int
    """Bytes that IP and UDP put before a datagram."""
    longest: int
    """Longest packet that arrives whole at a node of the prototype (spec: shims.md 5.2)."""

    def parse(self, text: str, scope: int = 0) -> "Address":
        """An address of a host, without a port. `scope` as in `parse_peer`. ValueError says what is wrong with it."""
        host, _, zone = text.partition("%")
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            ip = None
        if ip is None or ip.version != self.version or ("%" in text and not (zone and self.version == 6)):
            raise ValueError(f"needs an {self.name} address, such as {self._example}")
        if ip.is_unspecified:
            raise ValueError("needs the address of one host; the wildcard is none")
        if ip.is_multicast or host == "255.255.255.255":
            raise ValueError("needs the address of one host, not of many")
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            raise ValueError(f"is an IPv4 address in the form of IPv6; use the type udp4 and {ip.ipv4_mapped}")
        if isinstance(ip, ipaddress.IPv6Address) and ip.is_link_local:
            return Address(self, str(ip), scope=scope if scope and not zone else _scope(zone))
        if zone:
            raise ValueError(f"needs no zone: {host} means the same on every interface")
        return Address(self, str(ip))

    def parse_peer(self, text: str, scope: int = 0) -> "Address":
        """An address, with a port or without (0: the layer's). `scope`: the interface of link-local ones that say none.
        ValueError.
        """
        host, port = text, ""
        if text.startswith("["):
            host, _, port = text[1:].partition("]")
            if port and not port.startswith(":"):
                raise ValueError(f"needs an address, or [address]:port; {text} is neither")
            port = port[1:]
        elif self.version == 4 and ":" in text:
            host, _, port = text.partition(":")
        found = self.parse(host, scope)
        if not port:
            return found
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f'needs a port from 1 to 65535; "{port}" is none')
        return evolve(found, port=int(port))

    @property
    def version(self) -> int:
        """Of the Internet protocol."""
        return 4 if self.af == socket.AF_INET else 6

    @property
    def _example(self) -> str:
        return "192.0.2.1" if self.version == 4 else "2001:db8::1"


IPV4: Final = Family("IPv4", socket.AF_INET, "A", 28, 8976)
IPV6: Final = Family("IPv6", socket.AF_INET6, "AAAA", 48, 8948)


@frozen
class Address:
    """Where a member is. `port` 0: not known yet. `scope`: the interface of a link-local address, 0 for others."""

    family: Family
    host: str
    port: int = 0
    scope: int = 0

    @classmethod
    def unpack(cls, sockaddr: bytes) -> "Address":
        """From the raw form. PacketsError: it is of neither family."""
        found = raw.unpack(sockaddr)
        if len(found) == 2:
            return cls(IPV4, found[0], found[1])
        return cls(IPV6, found[0].partition("%")[0], found[1], found[3])

    @property
    def sockaddr(self) -> raw.Address:
        """For the socket module."""
        return (self.host, self.port) if self.family.version == 4 else (self.host, self.port, 0, self.scope)

    @property
    def packed(self) -> bytes:
        """For routes of a pump. One address has one form, without flow label."""
        return raw.pack(self.sockaddr)

    def with_port(self, port: int) -> "Address":
        """The same, at `port` unless it has one."""
        return self if self.port else evolve(self, port=port)

    @property
    def ip(self) -> str:
        """The text without a port."""
        return f"{self.host}%{_interface(self.scope)}" if self.scope else self.host

    def __str__(self) -> str:
        if not self.port:
            return self.ip
        return f"{self.ip}:{self.port}" if self.family.version == 4 else f"[{self.ip}]:{self.port}"


def _scope(zone: str) -> int:
    if not zone:
        raise ValueError("needs the interface of a link-local address behind it, as in fe80::1%eth0")
    try:
        return socket.if_nametoindex(zone)
    except OSError:
        if zone.isascii() and zone.isdigit() and 0 < int(zone) < 2**31:
            return int(zone)
        known = ", ".join(name for _, name in socket.if_nameindex())
        raise ValueError(f'needs an interface of this machine after %; "{zone}" is none of {known}') from None


def _interface(scope: int) -> str:
    try:
        return socket.if_indextoname(scope)
    except OSError:
        return str(scope)


def check_local(address: Address) -> str:
    """The interface that has this address. ConfigError lists the addresses that this machine has.

    All of 127.0.0.0/8 are addresses of a loopback interface, though only one is shown.
    """
    import netifaces

    found = []
    for interface in netifaces.interfaces():
        try:
            entries = netifaces.ifaddresses(interface).get(int(address.family.af), [])
        except ValueError:
            continue  # it went away just now
        for entry in entries:
            host, _, zone = str(entry["addr"]).partition("%")
            own = ipaddress.ip_address(host)
            if str(own) == address.host and (not address.scope or (zone or interface) == _interface(address.scope)):
                return str(interface)
            network = ipaddress.ip_network(f"{own}/{entry['netmask']}", strict=False) if own.version == 4 else None
            if own.is_loopback and network is not None and ipaddress.ip_address(address.host) in network:
                return str(interface)
            found.append(f"{own}%{interface}" if own.is_link_local and own.version == 6 else str(own))
    known = ", ".join(sorted(found)) or "none"
    raise ConfigError(
        f"{address.ip} is no {address.family.name} address of this machine. Give ip one that it has: {known}"
    )

"""Addresses as text and on the machine."""

import socket

import netifaces
import pytest
from ouro_udp.addresses import IPV4, IPV6, Address, check_local

from ouro_core.model.errors import ConfigError

LINK_LOCAL = [
    str(entry["addr"])
    for interface in netifaces.interfaces()
    for entry in netifaces.ifaddresses(interface).get(netifaces.AF_INET6, [])
    if str(entry["addr"]).startswith("fe80:")
]


@pytest.mark.parametrize(
    ("family", "text", "shown"),
    [
        (IPV4, "10.0.0.2", "10.0.0.2"),
        (IPV4, "10.0.0.2:3436", "10.0.0.2:3436"),
        (IPV6, "fd99::2", "fd99::2"),
        (IPV6, "FD99:0::2", "fd99::2"),
        (IPV6, "[fd99::2]", "fd99::2"),
        (IPV6, "[fd99::2]:3436", "[fd99::2]:3436"),
        (IPV6, "fe80::1%lo", "fe80::1%lo"),
        (IPV6, "[fe80::1%1]:9", "[fe80::1%lo]:9"),
    ],
)
def test_addresses(family: object, text: str, shown: str) -> None:
    family = IPV4 if family is IPV4 else IPV6
    address = family.parse_peer(text)
    assert str(address) == shown
    assert family.parse_peer(shown) == address
    there = address.with_port(7)
    assert Address.unpack(there.packed) == there


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "needs an IPv4 address"),
        ("host", "needs an IPv4 address"),
        ("10.0.0", "needs an IPv4 address"),
        ("10.0.0.256", "needs an IPv4 address"),
        ("010.0.0.1", "needs an IPv4 address"),
        ("::1", "needs an IPv4 address"),
        ("10.0.0.1%lo", "needs an IPv4 address"),
        ("0.0.0.0", "wildcard"),
        ("224.0.0.1", "not of many"),
        ("255.255.255.255", "not of many"),
    ],
)
def test_no_ipv4_address(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        IPV4.parse(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("10.0.0.1", "needs an IPv6 address"),
        ("fd99::1%", "needs an IPv6 address"),
        ("::", "wildcard"),
        ("ff02::1", "not of many"),
        ("::ffff:10.0.0.1", "use the type udp4 and 10.0.0.1"),
        ("fe80::1", "interface of a link-local address"),
        ("fe80::1%nosuch", '"nosuch" is none of .*lo'),
        ("fd99::1%lo", "no zone"),
    ],
)
def test_no_ipv6_address(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        IPV6.parse(text)


@pytest.mark.parametrize("text", ["10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:x", "10.0.0.1:-1", "10.0.0.1:１"])
def test_no_port(text: str) -> None:
    with pytest.raises(ValueError, match="port from 1 to 65535"):
        IPV4.parse_peer(text)


def test_no_bracket() -> None:
    with pytest.raises(ValueError, match=r"\[address\]:port"):
        IPV6.parse_peer("[fd99::1]3435")


def test_an_address_of_this_machine() -> None:
    assert check_local(IPV4.parse("127.0.0.1")) == "lo"
    assert check_local(IPV4.parse("127.4.5.6")) == "lo"
    assert check_local(IPV6.parse("::1")) == "lo"


@pytest.mark.skipif(not LINK_LOCAL, reason="this machine has no link-local IPv6 address")
def test_a_link_local_address_is_on_one_interface() -> None:
    address = IPV6.parse(LINK_LOCAL[0])
    assert check_local(address) == LINK_LOCAL[0].partition("%")[2]
    with pytest.raises(ConfigError, match="no IPv6 address of this machine"):
        check_local(IPV6.parse(f"{address.host}%lo"))


@pytest.mark.parametrize(("family", "text"), [(IPV4, "203.0.113.77"), (IPV6, "2001:db8::77")])
def test_an_address_of_another_machine(family: object, text: str) -> None:
    family = IPV4 if family is IPV4 else IPV6
    own = "127.0.0.1" if family is IPV4 else "::1"
    with pytest.raises(ConfigError, match=f"{text} is no .* one that it has: .*{own}"):
        check_local(family.parse(text))


def test_what_the_raw_form_is() -> None:
    """As the kernel has it, so what a pump receives can be compared."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        there = Address(IPV6, "::1", sock.getsockname()[1])
        sock.sendto(b"", there.sockaddr)
        assert sock.recvfrom(10)[1] == there.sockaddr
        assert len(there.packed) == 28

"""The programs of the frames that the prototype speaks: eth-dix, eth-llc, udp4 and udp6, and the unicast layer.

Examples for authors of shims, and what the kit runs. Frames: shims.md 4 and 5, unicast.md 4.
"""

import socket
import struct

from ouro_core.contracts.programs import Field, ForwardProgram, Match, PumpProgram, Route, Source, Window

__all__ = ["dix", "dix_route", "dt", "llc", "llc_route", "reverse", "udp", "udp_route"]

_DEFAULT_WINDOW = Window()


def dix(mac: bytes, mtu: int = 1500, ethertype: int = 0xA000) -> PumpProgram:
    """18 bytes: two MACs, ethertype, EID, payload length. EID 0 is management, of 39 bytes at least."""
    return PumpProgram(
        header=18,
        key=Field(14, 2),
        length=Field(16, 2),
        max_payload=mtu - 4,
        require=(Match(12, ethertype.to_bytes(2, "big")),),
        accept=(Match(0, mac), Match(0, b"\xff" * 6)),
        management=(Match(14, b"\0\0"),),
        management_min=39,
    )


def dix_route(peer_mac: bytes, mac: bytes, peer_eid: int, ethertype: int = 0xA000) -> Route:
    """The source is not tested, as in the prototype."""
    return Route(peer_mac + mac + struct.pack("!HHH", ethertype, peer_eid, 0))


def reverse(sap: int) -> int:
    """A service access point as it stands in an LLC header."""
    return int(f"{sap:08b}"[::-1], 2)


def llc(mac: bytes, mtu: int = 1500) -> PumpProgram:
    """17 bytes: two MACs, 802.3 length, DSAP, SSAP, control. Both SAPs 1 are management."""
    return PumpProgram(
        header=17,
        key=Field(14, 1, bit_reversed=True),
        length=Field(12, 2, bias=3),
        max_payload=mtu - 3,
        require=(Match(16, b"\x03"),),  # a DIX frame fails here or in the length test
        accept=(Match(0, mac), Match(0, b"\xff" * 6)),
        management=(Match(14, b"\x80\x80"),),
        management_min=37,
        source=Source(((6, 6), (15, 1))),  # MAC and SSAP, the latter still reversed
    )


def llc_route(peer_mac: bytes, mac: bytes, peer_sap: int, sap: int) -> Route:
    """To the peer's SAP from our own; the peer must speak from its own."""
    return Route(
        peer_mac + mac + bytes((0, 0, reverse(peer_sap), reverse(sap), 3)),
        source=peer_mac + bytes((reverse(peer_sap),)),
    )


def udp(family: int) -> PumpProgram:
    """4 bytes: EID. AF_INET or AF_INET6."""
    return PumpProgram(
        header=4,
        key=Field(0, 4),
        max_payload=8976 if family == socket.AF_INET else 8948,
        management=(Match(0, bytes(4)),),
        management_min=43,
        source=Source(address=True),
        addressed=True,
        send_flags=0x800,  # MSG_CONFIRM
    )


def udp_route(peer_eid: int, sockaddr: bytes, check: bool = True) -> Route:
    """`sockaddr` is raw: a sockaddr_in or sockaddr_in6."""
    return Route(struct.pack("!I", peer_eid), to=sockaddr, source=sockaddr if check else b"")


def dt(
    address: int,
    addr_size: int = 4,
    eid_size: int = 8,
    max_ttl: int = 60,
    window: Window | None = _DEFAULT_WINDOW,
) -> ForwardProgram:
    """The PCI of the unicast layer: destination, QoS cube, TTL, ECN, EID; 15 bytes."""
    a = addr_size
    return ForwardProgram(
        header=a + 3 + eid_size,
        destination=Field(0, a, "little"),
        cube=a,
        ttl=a + 1,
        ecn=a + 2,
        eid=Field(a + 3, eid_size, "little"),
        address=address,
        max_ttl=max_ttl,
        window=window,
    )

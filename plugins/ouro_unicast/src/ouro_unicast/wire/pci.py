"""The PCI of data transfer, in front of every packet of a unicast layer (unicast.md 4.1). Little endian.

    | offset | size         | field       | meaning                                                       |
    |--------|--------------|-------------|---------------------------------------------------------------|
    | 0      | address size | destination |                                                               |
    | +0     | 1            | cube        | QoS cube                                                      |
    | +1     | 1            | ttl         | hops that are left                                            |
    | +2     | 1            | ecn         | how full the queues on the way were, or-ed                    |
    | +3     | EID size     | eid         | endpoint at the destination: 0 flow allocator, 1 directory,   |
    |        |              |             | 2..63 other components, from 64 on flows                      |

Addresses have 4 bytes and EIDs 8, so it has 15. Forwarders read it natively; `program` describes it to them.
"""

from typing import Final

from attrs import frozen

from ouro_core.contracts.programs import Field, ForwardProgram, Window
from ouro_core.model.errors import WireError

__all__ = ["ADDRESS_SIZE", "DIRECTORY_EID", "EID_SIZE", "FIRST_FLOW_EID", "FLOW_ALLOCATOR_EID", "Pci", "program"]

ADDRESS_SIZE: Final = 4
EID_SIZE: Final = 8
PCI_SIZE: Final = ADDRESS_SIZE + 3 + EID_SIZE
FLOW_ALLOCATOR_EID: Final = 0
DIRECTORY_EID: Final = 1
FIRST_FLOW_EID: Final = 64


@frozen
class Pci:
    """One header. Encoding what was decoded gives the same bytes."""

    destination: int
    eid: int
    ttl: int = 60
    cube: int = 0
    ecn: int = 0

    def __str__(self) -> str:
        return f"DT to {self.destination:#010x} eid {self.eid:#x} ttl {self.ttl} cube {self.cube} ecn {self.ecn}"

    def encode(self) -> bytes:
        """15 bytes. WireError: a field does not fit."""
        try:
            return (
                self.destination.to_bytes(ADDRESS_SIZE, "little")
                + bytes((self.cube, self.ttl, self.ecn))
                + self.eid.to_bytes(EID_SIZE, "little")
            )
        except (OverflowError, ValueError) as e:
            raise WireError(f"{self} cannot be encoded: {e}") from None

    @classmethod
    def decode(cls, packet: bytes) -> "Pci":
        """Of a packet, whatever follows. Total: a value or WireError."""
        if len(packet) < PCI_SIZE:
            raise WireError(f"a packet of {len(packet)} bytes; its header alone has {PCI_SIZE}")
        destination = int.from_bytes(packet[:ADDRESS_SIZE], "little")
        cube, ttl, ecn = packet[ADDRESS_SIZE : ADDRESS_SIZE + 3]
        return cls(destination, int.from_bytes(packet[ADDRESS_SIZE + 3 : PCI_SIZE], "little"), ttl, cube, ecn)


def program(address: int, max_ttl: int, window: Window | None, ecn_shift: int | None) -> ForwardProgram:
    """What a forwarder of the member at `address` needs to know."""
    return ForwardProgram(
        header=PCI_SIZE,
        destination=Field(0, ADDRESS_SIZE, "little"),
        cube=ADDRESS_SIZE,
        ttl=ADDRESS_SIZE + 1,
        ecn=ADDRESS_SIZE + 2,
        eid=Field(ADDRESS_SIZE + 3, EID_SIZE, "little"),
        address=address,
        max_ttl=max_ttl,
        ecn_shift=ecn_shift,
        first_flow_eid=FIRST_FLOW_EID,
        window=window,
    )

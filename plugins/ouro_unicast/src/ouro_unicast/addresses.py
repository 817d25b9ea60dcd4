"""Address authority "flat" (unicast.md 10): random addresses, without any structure.

One number has several forms: 4 bytes little-endian in the PCI of data transfer, 8 bytes big-endian in LSUs and messages
of the flow allocator, a varint in protobuf, and for people `aa.bb.cc.dd`, the bytes in the order of the PCI.
"""

from collections.abc import Callable, Collection

from ouro_core.model.errors import ConfigError, OutOfMemory
from ouro_core.model.log import logger

from .contracts import AddressAuthority

__all__ = ["POLICIES", "FlatAddresses", "address_text"]

_SIZE = 4
_TRIES = 1000

_log = logger("flat-addr-auth")


def address_text(address: int) -> str:
    """An address as people read it: 0x04030201 is `01.02.03.04`. Of a number that is none, the number."""
    if not 0 <= address < 1 << 8 * _SIZE:
        return str(address)
    return ".".join(f"{octet:02x}" for octet in address.to_bytes(_SIZE, "little"))


class FlatAddresses(AddressAuthority):
    """32 bits from the system's random source. With n members two have the same address with probability n²/2**33."""

    name = "flat"

    def __init__(self, size: int) -> None:
        if size != _SIZE:
            raise ConfigError(f"addresses of {size} bytes are not possible: the policy flat has addresses of {_SIZE}")

    def draw(self, entropy: Callable[[int], bytes], taken: Collection[int] = ()) -> int:
        for _ in range(_TRIES):
            address = int.from_bytes(entropy(_SIZE), "little")
            if address and address not in taken:
                _log.debug("Flat address initialized to %s.", address_text(address))
                return address
        raise OutOfMemory(f"no free address in {_TRIES} draws, with {len(taken)} taken; is the random source stuck?")


POLICIES: tuple[type[AddressAuthority], ...] = (FlatAddresses,)

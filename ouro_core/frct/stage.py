"""`Stage`: what turns packets into other packets, one into one; and the simplest one, the CRC."""

from abc import ABC, abstractmethod
from typing import ClassVar

from ouro_core.wire import crc32

__all__ = ["Crc", "Stage"]


class Stage(ABC):
    """One packet goes in, one comes out, in either direction; a stage knows nothing of flows, clocks and ends.

    `seal` is called by one thread at a time, and so is `open`; the two may run at once. Packets are never empty.
    """

    counter: ClassVar[str]
    """What `dropped` is called among the counters of a flow."""
    overhead: int = 0
    """Bytes that `seal` adds."""
    dropped: int = 0
    """Packets that `open` gave None for."""

    @abstractmethod
    def seal(self, packet: bytes) -> bytes:
        """The packet on its way down."""

    @abstractmethod
    def open(self, packet: bytes) -> bytes | None:
        """The packet on its way up. None: it is not as the other end's `seal` made it, and counted."""


class Crc(Stage):
    """The CRC32 trailer of flows that ask for no bit errors (flows.md 4). `bare`: packets of this size may come without
    it, which the prototype forgets on the control packets of FRCT (flows.md 7.8 b).
    """

    counter = "damaged"
    overhead = crc32.CRC_SIZE

    def __init__(self, bare: int | None = None) -> None:
        self._bare = bare

    def seal(self, packet: bytes) -> bytes:
        """With its trailer."""
        return crc32.append(packet)

    def open(self, packet: bytes) -> bytes | None:
        """Without it."""
        body = packet[: -crc32.CRC_SIZE]  # half the time of `strip`, which says what is wrong
        if crc32.trailer(body) == packet[-crc32.CRC_SIZE :]:
            return body
        if len(packet) == self._bare:
            return packet
        self.dropped += 1
        return None

"""`Pipeline`: the stages above the end of a flow whose QoS asks for more than packets as they come.

Stages in the order of flows.md 3.4 and 3.5. There is one so far, the CRC (flows.md 4): every packet but the empty ones
goes out with a CRC32 trailer; what comes in with a wrong one, or none, is dropped and counted. FRCT and encryption are
not there yet: whoever makes a flow must refuse those that need them.

One lock for reading. Writing needs none of its own: a trailer depends on nothing but its packet.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic

from ouro_core.contracts.packets import Buffer, End, FlowEnd, Options, State
from ouro_core.model.errors import FlowTimeout, TooLong, WireError
from ouro_core.wire import crc32

__all__ = ["Pipeline"]

_DEFAULT = Options()


class Pipeline(End):
    """An end with a CRC, over `end`, which nobody else may read or write any more.

    Errors as those of `end`. A damaged packet is as if it never came, but that a read which dropped one may take up to
    twice its time-out.
    """

    def __init__(self, end: FlowEnd, options: Options = _DEFAULT) -> None:
        self._end = end
        self._reading = threading.Lock()
        self._rest: memoryview | None = None  # of a packet that was read in part; empty: its end is yet to be told
        self.damaged = 0
        """Packets dropped so far for a wrong CRC."""
        self.set_options(options)

    # ---- reading

    def read(self) -> bytes:
        """The next undamaged packet, or the rest of one that `readinto` read in part."""
        with self._reading:
            rest, self._rest = self._rest, None
            return bytes(rest) if rest else self._undamaged(1)[0]

    def read_many(self, most: int = 32) -> list[bytes]:
        """As `read`, up to `most` of what is there."""
        with self._reading:
            rest, self._rest = self._rest, None
            return [bytes(rest)] if rest else self._undamaged(most)

    def readinto(self, buffer: Buffer) -> int:
        """The next packet or its rest, by the rule for partial reads (flows.md 3.3). TooLong when there are none."""
        target = memoryview(buffer).cast("B")
        with self._reading:
            packet, self._rest = self._rest, None
            if packet is None:
                packet = memoryview(self._undamaged(1)[0])
            elif not packet:
                return 0
            size = min(len(packet), len(target))
            if len(packet) > size and not self._options.partial_read:
                raise TooLong(f"a packet of {len(packet)} bytes was dropped: the buffer has {size} bytes")
            target[:size] = packet[:size]
            if size == len(target) and self._options.partial_read:
                self._rest = packet[size:]
            return size

    def _undamaged(self, most: int) -> list[bytes]:
        timeout = self._options.read_timeout
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            packets = self._end.read_many(most)
            good = [opened for packet in packets if (opened := self._open(packet)) is not None]
            if good:
                return good
            if deadline is not None and monotonic() >= deadline:
                raise FlowTimeout(f"nothing but damaged packets came on flow {self._end.flow_id} within {timeout} s")

    def _open(self, packet: bytes) -> bytes | None:
        if not packet:
            return packet
        try:
            return bytes(crc32.strip(packet))
        except WireError:
            self.damaged += 1
            return None

    @property
    def has_rest(self) -> bool:
        """Whether `readinto` left something that a read gives without looking at the ring."""
        return self._rest is not None

    # ---- writing

    def write(self, data: Buffer) -> None:
        """One packet; an empty one goes out as it is."""
        self._end.write(_close(data))

    def write_many(self, packets: Sequence[Buffer]) -> int:
        """How many were accepted."""
        return self._end.write_many([_close(data) for data in packets])

    # ---- state

    @property
    def state(self) -> State:
        """That of the end."""
        return self._end.state

    def set_options(self, options: Options) -> None:
        """Takes effect with the next call."""
        self._options = options
        self._end.set_options(options)

    def close(self) -> None:
        """Close the end. Idempotent."""
        self._rest = None
        self._end.close()


def _close(data: Buffer) -> Buffer:
    return crc32.append(data) if len(data) else data

"""`Pipeline`: the stages above the end of a flow that needs more than packets as they come.

Theory of operation. A packet goes down through the stages in order, encryption before the CRC, into the ring, and comes
up the other way (flows.md 3.4, 3.5). Stages turn one packet into one packet; what a stage cannot open was damaged,
or is not from the peer: it is dropped and counted, as if it never came. Empty packets are keep-alives and pass by.

There is one lock a direction, held from the first stage to the ring, so that packets meet stages in the order in which
they meet the ring. Callers of one direction take turns, and a time-out begins with the turn. The locks are re-entrant,
for the handler of a signal may use the flow that it interrupted. `close` takes none: it wakes who waits in the ring.

How FRCT comes in is in docs/explanation/pipeline.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Final, TypeVar

from ouro_core.contracts.crypto import CipherSuite
from ouro_core.contracts.packets import Buffer, End, FlowEnd, Options, State
from ouro_core.model.errors import CryptError, FlowTimeout, NotSupported, OuroError, TooLong, WouldBlock
from ouro_core.model.irm_requests import Allocation
from ouro_core.wire.frct import PCI_SIZE

from .crypt import CounterCrypt, crypt
from .keylog import log_key
from .stage import Crc, Stage

__all__ = ["FindSuite", "Pipeline", "stages_for"]

T = TypeVar("T", bytes, bytes | None)

FindSuite = Callable[[str, str], CipherSuite]
"""(plugin, name of the suite) -> the suite. Any OuroError: it is not there."""

_DEFAULT: Final = Options()
_ROUNDS: Final = 32
"""Reads of nothing but dropped packets after which one that must not wait gives up: a flood cannot hold a loop."""


def stages_for(allocation: Allocation, find: FindSuite) -> tuple[Stage, ...]:
    """What a new flow needs between FRCT, or the application, and its end, from above; nothing for a raw one.

    The key of an encrypted flow is logged where `OURO_KEYLOG` says. NotSupported, CryptError: the flow cannot be used
    and must be deallocated.
    """
    stages: list[Stage] = []
    if allocation.cipher:
        stages.append(_crypt_for(allocation, find))
    if allocation.qos.needs_crc:
        stages.append(Crc(_bare_control(allocation, stages)))
    return tuple(stages)


def _bare_control(allocation: Allocation, above: Sequence[Stage]) -> int | None:
    """The size of a control packet without a CRC, where FRCT or a cipher still finds out that it was damaged."""
    if not allocation.qos.needs_frct or any(isinstance(stage, CounterCrypt) for stage in above):
        return None
    return PCI_SIZE + sum(stage.overhead for stage in above)


def _crypt_for(allocation: Allocation, find: FindSuite) -> Stage:
    a = allocation
    what = f'flow {a.flow_id} is encrypted with "{a.suite}" (number {a.cipher})'
    try:
        suite = find(a.plugin, a.suite)
    except OuroError as e:
        raise NotSupported(f"{what}, which this process does not have: {e}") from e
    if suite.unavailable is not None:
        raise NotSupported(f"{what}, which does not work here: {suite.unavailable}")
    try:
        stage = crypt(suite, a.key)
    except CryptError as e:
        raise CryptError(f"{what}: {e}") from e
    log_key(a)
    return stage


class Pipeline(End):
    """An end with `stages`, from the application down, over `end`, which nobody else may read or write any more.

    Errors as those of `end`. A read that dropped something may take up to twice its time-out.
    """

    def __init__(self, end: FlowEnd, stages: Sequence[Stage], options: Options = _DEFAULT) -> None:
        self._end = end
        self._stages = tuple(stages)
        self._seal = _chain([stage.seal for stage in self._stages])
        self._open = _chain([stage.open for stage in reversed(self._stages)])
        self._reading, self._writing = threading.RLock(), threading.RLock()
        self._rest: memoryview | None = None  # of a packet that was read in part; empty: its end is yet to be told
        self.set_options(options)

    # ---- reading

    def read(self) -> bytes:
        """The next packet that came undamaged, or the rest of one that `readinto` read in part."""
        with self._reading:
            if self._rest is None:
                packet = self._end.read()
                opened = self._open(packet) if packet else packet
                if opened is not None and (opened or not packet):
                    return opened
            return self._whole(1)[0]

    def read_many(self, most: int = 32) -> list[bytes]:
        """As `read`, up to `most` of what is there."""
        with self._reading:
            return self._whole(most)

    def readinto(self, buffer: Buffer) -> int:
        """The next packet or its rest, by the rule for partial reads (flows.md 3.3). TooLong when there are none."""
        target = memoryview(buffer).cast("B")
        with self._reading:
            packet, self._rest = self._rest, None
            if packet is None:
                packet = memoryview(self._received(1)[0])
            elif not packet:
                return 0
            size = min(len(packet), len(target))
            if len(packet) > size and not self._options.partial_read:
                raise TooLong(f"a packet of {len(packet)} bytes was dropped: the buffer has {size} bytes")
            target[:size] = packet[:size]
            if size == len(target) and self._options.partial_read:
                self._rest = packet[size:]
            return size

    def _whole(self, most: int) -> list[bytes]:
        rest, self._rest = self._rest, None
        return [bytes(rest)] if rest else self._received(most)

    def _received(self, most: int) -> list[bytes]:
        """At least one packet, if any is wanted. Those that a stage opened to nothing are nobody's."""
        options = self._options
        deadline = None if options.read_timeout is None else monotonic() + options.read_timeout
        rounds = 0
        while True:
            packets = self._end.read_many(most)
            opened = [(self._open(packet) if packet else packet, packet) for packet in packets]
            found = [plain for plain, packet in opened if plain is not None and (plain or not packet)]
            if found or not packets:
                return found
            rounds += 1
            if not options.read_blocking and rounds >= _ROUNDS:
                raise WouldBlock(f"flow {self._end.flow_id}: {rounds} packets in a row were dropped; look again later")
            if deadline is not None and monotonic() >= deadline:
                raise FlowTimeout(
                    f"flow {self._end.flow_id}: what came within {options.read_timeout} s had to be dropped; "
                    f"counted: {self.counters}"
                )

    @property
    def has_rest(self) -> bool:
        """Whether `readinto` left something that a read gives without looking at the ring."""
        return self._rest is not None

    # ---- writing

    def write(self, data: Buffer) -> None:
        """One packet; an empty one goes out as it is."""
        packet = data if type(data) is bytes else memoryview(data).tobytes()
        with self._writing:
            self._end.write(self._seal(packet) if packet else packet)

    def write_many(self, packets: Iterable[Buffer]) -> int:
        """How many were accepted. They are sealed one by one as the ring takes them: of what it does not take, one
        packet at most was sealed in vain.
        """
        with self._writing:
            return self._end.write_many(map(self._sealed, packets))

    def _sealed(self, data: Buffer) -> bytes:
        packet = data if type(data) is bytes else memoryview(data).tobytes()
        return self._seal(packet) if packet else packet

    # ---- state

    @property
    def counters(self) -> dict[str, int]:
        """Packets that were dropped, by stage: "undecryptable", "damaged"."""
        return {stage.counter: stage.dropped for stage in self._stages}

    @property
    def end(self) -> FlowEnd:
        """The end below all stages: for its sequence, and for keep-alives."""
        return self._end

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


def _chain(functions: Sequence[Callable[[bytes], T]]) -> Callable[[bytes], T]:
    if not functions:
        return lambda packet: packet
    if len(functions) == 1:
        return functions[0]

    def chained(packet: bytes) -> T:
        found: T = functions[0](packet)
        for function in functions[1:]:
            if not found:  # dropped, or nothing left of it
                break
            found = function(found)
        return found

    return chained

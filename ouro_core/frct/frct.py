"""`Frct`: flow and retransmission control at one end of a flow (flows.md 7). Sans-IO.

Theory of operation. A `Sender` and a `Receiver` that know nothing of each other, and the packets: what one sends
carries what the other has to say. Payloads go down with `send` and come up with `take`; packets from the peer go in
with `receive`, and those that nobody asked for come out of `outgoing`: acknowledgements, windows, rendez-vous and
packets sent again. Whoever holds an `Frct` looks into `outgoing` after every call and after time-outs. `now` is in
seconds of one monotonic clock, sizes and numbers count packets.

Nothing is believed that the peer cannot know, every queue has at most 256 packets, and any bytes are a valid input.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ouro_core.wire.frct import FIXED, PCI_SIZE, Flags, FrctPci

from .receiver import Receiver
from .sender import Sender

__all__ = ["Frct"]

_DATA: Final = int(Flags.DATA)
_DRF: Final = int(Flags.DRF)
_ACK: Final = int(Flags.ACK)
_FC: Final = int(Flags.FC)
_RDVS: Final = int(Flags.RDVS)
_SAID: Final = _ACK | _FC | _RDVS
_ASK: Final = FrctPci(Flags.RDVS).encode()


class Frct:
    """`reliable`: lost packets are sent again. `mpl`: maximum packet lifetime of the layer, seconds. `random`: gives 32
    random bits.
    """

    def __init__(self, reliable: bool, mpl: float, random: Callable[[], int]) -> None:
        self.reliable = reliable
        self.linger = reliable
        """Whether the flow goes on at its end until all is acknowledged."""
        self.sender = Sender(reliable, mpl, random)
        self.receiver = Receiver(reliable, mpl)
        self.heard = float("-inf")
        """When the last packet came."""
        self.malformed = 0

    # ---- down

    def room(self, now: float) -> int:
        """How many packets may be sent now."""
        return self.sender.room(now)

    def send(self, payload: bytes, now: float) -> bytes | None:
        """The packet that carries `payload`. None: there is no room."""
        numbered = self.sender.next(payload, now)
        if numbered is None:
            return None
        flags, seqno = numbered
        said, ackno = self.receiver.say(now)
        return FIXED.pack(flags << 24 | said, seqno & 0xFFFFFFFF, ackno) + payload

    def send_many(self, payloads: Sequence[bytes], now: float) -> list[bytes]:
        """The packets that carry `payloads`, at least one, or the first of them: as many as there is room for."""
        first = self.send(payloads[0], now)
        if first is None:
            return []
        rest = payloads[1:]
        seqno = self.sender.seqno
        numbers = range(seqno, seqno + self.sender.more(rest, now))
        said, ackno = self.receiver.say(now)
        word = (_DATA if self.reliable else _DATA | _DRF) << 24 | said
        pack = FIXED.pack
        framed = [pack(word, n & 0xFFFFFFFF, ackno) + payload for n, payload in zip(numbers, rest, strict=False)]
        return [first, *framed]

    def take_back(self, count: int) -> None:
        """The last `count` packets of `send` never left: they use up no numbers."""
        self.sender.take_back(count)

    # ---- up

    def receive(self, packet: bytes, now: float) -> None:
        """A packet of the peer, or any other bytes."""
        self.receive_many((packet,), now)

    def receive_many(self, packets: Iterable[bytes], now: float) -> None:
        """Packets, in the order in which they came."""
        data, unpack = self.receiver.data, FIXED.unpack_from
        for packet in packets:
            if len(packet) < PCI_SIZE:
                self.malformed += 1
                continue
            self.heard = now
            word, seqno, ackno = unpack(packet)
            flags = word >> 24
            if flags & _SAID and self._said(flags, word, ackno, now):
                continue
            if flags & _DATA:
                if len(packet) > PCI_SIZE:
                    data(seqno, flags & _DRF, packet[PCI_SIZE:], now)
                else:  # nobody sends that: a control packet without a CRC that was damaged
                    self.malformed += 1

    def _said(self, flags: int, word: int, ackno: int, now: float) -> bool:
        """What a packet says of ours. Whether that is all."""
        if flags & _RDVS:
            self.receiver.due = now
            return True
        if flags & _ACK and self.reliable:
            self.sender.acknowledge(ackno, now, not flags & _DATA)
        if flags & _FC:
            self.sender.window(word & 0xFFFFFF, now)
        return False

    @property
    def ready(self) -> int:
        """Packets that can be taken."""
        return len(self.receiver.ready)

    def take(self) -> bytes | None:
        """The next payload in order, if there is one."""
        return self.receiver.take()

    def take_many(self, most: int) -> list[bytes]:
        """Up to `most` payloads."""
        return self.receiver.take_many(most)

    # ---- of its own

    def pending(self, now: float) -> bool:
        """Whether `outgoing` may have something."""
        if self.receiver.changed:
            self.receiver.settle(now)
        return self.pressing(now)

    def pressing(self, now: float) -> bool:
        """Whether it has something that must not wait for the clock, as far as one sees without a closer look."""
        return self.receiver.due <= now or self.sender.has_more

    def outgoing(self, now: float) -> list[bytes]:
        """What is to be sent now, each packet once."""
        if self.receiver.changed:
            self.receiver.settle(now)
        if self.receiver.due <= now:
            later = self.sender.repeat_beginning(now)
            if later is not None:
                self.receiver.due = later
        packets = []
        for flags, seqno, payload in self.sender.again(now):
            said, ackno = self.receiver.say(now)
            packets.append(FIXED.pack(flags << 24 | said, seqno & 0xFFFFFFFF, ackno) + payload)
        if self.sender.asks(now):
            packets.append(_ASK)
        if self.receiver.due <= now:
            said, ackno = self.receiver.say(now)
            if said:
                packets.append(FIXED.pack(said, 0, ackno))
        return packets

    def next_timeout(self) -> float:
        """When to call `handle_timeout` and look into `outgoing`; infinity: never."""
        return min(self.sender.next_timeout(), self.receiver.due)

    def handle_timeout(self, now: float) -> None:
        """Time is up, or not; early calls are harmless."""
        self.sender.handle_timeout(now)

    # ---- end

    @property
    def expired(self) -> bool:
        """The peer did not acknowledge a packet within 120 s: the flow is down."""
        return self.sender.expired

    @property
    def unacknowledged(self) -> int:
        """Packets that the peer does not have for certain."""
        return self.sender.unacknowledged

    def last_words(self, now: float) -> bytes | None:
        """The packet that ends the flow, if there is something to acknowledge (flows.md 7.9)."""
        ackno = self.receiver.last_words(now)
        return None if ackno is None else FIXED.pack(_ACK << 24, 0, ackno)

    def quarantine(self, now: float) -> float:
        """Seconds for which the layer must not use the flow's end for another flow (delta-t)."""
        return max(self.sender.quarantine(now), self.receiver.quarantine(now))

    def counters(self) -> dict[str, int]:
        """Packets sent again, questions for the window, and packets received that were dropped or not believed."""
        sender, receiver = self.sender, self.receiver
        return {
            "retransmitted": sender.retransmitted,
            "rendezvous": sender.rendezvous,
            "round_trips": sender.round_trip.samples,
            "duplicates": receiver.duplicates,
            "out_of_window": receiver.out_of_window,
            "gaps": receiver.lost,
            "malformed": self.malformed,
            "strange": sender.strange,
        }

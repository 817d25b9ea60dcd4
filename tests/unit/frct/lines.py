"""Two FRCT ends that talk over links in virtual time."""

from collections.abc import Iterable, Iterator
from random import Random

from ouro_core.frct.frct import Frct
from ouro_core.testing.links import Faulty
from ouro_core.testing.network import Network

__all__ = ["Talker", "connect"]


class Talker:
    """An application that writes what it has as the window allows, and reads all there is, at most every `pace`
    seconds.
    """

    def __init__(self, frct: Frct, payloads: Iterable[bytes] = (), pace: float = 0.0) -> None:
        self.frct = frct
        self.got: list[bytes] = []
        self._payloads: Iterator[bytes] = iter(payloads)
        self._held: bytes | None = next(self._payloads, None)
        self._pace = pace
        self._read_at = 0.0
        self.deepest = 0

    @property
    def done(self) -> bool:
        """All was written, and acknowledged if that is asked for."""
        return self._held is None and not self.frct.unacknowledged

    def receive(self, data: bytes, now: float) -> None:
        self.frct.receive(data, now)

    def next_timeout(self) -> float | None:
        due = self.frct.next_timeout()
        if self.frct.ready:
            due = min(due, self._read_at)
        return None if due == float("inf") else due

    def handle_timeout(self, now: float) -> None:
        self.frct.handle_timeout(now)

    def datagrams_to_send(self, now: float) -> list[bytes]:
        self.deepest = max(self.deepest, self.frct.ready)
        if self.frct.ready and now >= self._read_at:
            self._read_at = now + self._pace
            self.got += self.frct.take_many(64)
        packets = []
        while self._held is not None and (packet := self.frct.send(self._held, now)):
            packets.append(packet)
            self._held = next(self._payloads, None)
        return packets + self.frct.outgoing(now)


def connect(a: Talker, b: Talker, seed: int, **faults: float) -> Network:
    """A network of these two."""
    network = Network()
    random = Random(seed)
    network.connect(a, b, Faulty(random.getrandbits(32), **faults), Faulty(random.getrandbits(32), **faults))
    return network

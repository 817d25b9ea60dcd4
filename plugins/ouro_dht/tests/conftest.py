"""Members by themselves: what goes in and out is in the test's hand."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ouro_dht.config import DhtConfig
from ouro_dht.node import Dht
from ouro_dht.wire import Contact, Message, Request, Response, Store, decode, encode

from ouro_core.contracts.directory import DirectoryAnswer, DirectoryReport, DirectorySend, DirectorySetup
from ouro_core.model.names import HashAlgorithm
from ouro_core.rib import Rib

EPOCH = 1_800_000_000.0
OWN = 0x1234567890ABCDEF


class Lone:
    """One member, with nobody else: `sent` is decoded."""

    def __init__(self, seed: int = 1, algorithm: HashAlgorithm = HashAlgorithm.SHA3_256, **config: Any) -> None:
        self.now = 100.0
        self.rib = Rib()
        self.rng = random.Random(seed + 1000)
        self.algorithm = algorithm
        setup = DirectorySetup(
            OWN, algorithm, DhtConfig(**config), random.Random(seed), self.rib, lambda now: EPOCH + now
        )
        self.dht = Dht(setup)
        self.sent: list[tuple[int, Message]] = []
        self.answers: dict[int, DirectoryAnswer] = {}
        self.reports: dict[int, DirectoryReport] = {}

    @property
    def size(self) -> int:
        return self.algorithm.size

    @property
    def counters(self) -> Any:
        return self.dht.counters

    @property
    def unix(self) -> int:
        return int(EPOCH + self.now)

    def start(self, *peers: int) -> None:
        self.dht.start(peers, self.now)
        self.collect()

    def collect(self) -> list[tuple[int, Message]]:
        """What was sent since the last call."""
        new: list[tuple[int, Message]] = []
        for item in self.dht.output():
            if isinstance(item, DirectorySend):
                new.append((item.address, decode(item.data, self.size)))
            elif isinstance(item, DirectoryAnswer):
                self.answers[item.query] = item
            else:
                self.reports[item.question] = item
        self.sent += new
        return new

    def take(self, message: Message) -> list[tuple[int, Message]]:
        return self.take_bytes(encode(message))

    def take_bytes(self, data: bytes) -> list[tuple[int, Message]]:
        self.dht.receive(data, self.now)
        return self.collect()

    def wait(self, seconds: float) -> list[tuple[int, Message]]:
        """Let time pass."""
        new = []
        end = self.now + seconds
        while (due := self.dht.next_timeout()) is not None and due <= end:
            self.now = max(self.now, due)
            self.dht.handle_timeout(self.now)
            new += self.collect()
        self.now = end
        return new

    def among(self, known: list[Contact], seconds: float) -> list[tuple[int, Message]]:
        """Let time pass, in which contacts answer what they are asked, naming each other. What else was sent."""
        by_address = {c.address: c for c in known}
        other = []
        end = self.now + seconds
        while True:
            todo = self.collect()
            due = self.dht.next_timeout()
            if not todo:
                if due is None or due > end:
                    break
                todo = self.wait(max(0.0, due - self.now))
            while todo:
                address, message = todo.pop(0)
                if isinstance(message, Request) and address in by_address:
                    values = () if message.for_value else None
                    us = by_address[address]
                    todo += self.take(Response(us, message.key, message.cookie, tuple(known[:8]), values, ouro=True))
                else:
                    other.append((address, message))
        self.now = end
        return other

    def contact(self) -> Contact:
        return Contact(self.rng.randbytes(self.size), self.rng.randrange(1, 1 << 32))

    def key(self) -> bytes:
        return self.rng.randbytes(self.size)

    def meet(self, count: int = 1, ouro: bool = True) -> list[Contact]:
        """So many others ask for something, and are known from then on."""
        met = [self.contact() for _ in range(count)]
        for contact in met:
            self.take(Request(contact, self.key(), self.rng.getrandbits(64), ouro=ouro))
        return met

    def query(self, key: bytes) -> int:
        number = self.dht.query(key, self.now)
        self.collect()
        return number

    def addresses(self, number: int) -> tuple[int, ...] | None:
        answer = self.answers.get(number)
        return None if answer is None else answer.addresses

    def store(self, source: Contact, key: bytes, value: bytes, life: float = 600.0, **more: Any) -> None:
        self.take(Store(source, key, value, int(self.unix + life), **more))

    def held(self, key: bytes) -> list[bytes]:
        """The values that are answered for a key."""
        asker = Contact(b"\x01" * self.size, 77)
        replies = [m for a, m in self.take(Request(asker, key, 5, True, ouro=True)) if isinstance(m, Response)]
        assert len(replies) == 1
        assert replies[0].values is not None
        return [v.data for v in replies[0].values]


@pytest.fixture
def lone() -> Lone:
    member = Lone()
    member.start()
    return member


@pytest.fixture
def make_lone() -> Callable[..., Lone]:
    return Lone


@pytest.fixture(scope="session")
def capture() -> Any:
    return json.loads((Path(__file__).parent / "data" / "capture.json").read_text())

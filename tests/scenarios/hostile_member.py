"""A hostile member of a unicast layer, as a program: it connects to a member as another would, and then does its worst.

    hostile_member.py NEIGHBOUR TARGET WORD SECONDS

TARGET is the address of the member that its messages go to, through NEIGHBOUR; 0: all that routing tells of. WORD is
what it does (see `WORDS`). It prints `ready`, and at the end how many messages it sent.
"""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator

from ouro_dht.wire import Contact, Malformed, Request, Response, Store, Value, decode, encode, value_of
from ouro_unicast.routing.wire import LinkStateUpdate
from ouro_unicast.wire import ocep
from ouro_unicast.wire.pci import DIRECTORY_EID, Pci

from ouro_core import Flow, flow_alloc
from ouro_core.model.errors import OuroError, WireError
from ouro_core.model.names import HashAlgorithm, hash_name

ADDRESS = 0x0BADF00D
SIZE = 32
EXPIRY = 0xFFFFFFFF

rng = random.Random(1)
OWN = Contact(rng.randbytes(SIZE), ADDRESS)


def stores() -> Iterator[bytes]:
    """Values for ever new names."""
    while True:
        yield encode(Store(OWN, rng.randbytes(SIZE), value_of(ADDRESS), EXPIRY, ouro=True))


def one_value() -> Iterator[bytes]:
    """The same value again and again."""
    message = encode(Store(OWN, bytes(SIZE), value_of(ADDRESS), EXPIRY, ouro=True))
    while True:
        yield message


def strangers() -> Iterator[bytes]:
    """Values from ever new members, for one name."""
    while True:
        who = Contact(rng.randbytes(SIZE), rng.randrange(1, 1 << 32))
        yield encode(Store(who, bytes(SIZE), value_of(who.address), EXPIRY, ouro=True))


def questions() -> Iterator[bytes]:
    """Ever new members, of the prototype as it seems, that ask for ever new names."""
    while True:
        who = Contact(rng.randbytes(SIZE), rng.randrange(1, 1 << 32))
        yield encode(Request(who, rng.randbytes(SIZE), rng.getrandbits(64), for_value=True))


def noise() -> Iterator[bytes]:
    """Messages with some bytes changed, cut, doubled; and none at all."""
    named = tuple(Contact(rng.randbytes(SIZE), rng.randrange(1, 1 << 32)) for _ in range(8))
    good = [
        encode(Store(OWN, bytes(SIZE), value_of(ADDRESS), EXPIRY)),
        encode(Request(OWN, bytes(SIZE), 5)),
        encode(Request(OWN, bytes(SIZE), 5, for_value=True)),
        encode(Response(OWN, bytes(SIZE), 5, named)),
        encode(Response(OWN, bytes(SIZE), 5, named, (Value(value_of(7)),))),
    ]
    while True:
        message = bytearray(rng.choice(good))
        for _ in range(rng.randrange(4)):
            message[rng.randrange(len(message))] = rng.randrange(256)
        kind = rng.randrange(5)
        if kind == 0:
            message = message[: rng.randrange(1, len(message))]
        elif kind == 1:
            message *= rng.randrange(2, 4)
        elif kind == 2:
            message = bytearray(rng.randbytes(rng.randrange(1, 1300)))
        yield bytes(message)


def claims() -> Iterator[bytes]:
    """That everybody's names are here, some 200 times a second; and then it does not answer requests for flows."""
    keys = [hash_name(f"honest-{i}", HashAlgorithm.SHA3_256) for i in range(8)]
    while True:
        yield encode(Store(OWN, rng.choice(keys), value_of(ADDRESS), EXPIRY, EXPIRY, ouro=True))
        yield from [b""] * 49


def nothing() -> Iterator[bytes]:
    """It only answers; see `lie`."""
    while True:
        yield b""


WORDS: dict[str, Callable[[], Iterator[bytes]]] = {
    f.__name__: f for f in (stores, one_value, strangers, questions, noise, claims, nothing)
}


def lie(data: bytes) -> list[bytes]:
    """Answers to a message: names members that are not there, next to the key, and says that it has every name; twice,
    and then what was asked comes back.
    """
    try:
        asked = decode(data, SIZE)
    except Malformed:
        return []
    if not isinstance(asked, Request):
        return [data]
    near = tuple(Contact(asked.key[:4] + rng.randbytes(SIZE - 4), rng.randrange(1, 1 << 32)) for _ in range(20))
    values = tuple(Value(value_of(c.address), EXPIRY, EXPIRY) for c in near[:8]) if asked.for_value else None
    answer = encode(Response(OWN, asked.key, asked.cookie, near, values, ouro=True))
    return [answer, answer, data]


def introduced(neighbour: str, identity: ocep.Identity) -> tuple[Flow, ocep.Identity]:
    flow = flow_alloc(neighbour)
    flow.write(identity.encode())
    return flow, ocep.Identity.decode(flow.read())


class Hostile:
    """Connections to a neighbour. `members` are those that routing tells of."""

    def __init__(self, neighbour: str) -> None:
        self._management, peer = introduced(neighbour, ocep.MANAGEMENT.at(ADDRESS))
        self._transfer, _ = introduced(neighbour, ocep.DATA_TRANSFER.at(ADDRESS))
        self._management.write(LinkStateUpdate(ADDRESS, peer.address, 0).encode())
        self.members = {peer.address}
        for action in (self._listen, self._answer):
            threading.Thread(target=action, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                update = LinkStateUpdate.decode(self._management.read())
            except WireError:
                continue
            except OuroError:  # the flow is down
                return
            self.members |= {update.source, update.destination} - {ADDRESS}

    def _answer(self) -> None:
        while True:
            try:
                packet = self._transfer.read()
                asked = decode(packet[15:], SIZE)
            except Malformed:
                continue
            except OuroError:  # the flow is down
                return
            for answer in lie(packet[15:]):
                self.send(asked.source.address, answer)

    def send(self, address: int, data: bytes) -> None:
        self._transfer.write(Pci(address, DIRECTORY_EID).encode() + data)


def main(neighbour: str, target: str, word: str, seconds: str) -> None:
    hostile = Hostile(neighbour)
    hello = encode(Request(OWN, OWN.id, 1, ouro=True))
    time.sleep(0.5)
    for address in hostile.members:
        hostile.send(address, hello)
    print("ready", flush=True)
    messages = WORDS[word]()
    sent = 0
    begin = time.monotonic()
    while (past := time.monotonic() - begin) < float(seconds):
        due = int(past * 10_000)
        while sent < due:
            message = next(messages)
            targets = [int(target)] if int(target) else list(hostile.members)
            if message:
                try:
                    hostile.send(rng.choice(targets), message)
                except OuroError as e:
                    print(f"not sent: {e}", flush=True)
            sent += 1
        time.sleep(0.002)
    print(f"sent {sent}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Encryption of packets: known answers of the prototype, and pairs that lose, repeat and swap packets."""

import hashlib
import itertools
import json
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ouro_core.contracts.crypto import CipherSuite
from ouro_core.frct.crypt import CounterCrypt, Random, crypt
from ouro_core.model.errors import CryptError

from .conftest import Ciphers
from .prototype import Prototype, next_key

KAT = Path(__file__).parents[2] / "data" / "kat"
KEY = bytes(range(1, 33))
AEAD = "aes-256-gcm"
SHARED_FIXTURE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def kat(name: str) -> Any:
    return json.loads((KAT / name).read_text().replace("\n", " "))


def in_turn(ivs: list[bytes], used: Callable[[], int]) -> Random:
    """Randomness that is the IVs not yet used, whenever a batch is drawn."""
    return lambda size: b"".join(ivs[used() :])[:size].ljust(size, b"\0")


# ---------------------------------------------------------------- known answers


@pytest.mark.parametrize("case", kat("cipher.json")["cases"], ids=lambda case: case["cipher"])
def test_packets_of_the_prototype(ciphers: Ciphers, case: Any) -> None:
    suite, key = ciphers[case["cipher"]], bytes.fromhex(case["key"])
    assert suite.nid == case["nid"]
    packets = [(bytes.fromhex(p["in"]), bytes.fromhex(p["out"])) for p in case["packets"]]
    sealed: list[bytes] = []
    ours = crypt(suite, key, random=in_turn([out[: suite.iv_size] for _, out in packets], lambda: len(sealed)))
    theirs = crypt(suite, key)
    for plain, out in packets:
        sealed.append(ours.seal(plain))
        assert sealed[-1] == out
        assert theirs.open(out) == plain
    assert theirs.dropped == 0


def test_rotation_of_the_prototype(ciphers: Ciphers) -> None:
    known = kat("rotation.json")
    suite, key = ciphers[known["cipher"]], bytes.fromhex(known["key"])
    outs = [bytes.fromhex(p["out"]) for p in known["packets"]]
    sealed: list[bytes] = []
    ivs = in_turn([out[: suite.iv_size] for out in outs], lambda: len(sealed))
    ours, theirs = crypt(suite, key, known["rotation_bit"], ivs), crypt(suite, key, known["rotation_bit"])
    for packet, out in zip(known["packets"], outs, strict=True):
        sealed.append(ours.seal(packet["text"].encode()))
        assert sealed[-1] == out
        assert theirs.open(out) == packet["text"].encode()


def test_the_model_of_the_prototype_loses_what_the_prototype_loses(ciphers: Ciphers) -> None:
    for case in kat("rotation.json")["loss_tolerance"]:
        sender, receiver = (Prototype(ciphers[AEAD], KEY, case["rotation_bit"]) for _ in range(2))
        lost = range(10, 10 + case["dropped_from_10"])
        arrived = [p for n in range(case["sent"]) if (p := sender.seal(b"%d" % n)) and n not in lost]
        assert sum(receiver.open(packet) is not None for packet in arrived) == case["decrypted"]
        assert receiver.failed == case["failed"]


def test_chain_of_keys(ciphers: Ciphers) -> None:
    first = bytes(range(32))
    one = bytes.fromhex("cf95b6c68e77b8713cdfd62033f2bea52f621b894e197be6934c6ff99735d1a5")
    two = bytes.fromhex("4c3544057ff00629fb982b8c17201efcbee072bc377c0496131bc840903559b9")
    salt = hashlib.sha256(first).digest()
    assert (next_key(first, salt), next_key(one, salt)) == (one, two)
    sender = crypt(ciphers[AEAD], first, 0)  # every packet has a key of its own
    for key in (first, one, two):
        assert ciphers[AEAD].key(key).open(sender.seal(b"x")) == b"x"


# ---------------------------------------------------------------- keys and IVs


@pytest.mark.parametrize("key", [b"", b"short", bytes(32), KEY + b"x"], ids=["none", "short", "zeros", "long"])
@pytest.mark.parametrize("name", [AEAD, "aes-128-ctr"])
def test_a_key_that_is_none_is_refused(ciphers: Ciphers, name: str, key: bytes) -> None:
    with pytest.raises(CryptError, match=name):
        crypt(ciphers[name], key)


def test_nothing_shows_the_key(ciphers: Ciphers) -> None:
    for name in (AEAD, "aes-256-ctr"):
        end = crypt(ciphers[name], b"K" * 32, 1)
        for _ in range(5):
            end.seal(b"x")
        assert all("KKKK" not in repr(value) for value in (end, vars(end)))


@pytest.mark.parametrize("name", [AEAD, "aes-256-ctr"])
def test_every_iv_is_new_and_tells_the_phase(ciphers: Ciphers, name: str) -> None:
    end = crypt(ciphers[name], KEY, 9)
    packets = [end.seal(b"") for _ in range(3000)]
    assert len({packet[: ciphers[name].iv_size] for packet in packets}) == 3000
    assert [packet[0] >> 7 for packet in packets] == [n >> 9 & 1 for n in range(3000)]
    assert len({packet[0] & 0x7F for packet in packets}) > 100


# ---------------------------------------------------------------- two ends


class Crypting(Protocol):
    def seal(self, plain: bytes, /) -> bytes: ...
    def open(self, packet: bytes, /) -> bytes | None: ...


class Link:
    """Two ends that seal numbers for each other in random order. `spread`: positions by which a packet is late at
    most.
    """

    def __init__(self, a: Crypting, b: Crypting, seed: int) -> None:
        self.ends = a, b
        self.random = random.Random(seed)
        self.number = 0
        self.arrived, self.failed = [0, 0], [0, 0]
        self._way: list[list[tuple[float, bytes, bytes]]] = [[], []]

    def run(self, packets: int, share: float, loss: float = 0.0, again: float = 0.0, spread: float = 0.0) -> None:
        """`share` of the packets are sent by the first end, the others by the second."""
        for _ in range(packets):
            self.number += 1
            side = 0 if self.random.random() < share else 1
            plain = b"%d" % self.number
            packet = self.ends[side].seal(plain)
            if self.random.random() >= loss:
                for _ in range(2 if self.random.random() < again else 1):
                    self._way[side].append((self.number + self.random.random() * spread, plain, packet))
            self._deliver(side)

    def _deliver(self, side: int) -> None:
        way = self._way[side]
        way.sort()
        while way and way[0][0] <= self.number:
            _, plain, packet = way.pop(0)
            self.arrived[1 - side] += 1
            self.failed[1 - side] += self.ends[1 - side].open(packet) != plain


ROTATIONS, BIT = 40, 6
LONG = ROTATIONS << BIT
SHARES = pytest.mark.parametrize("share", [1.0, 0.9, 0.5, 0.1, 0.0])
LOSSES = pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.2])


@SHARES
@LOSSES
def test_two_of_ours_understand_each_other_whatever_is_lost(ciphers: Ciphers, share: float, loss: float) -> None:
    a, b = crypt(ciphers[AEAD], KEY, BIT), crypt(ciphers[AEAD], KEY, BIT)
    link = Link(a, b, seed=1)
    link.run(LONG, share, loss)
    assert link.failed == [0, 0]
    assert a.dropped == b.dropped == 0


@SHARES
@LOSSES
def test_two_of_ours_with_packets_late_and_twice(ciphers: Ciphers, share: float, loss: float) -> None:
    link = Link(crypt(ciphers[AEAD], KEY, BIT), crypt(ciphers[AEAD], KEY, BIT), seed=2)
    link.run(LONG, share, loss, again=0.05, spread=10)
    assert sum(link.failed) <= 2, "only a straggler of the epoch before last"


@SHARES
@LOSSES
@pytest.mark.parametrize("spread", [0, 10], ids=["in order", "late"])
def test_with_the_prototype(ciphers: Ciphers, share: float, loss: float, spread: float) -> None:
    theirs = Prototype(ciphers[AEAD], KEY, BIT)
    link = Link(crypt(ciphers[AEAD], KEY, BIT), theirs, seed=3)
    link.run(LONG, share, loss, spread=spread)
    if not loss and not spread:
        assert link.failed == [0, 0]
    assert sum(link.failed) <= sum(link.arrived) * 0.03
    link.failed = [0, 0]
    link.run(LONG, share)  # and nothing of that is left in the end
    assert link.failed[0] == 0
    assert link.failed[1] <= (1 << BIT) // 2


def test_two_prototypes_lose_each_other(ciphers: Ciphers) -> None:
    link = Link(Prototype(ciphers[AEAD], KEY, BIT), Prototype(ciphers[AEAD], KEY, BIT), seed=4)
    link.run(LONG, 0.5, 0.05)
    assert sum(link.failed) > sum(link.arrived) / 2, "else there would be no need for another receiver"


@pytest.mark.parametrize("epochs", [1, 2, 3, 10, 60])
def test_after_an_outage(ciphers: Ciphers, epochs: int) -> None:
    a, b = crypt(ciphers[AEAD], KEY, BIT), crypt(ciphers[AEAD], KEY, BIT)
    for _ in range(epochs << BIT):
        a.seal(b"lost")
    opened = [b.open(a.seal(b"x")) for _ in range(600)]
    assert opened.index(b"x") < 100
    assert set(opened[opened.index(b"x") :]) == {b"x"}
    assert a.open(b.seal(b"back")) == b"back"


def test_one_that_only_receives_keeps_up(ciphers: Ciphers) -> None:
    a, b = crypt(ciphers[AEAD], KEY, 3), crypt(ciphers[AEAD], KEY, 3)
    assert [b.open(a.seal(b"x")) for _ in range(1000)] == [b"x"] * 1000
    assert a.open(b.seal(b"back")) == b"back"


# ---------------------------------------------------------------- what does not fit


@pytest.mark.parametrize("name", [AEAD, "aes-128-gcm", "chacha20-poly1305"])
def test_changed_cut_and_foreign_packets_are_dropped(ciphers: Ciphers, name: str) -> None:
    a, b = crypt(ciphers[name], KEY, BIT), crypt(ciphers[name], KEY, BIT)
    packet = a.seal(b"payload")
    bad = [packet[:n] for n in range(1, len(packet))] + [packet + b"\0"]
    bad += [
        bytes(c ^ (bit if i == n else 0) for i, c in enumerate(packet)) for n in range(len(packet)) for bit in (1, 128)
    ]
    bad += [crypt(ciphers[name], KEY[::-1]).seal(b"payload"), os.urandom(100)]
    assert {b.open(p) for p in bad} == {None}
    assert b.dropped == len(bad)
    assert b.open(packet) == b"payload"
    assert b.dropped == len(bad)
    assert b.open(a.seal(b"next")) == b"next"


def test_strangers_cannot_drive_the_ends_apart(ciphers: Ciphers) -> None:
    a, b = crypt(ciphers[AEAD], KEY, 3), crypt(ciphers[AEAD], KEY, 3)
    for n in range(500):
        for _ in range(n % 20):
            b.open(os.urandom(50))
        assert b.open(a.seal(b"x")) == b"x"
        assert a.open(b.seal(b"y")) == b"y"


@SHARED_FIXTURE
@given(packets=st.lists(st.binary(min_size=1, max_size=80), max_size=50), name=st.sampled_from([AEAD, "aes-256-ctr"]))
def test_any_bytes_are_survived(ciphers: Ciphers, packets: list[bytes], name: str) -> None:
    a, b = crypt(ciphers[name], KEY, BIT), crypt(ciphers[name], KEY, BIT)
    for packet in packets:
        opened = b.open(packet)
        assert opened is None or name != AEAD
    assert b.dropped == (len(packets) if name == AEAD else sum(len(packet) < 16 for packet in packets))
    if name == AEAD:
        assert b.open(a.seal(b"still here")) == b"still here"


@SHARED_FIXTURE
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["kept", "lost", "twice", "late"])), max_size=300))
def test_as_long_as_something_arrives_in_each_epoch(ciphers: Ciphers, steps: list[tuple[str, str]]) -> None:
    """At most two packets in a row are lost and none is later than two others, with eight packets an epoch."""
    ends = {"a": crypt(ciphers[AEAD], KEY, 3), "b": crypt(ciphers[AEAD], KEY, 3)}
    lost = dict.fromkeys("ab", 0)
    late: list[tuple[str, bytes]] = []
    for sender, fate in steps:
        receiver = "b" if sender == "a" else "a"
        packet = ends[sender].seal(b"x")
        if fate in ("lost", "late") and lost[sender] < 2:
            lost[sender] += 1
            if fate == "late":
                late.append((receiver, packet))
            continue
        lost[sender] = 0
        for _ in range(2 if fate == "twice" else 1):
            assert ends[receiver].open(packet) == b"x"
        for to, delayed in late:
            ends[to].open(delayed)
        late.clear()
    assert ends["a"].open(ends["b"].seal(b"x")) == b"x"
    assert ends["b"].open(ends["a"].seal(b"x")) == b"x"


# ---------------------------------------------------------------- counter mode


class KnownIvs(Prototype):
    ivs: Iterator[bytes]

    def iv(self) -> bytes:
        return next(self.ivs)


@SHARED_FIXTURE
@given(st.lists(st.one_of(st.just(None), st.binary(min_size=1, max_size=40)), max_size=120))
def test_counter_mode_is_the_prototype_to_the_letter(ciphers: Ciphers, steps: list[bytes | None]) -> None:
    """None: send. Bytes: receive them, whatever they are."""
    suite = ciphers["aes-256-ctr"]
    theirs = KnownIvs(suite, KEY, 3)
    theirs.ivs = (number.to_bytes(16, "big") for number in itertools.count())
    sent = itertools.count()
    ours = CounterCrypt(suite, KEY, 3, lambda size: b"".join(next(sent).to_bytes(16, "big") for _ in range(size // 16)))
    for number, step in enumerate(steps):
        if step is not None:
            assert ours.open(step) == theirs.open(step)
            continue
        packet, expected = ours.seal(b"%d" % number), theirs.seal(b"%d" % number)
        assert packet[0] >> 7 == expected[0] >> 7
        assert suite.key(theirs_key(theirs, expected, b"%d" % number, suite)).open(packet) == b"%d" % number


def theirs_key(theirs: Prototype, packet: bytes, plain: bytes, suite: CipherSuite) -> bytes:
    """The key that the prototype sealed this with: it may have rotated since."""
    return next(key for key in (theirs.cur, theirs.prv) if key and suite.key(key).open(packet) == plain)


@pytest.mark.parametrize("name", ["aes-128-ctr", "aes-192-ctr", "aes-256-ctr"])
def test_counter_mode_one_way_over_many_rotations(ciphers: Ciphers, name: str) -> None:
    for a, b in ((crypt, Prototype), (Prototype, crypt), (crypt, crypt)):
        link = Link(a(ciphers[name], KEY, BIT), b(ciphers[name], KEY, BIT), seed=5)
        link.run(LONG, 1.0)
        assert link.failed == [0, 0]


# ---------------------------------------------------------------- threads


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
def test_both_directions_at_once(ciphers: Ciphers) -> None:
    """One thread a direction, as a pipeline has it. They stay close together: else packets come late by epochs."""
    a, b = crypt(ciphers[AEAD], KEY, 8), crypt(ciphers[AEAD], KEY, 8)
    failed: list[int] = []
    together = threading.Barrier(2, timeout=60)

    def one_way(sender: Crypting, receiver: Crypting) -> None:
        for n in range(8000):
            if n % 50 == 0:
                together.wait()
            if receiver.open(sender.seal(b"%d" % n)) != b"%d" % n:
                failed.append(n)

    threads = [threading.Thread(target=one_way, args=pair) for pair in ((a, b), (b, a))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not together.broken
    assert failed == []

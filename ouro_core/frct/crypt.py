"""`crypt`: the encryption of a flow's packets, with keys that change as they go (oap.md 6; formats in flows.md 6).

    | offset  | size    | field                                                      |
    |---------|---------|------------------------------------------------------------|
    | 0       | iv_size | IV, random but for the top bit of byte 0, the key phase    |
    | iv_size | n       | ciphertext of the packet                                   |
    | then    | tag     | authentication tag; AEAD only                              |

Theory of operation. The key of a flow is the first of a chain, K(e+1) = HKDF-SHA256(K(e), salt SHA-256(K(0)), info
"o7s-key-rotation"); e is the *epoch*. Nobody says on the wire when an epoch ends: each end counts the packets it sent
and received, and after 2**20 of them takes the next key.

The prototype lets the counter decide at the receiver too. When packets are lost the counters drift, and the ends never
find together again (oap.md 6.4). Here an end *follows*: a packet that fits the key of a later epoch was sealed by a
peer that is there already, so this end goes there as well. Which key fits is found by trying, for an AEAD cipher tells:
the present key, that of the epoch before for stragglers, and the next two. A packet costs one try, except around a
change. The phase bit is set for the prototype's sake and not looked at: it would save a try there, but a prototype's
may be wrong for a whole epoch. What fits none of the four is tried with one more key, of an epoch further ahead,
another one each time: so a peer that sent millions of packets into an outage is found again. Keys older than one epoch
are forgotten.

A counter-mode cipher cannot tell a wrong key from garbage. There both ends must follow the prototype's rules to the
letter, with its faults (oap.md 6.3).
"""

import hashlib
import hmac
import itertools
import os
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Final

from ouro_core.contracts.crypto import KEY_SIZE, CipherKey, CipherSuite
from ouro_core.model.errors import CryptError

from .stage import Stage

__all__ = ["ROTATION_BIT", "CounterCrypt", "EpochCrypt", "Random", "crypt"]

Random = Callable[[int], bytes]
"""Gives so many random bytes: `os.urandom`, or known ones in a test."""

ROTATION_BIT: Final = 20
"""A key is good for 2**20 packets: a build option of the prototype, the same at both ends."""
_INFO: Final = b"o7s-key-rotation"
_BATCH: Final = 256
"""IVs drawn at a time: a system call for each would cost as much as the encryption."""
_NEAR: Final = 2
"""Epochs ahead that every packet is tried with."""
_FAR: Final = 64
"""Epochs ahead that are looked for at most."""
_PHASES: Final = bytes(byte & 0x7F for byte in range(256)), bytes(byte | 0x80 for byte in range(256))


def crypt(
    suite: CipherSuite, key: bytes, rotation_bit: int = ROTATION_BIT, random: Random = os.urandom
) -> "EpochCrypt | CounterCrypt":
    """The encryption of one end of a flow under its key. CryptError: not a key of 32 bytes, or all of them zero."""
    if len(key) != KEY_SIZE or not any(key):
        what = "only zeros" if len(key) == KEY_SIZE else f"{len(key)} bytes instead of {KEY_SIZE}"
        raise CryptError(f"the key for {suite.name} is {what}; allocate the flow anew")
    return (EpochCrypt if suite.tag_size else CounterCrypt)(suite, key, rotation_bit, random)


def _next_key(key: bytes, salt: bytes) -> bytes:
    return hmac.digest(hmac.digest(salt, key, "sha256"), _INFO + b"\x01", "sha256")


def _ivs(size: int, phase: int, random: Random) -> Iterator[bytes]:
    block = bytearray(random(size * _BATCH))
    block[::size] = block[::size].translate(_PHASES[phase])
    return itertools.chain.from_iterable(struct.iter_unpack(f"{size}s", block))


class _Epoch:
    """A key of the chain, and what is needed to use it."""

    __slots__ = ("_following", "_salt", "_secret", "_suite", "ivs", "key", "number", "phase")

    def __init__(self, suite: CipherSuite, number: int, secret: bytes, salt: bytes) -> None:
        self._suite = suite
        self._secret = secret
        self._salt = salt
        self._following: _Epoch | None = None
        self.number = number
        self.phase = number & 1
        self.key: CipherKey = suite.key(secret)
        self.ivs: Iterator[bytes] = iter(())

    @classmethod
    def first(cls, suite: CipherSuite, key: bytes) -> "_Epoch":
        return cls(suite, 0, key, hashlib.sha256(key).digest())

    def following(self) -> "_Epoch":
        if self._following is None:
            key = _next_key(self._secret, self._salt)
            self._following = _Epoch(self._suite, self.number + 1, key, self._salt)
        return self._following


class EpochCrypt(Stage):
    """With a cipher that authenticates: the epoch follows the peer's. Make it with `crypt`.

    The two directions share nothing but the epoch, which is one reference; a lock keeps them from changing it at once.
    """

    counter = "undecryptable"

    def __init__(self, suite: CipherSuite, key: bytes, rotation_bit: int, random: Random) -> None:
        self._size = suite.iv_size
        self.overhead = suite.iv_size + suite.tag_size
        self._interval = 1 << rotation_bit
        self._random = random
        self._lock = threading.RLock()  # re-entrant: a signal's handler may use the flow, too
        self._epoch = _Epoch.first(suite, key)
        self._before: _Epoch | None = None
        self._far = _NEAR + 1  # epochs ahead that the next strange packet is tried with
        self._sent = self._received = 0
        self._until = self._interval  # this epoch lasts, on the count of both

    def seal(self, packet: bytes) -> bytes:
        """IV, ciphertext, tag."""
        if self._sent + self._received >= self._until:
            with self._lock:
                if self._sent + self._received >= self._until:  # the other direction may just have followed
                    self._enter(self._epoch.following())
        self._sent += 1
        epoch = self._epoch
        iv = next(epoch.ivs, None)
        while iv is None:
            epoch.ivs = _ivs(self._size, epoch.phase, self._random)
            iv = next(epoch.ivs, None)
        return epoch.key.seal(iv, packet)

    def open(self, packet: bytes) -> bytes | None:
        """The plaintext."""
        self._received += 1
        epoch = self._epoch
        try:
            return epoch.key.open(packet)
        except CryptError:
            return self._search(packet, epoch)

    def _search(self, packet: bytes, tried: _Epoch) -> bytes | None:
        with self._lock:
            for epoch in self._candidates(tried):
                try:
                    plain = epoch.key.open(packet)
                except CryptError:
                    continue
                if epoch.number > self._epoch.number:
                    self._enter(epoch)
                return plain
        self.dropped += 1
        return None

    def _candidates(self, tried: _Epoch) -> Iterator[_Epoch]:
        if self._before is not None:
            yield self._before
        epoch = self._epoch
        if epoch is not tried:  # the other direction has just changed it
            yield epoch
        for _ in range(_NEAR):
            epoch = epoch.following()
            yield epoch
        far = self._far
        self._far = far + 1 if far < _FAR else _NEAR + 1
        for _ in range(_NEAR, far):
            epoch = epoch.following()
        yield epoch

    def _enter(self, later: _Epoch) -> None:
        before = self._epoch
        while before.following().number < later.number:
            before = before.following()
        self._before, self._epoch = before, later
        self._until = self._sent + self._received + self._interval
        self._far = _NEAR + 1


class CounterCrypt(Stage):
    """With a cipher that does not authenticate: the prototype's rules to the letter. Make it with `crypt`.

    The bit comes from the counter, the key from the rotations. The prototype also keeps the previous key, for packets
    that do not fit the present one; in counter mode everything fits.
    """

    counter = "undecryptable"

    def __init__(self, suite: CipherSuite, key: bytes, rotation_bit: int, random: Random) -> None:
        self._size = suite.iv_size
        self.overhead = suite.iv_size + suite.tag_size
        self._interval = 1 << rotation_bit
        self._random = random
        self._lock = threading.RLock()
        self._epoch = _Epoch.first(suite, key)
        self._ivs: list[Iterator[bytes]] = [iter(()), iter(())]  # by phase
        self._count = self._age = 0

    def seal(self, packet: bytes) -> bytes:
        """IV and ciphertext."""
        with self._lock:
            iv = self._iv(bool(self._count & self._interval))
            key = self._epoch.key
            before = self._count
            self._step()
            if (before ^ self._count) & self._interval:
                self._rotate()
        return key.seal(iv, packet)

    def open(self, packet: bytes) -> bytes | None:
        """The plaintext, or garbage. None: shorter than an IV."""
        with self._lock:
            if packet[0] >> 7 != self._epoch.phase and self._age >= self._interval - self._interval // 4:
                self._rotate()
            self._step()
            key = self._epoch.key
        try:
            return key.open(packet)
        except CryptError:
            self.dropped += 1
            return None

    def _iv(self, phase: bool) -> bytes:
        iv = next(self._ivs[phase], None)
        while iv is None:
            self._ivs[phase] = _ivs(self._size, phase, self._random)
            iv = next(self._ivs[phase], None)
        return iv

    def _step(self) -> None:
        self._count += 1
        self._age += 1

    def _rotate(self) -> None:
        self._epoch = self._epoch.following()
        self._age = 0

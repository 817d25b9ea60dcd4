"""The prototype's end of an encrypted flow, written from oap.md 6.3 and nothing else."""

import hashlib
import os

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ouro_core.contracts.crypto import CipherSuite
from ouro_core.model.errors import CryptError

__all__ = ["Prototype", "next_key"]


def next_key(key: bytes, salt: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, b"o7s-key-rotation").derive(key)


class Prototype:
    def __init__(self, suite: CipherSuite, key: bytes, rotation_bit: int) -> None:
        self.suite = suite
        self.cur, self.prv = key, b""
        self.cntr = self.age = self.phase = 0
        self.mask = 1 << rotation_bit
        self.salt = hashlib.sha256(key).digest()
        self.failed = 0

    def rotate(self) -> None:
        self.prv, self.cur = self.cur, next_key(self.cur, self.salt)
        self.age = 0
        self.phase ^= 1

    def iv(self) -> bytes:
        return os.urandom(self.suite.iv_size)

    def seal(self, plain: bytes) -> bytes:
        bit = 1 if self.cntr & self.mask else 0
        iv = bytearray(self.iv())
        iv[0] = bit << 7 | iv[0] & 0x7F
        packet = self.suite.key(self.cur).seal(bytes(iv), plain)
        self.cntr = (self.cntr + 1) & 0xFFFFFFFF
        self.age += 1
        if self.cntr & self.mask != (self.cntr - 1) & self.mask:
            self.rotate()
        if self.prv and self.age >= self.mask // 2:
            self.prv = b""
        return packet

    def open(self, packet: bytes) -> bytes | None:
        rx = packet[0] >> 7
        if rx != self.phase and self.age >= self.mask - self.mask // 4:
            self.rotate()
        self.cntr = (self.cntr + 1) & 0xFFFFFFFF
        self.age += 1
        for key in (self.cur, self.prv):
            try:
                if key:
                    return self.suite.key(key).open(packet)
            except CryptError:
                pass
        self.failed += 1
        return None

"""Diffie-Hellman over the finite fields of RFC 7919 (oap.md 4.2), whose keys are written and read here, too.

`cryptography` writes these keys in another form (X9.42, with q) than the prototype (PKCS#3), pads the secret with
zeroes, and is about to drop them; the form matters, because the salt of the key derivation is a hash over it. So the
arithmetic is `pow`, which does not take constant time: somebody who can time this node closely may learn about an
exponent, which serves one handshake. These groups are for peers that have nothing else.

    SEQUENCE {
      SEQUENCE { OID 1.2.840.113549.1.3.1, SEQUENCE { INTEGER p, INTEGER g = 2, INTEGER bits of x OPTIONAL } }
      BIT STRING { INTEGER y } }
"""

import secrets
from functools import cached_property

from ouro_core.contracts.crypto import DheSuite, KeyPair
from ouro_core.model.errors import CryptError, WireError
from ouro_core.wire.der import BIT_STRING, SEQUENCE, take, value

__all__ = ["FFDHE", "FfdheSuite"]

_INTEGER = 0x02
_OID = bytes.fromhex("06092a864886f70d010301")
_G = 2

_P2048 = int(
    "ffffffffffffffffadf85458a2bb4a9aafdc5620273d3cf1d8b9c583ce2d3695a9e13641146433fbcc939dce249b3ef9"
    "7d2fe363630c75d8f681b202aec4617ad3df1ed5d5fd65612433f51f5f066ed0856365553ded1af3b557135e7f57c935"
    "984f0c70e0e68b77e2a689daf3efe8721df158a136ade73530acca4f483a797abc0ab182b324fb61d108a94bb2c8e3fb"
    "b96adab760d7f4681d4f42a3de394df4ae56ede76372bb190b07a7c8ee0a6d709e02fce1cdf7e2ecc03404cd28342f61"
    "9172fe9ce98583ff8e4f1232eef28183c3fe3b1b4c6fad733bb5fcbc2ec22005c58ef1837d1683b2c6f34a26c1b2effa"
    "886b423861285c97ffffffffffffffff",
    16,
)
_P3072 = int(
    "ffffffffffffffffadf85458a2bb4a9aafdc5620273d3cf1d8b9c583ce2d3695a9e13641146433fbcc939dce249b3ef9"
    "7d2fe363630c75d8f681b202aec4617ad3df1ed5d5fd65612433f51f5f066ed0856365553ded1af3b557135e7f57c935"
    "984f0c70e0e68b77e2a689daf3efe8721df158a136ade73530acca4f483a797abc0ab182b324fb61d108a94bb2c8e3fb"
    "b96adab760d7f4681d4f42a3de394df4ae56ede76372bb190b07a7c8ee0a6d709e02fce1cdf7e2ecc03404cd28342f61"
    "9172fe9ce98583ff8e4f1232eef28183c3fe3b1b4c6fad733bb5fcbc2ec22005c58ef1837d1683b2c6f34a26c1b2effa"
    "886b4238611fcfdcde355b3b6519035bbc34f4def99c023861b46fc9d6e6c9077ad91d2691f7f7ee598cb0fac186d91c"
    "aefe130985139270b4130c93bc437944f4fd4452e2d74dd364f2e21e71f54bff5cae82ab9c9df69ee86d2bc522363a0d"
    "abc521979b0deada1dbf9a42d5c4484e0abcd06bfa53ddef3c1b20ee3fd59d7c25e41d2b66c62e37ffffffffffffffff",
    16,
)
_P4096 = int(
    "ffffffffffffffffadf85458a2bb4a9aafdc5620273d3cf1d8b9c583ce2d3695a9e13641146433fbcc939dce249b3ef9"
    "7d2fe363630c75d8f681b202aec4617ad3df1ed5d5fd65612433f51f5f066ed0856365553ded1af3b557135e7f57c935"
    "984f0c70e0e68b77e2a689daf3efe8721df158a136ade73530acca4f483a797abc0ab182b324fb61d108a94bb2c8e3fb"
    "b96adab760d7f4681d4f42a3de394df4ae56ede76372bb190b07a7c8ee0a6d709e02fce1cdf7e2ecc03404cd28342f61"
    "9172fe9ce98583ff8e4f1232eef28183c3fe3b1b4c6fad733bb5fcbc2ec22005c58ef1837d1683b2c6f34a26c1b2effa"
    "886b4238611fcfdcde355b3b6519035bbc34f4def99c023861b46fc9d6e6c9077ad91d2691f7f7ee598cb0fac186d91c"
    "aefe130985139270b4130c93bc437944f4fd4452e2d74dd364f2e21e71f54bff5cae82ab9c9df69ee86d2bc522363a0d"
    "abc521979b0deada1dbf9a42d5c4484e0abcd06bfa53ddef3c1b20ee3fd59d7c25e41d2b669e1ef16e6f52c3164df4fb"
    "7930e9e4e58857b6ac7d5f42d69f6d187763cf1d5503400487f55ba57e31cc7a7135c886efb4318aed6a1e012d9e6832"
    "a907600a918130c46dc778f971ad0038092999a333cb8b7a1a1db93d7140003c2a4ecea9f98d0acc0a8291cdcec97dcf"
    "8ec9b55a7f88a46b4db5a851f44182e1c68a007e5e655f6affffffffffffffff",
    16,
)


class FfdheSuite(DheSuite):
    """A group of RFC 7919. Private keys are exponents of `exponent_bits` bits, big endian."""

    provider = "own"

    def __init__(self, name: str, nid: int, rank: int, p: int, exponent_bits: int) -> None:
        self.name = name
        self.nid = nid
        self.rank = rank
        self._p = p
        self._exponent_bits = exponent_bits

    @cached_property
    def _algorithm(self) -> bytes:
        return value(SEQUENCE, _OID + value(SEQUENCE, _integer(self._p) + _integer(_G)))

    def accepts(self, public: bytes) -> bool:
        try:
            group, _ = _parse(public)
        except WireError:
            return False
        return group == (self._p, _G)

    def generate(self) -> KeyPair:
        x = 1 << self._exponent_bits - 1 | secrets.randbits(self._exponent_bits - 1)
        y = value(BIT_STRING, b"\0" + _integer(pow(_G, x, self._p)))
        return KeyPair(_bytes(x), value(SEQUENCE, self._algorithm + y))

    def agree(self, private: bytes, peer: bytes) -> bytes:
        try:
            group, y = _parse(peer)
        except WireError as error:
            raise CryptError(f"no valid {self.name} key: {error}") from error
        if group != (self._p, _G):
            raise CryptError(f"no valid {self.name} key: it is of another group, of {group[0].bit_length()} bits")
        if not 2 <= y <= self._p - 2:
            raise CryptError(
                f"no valid {self.name} key: y is 0, 1, p - 1 or not below p; the peer has to make a new one"
            )
        return _bytes(pow(y, int.from_bytes(private), self._p))


def _bytes(number: int) -> bytes:
    """Big endian, no leading zero bytes."""
    return number.to_bytes((number.bit_length() + 7) // 8)


# ---------------------------------------------------------------- DER


def _integer(number: int) -> bytes:
    """A positive INTEGER: a leading zero byte keeps the sign when the top bit is set."""
    return value(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def _parse(public: bytes) -> tuple[tuple[int, int], int]:
    """Group (p, g) and y of a public key. WireError: anything else, trailing bytes included."""
    outer, rest = take(SEQUENCE, public)
    algorithm, bits = take(SEQUENCE, outer)
    if rest or not algorithm.startswith(_OID):
        raise WireError("not a DER public key of PKCS#3")
    parameters, after = take(SEQUENCE, algorithm[len(_OID) :])
    p, more = _take_integer(parameters)
    g, more = _take_integer(more)
    if more:
        _, more = _take_integer(more)
    string, end = take(BIT_STRING, bits)
    if after or more or end or string[:1] != b"\0":
        raise WireError("bytes that do not belong to a public key of PKCS#3")
    y, end = _take_integer(string[1:])
    if end:
        raise WireError("bytes after the number of the public key")
    return (p, g), y


def _take_integer(data: bytes) -> tuple[int, bytes]:
    """The INTEGER at the start of data, and what follows. WireError: none, negative, not the shortest form."""
    content, rest = take(_INTEGER, data)
    if not content or content[0] >= 0x80 or (len(content) > 1 and content[0] == 0 and content[1] < 0x80):
        raise WireError("DER number is empty, negative or not the shortest")
    return int.from_bytes(content), rest


FFDHE: tuple[DheSuite, ...] = (
    FfdheSuite("ffdhe2048", 1126, 1, _P2048, 225),
    FfdheSuite("ffdhe3072", 1127, 4, _P3072, 275),
    FfdheSuite("ffdhe4096", 1128, 6, _P4096, 325),
)

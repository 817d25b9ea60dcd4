"""Curves and finite fields: keys that must not be used, forms that are not ours."""

from math import factorial

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.builtin.classic.curves import CURVES
from ouro_core.builtin.classic.ffdhe import FFDHE
from ouro_core.contracts.crypto import DheSuite, KeyPair
from ouro_core.model.errors import CryptError
from ouro_core.testing.crypto import DheContract

SUITES = {suite.name: suite for suite in (*CURVES, *FFDHE)}
P25519, P448 = 2**255 - 19, 2**448 - 2**224 - 1


def prime(bits: int) -> int:
    "The safe prime of RFC 7919: digits of e between 64 ones above and below."
    shift = bits - 130
    one = 1 << (shift + 128)
    e = sum(one // factorial(k) for k in range(600)) >> 128
    offset = {2048: 560316, 3072: 2625351, 4096: 5736041}[bits]
    return 2**bits - 2 ** (bits - 64) + (e + offset) * 2**64 - 1


def value(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2)
    return bytes([tag]) + length + content


def integer(number: int) -> bytes:
    return value(2, number.to_bytes(number.bit_length() // 8 + 1))


OID = bytes.fromhex("06092a864886f70d010301")


def public(p: int, y: int, g: int = 2, *more: int, oid: bytes = OID) -> bytes:
    "PKCS#3, in a DER of this file's own."
    parameters = value(0x30, b"".join(map(integer, (p, g, *more))))
    return value(0x30, value(0x30, oid + parameters) + value(3, b"\0" + integer(y)))


class TestKeyExchanges(DheContract):
    suites = [*CURVES, *FFDHE]

    def degenerate(self, suite: DheSuite) -> list[bytes]:
        if suite.name.startswith("ffdhe"):
            p = prime(int(suite.name[5:]))
            return [public(p, y) for y in (0, 1, p - 1, p, p + 1, p + 2, 2**4100)]
        key = suite.generate().public
        if suite.name == "X25519":
            orders = (
                0,
                1,
                325606250916557431795983626356110631294008115727848805560023387167927233504,
                39382357235489614581723060781553021112529911719440698176882885853963445705823,
                P25519 - 1,
                P25519,
                P25519 + 1,
            )
            return [key[:12] + (u | top).to_bytes(32, "little") for u in orders for top in (0, 1 << 255)]
        if suite.name == "X448":
            return [key[:12] + u.to_bytes(56, "little") for u in (0, 1, P448 - 1, P448, P448 + 1)]
        size = (len(key) - key.index(b"\0\4") - 2) // 2
        head = key[: -2 * size]
        return [
            head + bytes(2 * size),
            head + b"\xff" * (2 * size),
            key[:-1] + bytes([key[-1] ^ 1]),
            head[:-1] + b"\2" + key[-2 * size :],
            head[:-1] + b"\6" + key[-2 * size :],
            head[:-1] + b"\0" + bytes(2 * size),
        ]


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_the_primes_are_those_of_the_standard(bits: int) -> None:
    suite = SUITES[f"ffdhe{bits}"]
    pair = suite.generate()
    p = prime(bits)
    y = pow(2, int.from_bytes(pair.private), p)
    assert pair.public == public(p, y)
    assert int.from_bytes(pair.private).bit_length() == {2048: 225, 3072: 275, 4096: 325}[bits]


def test_the_secret_has_no_leading_zeroes() -> None:
    suite, p = SUITES["ffdhe2048"], prime(2048)
    peer, x = suite.generate(), 2**224
    while pow(int.from_bytes(peer_y(peer, p)), x, p).bit_length() > 2040:
        x += 1
    secret = suite.agree(x.to_bytes(29), peer.public)
    assert len(secret) <= 255
    assert secret[0] != 0
    assert secret == suite.agree(peer.private, public(p, pow(2, x, p)))


def peer_y(pair: KeyPair, p: int) -> bytes:
    return pow(2, int.from_bytes(pair.private), p).to_bytes(256)


def test_the_bits_of_the_exponent_may_stand_there() -> None:
    suite, p = SUITES["ffdhe2048"], prime(2048)
    ours, theirs = suite.generate(), suite.generate()
    y = int.from_bytes(peer_y(theirs, p))
    assert suite.accepts(public(p, y, 2, 225))
    assert suite.agree(ours.private, public(p, y, 2, 225)) == suite.agree(ours.private, theirs.public)


def test_forms_that_are_not_ours() -> None:
    suite, p = SUITES["ffdhe2048"], prime(2048)
    private, good = suite.generate().private, public(p, 4)
    q = (p - 1) // 2
    group = value(0x30, OID + value(0x30, integer(p) + integer(2)))

    def holding(bits: bytes) -> bytes:
        return value(0x30, group + value(3, bits))

    assert holding(b"\0\2\1\4") == good
    bad = {
        "DHX": public(p, 4, 2, q, oid=bytes.fromhex("06072a8648ce3e0201")),
        "generator": public(p, 4, 5),
        "three numbers after g": public(p, 4, 2, 225, 7),
        "not the prime": public(p + 2, 4),
        "small group": public(23, 4),
        "trailing": good + b"\0",
        "cut": good[:-1],
        "unused bits": holding(b"\1\2\1\4"),
        "negative y": holding(b"\0\2\1\xff"),
        "y in two bytes": holding(b"\0\2\2\0\4"),
        "y without bytes": holding(b"\0\2\0"),
        "no y": holding(b"\0"),
        "more than y": holding(b"\0\2\1\4\2\1\4"),
        "length in three bytes": b"\x30\x83\0" + good[2:],
        "length without end": b"\x30\x80" + good[4:],
    }
    for what, key in bad.items():
        with pytest.raises(CryptError):
            suite.agree(private, key)
        if what in ("DHX", "generator", "not the prime", "small group", "trailing"):
            assert not suite.accepts(key), what
    with pytest.raises(CryptError, match="of another group, of 23 bits"):
        suite.agree(private, public(2**23 - 1, 4))
    assert suite.agree(private, good)


@given(junk=st.binary(max_size=60), place=st.integers(0, 300))
def test_the_reader_is_total(junk: bytes, place: int) -> None:
    suite = SUITES["ffdhe2048"]
    key = public(prime(2048), 4)
    spliced = key[:place] + junk + key[place + len(junk) :]
    for anything in (junk, spliced, value(0x30, junk), value(0x30, value(0x30, OID + value(0x30, junk)))):
        if not suite.accepts(anything):
            with pytest.raises(CryptError):
                suite.agree(b"\1" * 29, anything)


@pytest.mark.parametrize("curve", [ec.SECP256K1(), ec.BrainpoolP256R1()], ids=lambda curve: curve.name)
def test_other_curves_are_nobodys(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert not [suite for suite in SUITES.values() if suite.accepts(der)]


def test_x25519_is_not_x448() -> None:
    a, b = SUITES["X25519"], SUITES["X448"]
    for suite, other in ((a, b), (b, a)):
        with pytest.raises(CryptError, match=f"no valid {suite.name} key"):
            suite.agree(suite.generate().private, other.generate().public)


def test_a_private_key_is_in_no_message() -> None:
    for suite in SUITES.values():
        pair = suite.generate()
        with pytest.raises(CryptError) as caught:
            suite.agree(pair.private, pair.public[:-1])
        assert pair.private.hex() not in str(caught.value)

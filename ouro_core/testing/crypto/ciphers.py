"""The kit of packet ciphers."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.contracts.crypto import KEY_SIZE, CipherSuite
from ouro_core.model.errors import CryptError

from .base import SuiteContract, few, views

KEY = bytes(range(100, 100 + KEY_SIZE))
SIZES = (0, 1, 15, 16, 17, 64, 1400, 9000)


def iv_of(suite: CipherSuite, number: int = 0) -> bytes:
    return number.to_bytes(suite.iv_size)


class CipherContract(SuiteContract):
    """Ciphers with a tag and without."""

    def test_sizes(self, suite: CipherSuite) -> None:
        assert suite.key_size in (16, 24, 32)
        assert (suite.iv_size, suite.tag_size) in ((12, 16), (16, 0))
        assert suite.overhead == suite.iv_size + suite.tag_size

    @pytest.mark.parametrize("size", SIZES)
    def test_layout_and_round_trip(self, suite: CipherSuite, size: int) -> None:
        key, plain = suite.key(KEY), bytes(i * 7 & 0xFF for i in range(size))
        iv = bytes(range(suite.iv_size))
        packet = key.seal(iv, plain)
        assert isinstance(packet, bytes)
        assert packet.startswith(iv)
        assert len(packet) == size + suite.overhead
        opened = key.open(packet)
        assert isinstance(opened, bytes)
        assert opened == plain
        if size >= 16:
            assert plain not in packet
        assert suite.key(KEY).seal(iv, plain) == packet
        assert (
            key.seal(iv_of(suite, 1), plain)[suite.iv_size :] != packet[suite.iv_size :] or not packet[suite.iv_size :]
        )

    def test_every_form_of_buffer(self, suite: CipherSuite) -> None:
        key, plain = suite.key(KEY), b"a packet of some bytes"
        packet = key.seal(iv_of(suite), plain)
        assert [key.seal(iv_of(suite), view) for view in views(plain)] == [packet] * 4
        assert [key.open(view) for view in views(packet)] == [plain] * 4

    def test_results_are_new(self, suite: CipherSuite) -> None:
        key, plain = suite.key(KEY), bytearray(b"will change")
        packet = key.seal(iv_of(suite), plain)
        plain[:] = bytes(len(plain))
        buffer = bytearray(packet)
        opened = key.open(buffer)
        buffer[:] = bytes(len(buffer))
        assert (opened, key.open(packet)) == (b"will change", b"will change")

    def test_the_leading_bytes_are_the_key(self, suite: CipherSuite) -> None:
        packet = suite.key(KEY).seal(iv_of(suite), b"data" * 8)
        for place in range(KEY_SIZE):
            other = bytearray(KEY)
            other[place] ^= 1
            same = suite.key(bytes(other)).seal(iv_of(suite), b"data" * 8) == packet
            assert same == (place >= suite.key_size)

    @pytest.mark.parametrize("size", [0, 1, 16, 24, 31, 33, 64])
    def test_a_key_has_32_bytes(self, suite: CipherSuite, size: int) -> None:
        with pytest.raises(CryptError):
            suite.key(bytes(size))

    def test_too_short(self, suite: CipherSuite) -> None:
        key = suite.key(KEY)
        empty = key.seal(iv_of(suite), b"")
        assert len(empty) == suite.overhead
        assert key.open(empty) == b""
        for size in range(suite.overhead):
            with pytest.raises(CryptError):
                key.open(empty[:size])

    def test_changed_on_the_way(self, suite: CipherSuite) -> None:
        key, plain = suite.key(KEY), b"forty bytes of plain text, more or less."
        packet = key.seal(iv_of(suite, 5), plain)
        for place in range(len(packet)):
            changed = bytearray(packet)
            changed[place] ^= 0x80
            if suite.tag_size:
                with pytest.raises(CryptError):
                    key.open(changed)
            else:
                assert key.open(changed) != plain
        for other in (packet[:-1], packet + b"\0"):
            if suite.tag_size:
                with pytest.raises(CryptError):
                    key.open(other)
            else:
                assert key.open(other)[:39] == plain[:39]

    def test_another_key(self, suite: CipherSuite) -> None:
        packet, other = suite.key(KEY).seal(iv_of(suite), b"secret text"), suite.key(bytes(KEY_SIZE))
        if suite.tag_size:
            with pytest.raises(CryptError):
                other.open(packet)
        else:
            assert other.open(packet) != b"secret text"

    def test_a_counter_has_128_bits(self, suite: CipherSuite) -> None:
        if suite.tag_size:
            pytest.skip("is not in counter mode")
        key = suite.key(KEY)
        last, first = key.seal(b"\xff" * 16, bytes(48)), key.seal(bytes(16), bytes(32))
        assert last[32:] == first[16:]
        assert key.seal(bytes(15) + b"\1", bytes(16))[16:] == first[32:]

    @given(packet=st.binary(max_size=200))
    @few
    def test_anything_may_come(self, suite: CipherSuite, packet: bytes) -> None:
        try:
            plain = suite.key(KEY).open(packet)
        except CryptError:
            assert suite.tag_size or len(packet) < suite.overhead
        else:
            assert not suite.tag_size
            assert len(plain) == len(packet) - suite.overhead

    def test_a_key_serves_threads(self, suite: CipherSuite) -> None:
        key = suite.key(KEY)

        def work(thread: int) -> bool:
            plain = bytes([thread]) * 1400
            packets = [key.seal(iv_of(suite, thread << 32 | i), plain) for i in range(300)]
            return all(key.open(packet) == plain for packet in packets)

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(work, range(8)))

    def test_a_key_is_not_shown_and_stays(self, suite: CipherSuite) -> None:
        key = suite.key(KEY)
        for text in (repr(key), str(key), repr(suite)):
            assert KEY.hex()[:16] not in text
            assert repr(KEY)[2:-1][:10] not in text
        with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
            pickle.dumps(key)

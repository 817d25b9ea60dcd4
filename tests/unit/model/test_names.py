"""Names and their hashes (shims.md 0.3, irmd.md 1)."""

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.model.errors import InvalidArgument
from ouro_core.model.layer import NOT_ENROLLED, TYPE_ORDER, IpcpInfo, IpcpState, LayerInfo
from ouro_core.model.names import MAX_NAME, HashAlgorithm, LoadBalance, NameInfo, check_name, hash_name

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


@pytest.mark.parametrize(
    ("name", "algorithm", "digest"),
    [
        ("oping", HashAlgorithm.SHA3_256, "42dee3b0415b4f690fd91cbd99876f1e9bd8d9745ef7fa32b142773af0349d54"),
        ("oping", HashAlgorithm.MD5, "7862c6fec5ecaef4aa2e3934725e23b3"),
        ("123456789", HashAlgorithm.CRC32, "cbf43926"),
        ("abc", HashAlgorithm.SHA3_224, "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf"),
    ],
)
def test_known_answers(name: str, algorithm: HashAlgorithm, digest: str) -> None:
    assert hash_name(name, algorithm).hex() == digest


@given(NAMES, st.sampled_from(HashAlgorithm))
def test_sizes_and_digests(name: str, algorithm: HashAlgorithm) -> None:
    digest = hash_name(name, algorithm)
    assert len(digest) == algorithm.size
    if algorithm is HashAlgorithm.CRC32:
        assert int.from_bytes(digest, "big") == zlib.crc32(name.encode())
    else:
        assert digest == hashlib.new(algorithm.name.lower(), name.encode()).digest()


def test_numbers_and_choice_of_algorithms() -> None:
    words = ["SHA3_224", "SHA3_256", "SHA3_384", "SHA3_512", "CRC32", "MD5"]
    assert [HashAlgorithm(i).name for i in range(6)] == words
    assert [HashAlgorithm(i).size for i in range(6)] == [28, 32, 48, 64, 4, 16]
    assert [a.name for a in HashAlgorithm if a.selectable] == words[:4]


@pytest.mark.parametrize("name", ["a", "x" * MAX_NAME, "é" * 127, "a name with spaces", "net/1", "名"])
def test_good_names(name: str) -> None:
    assert check_name(name) is name


@pytest.mark.parametrize(("name", "size"), [("", 0), ("x" * (MAX_NAME + 1), 256), ("é" * 128, 256), ("名" * 86, 258)])
def test_names_of_wrong_length(name: str, size: int) -> None:
    with pytest.raises(InvalidArgument, match=f"^layer name has {size} bytes; it needs 1 to 255$"):
        check_name(name, "layer name")


@pytest.mark.parametrize("name", ["a\0", "a\nb", "\x1b[31m", "\udcff", "a\u2028b", "\u202e"])
def test_unprintable_names(name: str) -> None:
    with pytest.raises(InvalidArgument, match="unprintable") as raised:
        check_name(name)
    assert str(raised.value).isprintable()


def test_load_balance() -> None:
    assert [(int(b), b.word) for b in LoadBalance] == [(0, "round-robin"), (1, "spillover")]
    assert NameInfo("n").balance is LoadBalance.SPILLOVER


def test_ipcps_are_listed_by_type_then_age() -> None:
    assert sorted(TYPE_ORDER, key=lambda word: TYPE_ORDER[word]) == [
        "local", "unicast", "broadcast", "eth-llc", "eth-dix", "udp4", "udp6",
    ]  # fmt: skip
    types = ["udp6", "metered", "local", "eth-dix", "unicast", "local", "abc"]
    listed = [IpcpInfo(n, 1, word, "i", IpcpState.BOOT) for n, word in enumerate(types, 1)]
    assert [i.id for i in sorted(listed, key=lambda i: i.sort_key)] == [3, 6, 5, 4, 1, 7, 2]


def test_the_layer_of_an_ipcp() -> None:
    fresh = IpcpInfo(1, 1, "local", "i", IpcpState.BOOT)
    assert fresh.layer_name == NOT_ENROLLED == "Not enrolled."
    assert IpcpInfo(1, 1, "local", "i", IpcpState.OPERATIONAL, LayerInfo("net")).layer_name == "net"
    words = ["NULL", "INIT", "BOOT", "BOOTSTRAPPED", "ENROLLED", "OPERATIONAL", "SHUTDOWN"]
    assert [IpcpState(i).name for i in range(7)] == words

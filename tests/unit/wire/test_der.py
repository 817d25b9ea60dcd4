"""DER: written and read back, and whatever is none refused."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from ouro_core.model.errors import WireError
from ouro_core.wire.der import OCTET_STRING, SEQUENCE, elements, oid, pem, take, value


@given(content=st.binary(max_size=70_000), rest=st.binary(max_size=20))
def test_there_and_back(content: bytes, rest: bytes) -> None:
    assert take(OCTET_STRING, value(OCTET_STRING, content) + rest) == (content, rest)


@given(contents=st.lists(st.binary(max_size=300)))
def test_the_values_of_a_sequence(contents: list[bytes]) -> None:
    values = [value(OCTET_STRING, content) for content in contents]
    assert list(elements(b"".join(values))) == values


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_cut(size: int) -> None:
    whole = value(SEQUENCE, bytes(size))
    for kept in {n for n in (0, 1, 2, 3, len(whole) - 1) if n < len(whole)}:
        with pytest.raises(WireError):
            take(SEQUENCE, whole[:kept])
        if kept:
            with pytest.raises(WireError):
                list(elements(whole[:kept]))
    with pytest.raises(WireError, match="tag 0x04 is missing"):
        take(OCTET_STRING, whole)


@pytest.mark.parametrize("data", ["3080", "308000", "30810100", "30817f" + "00" * 127, "3082000100", "30ff"])
def test_lengths_that_are_not_the_shortest(data: str) -> None:
    with pytest.raises(WireError, match=r"not the shortest|is cut"):
        take(SEQUENCE, bytes.fromhex(data))


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP521R1())])
def test_pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
    der, text = (
        key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption()) for encoding in (Encoding.DER, Encoding.PEM)
    )
    assert pem("PRIVATE KEY", der) == text


@given(data=st.binary(max_size=200))
def test_anything_may_come(data: bytes) -> None:
    try:
        found = list(elements(data))
    except WireError:
        return
    assert b"".join(found) == data


@given(parts=st.lists(st.integers(0, 2**35 - 1), max_size=6), first=st.integers(0, 2), second=st.integers(0, 39))
def test_numbers_of_objects(parts: list[int], first: int, second: int) -> None:
    dotted = ".".join(map(str, (first, second, *parts)))
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(dotted), b"") if parts else None
    content, rest = take(6, oid(dotted))
    assert rest == b""
    numbers, number = [], 0
    for byte in content:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(number)
            number = 0
    assert numbers == [40 * first + second, *parts]
    assert extension is None or extension.oid.dotted_string == dotted

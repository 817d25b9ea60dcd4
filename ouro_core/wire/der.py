"""The little of DER that keys and certificates are taken apart and put together with, and PEM around it."""

from base64 import b64encode
from collections.abc import Iterator

from ..model.errors import WireError

__all__ = ["BIT_STRING", "NULL", "OCTET_STRING", "OID", "SEQUENCE", "elements", "oid", "pem", "take", "value"]

BIT_STRING, OCTET_STRING, NULL, OID, SEQUENCE = 0x03, 0x04, 0x05, 0x06, 0x30


def value(tag: int, content: bytes) -> bytes:
    """Tag, length and content."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def take(tag: int, data: bytes) -> tuple[bytes, bytes]:
    """The content of the value at the start of data, and what follows. WireError: another tag, cut, not DER."""
    if not data or data[0] != tag:
        raise WireError(f"DER value with tag {tag:#04x} is missing")
    start, end = _bounds(data)
    return data[start:end], data[end:]


def elements(content: bytes) -> Iterator[bytes]:
    """The values in the content of a sequence, each with its tag and length. WireError: cut, not DER."""
    while content:
        _, end = _bounds(content)
        yield content[:end]
        content = content[end:]


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER, with its tag and length."""
    first, second, *rest = (int(part) for part in dotted.split("."))
    content = bytearray()
    for number in (40 * first + second, *rest):
        content += bytes(0x80 | number >> shift & 0x7F for shift in range(28, 0, -7) if number >> shift)
        content.append(number & 0x7F)
    return value(OID, bytes(content))


def pem(label: str, der: bytes) -> bytes:
    """A PEM file (RFC 7468)."""
    text = b64encode(der)
    lines = (text[i : i + 64] + b"\n" for i in range(0, len(text), 64))
    return b"".join((f"-----BEGIN {label}-----\n".encode(), *lines, f"-----END {label}-----\n".encode()))


def _bounds(data: bytes) -> tuple[int, int]:
    """Where the content of the value at the start of data begins and ends. WireError."""
    if len(data) < 2:
        raise WireError("DER value is cut")
    size, start = data[1], 2
    if size >= 0x80:
        start += size & 0x7F
        length = data[2:start]
        size = int.from_bytes(length)
        if len(length) != start - 2 or not length or length[0] == 0 or size < 0x80:
            raise WireError("DER length is cut or not the shortest")
    if len(data) < start + size:
        raise WireError(f"DER value of {size} bytes is cut")
    return start, start + size

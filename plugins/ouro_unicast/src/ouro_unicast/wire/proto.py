"""Protobuf messages, read strictly."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

__all__ = ["parsed", "text"]

M = TypeVar("M", bound=Message)


def parsed(cls: type[M], data: bytes) -> M:
    """A message of this class. DecodeError: it is none, or a required field is missing, which the library lets pass."""
    message = cls.FromString(data)
    if not message.IsInitialized():
        raise DecodeError("a required field is missing")
    return message


def text(value: str | bytes) -> str:
    """A string field. DecodeError: it is not UTF-8; the library gives bytes then."""
    try:
        return value.decode() if isinstance(value, bytes) else value.encode().decode()
    except UnicodeError:
        raise DecodeError(f"{value!r:.40} is no text") from None

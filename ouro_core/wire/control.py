"""Control messages: values of `ouro_core.model` to bytes and back, and frames on a stream.

On a stream a frame is

    offset  size  field
    0       4     length of the message behind it, big-endian, 1 to 4 MiB
    4       n     message `Frame` of pb/control.proto

and descriptors travel with its first byte. Encoding goes by names: a class and its message are called alike, and so are
their fields. `decode` is total: any bytes give a value or `WireError`.
"""

import functools
import itertools
import struct
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum, IntFlag
from typing import Any, Final

import attrs
from google.protobuf.message import DecodeError, Message

from ..model import flow, ipcp_requests, irm_requests, layer, names, qos, zygote_requests
from ..model.errors import OuroError, WireError, error_from_code
from ..model.flow import Grant
from ..model.qos import QosSpec
from .pb import control_pb2

__all__ = ["MAX_FRAME", "MAX_TEXT", "Frame", "FrameDecoder", "Kind", "decode", "encode", "frame_bytes"]

MAX_FRAME: Final = 4 * 2**20
"""Longest message in a frame, in bytes."""
MAX_TEXT: Final = 4096
"""Longest error text that is sent, in characters."""
_LENGTH: Final = struct.Struct("!I")


class Kind(IntEnum):
    """Kinds of frames."""

    REQUEST = 0
    REPLY = 1
    ERROR = 2
    CANCEL = 3


_KINDS: Final = {int(kind): kind for kind in Kind}


@attrs.frozen
class Frame:
    """One frame. `fds` is how many descriptors belong to it; `code` and `text` stand in errors only."""

    kind: Kind
    id: int
    type: str = ""
    body: bytes = b""
    code: int = 0
    text: str = ""
    fds: int = 0

    def error(self) -> OuroError:
        """The exception that an ERROR frame stands for."""
        return error_from_code(self.code, self.text)

    def __str__(self) -> str:
        detail = f"{self.code} {self.text}" if self.kind is Kind.ERROR else f"{self.type} {len(self.body)} bytes"
        return f"{self.kind.name} {self.id} {detail}"


# ---------------------------------------------------------------- values

_Put = Callable[[Any, list[int]], Any]
_Get = Callable[[Any, Iterator[int]], Any]


@attrs.frozen
class _FieldCodec:
    """`put` makes of a value what the message's constructor takes, `get` of what stands in a message a value; None: it
    is the same.
    """

    name: str
    put: _Put | None
    get: _Get | None
    optional: bool


def _fields(value: Any, fds: list[int]) -> dict[str, Any]:
    """The arguments of the message's constructor, messages within as dictionaries."""
    if isinstance(value, Grant):
        fds.extend(value.fds)
        return {"data": value.data, "fds": len(value.fds)}
    fields = {}
    for codec in _codecs(type(value)):
        item = getattr(value, codec.name)
        if item is not None:
            fields[codec.name] = item if codec.put is None else codec.put(item, fds)
    return fields


def _build(cls: type, message: Any, fds: Iterator[int]) -> Any:
    if cls is Grant:
        count = message.fds
        taken = tuple(itertools.islice(fds, count))
        if len(taken) != count:
            raise WireError(f"{count} descriptors announced, {len(taken)} came")
        return Grant(message.data, taken)
    arguments: list[Any] = []
    for codec in _codecs(cls):
        if codec.optional and not message.HasField(codec.name):
            arguments.append(None)
        else:
            item = getattr(message, codec.name)
            arguments.append(item if codec.get is None else codec.get(item, fds))
    return _qos(*arguments) if cls is QosSpec else cls(*arguments)


_qos = functools.lru_cache(maxsize=64)(QosSpec)
"""Each allocation has one, and most are alike."""


def _field_codec(name: str, hint: Any) -> _FieldCodec:
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (a for a in typing.get_args(hint) if a is not type(None))
        optional = True
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        item = args[0]
        if args[-1] is not Ellipsis:
            return _FieldCodec(name, None, lambda v, f: _exactly(len(args), name, v), optional)
        if attrs.has(item):
            return _FieldCodec(
                name,
                lambda v, f: [_fields(i, f) for i in v],
                lambda v, f: tuple(_build(item, i, f) for i in v),
                optional,
            )
        return _FieldCodec(name, None, lambda v, f: tuple(v), optional)
    if origin is not None and issubclass(origin, Mapping):
        return _FieldCodec(name, lambda v, f: dict(v), lambda v, f: dict(v), optional)
    if attrs.has(hint):
        return _FieldCodec(name, _fields, lambda v, f: _build(hint, v, f), optional)
    if issubclass(hint, IntEnum | IntFlag):
        return _FieldCodec(name, None, lambda v, f: hint(v), optional)
    return _FieldCodec(name, None, None, optional)


def _exactly(count: int, name: str, items: Sequence[Any]) -> tuple[Any, ...]:
    if len(items) != count:
        raise WireError(f"{len(items)} values for {name}; {count} are right")
    return tuple(items)


_CODECS: dict[type, tuple[_FieldCodec, ...]] = {}


def _codecs(cls: type) -> tuple[_FieldCodec, ...]:
    known = _CODECS.get(cls)
    if known is None:
        hints = typing.get_type_hints(cls)
        known = _CODECS[cls] = tuple(_field_codec(a.name, hints[a.name]) for a in attrs.fields(cls))
    return known


def _tables() -> tuple[dict[type, type[Message]], dict[str, type]]:
    messages, classes = {}, {}
    for module in (flow, ipcp_requests, irm_requests, layer, names, qos, zygote_requests):
        for name, cls in vars(module).items():
            message = getattr(control_pb2, name, None)
            if isinstance(cls, type) and attrs.has(cls) and message is not None:
                messages[cls] = message
                classes[name] = cls
    return messages, classes


_MESSAGES, _CLASSES = _tables()


def encode(value: object) -> tuple[str, bytes, list[int]]:
    """(name of the message, its bytes, the descriptors of its grants in order). None gives ("", b"", [])."""
    if value is None:
        return "", b"", []
    message_class = _MESSAGES.get(type(value))
    if message_class is None:
        raise WireError(f"{type(value).__name__} is no control message")
    fds: list[int] = []
    try:
        return type(value).__name__, message_class(**_fields(value, fds)).SerializeToString(), fds
    except (TypeError, ValueError) as e:
        raise WireError(f"cannot send {type(value).__name__}: {e}") from None


def decode(type_name: str, body: bytes, fds: Sequence[int] = (), expected: type = object) -> Any:
    """The value of a frame. WireError: unknown name, no subclass of `expected` (found out before the body is looked
    at), malformed bytes, values out of range, descriptors missing or left.

    The descriptors belong to the caller when it raises, to the grants in the value otherwise.
    """
    cls = _CLASSES.get(type_name) if type_name else type(None)
    if cls is None:
        raise WireError(f"unknown control message {type_name[:64]!r}")
    if not issubclass(cls, expected):
        raise WireError(f"{type_name or 'nothing'} came where only {expected.__name__} can be")
    rest = iter(fds)
    if type_name:
        value = _decode_value(type_name, cls, body, rest)
    elif body:
        raise WireError(f"{len(body)} bytes of no message")
    else:
        value = None
    if next(rest, None) is not None:
        raise WireError(f"{type_name or 'nothing'} came with more descriptors than it has grants for")
    return value


def _decode_value(type_name: str, cls: type, body: bytes, fds: Iterator[int]) -> Any:
    try:
        return _build(cls, _MESSAGES[cls].FromString(body), fds)
    except WireError:
        raise
    except (DecodeError, ValueError, TypeError, OuroError) as e:
        raise WireError(f"malformed {type_name}: {e}") from None


# ---------------------------------------------------------------- frames


def frame_bytes(frame: Frame) -> bytes:
    """A frame as it goes on the stream. WireError when it is too long."""
    message = control_pb2.Frame(
        kind=int(frame.kind),  # type: ignore[arg-type]
        id=frame.id, type=frame.type, body=frame.body, code=frame.code, fds=frame.fds,
    )  # fmt: skip
    if frame.text:  # which may have surrogates, out of names of files
        message.text = frame.text[:MAX_TEXT].encode(errors="backslashreplace").decode()
    body = message.SerializeToString()
    if len(body) > MAX_FRAME:
        raise WireError(f"a message of {len(body)} bytes is longer than {MAX_FRAME}")
    return _LENGTH.pack(len(body)) + body


def _decode_frame(body: bytes) -> Frame:
    try:
        m = control_pb2.Frame.FromString(body)
        return Frame(_KINDS[m.kind], m.id, m.type, m.body, m.code, m.text, m.fds)
    except KeyError:
        raise WireError(f"malformed frame: kind {m.kind}") from None
    except (DecodeError, ValueError) as e:
        raise WireError(f"malformed frame: {e}") from None


class FrameDecoder:
    """Cuts a byte stream into frames. Holds at most one unfinished frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def unfinished(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. After WireError the stream is lost: there is no next frame to find."""
        buffer = self._buffer
        buffer += data
        frames = []
        start = 0
        while len(buffer) - start >= 4:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if not 0 < length <= MAX_FRAME:
                raise WireError(f"a frame of {length} bytes; 1 to {MAX_FRAME} is right")
            if len(buffer) - start - 4 < length:
                break
            frames.append(_decode_frame(bytes(buffer[start + 4 : start + 4 + length])))
            start += 4 + length
        del buffer[:start]
        return frames

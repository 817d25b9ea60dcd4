"""Control messages and frames: every value there and back, and nothing but WireError for whatever else comes."""

import io
import itertools
import struct
import types
import typing
from collections.abc import Mapping
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

import attrs
import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ouro_core.model import flow, ipcp_requests, irm_requests, layer, names, qos, zygote_requests
from ouro_core.model.errors import InvalidArgument, WireError
from ouro_core.model.flow import Grant
from ouro_core.model.irm_requests import Allocation, Announce, Arrival, BindProgram, FlowAlloc, IpcpList, NameList
from ouro_core.model.layer import IpcpInfo, IpcpState, LayerInfo
from ouro_core.model.names import HashAlgorithm, NameInfo
from ouro_core.model.qos import RAW, QosSpec
from ouro_core.model.request import Request
from ouro_core.wire.control import MAX_FRAME, MAX_TEXT, Frame, FrameDecoder, Kind, decode, encode, frame_bytes
from ouro_core.wire.pb import control_pb2

MODULES = (flow, ipcp_requests, irm_requests, layer, names, qos, zygote_requests)
CLASSES: dict[str, type] = {
    name: cls
    for module in MODULES
    for name, cls in vars(module).items()
    if isinstance(cls, type) and attrs.has(cls) and cls.__module__ == module.__name__
}
MESSAGES = control_pb2.DESCRIPTOR.message_types_by_name
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_fd = itertools.count(100)

# ---------------------------------------------------------------- values by the types of their fields

_WIDTHS = {
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
}


def _numbers(cls: type, field: str) -> st.SearchStrategy[int]:
    if cls is QosSpec and field in ("availability", "in_order"):
        return st.integers(0, 255)
    low, high = _WIDTHS[MESSAGES[cls.__name__].fields_by_name[field].type]
    return st.integers(low, high)


def _of(cls: type, field: str, hint: Any) -> st.SearchStrategy[Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (a for a in args if a is not type(None))
        return st.none() | _of(cls, field, inner)
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(_of(cls, field, args[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(_of(cls, field, a) for a in args))
    if origin is Mapping:
        return st.dictionaries(TEXTS, TEXTS, max_size=3)
    if attrs.has(hint):
        return values(hint)
    if issubclass(hint, IntFlag):
        return st.integers(0, 2**32 - 1).map(hint)
    if issubclass(hint, IntEnum):
        return st.sampled_from(list(hint))
    scalars: dict[type, Any] = {bool: st.booleans, str: lambda: TEXTS, bytes: lambda: st.binary(max_size=20)}
    scalars |= {float: lambda: st.floats(allow_nan=False), int: lambda: _numbers(cls, field)}
    return typing.cast("st.SearchStrategy[Any]", scalars[hint]())


def values(cls: type) -> st.SearchStrategy[Any]:
    """Instances of a class of the model. Descriptors in grants are numbers that no two grants share."""
    if cls is Grant:
        count = st.integers(0, 10)
        return st.builds(lambda data, n: Grant(data, tuple(next(_fd) for _ in range(n))), st.binary(max_size=20), count)
    hints = typing.get_type_hints(cls)
    return st.builds(cls, **{a.name: _of(cls, a.name, hints[a.name]) for a in attrs.fields(cls)})


# ---------------------------------------------------------------- messages


@pytest.mark.parametrize("name", CLASSES)
@given(data=st.data())
@settings(deadline=None)
def test_there_and_back(name: str, data: st.DataObject) -> None:
    value = data.draw(values(CLASSES[name]))
    type_name, body, fds = encode(value)
    assert type_name == name
    back = decode(type_name, body, fds)
    assert back == value
    assert type(back) is type(value)
    assert decode(type_name, body, fds, type(value)) == value


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_has_its_message_with_the_same_fields(name: str) -> None:
    cls = CLASSES[name]
    theirs = [f.name for f in MESSAGES[name].fields]
    ours = ["data", "fds"] if cls is Grant else [a.name for a in attrs.fields(cls)]
    assert theirs == ours
    assert [f.number for f in MESSAGES[name].fields] == list(range(1, len(ours) + 1))


@pytest.mark.parametrize("name", CLASSES)
def test_what_may_be_none_is_optional_and_nothing_else(name: str) -> None:
    if name == "Grant":
        return
    hints = typing.get_type_hints(CLASSES[name])
    optional = {n for n, h in hints.items() if type(None) in typing.get_args(h)}
    assert {f.name for f in MESSAGES[name].fields if f.containing_oneof is not None} == optional


def test_each_message_has_its_class() -> None:
    assert set(MESSAGES) == {*CLASSES, "Frame"}


def test_the_generated_code_is_that_of_the_proto(tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc", reason="grpcio-tools makes the code of the .proto file")
    here = Path(control_pb2.__file__).parent
    assert protoc.main(["", f"-I{here}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", "control.proto"]) == 0
    made = (tmp_path / "control_pb2.py").read_text()
    ours = (here / "control_pb2.py").read_text()
    # the version of the generator may differ, what it made of the file may not
    assert _descriptor(made) == _descriptor(ours)
    assert (tmp_path / "control_pb2.pyi").read_text().split() == (here / "control_pb2.pyi").read_text().split()


def _descriptor(code: str) -> str:
    return next(line for line in code.splitlines() if line.startswith("DESCRIPTOR = "))


def test_nothing_is_a_value_too() -> None:
    assert encode(None) == ("", b"", [])
    assert decode("", b"") is None
    assert decode("", b"", (), type(None)) is None


def test_descriptors_go_to_their_grants_in_order() -> None:
    name, body, fds = encode(Arrival(5, b"", Grant(b"a", (10, 11)), Grant(b"b", (12,))))
    assert fds == [10, 11, 12]
    assert decode(name, body, [7, 8, 9]) == Arrival(5, b"", Grant(b"a", (7, 8)), Grant(b"b", (9,)))
    for wrong in ([], [7], [7, 8], [7, 8, 9, 6]):
        with pytest.raises(WireError, match="descriptors"):
            decode(name, body, wrong)


@pytest.mark.parametrize("name", ["", "ListNames"])
def test_descriptors_that_belong_to_no_grant(name: str) -> None:
    with pytest.raises(WireError, match="more descriptors than it has grants for"):
        decode(name, b"", [5])


def test_bytes_without_a_message() -> None:
    with pytest.raises(WireError, match="3 bytes of no message"):
        decode("", b"abc")


@pytest.mark.parametrize("value", [5, "text", object(), WireError("x"), LayerInfo])
def test_what_is_no_message(value: object) -> None:
    with pytest.raises(WireError, match="is no control message"):
        encode(value)


@pytest.mark.parametrize(
    "value",
    [
        irm_requests.DestroyName(5),  # type: ignore[arg-type]
        irm_requests.DestroyName("\udcff"),
        irm_requests.DestroyIpcp(-1),
        irm_requests.DestroyIpcp(2**32),
        irm_requests.BindProcess(2**31, "n"),
        irm_requests.FlowDealloc(1, "soon"),  # type: ignore[arg-type]
        BindProgram("/p", "n", (5,)),  # type: ignore[arg-type]
        irm_requests.BootstrapIpcp(1, LayerInfo("l"), {"a": 5}),  # type: ignore[dict-item]
    ],
)
def test_values_that_do_not_fit(value: object) -> None:
    with pytest.raises(WireError, match=f"cannot send {type(value).__name__}"):
        encode(value)


@pytest.mark.parametrize("name", ["Nothing", "Frame", "Request", "__class__", "announce", "x" * 100_000])
def test_unknown_names(name: str) -> None:
    with pytest.raises(WireError, match="unknown control message") as raised:
        decode(name, b"")
    assert len(str(raised.value)) < 200


def test_only_what_is_expected() -> None:
    body = encode(NameList((NameInfo("a"),)))[1]
    with pytest.raises(WireError, match="NameList came where only Request can be"):
        decode("NameList", body, (), Request)
    with pytest.raises(WireError, match="nothing came where only Request can be"):
        decode("", b"", (), Request)
    # the body is not even looked at: it could be made of millions of values
    with pytest.raises(WireError, match="NameList came"):
        decode("NameList", b"\xff" * 100, (), Request)
    assert isinstance(decode("ListNames", b"", (), Request), Request)


@pytest.mark.parametrize(
    ("message", "body"),
    [
        ("LayerInfo", control_pb2.LayerInfo(name="l", hash=6)),
        ("IpcpInfo", control_pb2.IpcpInfo(id=1, state=7)),
        ("NameInfo", control_pb2.NameInfo(name="n", balance=2)),
        ("FlowInfo", control_pb2.FlowInfo(id=1, state=6)),
        ("QosSpec", control_pb2.QosSpec(availability=256)),
        ("QosSpec", control_pb2.QosSpec(in_order=2**32 - 1)),
        ("FlowAlloc", control_pb2.FlowAlloc(dst="a", qos=control_pb2.QosSpec(availability=300))),
        ("Announce", control_pb2.Announce(program="p", api=[1])),
        ("Announce", control_pb2.Announce(program="p", api=[1, 0, 0])),
    ],
)
def test_values_out_of_range(message: str, body: Any) -> None:
    with pytest.raises(WireError):
        decode(message, body.SerializeToString())


@pytest.mark.parametrize(
    ("message", "body"),
    [
        ("DestroyName", b"\x0a\x02\xff\xfe"),
        ("DestroyName", b"\x0a\x05abc"),
        ("FlowAlloc", b"\x12\x01"),
        ("Found", b"\x80"),
    ],
)
def test_malformed_bytes(message: str, body: bytes) -> None:
    with pytest.raises(WireError, match=f"malformed {message}"):
        decode(message, body)


@given(
    st.sampled_from(sorted([*CLASSES, "", "Nothing"])),
    st.binary(max_size=200),
    st.lists(st.integers(3, 99), max_size=4),
)
def test_decoding_is_total(name: str, body: bytes, fds: list[int]) -> None:
    try:
        value = decode(name, body, fds)
    except WireError:
        pass
    else:
        again_name, again, again_fds = encode(value)
        assert (again_name, again_fds) == (name, fds)
        back = decode(name, again, again_fds)
        assert back == value or repr(back) == repr(value)  # NaN is not equal to itself


@given(st.data())
def test_decoding_damaged_messages_is_total(data: st.DataObject) -> None:
    value = data.draw(st.sampled_from(sorted(CLASSES)).flatmap(lambda name: values(CLASSES[name])))
    name, body, fds = encode(value)
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    try:
        decode(name, bytes(damaged[:cut]), fds)
    except WireError:
        pass


# ---------------------------------------------------------------- frames

FRAMES = st.builds(
    Frame, st.sampled_from(Kind), st.integers(1, 2**32 - 1), TEXTS, st.binary(max_size=50),
    st.integers(-(2**31), 2**31 - 1), TEXTS, st.integers(0, 2**32 - 1),
)  # fmt: skip


@given(st.lists(FRAMES, max_size=5), st.randoms(use_true_random=False))
def test_a_stream_in_any_chunks(frames: list[Frame], random: Any) -> None:
    stream = io.BytesIO(b"".join(map(frame_bytes, frames)))
    decoder, found = FrameDecoder(), list[Frame]()
    while chunk := stream.read(random.randint(1, 40)):
        found += decoder.feed(chunk)
    assert found == frames
    assert decoder.unfinished == 0


def test_a_frame_cut_at_every_byte() -> None:
    frame = Frame(Kind.REQUEST, 7, "Announce", encode(Announce("oping"))[1], fds=2)
    stream = frame_bytes(frame) + frame_bytes(Frame(Kind.CANCEL, 7))
    for cut in range(len(stream) + 1):
        decoder = FrameDecoder()
        first = decoder.feed(stream[:cut])
        assert [*first, *decoder.feed(stream[cut:])] == [frame, Frame(Kind.CANCEL, 7)]
        assert decoder.unfinished == 0
    decoder = FrameDecoder()
    found = [f for n in range(len(stream)) for f in decoder.feed(stream[n : n + 1])]
    assert found == [frame, Frame(Kind.CANCEL, 7)]


def test_what_is_unfinished_is_counted() -> None:
    data = frame_bytes(Frame(Kind.REPLY, 1, "Found", b"\x08\x01"))
    decoder = FrameDecoder()
    assert decoder.feed(data + data[:-1]) == [Frame(Kind.REPLY, 1, "Found", b"\x08\x01")]
    assert decoder.unfinished == len(data) - 1


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1, 2**31, 2**32 - 1])
def test_wrong_lengths(length: int) -> None:
    with pytest.raises(WireError, match=f"a frame of {length} bytes; 1 to {MAX_FRAME} is right"):
        FrameDecoder().feed(struct.pack("!I", length))


def test_the_longest_frame() -> None:
    room = MAX_FRAME - len(frame_bytes(Frame(Kind.REPLY, 1, "X", b"x" * (MAX_FRAME // 2)))) + 4 + MAX_FRAME // 2
    frame = Frame(Kind.REPLY, 1, "X", b"x" * room)
    data = frame_bytes(frame)
    assert len(data) == 4 + MAX_FRAME
    decoder = FrameDecoder()
    assert decoder.feed(data[:-1]) == []
    assert decoder.feed(data[-1:]) == [frame]
    with pytest.raises(WireError, match=f"is longer than {MAX_FRAME}"):
        frame_bytes(Frame(Kind.REPLY, 1, "X", b"x" * (room + 1)))


def test_error_frames() -> None:
    (frame,) = FrameDecoder().feed(frame_bytes(Frame(Kind.ERROR, 3, code=-22, text="no" + "x" * 2 * MAX_TEXT)))
    error = frame.error()
    assert isinstance(error, InvalidArgument)
    assert len(str(error)) == MAX_TEXT
    assert str(frame).startswith("ERROR 3 -22 nox")
    assert str(Frame(Kind.REPLY, 3, "Found", b"\x08\x01")) == "REPLY 3 Found 2 bytes"
    (frame,) = FrameDecoder().feed(frame_bytes(Frame(Kind.ERROR, 3, code=-2, text="no file a\udcff")))
    assert frame.text == r"no file a\udcff"


def test_frames_of_unknown_kinds() -> None:
    body = control_pb2.Frame(kind=9).SerializeToString()  # type: ignore[arg-type]
    with pytest.raises(WireError, match="malformed frame"):
        FrameDecoder().feed(struct.pack("!I", len(body)) + body)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_decoding_streams_is_total(chunks: list[bytes]) -> None:
    decoder = FrameDecoder()
    try:
        for chunk in chunks:
            decoder.feed(chunk)
    except WireError:
        pass


@given(st.binary(min_size=1, max_size=60))
def test_decoding_frames_is_total(body: bytes) -> None:
    try:
        (frame,) = FrameDecoder().feed(struct.pack("!I", len(body)) + body)
    except WireError:
        return
    assume(frame != Frame(Kind.REQUEST, 0))  # which has no bytes at all, and is nothing anybody says
    assert FrameDecoder().feed(frame_bytes(frame)) == [frame]


def test_a_frame_of_many_small_values_is_no_problem() -> None:
    ipcps = tuple(IpcpInfo(n, n, "local", "i", IpcpState.OPERATIONAL, LayerInfo("l")) for n in range(5000))
    name, body, fds = encode(IpcpList(ipcps))
    assert decode(name, body, fds) == IpcpList(ipcps)


def test_secrets_are_not_shown() -> None:
    allocation = Allocation(1, Grant(b""), RAW, 5, "n", key=b"\x5a" * 32)
    assert decode(*encode(allocation)).key == b"\x5a" * 32
    assert "ZZ" not in repr(allocation)
    assert "5a" not in repr(allocation)


def test_defaults_travel_as_they_are() -> None:
    assert decode(*encode(FlowAlloc("dst"))) == FlowAlloc("dst")
    assert decode(*encode(FlowAlloc("dst", timeout=0.0))).timeout == 0.0
    assert decode(*encode(Announce("p"))).api == irm_requests.API
    assert decode(*encode(LayerInfo("l", HashAlgorithm.SHA3_224))).hash is HashAlgorithm.SHA3_224

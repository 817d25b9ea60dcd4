"""Requests without a loop: one connection, one request at a time, and a peer that is a script."""

import fcntl
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from ouro_core.model.errors import FlowTimeout, InvalidArgument, IrmdError, OuroError, UnknownName, WireError
from ouro_core.model.flow import Grant
from ouro_core.model.ipcp_requests import IpcpFlowJoin, IpcpReg
from ouro_core.model.irm_requests import Allocation, DestroyName, FlowAccept, RibRead, RibText
from ouro_core.model.qos import RAW
from ouro_core.rpc import fds as _fds
from ouro_core.rpc.blocking import BlockingChannel, connect
from ouro_core.rpc.fds import close_grants
from ouro_core.wire.control import Frame, FrameDecoder, Kind, encode, frame_bytes


class Peer:
    """The IRMd's end: `answer(frame, fds)` gives bytes and descriptors to send, or None to close."""

    def __init__(self, sock: socket.socket, answer: Callable[[Frame, list[int]], tuple[bytes, tuple[int, ...]] | None]):
        self.sock = sock
        self.answer = answer
        self.asked: list[Frame] = []
        self.heard = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        decoder = FrameDecoder()
        fds: list[int] = []
        while True:
            data, more = _fds.receive(self.sock)
            if not data:
                return
            fds += more
            for frame in decoder.feed(data):
                self.asked.append(frame)
                self.heard.set()
                reply = self.answer(frame, fds)
                _fds.close_fds(fds)
                fds = []
                if reply is None:
                    self.sock.close()
                    return
                if reply[0]:
                    _fds.send(self.sock, *reply)


def _text(frame: Frame, text: str = "{}") -> tuple[bytes, tuple[int, ...]]:
    name, body, _ = encode(RibText(text))
    return frame_bytes(Frame(Kind.REPLY, frame.id, name, body)), ()


def _silence(frame: Frame, fds: list[int]) -> tuple[bytes, tuple[int, ...]]:
    return b"", ()


@pytest.fixture
def served() -> Iterator[Any]:
    """`channel, peer = served(answer)`."""
    made: list[tuple[BlockingChannel, Peer]] = []

    def make(answer: Any) -> tuple[BlockingChannel, Peer]:
        a, b = socket.socketpair()
        made.append((BlockingChannel(a), Peer(b, answer)))
        return made[-1]

    yield make
    for channel, peer in made:
        channel.close()
        peer.thread.join(20)
        assert not peer.thread.is_alive()
        peer.sock.close()


def test_replies(served: Any) -> None:
    replies: dict[str, Any] = {
        "RibRead": _text,
        "DestroyName": lambda frame: (frame_bytes(Frame(Kind.REPLY, frame.id)), ()),
    }
    channel, peer = served(lambda frame, fds: replies[frame.type](frame))
    assert channel.call(RibRead("a")) == RibText("{}")
    assert channel.call(DestroyName("n"), timeout=20) is None
    assert channel.call(RibRead("a"), timeout=20) == RibText("{}")
    assert [frame.id for frame in peer.asked] == [1, 2, 3]


@pytest.mark.parametrize(("code", "cls"), [(-1007, UnknownName), (-22, InvalidArgument), (-4711, OuroError)])
def test_an_error_is_an_answer(served: Any, code: int, cls: type[OuroError]) -> None:
    def answer(frame: Frame, fds: list[int]) -> Any:
        if len(peer.asked) == 1:
            return frame_bytes(Frame(Kind.ERROR, frame.id, code=code, text="because")), ()
        return _text(frame)

    channel, peer = served(answer)
    with pytest.raises(cls, match=r"^because$") as raised:
        channel.call(RibRead())
    assert raised.value.code == code
    assert channel.call(RibRead()) == RibText("{}")


def test_a_time_out_ends_the_channel(served: Any) -> None:
    channel, peer = served(_silence)
    with pytest.raises(FlowTimeout, match=r"did not answer within 0\.05 s") as raised:
        channel.call(FlowAccept(), timeout=0.05)
    assert raised.value.code == -110
    assert channel.closed
    with pytest.raises(IrmdError, match="closed"):
        channel.call(RibRead())
    peer.thread.join(20)
    assert not peer.thread.is_alive()  # it saw the end


def test_no_time_at_all(served: Any) -> None:
    channel, _ = served(_silence)
    with pytest.raises(FlowTimeout):
        channel.call(FlowAccept(), timeout=0)


def test_half_an_answer_in_time_is_none(served: Any) -> None:
    channel, _ = served(lambda frame, fds: (_text(frame)[0][:-1], ()))
    with pytest.raises(FlowTimeout):
        channel.call(FlowAccept(), timeout=0.1)


def test_a_peer_that_does_not_read() -> None:
    a, b = socket.socketpair()
    with b:
        channel = BlockingChannel(a)
        with pytest.raises(FlowTimeout):
            channel.call(IpcpReg(b"h" * 2**21), timeout=0.1)
        assert channel.closed


def test_the_peer_closes(served: Any) -> None:
    channel, _ = served(lambda frame, fds: None)
    with pytest.raises(IrmdError, match=r"closed the connection|connection to the IRMd broke"):
        channel.call(RibRead())
    assert channel.closed


def test_the_peer_closes_in_the_middle_of_an_answer(served: Any) -> None:
    def answer(frame: Frame, fds: list[int]) -> None:
        peer.sock.send(_text(frame)[0][:-1])

    channel, peer = served(answer)
    with pytest.raises(IrmdError, match="closed the connection"):
        channel.call(RibRead(), timeout=20)


def test_the_peer_was_gone_before() -> None:
    a, b = socket.socketpair()
    b.close()
    channel = BlockingChannel(a)
    with pytest.raises(IrmdError, match="broke"):
        channel.call(RibRead())
    assert channel.closed


SOME: Final = (0, 1)
"""Two descriptors that are always there."""


@pytest.mark.parametrize(
    "reply",
    [
        lambda frame: (b"\0\0\0\0", ()),
        lambda frame: (b"\0\0\0\3\xff\xff\xff", ()),
        lambda frame: _text(Frame(Kind.REPLY, frame.id + 1)),
        lambda frame: (_text(frame)[0] * 2, ()),
        lambda frame: (_text(frame)[0] + b"\0", ()),
        lambda frame: (frame_bytes(Frame(Kind.REQUEST, frame.id, "RibRead")), ()),
        lambda frame: (frame_bytes(Frame(Kind.CANCEL, frame.id)), ()),
        lambda frame: (frame_bytes(Frame(Kind.REPLY, frame.id, "Nothing")), ()),
        lambda frame: (frame_bytes(Frame(Kind.REPLY, frame.id, "RibText", b"\xff")), ()),
        lambda frame: (frame_bytes(Frame(Kind.ERROR, frame.id + 1, code=-1)), ()),
        lambda frame: (frame_bytes(Frame(Kind.REPLY, frame.id, "RibText", fds=1)), ()),
        lambda frame: (frame_bytes(Frame(Kind.REPLY, frame.id, "RibText", fds=2)), SOME),
        lambda frame: (frame_bytes(Frame(Kind.REPLY, frame.id, "", fds=2)), SOME),
        lambda frame: (frame_bytes(Frame(Kind.ERROR, frame.id, code=-1, fds=2)), SOME),
        lambda frame: (_text(frame)[0], SOME),
    ],
)
def test_a_peer_that_talks_nonsense(served: Any, reply: Any) -> None:
    channel, peer = served(lambda frame, fds: reply(frame))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(WireError):
        channel.call(RibRead(), timeout=20)
    assert channel.closed
    peer.thread.join(20)
    assert len(os.listdir("/proc/self/fd")) == before - 1  # the connection


def test_descriptors_pass(served: Any) -> None:
    r, w = os.pipe()

    def answer(frame: Frame, fds: list[int]) -> Any:
        assert frame.fds == len(fds) == 1
        os.write(fds[0], b"hello")
        name, body, own = encode(Allocation(1, Grant(b"grant", (r,)), RAW, 5, "n"))
        return frame_bytes(Frame(Kind.REPLY, frame.id, name, body, fds=1)), tuple(own)

    channel, _ = served(answer)
    before = len(os.listdir("/proc/self/fd"))
    reply = channel.call(IpcpFlowJoin(1, b"", Grant(b"", (w,))))  # any request with a descriptor will do
    assert os.read(reply.grant.fds[0], 100) == b"hello"
    assert not os.get_inheritable(reply.grant.fds[0])
    close_grants(reply)
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(r)
    os.close(w)


def test_an_interrupt_ends_the_channel(served: Any) -> None:
    channel, peer = served(_silence)
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        assert peer.heard.wait(20)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            channel.call(FlowAccept())
    finally:
        thread.join(20)
        signal.signal(signal.SIGINT, before)
    assert channel.closed
    peer.thread.join(20)
    assert not peer.thread.is_alive()


def test_threads_wait_for_each_other(served: Any) -> None:
    def answer(frame: Frame, fds: list[int]) -> Any:
        return _text(frame, str(frame.id))

    channel, peer = served(answer)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(channel.call(RibRead()).json)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(found, key=int) == [str(n) for n in range(1, 21)]
    assert len(peer.asked) == 20


def test_descriptors_above_1024() -> None:
    """select() could not wait for those."""
    a, b = socket.socketpair()
    with a, b:
        high = socket.socket(fileno=fcntl.fcntl(a, fcntl.F_DUPFD_CLOEXEC, 1100))
    channel = BlockingChannel(high)
    with pytest.raises(IrmdError):
        channel.call(RibRead(), timeout=20)


def test_the_socket_blocks_as_before(served: Any) -> None:
    """Others may look at it between the calls."""
    a, b = socket.socketpair()
    channel = BlockingChannel(a)
    peer = Peer(b, lambda frame, fds: _text(frame))
    assert channel.call(RibRead(), timeout=20) == RibText("{}")
    assert a.gettimeout() is None
    channel.close()
    channel.close()
    peer.thread.join(20)
    b.close()


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(IrmdError, match=r"no IRMd answers at .*irm\.sock \(No such file.*start it with: ouro irmd"):
        connect(tmp_path / "irm.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "irm.sock"))
    with pytest.raises(IrmdError, match="Connection refused"):
        connect(tmp_path / "irm.sock")
    with pytest.raises(IrmdError, match="no IRMd answers"):
        connect(tmp_path / ("x" * 200))


def test_connections_are_not_inherited(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "irm.sock"))
        listener.listen()
        with connect(tmp_path / "irm.sock") as sock:
            assert not sock.get_inheritable()
            assert sock.getpeername() == str(tmp_path / "irm.sock")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("theirs", [True, False])
def test_a_socket_in_tmp_must_be_ones_own(theirs: bool) -> None:
    """Everybody can make the directory that somebody else's programs look into when nothing else is set."""
    uid = 100_000 + os.getpid()
    directory = Path(f"/tmp/ouroboros-{uid}")
    listener = socket.socket(socket.AF_UNIX)
    try:
        directory.mkdir(mode=0o777)
        listener.bind(str(directory / "irm.sock"))
        directory.chmod(0o777)
        (directory / "irm.sock").chmod(0o777)
        os.seteuid(uid + 1 if theirs else uid)
        listener.listen()
        os.seteuid(0)
        os.seteuid(uid)
        if theirs:
            with pytest.raises(IrmdError, match=f"served by user {uid + 1}, no IRMd of yours"):
                connect(directory / "irm.sock")
        else:
            connect(directory / "irm.sock").close()
    finally:
        os.seteuid(0)
        listener.close()
        shutil.rmtree(directory, ignore_errors=True)

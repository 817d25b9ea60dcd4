"""Channels over real sockets, and an account of the descriptors of this process."""

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from ouro_core.rpc import fds as _fds
from ouro_core.rpc.channel import Channel
from ouro_core.wire.control import Frame, FrameDecoder, frame_bytes


class Raw:
    """The other end of a channel, by hand. Never blocks the loop."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._decoder = FrameDecoder()
        self._frames: list[Frame] = []
        self.fds: list[int] = []
        sock.setblocking(False)

    def send(self, data: bytes, fds: tuple[int, ...] = ()) -> None:
        """These bytes, with these descriptors, in one piece."""
        assert _fds.send(self.sock, data, fds) == len(data)

    def frame(self, frame: Frame, fds: tuple[int, ...] = ()) -> None:
        """A frame, with these descriptors whatever it says."""
        self.send(frame_bytes(frame), fds)

    async def read(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        loop = asyncio.get_running_loop()
        while not self._frames:
            readable = asyncio.Event()
            loop.add_reader(self.sock, readable.set)
            try:
                async with asyncio.timeout(20):
                    await readable.wait()
            finally:
                loop.remove_reader(self.sock)
            try:
                data, fds = _fds.receive(self.sock)
            except ConnectionResetError:
                return None
            self.fds += fds
            if not data:
                return None
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)

    def close(self) -> None:
        """With all descriptors that came."""
        self.sock.close()
        _fds.close_fds(self.fds)
        self.fds = []


@pytest.fixture
async def peers() -> Any:
    """`peers(answer, other, **options)`: two channels, the second with the answers and options of `answer`'s side."""
    made: list[Channel] = []

    def make(answer: Any = None, other: Any = None, **options: Any) -> tuple[Channel, Channel]:
        a, b = socket.socketpair()
        made.extend((Channel(a, other), Channel(b, answer, **options)))
        return made[-2], made[-1]

    yield make
    for channel in made:
        channel.close()


@pytest.fixture
async def against() -> Any:
    """`against(answer, **options)`: a raw end, and the channel at the other one."""
    raws: list[Raw] = []
    made: list[Channel] = []

    def make(answer: Any = None, **options: Any) -> tuple[Raw, Channel]:
        a, b = socket.socketpair()
        raws.append(Raw(a))
        made.append(Channel(b, answer, **options))
        return raws[-1], made[-1]

    yield make
    for raw in raws:
        raw.close()
    for channel in made:
        channel.close()


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """`await until(lambda: ...)`: turn the loop until it is so, for 20 s at most."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 what is waited for is the state of a channel
                await asyncio.sleep(0.001)

    return wait


@pytest.fixture
def kept() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """`with kept():` fails when the block leaves other descriptors than it found."""

    @contextlib.contextmanager
    def check() -> Iterator[None]:
        gc.collect()
        before = sorted(os.listdir("/proc/self/fd"))
        yield
        gc.collect()
        assert sorted(os.listdir("/proc/self/fd")) == before

    return check

"""Two network namespaces joined by a wire that takes its time and loses frames: a kernel need not have netem.

    with Wire(delay=0.005, loss=0.01) as wire:
        with wire.namespaces[0].inside():
            first = subprocess.Popen(...)  # at wire.ADDRESSES[0]

Each namespace has one end, a TAP device. What is sent into one comes out of the other, moved by a process of its own,
which is this module as a program.
"""

import contextlib
import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final

from ouro_core.testing.links import Faulty
from ouro_core.testing.netns import Namespace, unusable

__all__ = ["Wire", "missing"]

_TUN: Final = Path("/dev/net/tun")
_TUNSETIFF: Final = 0x400454CA
_TAP_WITHOUT_HEADER: Final = 0x1002
_LONGEST: Final = 65536
_AT_ONCE: Final = 64
"""Frames taken from one end before the other has its turn."""


def missing() -> str | None:
    """What a wire needs and this machine does not have; None: nothing."""
    return unusable() or (None if os.access(_TUN, os.R_OK | os.W_OK) else f"needs {_TUN}")


class Wire:
    """`delay`: seconds each way. `loss`: of frames each way, 0 to 1. `mtu`: bytes. A context manager. `namespaces` are
    those of its ends, `ADDRESSES` and `DEVICES` what they are called there. `between`: namespaces that are there
    already; otherwise it makes its own.
    """

    ADDRESSES: Final = ("10.83.0.1", "10.83.0.2")
    DEVICES: Final = ("tap-a", "tap-b")

    def __init__(
        self,
        *,
        delay: float = 0.0,
        loss: float = 0.0,
        mtu: int = 1500,
        seed: int = 1,
        between: tuple[Namespace, Namespace] | None = None,
    ) -> None:
        self.namespaces = between or (Namespace(), Namespace())
        self._own = between is None
        self._words = [str(delay), str(loss), str(seed)]
        self._mtu = str(mtu)
        self._left = contextlib.ExitStack()

    def __enter__(self) -> "Wire":
        with contextlib.ExitStack() as stack:
            ends = [self._end(stack, side) for side in (0, 1)]
            command = [sys.executable, "-m", __spec__.name, *map(str, ends), *self._words]
            root = Path(__file__).parents[2]
            mover = subprocess.Popen(command, pass_fds=ends, stdin=subprocess.DEVNULL, cwd=root)
            stack.callback(mover.wait)
            stack.callback(mover.kill)
            self._left = stack.pop_all()
        return self

    def _end(self, stack: contextlib.ExitStack, side: int) -> int:
        device = self.DEVICES[side]
        namespace = self.namespaces[side]
        if self._own:
            stack.enter_context(namespace)
        with namespace.inside():
            fd = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _TAP_WITHOUT_HEADER))
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")  # it would talk
        namespace.ip("address", "add", f"{self.ADDRESSES[side]}/24", "dev", device)
        namespace.ip("link", "set", device, "mtu", self._mtu, "txqueuelen", "10000", "up")
        return fd

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._left.close()


def move(ends: tuple[int, int], delay: float, loss: float, seed: int) -> None:
    """Move frames between two TAP devices for ever."""
    across = {end: (other, Faulty(seed + end, delay=delay, loss=loss)) for end, other in (ends, ends[::-1])}
    order = count()
    flying: list[tuple[float, int, int, bytes]] = []
    poll = select.poll()
    for end in ends:
        poll.register(end, select.POLLIN)
    while True:
        wait = None if not flying else max(flying[0][0] - time.monotonic(), 0) * 1000
        for end, _ in poll.poll(wait if wait is None or wait > 1 else 0):  # it knows milliseconds only
            other, link = across[end]
            with contextlib.suppress(BlockingIOError):
                for _ in range(_AT_ONCE):
                    frame = os.read(end, _LONGEST)
                    for due, arriving in link.transmit(frame, time.monotonic()):
                        heapq.heappush(flying, (due, next(order), other, arriving))
        now = time.monotonic()
        while flying and flying[0][0] <= now:
            _, _, end, frame = heapq.heappop(flying)
            with contextlib.suppress(OSError):  # no room, or the device is down
                os.write(end, frame)


if __name__ == "__main__":
    move((int(sys.argv[1]), int(sys.argv[2])), float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))

"""What one user may take of a daemon with all of his connections together: memory, and time of its loop."""

import asyncio
import time
from collections import deque
from typing import Final, Protocol

__all__ = ["TURN", "Budget"]

TURN: Final = 0.005
"""Seconds of a turn of the loop that are one peer's; what he asks beyond them waits for the next one."""


class Served(Protocol):
    """A connection, as seen from here."""

    def serve(self, until: float) -> bool:
        """Read and answer until this time of `time.perf_counter`, or until nothing is left. Whether something is."""
        ...

    def pause(self) -> None:
        """Do not read before `resume`."""
        ...

    def resume(self) -> None:
        """The reverse."""
        ...


class Budget:
    """Bytes that all channels of one peer may hold at once: unfinished frames, requests that wait or are under way,
    replies that it does not read. A channel that would need more closes.

    And time: a peer who asked so much that answering took `TURN` has the others go first. His connections then take
    turns, one turn of the loop each `TURN`. Where nobody else wants anything he loses nothing by that.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0
        self._began = 0.0
        self._spent = 0.0
        self._waiting: deque[Served] = deque()

    def readable(self, channel: Served) -> None:
        """Something came over one of the peer's connections: serve it, now or in a later turn."""
        now = time.perf_counter()
        if now - self._began > 2 * TURN and not self._waiting:
            self._began, self._spent = now, 0.0
        if self._spent < TURN and not self._waiting:
            self._serve(channel, now)
        else:
            self._put_off(channel)

    def _serve(self, channel: Served, now: float) -> None:
        more = channel.serve(now + TURN - self._spent)
        self._spent += time.perf_counter() - now
        if more:
            self._put_off(channel)

    def _put_off(self, channel: Served) -> None:
        channel.pause()
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        self._waiting.append(channel)

    def _next(self) -> None:
        """The peer's share of another turn of the loop."""
        self._began, self._spent = time.perf_counter(), 0.0
        waiting, self._waiting = self._waiting, deque()
        now = self._began
        try:
            while waiting and self._spent < TURN:
                channel = waiting.popleft()
                channel.resume()
                self._serve(channel, now)
                now = time.perf_counter()
        finally:
            if waiting and not self._waiting:
                asyncio.get_running_loop().call_soon(self._next)
            self._waiting.extendleft(reversed(waiting))

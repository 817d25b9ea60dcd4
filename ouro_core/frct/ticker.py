"""`Ticker`: the clock of one flow with FRCT, on an asyncio loop."""

import asyncio
import contextlib
from time import monotonic

from ouro_core.model.errors import OuroError

from .ordered import TICK, FrctPipeline

__all__ = ["Ticker"]


class Ticker:
    """Ticks begin with the first packet, and pause while there is nothing to do. Made in the loop; the flow may be used
    in any thread.
    """

    def __init__(self, path: FrctPipeline) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        path.alarm = self._alarm

    def _alarm(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._arm, TICK)

    def _arm(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._path.alarm is not None:
            self._timer = self._loop.call_later(max(seconds, 0.0), self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = monotonic()
        try:
            due = self._path.tick(now)
        except OuroError:  # closed
            return
        if due is not None:
            self._arm(due - now)

    async def finish(self) -> float:
        """The orderly end: waits until the peer has all, as long as the flow lingers. How many seconds the layer must
        keep the flow's end.
        """
        try:
            async with asyncio.timeout(self._path.farewell()):
                while self._path.lingers():  # noqa: ASYNC110 - nothing tells us in a relay's thread
                    await asyncio.sleep(TICK)
        except (TimeoutError, OuroError):
            pass  # it is over all the same
        finally:
            self.stop()
        return self._path.quarantine

    def stop(self) -> None:
        """No more ticks. Idempotent; in the loop, or when it does not run any more."""
        self._path.alarm = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

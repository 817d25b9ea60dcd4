"""`PythonRelay`: batches both ways between two ends, whatever stages they have.

An `End` can only be waited for by reading it, so each direction has a thread that sleeps in `read_many`. `stop` wakes
it by giving the end back; an end with stages cannot be claimed, and has short time limits instead.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Mapping, Sequence

from ouro_core.contracts.packets import End, FlowEnd, Mover, MoverEvent, Options, State
from ouro_core.model.errors import (
    BadDescriptor,
    FlowDown,
    FlowPeer,
    FlowTimeout,
    InvalidArgument,
    NotAllocated,
    OuroError,
    PacketsError,
    TooLong,
)

__all__ = ["PythonRelay"]

_log = logging.getLogger(__name__)

_PATIENCE = 0.25  # of a read or write that nothing can wake
_DOWN_PAUSE = 0.1  # between two looks at a flow that is down, or has failed


class _Half:
    """One end of the relay."""

    def __init__(self, key: int, end: End) -> None:
        self.key = key
        self.end = end
        self.view: End = end
        patience: float | None = _PATIENCE
        if isinstance(end, FlowEnd):
            self.view = end.claim("relay")
            patience = None
        self.view.set_options(Options(read_timeout=patience, write_timeout=_PATIENCE, deliver_empty=True))
        self.count = dict.fromkeys(("tx", "tx_bytes", "rx", "rx_bytes", "dropped"), 0)
        self.down = False

    def give_back(self) -> None:
        if isinstance(self.end, FlowEnd):
            self.end.unclaim()


class PythonRelay(Mover):
    """Fulfils `Mover`; it starts at once. Keys of events and flow counters: 0 for `a`, 1 for `b`. `rx` is what was read
    from an end, `tx` what was written to it.
    """

    def __init__(self, a: End, b: End, batch: int = 32) -> None:
        if batch < 1:
            raise InvalidArgument(f"cannot move batches of {batch} packets; at least 1")
        first = _Half(0, a)
        try:
            self._halves = first, _Half(1, b)
        except OuroError:
            first.give_back()
            raise
        self._batch = batch
        self._faulty = False
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._events: dict[tuple[str, int], MoverEvent] = {}
        self._news = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._threads = [
            threading.Thread(target=self._run, args=(source, sink), name="ouro-relay", daemon=True)
            for source, sink in (self._halves, self._halves[::-1])
        ]
        for thread in self._threads:
            thread.start()

    # ---- a thread

    def _run(self, source: _Half, sink: _Half) -> None:
        while not self._stopping.is_set():
            try:
                packets = source.view.read_many(self._batch)
            except FlowTimeout:
                continue
            except (FlowDown, FlowPeer):
                if not self._await_up(source):
                    return
                continue
            except (BadDescriptor, PacketsError):  # closed, or given back by `stop`
                return
            except Exception as error:  # of a stage, or of a policy behind it
                self._failed(source, error)
                self._stopping.wait(_DOWN_PAUSE)
                continue
            source.count["rx"] += len(packets)
            source.count["rx_bytes"] += sum(map(len, packets))
            self._pass_on(packets, sink)

    def _pass_on(self, packets: Sequence[bytes], sink: _Half) -> None:
        while packets and not self._stopping.is_set():
            try:
                done = sink.view.write_many(packets)
            except FlowTimeout:
                continue
            except TooLong:
                sink.count["dropped"] += 1
                packets = packets[1:]
                continue
            except (FlowDown, NotAllocated):
                sink.count["dropped"] += len(packets)
                return
            except Exception as error:  # closed, given back by `stop`, or of a stage
                sink.count["dropped"] += len(packets)
                self._failed(sink, error)
                return
            sink.count["tx"] += done
            sink.count["tx_bytes"] += sum(map(len, packets[:done]))
            packets = packets[done:]

    def _failed(self, half: _Half, error: Exception) -> None:
        """What is no OuroError is a fault of somebody's code: it is logged once, and the flow goes on if it can."""
        if isinstance(error, OuroError):
            self._post("FAILED", half.key, error.errno)
            return
        self._post("FAILED", half.key, errno.EIO)
        if not self._faulty:
            self._faulty = True
            _log.error("A stage of %r failed; its packets wait or are lost: %r", half.end, error, exc_info=error)

    def _await_up(self, half: _Half) -> bool:
        """Sleeps while the flow is down. False when it will not come up again."""
        while not self._stopping.is_set():
            try:
                state = half.view.state
            except OuroError:  # closed, or given back by `stop`
                return False
            if state & (State.CLOSED | State.DEAD):
                self._post("DEAD" if state & State.DEAD else "CLOSED", half.key)
                return False
            if bool(state & (State.DOWN | State.PEER)) != half.down:
                half.down = not half.down
                self._post("DOWN" if half.down else "UP", half.key)
            if not half.down:
                return True
            self._stopping.wait(_DOWN_PAUSE)
        return False

    # ---- for the owner

    def _post(self, kind: str, key: int, value: int = 0) -> None:
        with self._lock:
            self._events[kind, key] = MoverEvent(kind, key, value)
            if self._news >= 0:
                os.eventfd_write(self._news, 1)

    def events(self) -> list[MoverEvent]:
        with self._lock:
            found, self._events = list(self._events.values()), {}
            if found and self._news >= 0:
                os.eventfd_read(self._news)
            return found

    def fileno(self) -> int:
        return self._news

    def counters(self) -> Mapping[str, int]:
        """Of both directions: `tx` is what went through, `rx` what was read for it."""
        return {name: sum(half.count[name] for half in self._halves) for name in self._halves[0].count}

    def flow_counters(self, key: int) -> Mapping[str, int]:
        if key not in (0, 1):
            raise KeyError(key)
        return dict(self._halves[key].count)

    def stop(self) -> None:
        if self._stopping.is_set():
            return
        self._stopping.set()
        for half in self._halves:
            half.give_back()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(0.5)
        with self._lock:
            os.close(self._news)
            self._news = -1

"""`FlowSet`: wait for many flows at once (flows.md 3.7)."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING

from ouro_core.contracts.packets import Event, EventSet, FlowEnd, PacketClient
from ouro_core.frct.ordered import FrctPipeline
from ouro_core.model.errors import BadDescriptor, FlowTimeout, InvalidArgument, NotPermitted

if TYPE_CHECKING:
    from .flow import Flow

__all__ = ["FlowSet"]

_LOOK = 0.25
"""Seconds after which a set with FRCT flows looks whether another thread took packets out of a ring for it."""


class FlowSet:
    """Flows of this process whose events are waited for together. A flow is in one set at most, and leaves it when it
    is closed. Level-triggered: what is queued is an event as often as one asks. An empty set has no events; a flow that
    another thread adds wakes who waits.

    Methods may be called from any thread. A context manager; leaving it closes the set, not its flows.
    """

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        self._client: PacketClient | None = None
        self._set: EventSet | None = None
        self._flows: dict[FlowEnd, Flow] = {}
        self._staged: set[FlowEnd] = set()  # of flows that are not raw
        self._closed = False
        self._changed = threading.Condition()  # the set got its first flow, or was closed
        self._descriptor: select.epoll | None = None  # given out before there was a flow
        for flow in flows:
            self.add(flow)

    def add(self, flow: Flow) -> None:
        """Put a flow in; packets already queued are an event at once. NotPermitted: it is in a set. InvalidArgument:
        the others in this set are of an earlier life of the IRMd.
        """
        events = self._events_for(flow._client)
        if flow._set is not None:
            if flow._set is flow._own:
                raise NotPermitted(f"flow {flow.flow_id} is with a selector, or whoever asked for its fileno()")
            raise NotPermitted(f"flow {flow.flow_id} is in a set already; remove it there first")
        if flow._path is not flow._end:
            self._staged.add(flow._end)
        events.add(flow._end)
        self._flows[flow._end] = flow
        flow._set = self
        if isinstance(flow._path, FrctPipeline):
            flow._path.set_on_events(True)
        with self._changed:
            self._changed.notify_all()

    def _events_for(self, client: PacketClient) -> EventSet:
        self._check()
        if self._set is None or (self._client is not client and not self._flows):
            if self._set is not None:
                self._set.close()
            self._client, self._set = client, client.event_set()
            if self._descriptor is not None:
                self._descriptor.register(self._set.fileno(), select.EPOLLIN)
        elif self._client is not client:
            raise InvalidArgument(
                "the flows of this set are of another IRMd, or of one that went away; use another set"
            )
        return self._set

    def remove(self, flow: Flow) -> None:
        "Take a flow out. One that is not in the set is no error."
        if self._flows.pop(flow._end, None) is not None:
            self._staged.discard(flow._end)
            flow._set = None
            if isinstance(flow._path, FrctPipeline):
                flow._path.set_on_events(False)
            if self._set is not None:
                self._set.remove(flow._end)

    def clear(self) -> None:
        "Take all flows out."
        for flow in list(self):
            self.remove(flow)

    def __contains__(self, flow: object) -> bool:
        return any(flow is member for member in list(self._flows.values()))

    def __iter__(self) -> Iterator[Flow]:
        return iter(list(self._flows.values()))

    def __len__(self) -> int:
        return len(self._flows)

    def wait(self, timeout: float | None = None) -> list[tuple[Flow, Event]]:
        """(flow, its events or-ed) for every flow that has any; at least one. `timeout` in seconds, None: for ever.

        PACKET comes as long as a packet is queued, the others once for each change. FlowTimeout.
        """
        if self._set is not None and not self._staged:
            found = self._merge(self._set.wait(timeout), ())
            if found:
                return found
        end = None if timeout is None else monotonic() + timeout
        events = self._first(timeout)
        while not self._rests():
            left = None if end is None else max(end - monotonic(), 0)
            look = any(isinstance(flow._path, FrctPipeline) for flow in self)
            try:
                found = self._merge(events.wait(min(_LOOK, _LOOK if left is None else left) if look else left), ())
            except FlowTimeout:
                if not look or left == 0:
                    raise
                found = []
            if found:
                return found
        return self.poll()

    def _first(self, timeout: float | None) -> EventSet:
        "The set, once there is one: with the first flow."
        end = None if timeout is None else monotonic() + timeout
        with self._changed:
            while self._check() is None:
                rest = None if end is None else end - monotonic()
                if rest is not None and rest <= 0:
                    raise FlowTimeout(f"no flow was added to the set within {timeout} s")
                self._changed.wait(rest)
        assert self._set is not None
        return self._set

    def poll(self) -> list[tuple[Flow, Event]]:
        "What `wait` would return now, perhaps nothing. Re-arms `fileno()`."
        events = self._check()
        return [] if events is None else self._merge(events.poll(), self._rests())

    def fileno(self) -> int:
        """For select, poll and epoll: readable when there is an event. Call `poll` after it became readable, always: it
        stays readable until then."""
        if self._descriptor is not None and not self._closed:
            return self._descriptor.fileno()
        events = self._check()
        if events is not None:
            return events.fileno()
        self._descriptor = select.epoll()
        return self._descriptor.fileno()

    def _check(self) -> EventSet | None:
        if self._closed:
            raise BadDescriptor("the set of flows is closed; make another one")
        return self._set

    def _rests(self) -> list[Flow]:
        "Flows that hold a part of a packet themselves, which no ring knows of."
        return [flow for end in list(self._staged) if (flow := self._flows.get(end)) is not None and flow._has_rest()]

    def _merge(self, found: list[tuple[FlowEnd, Event]], rests: Iterable[Flow]) -> list[tuple[Flow, Event]]:
        if not self._staged:
            return [(self._flows[end], events) for end, events in found if end in self._flows]
        merged = dict(found)
        for end in merged:
            flow_of = self._flows.get(end)
            if flow_of is not None and isinstance(flow_of._path, FrctPipeline):
                flow_of._path.pump()
                if not flow_of._has_rest():  # only what FRCT says to itself
                    merged[end] &= ~Event.PACKET
        for flow in rests:
            merged[flow._end] = merged.get(flow._end, Event(0)) | Event.PACKET
        return [(self._flows[end], events) for end, events in merged.items() if events and end in self._flows]

    def close(self) -> None:
        "Take all flows out and give up the descriptor. Idempotent."
        self.clear()
        self._closed = True
        if self._set is not None:
            self._set.close()
            self._set = None
        if self._descriptor is not None:
            self._descriptor.close()
        with self._changed:
            self._changed.notify_all()

    def __enter__(self) -> FlowSet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

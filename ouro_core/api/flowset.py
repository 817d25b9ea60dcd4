"""`FlowSet`: wait for many flows at once (flows.md 3.7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ouro_core.contracts.packets import Event, EventSet, FlowEnd, PacketClient
from ouro_core.model.errors import BadDescriptor, InvalidArgument, NotPermitted

if TYPE_CHECKING:
    from .flow import Flow

__all__ = ["FlowSet"]


class FlowSet:
    """Flows of this process whose events are waited for together. A flow is in one set at most, and leaves it when it
    is closed. Level-triggered: what is queued is an event as often as one asks.

    Methods may be called from any thread. A context manager; leaving it closes the set, not its flows.
    """

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        self._client: PacketClient | None = None
        self._set: EventSet | None = None
        self._flows: dict[FlowEnd, Flow] = {}
        self._closed = False
        for flow in flows:
            self.add(flow)

    def add(self, flow: Flow) -> None:
        """Put a flow in; packets already queued are an event at once. NotPermitted: it is in a set. InvalidArgument:
        the others in this set are of an earlier life of the IRMd.
        """
        events = self._events_for(flow._client)
        if flow._set is not None:
            raise NotPermitted(f"flow {flow.flow_id} is in a set already; remove it there first")
        events.add(flow._end)
        self._flows[flow._end] = flow
        flow._set = self

    def _events_for(self, client: PacketClient) -> EventSet:
        if self._closed:
            raise BadDescriptor("the set of flows is closed; make another one")
        if self._set is None or (self._client is not client and not self._flows):
            if self._set is not None:
                self._set.close()
            self._client, self._set = client, client.event_set()
        elif self._client is not client:
            raise InvalidArgument(
                "the flows of this set are of another IRMd, or of one that went away; use another set"
            )
        return self._set

    def remove(self, flow: Flow) -> None:
        "Take a flow out. One that is not in the set is no error."
        if self._flows.pop(flow._end, None) is not None:
            flow._set = None
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
        events = self._open()
        if self._rests():
            return self.poll()
        while True:
            found = self._merge(events.wait(timeout), ())
            if found:
                return found

    def poll(self) -> list[tuple[Flow, Event]]:
        "What `wait` would return now, perhaps nothing. Re-arms `fileno()`."
        return self._merge(self._open().poll(), self._rests())

    def fileno(self) -> int:
        """For select, poll and epoll: readable when there is an event. Call `poll` after it became readable, always: it
        stays readable until then."""
        return self._open().fileno()

    def _open(self) -> EventSet:
        if self._closed:
            raise BadDescriptor("the set of flows is closed; make another one")
        if self._set is None:
            raise InvalidArgument("the set never had a flow; add one first")
        return self._set

    def _rests(self) -> list[Flow]:
        "Flows that hold a part of a packet themselves, which no ring knows of."
        return [flow for flow in self if flow._has_rest()]

    def _merge(self, found: list[tuple[FlowEnd, Event]], rests: Iterable[Flow]) -> list[tuple[Flow, Event]]:
        merged = dict(found)
        for flow in rests:
            merged[flow._end] = merged.get(flow._end, Event(0)) | Event.PACKET
        return [(self._flows[end], events) for end, events in merged.items() if end in self._flows]

    def close(self) -> None:
        "Take all flows out and give up the descriptor. Idempotent."
        self.clear()
        self._closed = True
        if self._set is not None:
            self._set.close()
            self._set = None

    def __enter__(self) -> FlowSet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""The flows of the layer above that an IPCP has, and the ends it holds of them."""

import asyncio
from collections.abc import Iterator, Mapping

from attrs import define, field

from ..contracts.ipcp import NFlow
from ..contracts.packets import FlowEnd, Options, PacketClient, State
from ..model.errors import Exists, NotAllocated, OuroError
from ..model.flow import FlowState, Grant
from ..model.log import logger

__all__ = ["FlowRecord", "FlowTable"]

_log = logger("ipcpd/ipcp")
_OPTIONS = Options(deliver_empty=True)  # keep-alives are packets of the layer above


@define(eq=False)
class FlowRecord:
    """One flow. `ends` are `flow.end` and, where two users share no pool, the requester's of a joined flow."""

    flow: NFlow
    state: FlowState
    ends: list[FlowEnd]
    settled: asyncio.Event = field(factory=asyncio.Event)
    """Set whenever `state` is not one that passes by itself."""

    def allocated(self) -> None:
        self.state = FlowState.ALLOCATED
        self.settled.set()

    def closing(self) -> None:
        self.state = FlowState.DEALLOC_PENDING
        self.settled.clear()

    def down(self) -> None:
        """Nothing moves any more, and both sides see it."""
        for end in self.ends:
            try:
                end.mark(set=State.DOWN)
            except OuroError as e:
                _log.debug("Flow %d: %s", self.flow.id, e)


class FlowTable:
    """By the IRM's flow id, which is free again only when the last user of it has let go here."""

    def __init__(self, packets: PacketClient) -> None:
        self._packets = packets
        self._records: dict[int, FlowRecord] = {}
        self.ending = False
        """The IPCP stops: ends are left to its movers, which end with it."""

    def __iter__(self) -> Iterator[FlowRecord]:
        return iter(list(self._records.values()))

    def __contains__(self, flow_id: int) -> bool:
        return flow_id in self._records

    async def vacant(self, flow_id: int) -> None:
        """Wait while a flow with this id is on its way out, or its cancelled allocation is. Exists: it is in use."""
        while (record := self._records.get(flow_id)) is not None:
            if record.state is FlowState.ALLOCATED:
                raise Exists(f"flow {flow_id} exists in this IPCP; deallocate it first")
            await record.settled.wait()

    async def allocated(self, flow_id: int) -> FlowRecord:
        """A flow to deallocate; one whose allocation is still ending is waited for. NotAllocated."""
        record = self._records.get(flow_id)
        if record is not None and record.state is FlowState.ALLOC_PENDING:
            await record.settled.wait()
            record = self._records.get(flow_id)
        if record is None or record.state is not FlowState.ALLOCATED:
            raise NotAllocated(f"flow {flow_id} is not known to this IPCP, or is being deallocated already")
        return record

    def attach(self, grant: Grant) -> FlowEnd:
        """Our end of a flow. Takes the descriptors over."""
        return self._packets.attach(grant.data, grant.fds, _OPTIONS)

    def open(self, flow_id: int, grant: Grant | None, state: FlowState) -> FlowRecord:
        """A new flow. PacketsError when the grant is not right."""
        end = None if grant is None else self.attach(grant)
        record = FlowRecord(NFlow(flow_id, end), state, [] if end is None else [end])
        if state is FlowState.ALLOCATED:
            record.settled.set()
        self._records[flow_id] = record
        return record

    def join(self, flow_id: int, grant: Grant) -> FlowEnd:
        """A flow that had no end here gets one. NotAllocated: it is gone meanwhile."""
        record = self._records.get(flow_id)
        end = self.attach(grant)
        if record is None:
            end.close()
            raise NotAllocated(f"flow {flow_id}, which this one joins, is gone")
        record.ends.append(end)
        return end

    def release(self, record: FlowRecord) -> None:
        """Close the ends, forget the flow. An end that is still bound is left to the client: a mover reads there."""
        for end in record.ends:
            if end.owner is not None:
                if not self.ending:
                    words = "Flow %d: its end was left to %s; unbind ends in flow_dealloc."
                    _log.error(words, record.flow.id, end.owner)
                continue
            try:
                end.close()
            except OuroError as e:
                _log.warning("Flow %d: %s", record.flow.id, e)
        if self._records.get(record.flow.id) is record:
            del self._records[record.flow.id]
        record.settled.set()

    def counters(self) -> Mapping[str, Mapping[str, object]]:
        """For the RIB: by flow id, the state and the counters of our end."""
        return {
            str(record.flow.id): {"state": record.state.name}
            | {name: n for end in record.ends[:1] for name, n in end.counters().items()}
            for record in self
        }

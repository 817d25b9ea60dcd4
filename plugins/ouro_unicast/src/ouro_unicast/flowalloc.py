"""Flow allocator, sans-IO: how flows of the layer above come about between members (unicast.md 6).

Theory of operation. This is the flow allocation that all types of IPCP share (`ouro_core.shim.Management`), with
addresses for hosts and the messages of `wire.fa`. Data transfer does not say who sent a packet, so a request carries
its sender's address, and a reply counts as sent by whoever the request with its EID went to. EIDs are 64 random bits,
and a reply or update that names none that waits, or is here, is dropped: who can neither see nor guess them can do
nothing.

A request that is given up is withdrawn, so that no application is offered what nobody waits for: by a request from the
same EID without a hash, which the prototype drops (unicast.md 6.5). Only members that are known to be none get it.

Messages above `PLAIN` go in fragments to a member that takes them, and plainly to one of the prototype: whether the
layers below carry that much nobody here knows.
"""

import secrets
from collections.abc import Callable
from random import Random, SystemRandom
from typing import Any, Final

from attrs import frozen

from ouro_core.model.capability import Capability
from ouro_core.model.errors import WireError
from ouro_core.shim.management import Incoming, Management
from ouro_core.shim.messages import Extension, FlowReply, FlowRequest, UnknownCode

from .wire.fa import FIXED_SIZE, LONGEST, Code, FaMessage
from .wire.pci import FIRST_FLOW_EID

__all__ = ["MPL", "PLAIN", "FlowAllocator", "Withdrawn", "new_eid"]

MPL: Final = 100
"""Maximum packet lifetime, ms."""
PLAIN: Final = 1300
"""Bytes of a message that every lower layer carries, also below four others."""


def new_eid() -> int:
    """An endpoint identifier for a flow, which nobody can foresee."""
    while True:
        eid = secrets.randbits(64)
        if eid >= FIRST_FLOW_EID:
            return eid


class _Codec:
    """The messages of `ouro_core.shim` as those of the flow allocator at `address`."""

    def __init__(self, address: int, hash_size: int) -> None:
        self._address = address
        self._hash_size = hash_size

    def encode(self, message: Any) -> bytes:
        if isinstance(message, FlowRequest):
            body = message.hash + message.data
            fields = FaMessage(Code.REQUEST, self._address, s_eid=message.eid, qos=message.qos, body=body)
        elif isinstance(message, FlowReply):
            fields = FaMessage(
                Code.REPLY, r_eid=message.requester, s_eid=message.responder, response=message.response,
                body=message.data,
            )  # fmt: skip
        else:
            fields = FaMessage(Code.EXTENSION, self._address, body=message.body)
        return fields.encode_any()

    def decode(self, data: bytes) -> FlowRequest | FlowReply | Extension:
        m = FaMessage.decode_any(data)
        if m.code is Code.REQUEST:
            if len(m.body) < self._hash_size:
                raise WireError(f"a flow request with {len(m.body)} bytes of hash; {self._hash_size} is right")
            _check_eid(m.s_eid)
            return FlowRequest(m.s_eid, m.body[: self._hash_size], m.qos, m.body[self._hash_size :])
        if m.code is Code.REPLY:
            _check_eid(m.r_eid)
            if not m.response:
                _check_eid(m.s_eid)
            return FlowReply(m.r_eid, m.s_eid, m.response, m.body)
        if m.code is Code.EXTENSION:
            return Extension(m.body)
        raise UnknownCode(f"{m} comes in no fragments")


def _check_eid(eid: int) -> None:
    if eid < FIRST_FLOW_EID:
        raise WireError(f"EID {eid} is no flow's: those begin at {FIRST_FLOW_EID}")


@frozen
class Withdrawn:
    """A request that has not been answered was given up."""

    request: Incoming[int]


class FlowAllocator(Management[int]):
    """That of one member. Hosts are addresses. `updated` is called with our EID and the congestion at its peer."""

    def __init__(
        self,
        address: int,
        hash_size: int,
        capabilities: Capability = Capability.FRAGMENTS,
        rng: Random | None = None,
        updated: Callable[[int, int], None] = lambda eid, ece: None,
    ) -> None:
        self._address = address
        super().__init__(_Codec(address, hash_size), rng or SystemRandom(), PLAIN, capabilities, any_name=True)
        self.updates_received = self.updates_sent = 0
        self._updated = updated

    def take(self, data: bytes, now: float) -> None:
        """A packet came for the flow allocator: any bytes."""
        try:
            message = FaMessage.decode(data)
        except WireError:
            self.receive(data, now, 0)  # where it is counted
            return
        if message.code is Code.UPDATE:
            self._update(message)
        elif message.code is Code.REPLY:
            waiting = self._outgoing.get(message.r_eid)
            self.receive(data, now, waiting.peer if waiting is not None else 0)
        elif not 0 < message.source < 1 << 32:
            self.counters.malformed += 1
        elif message.code is Code.REQUEST and not message.body:
            self._withdrawn(message.source, message.s_eid)
        else:
            self.receive(data, now, message.source)

    def withdraw(self, eid: int, now: float) -> None:
        """Give the request from `eid` up, and tell who was asked. Unknown ones are ignored."""
        waiting = self._outgoing.get(eid)
        self.cancel(eid)
        if waiting is None:
            return
        known = self._carrier.known(waiting.peer, now) or Capability(0)
        if waiting.peer == self._address or Capability.FRAGMENTS in known:
            self._send(waiting.peer, FaMessage(Code.REQUEST, self._address, s_eid=eid).encode())

    def _withdrawn(self, source: int, eid: int) -> None:
        incoming = self._by_requester.get((source, eid))
        if incoming is None or incoming.reply is not None:
            self.counters.unexpected += 1
        else:
            self._supersede(incoming)
            self._events.append(Withdrawn(incoming))

    def _update(self, message: FaMessage) -> None:
        if message.r_eid < FIRST_FLOW_EID:
            self.counters.malformed += 1
            return
        self.updates_received += 1
        self._updated(message.r_eid, message.ece)

    def update(self, peer: int, remote_eid: int, ece: int) -> None:
        """Tell the sender of a flow how full the queues on its way are."""
        self.updates_sent += 1
        self._send(peer, FaMessage(Code.UPDATE, r_eid=remote_eid, ece=min(ece, 65535)).encode())

    def _deliver(self, message: Any, now: float) -> None:
        known = self._carrier.known(message.peer, now)
        short = len(message.message) <= LONGEST
        if short and known is not None and Capability.FRAGMENTS not in known:
            self._send(message.peer, message.message)
        else:
            super()._deliver(message, now)


assert FIXED_SIZE < PLAIN < LONGEST

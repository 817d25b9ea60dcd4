"""Flow allocation between the members of a layer over a legacy technology, sans-IO (spec: shims.md 2, 4.6, 5.4).

Theory of operation. The requester sends FLOW_REQ with its EID and waits; the responder answers with FLOW_REPLY. There
is no other message, and a node of the prototype neither repeats nor recognises a repetition. So here

* a reply counts only for a request that waits for one, and from the host that was asked; late and doubled ones are
  counted and that is all;
* a request that comes twice is answered twice with the same reply, and offered to the applications once. That is for
  `REMEMBERED` seconds: an EID may belong to another flow then;
* another request from the same EID of a host means that it has given the first one up;
* a request without a reply after `PATIENCE` seconds makes us ask the peer whether it is one of us (`Carrier`), and only
  if it is the request is repeated: the prototype would open a second flow. One that ends without a reply forgets where
  it went, as somebody else may have the name by now;
* requests that wait for an application are bounded, by host, by name and in all; one too many is refused with EAGAIN at
  once;
* a message that no frame has room for goes in fragments to a peer that takes them, and else fails, with its length and
  the limit in the error. One that fits goes as the prototype sends it.

`receive` and the commands change the state; then take `events()` and `datagrams_to_send()`, and call `handle_timeout`
at `next_timeout()`. So it is a node of `ouro_core.testing.network` as it is.
"""

import hashlib
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from heapq import heappop, heappush
from random import Random
from typing import Any, Final, Generic, TypeAlias, TypeVar

from attrs import asdict, define, field, frozen

from ..model.capability import Capability
from ..model.errors import IpcpError, OuroError, OutOfMemory, UnknownName, WireError, WouldBlock, error_from_code
from ..model.qos import QosSpec
from ..oap import carrier
from ..oap.carrier import Carrier, Delivered, Probed, too_long
from .admission import Admission
from .directory import Directory
from .messages import Codec, Extension, FlowReply, FlowRequest, UnknownCode

__all__ = ["Answered", "Arrived", "Counters", "Event", "Incoming", "Management", "Refused", "Undelivered"]

A = TypeVar("A", bound=Hashable)
K = TypeVar("K")

PATIENCE: Final = 0.25
"""Seconds until a request without a reply is looked after; doubles up to `MAX_PATIENCE`."""
MAX_PATIENCE: Final = 2.0
REMEMBERED: Final = 20.0
"""Seconds for which a request that was answered is recognised: longer than requesters wait, as a rule."""
MAX_INCOMING: Final = 1024
"""Requests that wait for an application, ..."""
MAX_INCOMING_A_PEER: Final = 64
"""... those of one host, ..."""
MAX_INCOMING_A_NAME: Final = 512
"""... and those for one name: where nobody accepts, requests pile up, and must leave room for those for other names."""
UNREGISTERED_RATE: Final = 100.0
"""Requests a second for names that are not registered here, where `any_name` lets them through: each is a question to
the IRM, ..."""
UNREGISTERED_BURST: Final = 200
"""... and at once."""
MAX_REMEMBERED: Final = 4096


@define
class Counters:
    """Management messages, and what was dropped and why."""

    requests_sent: int = 0
    requests_repeated: int = 0
    replies_received: int = 0
    requests_received: int = 0
    replies_sent: int = 0
    malformed: int = 0
    unknown_code: int = 0
    unknown_name: int = 0
    """Requests for a hash that is not registered here, dropped."""
    duplicates: int = 0
    """Requests that were here already."""
    superseded: int = 0
    """Requests given up for another one from the same EID."""
    too_many: int = 0
    """Requests refused because too many wait."""
    unexpected: int = 0
    """Replies to nothing that waits: late, doubled or made up."""
    wrong_source: int = 0
    """Replies from a host that was not asked."""
    evicted: int = 0
    """Entries of the directory that led nowhere."""


@define(eq=False)
class Incoming(Generic[A]):
    """A request that came. Give it back to `accept` or `refuse`, once."""

    peer: A
    eid: int
    """The requester's."""
    hash: bytes
    qos: QosSpec
    data: bytes = field(repr=False)
    key: tuple[A, bytes] = field(repr=False)
    reply: bytes | None = field(default=None, repr=False)
    until: float = 0.0
    """When it is forgotten; counts once there is a reply."""
    superseded: bool = False


@frozen
class Arrived(Generic[A]):
    """A request to offer to the applications."""

    request: Incoming[A]


@frozen
class Answered(Generic[A]):
    """The request from our endpoint `eid` was accepted, at endpoint `remote`; `data` is the OAP response."""

    eid: int
    peer: A
    remote: int
    data: bytes = field(repr=False)


@frozen
class Refused:
    """Nothing came of the request from our endpoint `eid`: the peer's error, or what kept us from asking."""

    eid: int
    error: OuroError


@frozen
class Undelivered:
    """The flow that was accepted at our endpoint `eid` is none: its requester cannot be told."""

    eid: int
    error: OuroError


@frozen
class Capable(Generic[A]):
    """What a peer can do, after `ask`."""

    peer: A
    capabilities: Capability


Event: TypeAlias = Arrived[A] | Answered[A] | Refused | Undelivered | Capable[A]


@define(eq=False)
class _Outgoing(Generic[A]):
    """A request of ours that waits for its reply."""

    peer: A
    hash: bytes
    message: bytes
    patience: float = PATIENCE


@frozen
class _Message(Generic[A]):
    """A message, and whose it is. `eid`: ours; 0 where no flow depends on it."""

    peer: A
    eid: int
    message: bytes
    owner: "_Outgoing[A] | Incoming[A]"


class Management(Generic[A]):
    """One member of a layer. `A` tells hosts. `now` are seconds of any clock that does not go back.

    `max_message`: longest message that a frame takes, in bytes; `room` tells the same of fragments, by peer, where that
    differs. `any_name`: requests are offered to the applications also when their hash is not registered here. `rng`
    makes tokens: `random.SystemRandom()`, or a seeded one in simulations.
    """

    def __init__(
        self,
        codec: Codec,
        rng: Random,
        max_message: int,
        capabilities: Capability = Capability.FRAGMENTS,
        any_name: bool = False,
        counters: Counters | None = None,
        room: Callable[[A], int] | None = None,
    ) -> None:
        self.directory: Directory[A] = Directory()
        self.registered: set[bytes] = set()
        """Hashes of the names that are registered here."""
        self.counters = counters if counters is not None else Counters()
        self.codec = codec
        self.max_message = max_message
        """May be changed: what is sent from then on keeps to it."""
        self._any_name = any_name
        self._unregistered: Admission[None] = Admission(UNREGISTERED_RATE, UNREGISTERED_BURST)
        self._carrier: Carrier[A] = Carrier(rng, capabilities)
        self._room = room if room is not None else lambda _: self.max_message
        self._overhead = len(codec.encode(Extension(b"")))
        self._output: list[tuple[A, bytes]] = []
        self._events: deque[Any] = deque()
        self._timers: list[tuple[float, int, _Outgoing[A]]] = []
        self._outgoing: dict[int, _Outgoing[A]] = {}  # by our EID
        self._incoming: dict[tuple[A, bytes], Incoming[A]] = {}  # waiting, or answered not long ago
        self._by_requester: dict[tuple[A, int], Incoming[A]] = {}
        self._waiting: Counter[A] = Counter()  # of `_incoming`, those without a reply
        self._waiting_for: Counter[bytes] = Counter()  # the same, by hash
        self._answered: OrderedDict[tuple[A, bytes], Incoming[A]] = OrderedDict()
        self._asking: dict[A, list[_Message[A]]] = {}  # until we know what the peer can do
        self._sending: dict[int, _Message[A]] = {}  # in fragments

    # ------------------------------------------------------------ commands

    def request(self, eid: int, peer: A, hash: bytes, qos: QosSpec, data: bytes, now: float) -> None:
        """Ask `peer` for a flow, with our endpoint `eid`. `Answered` or `Refused` follows; a peer may never answer."""
        if eid in self._outgoing:
            raise ValueError(f"endpoint {eid} waits for a reply already")
        message = self.codec.encode(FlowRequest(eid, hash, qos, data))
        outgoing = self._outgoing[eid] = _Outgoing(peer, hash, message)
        self.counters.requests_sent += 1
        self._deliver(_Message(peer, eid, message, outgoing), now)
        self._look_after(eid, outgoing, now)

    def cancel(self, eid: int) -> None:
        """Wait no more for a reply to the request from `eid`, and forget where it went. Unknown ones are ignored."""
        outgoing = self._outgoing.pop(eid, None)
        if outgoing is not None:
            self._evict(outgoing)
            for number in [n for n, message in self._sending.items() if message.owner is outgoing]:
                del self._sending[number]
                self._carrier.cancel(number)

    def accept(self, request: Incoming[A], eid: int, data: bytes, now: float) -> bool:
        """An application accepted; our endpoint is `eid`. False: the requester has given up, there is no flow."""
        if request.superseded:
            return False
        self._reply(request, FlowReply(request.eid, eid, 0, data), eid, now)
        return True

    def refuse(self, request: Incoming[A], error: OuroError, now: float) -> None:
        """Nobody accepted, or could not."""
        if not request.superseded:
            self._reply(request, FlowReply(request.eid, 0, _code(error)), 0, now)

    def unreachable(self, peer: A, error: OuroError) -> None:
        """Nothing can be sent to `peer`: what waits for it has failed."""
        for eid in [e for e, outgoing in self._outgoing.items() if outgoing.peer == peer]:
            self.cancel(eid)
            self.tell(Refused(eid, error))

    def ask(self, peer: A, now: float) -> Capability | None:
        """What a peer can do. None: nobody knows yet, and `Capable` follows within 300 ms. OutOfMemory."""
        known = self._carrier.known(peer, now)
        if known is None:
            self._carrier.probe(peer, now)
            self._from_carrier(now)
        return known

    # ------------------------------------------------------------ what happens

    def receive(self, data: bytes, now: float, source: A) -> None:
        """A management message came: any bytes."""
        message = self._decode(data)
        if isinstance(message, Extension):
            self._carrier.receive(source, message.body, now)
            self._from_carrier(now)
        elif message is not None:
            self.handle(message, data, now, source)

    def _decode(self, data: bytes) -> Any:
        """None: it is no message, and that is counted."""
        try:
            return self.codec.decode(data)
        except UnknownCode:
            self.counters.unknown_code += 1
        except WireError:
            self.counters.malformed += 1
        return None

    def handle(self, message: object, data: bytes, now: float, source: A) -> None:
        """`message` is `data`, decoded. A type with more messages overrides it, and calls this for the others."""
        if isinstance(message, FlowRequest):
            self._requested(message, data, now, source)
        elif isinstance(message, FlowReply):
            self._replied(message, source)
        else:
            self.counters.malformed += 1

    def send(self, peer: A, message: object) -> None:
        """For the types: send a message that fits."""
        self._send(peer, self.codec.encode(message))

    def tell(self, event: object) -> None:
        """For the types: `event` is one of `events()`."""
        self._events.append(event)

    def events(self) -> list[Any]:
        """What happened, each given once: an `Event`, or one of the type's own."""
        events = list(self._events)
        self._events.clear()
        return events

    def datagrams_to_send(self, now: float) -> list[tuple[A, bytes]]:
        """(host, message), each given once."""
        output, self._output = self._output, []
        return output

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout` at the latest; None: not until something else happens."""
        timers = self._timers
        while timers and self._outgoing.get(timers[0][1]) is not timers[0][2]:
            heappop(timers)
        due = self._carrier.next_timeout()
        if not timers:
            return due
        return timers[0][0] if due is None else min(due, timers[0][0])

    def handle_timeout(self, now: float) -> None:
        """Do what is due. Too early is no error."""
        self._carrier.handle_timeout(now)
        self._from_carrier(now)
        while self._timers and self._timers[0][0] <= now:
            _, eid, outgoing = heappop(self._timers)
            if self._outgoing.get(eid) is outgoing:
                self._unanswered(eid, outgoing, now)

    # ------------------------------------------------------------ requests of ours

    def _look_after(self, eid: int, outgoing: _Outgoing[A], now: float) -> None:
        heappush(self._timers, (now + outgoing.patience, eid, outgoing))
        outgoing.patience = min(2 * outgoing.patience, MAX_PATIENCE)

    def _unanswered(self, eid: int, outgoing: _Outgoing[A], now: float) -> None:
        known = self._carrier.known(outgoing.peer, now)
        if known is None:
            try:
                self._carrier.probe(outgoing.peer, now)
            except OutOfMemory:
                pass
            self._from_carrier(now)
        elif Capability.FRAGMENTS in known and not self._under_way(outgoing):
            self.counters.requests_repeated += 1
            self._deliver(_Message(outgoing.peer, eid, outgoing.message, outgoing), now)
        # else a node of the prototype, which takes a repetition for another request; or our questions were lost
        self._look_after(eid, outgoing, now)

    def _replied(self, reply: FlowReply, source: A) -> None:
        outgoing = self._outgoing.get(reply.requester)
        if outgoing is None:
            self.counters.unexpected += 1
        elif outgoing.peer != source:
            self.counters.wrong_source += 1
        elif not reply.response and not reply.responder:
            self.counters.malformed += 1
        else:
            self.counters.replies_received += 1
            del self._outgoing[reply.requester]
            if reply.response:
                self._refused(reply, outgoing)
            else:
                self.tell(Answered(reply.requester, source, reply.responder, reply.data))

    def _refused(self, reply: FlowReply, outgoing: _Outgoing[A]) -> None:
        why = error_from_code(reply.response)  # from afar comes a number and no reason
        error = error_from_code(reply.response, f"the far end refused the flow ({why.code}): {why}")
        if isinstance(error, UnknownName):
            self._evict(outgoing)
        self.tell(Refused(reply.requester, error))

    def _evict(self, outgoing: _Outgoing[A]) -> None:
        """Somebody else may have the name by now."""
        self.counters.evicted += self.directory.forget(outgoing.hash, outgoing.peer)

    # ------------------------------------------------------------ requests of others

    def _requested(self, request: FlowRequest, data: bytes, now: float, source: A) -> None:
        if not request.eid:
            self.counters.malformed += 1
            return
        if not self._any_name and request.hash not in self.registered:
            self.counters.unknown_name += 1
            return
        self._forget_old(now)
        key = source, hashlib.blake2b(data, digest_size=16).digest()
        known = self._incoming.get(key)
        if known is not None:
            self.counters.duplicates += 1
            if known.reply is not None and not self._under_way(known):
                self._deliver(_Message(source, 0, known.reply, known), now)
            return
        if request.hash not in self.registered and not self._unregistered.admit(None, now):
            self.counters.unknown_name += 1
            return
        self.counters.requests_received += 1
        before = self._by_requester.get((source, request.eid))
        if before is not None:
            self._supersede(before)
        if (
            self._waiting[source] >= MAX_INCOMING_A_PEER
            or self._waiting_for[request.hash] >= MAX_INCOMING_A_NAME
            or self._waiting_for.total() >= MAX_INCOMING
        ):
            self.counters.too_many += 1
            self.send(source, FlowReply(request.eid, 0, WouldBlock().code))
            return
        incoming = Incoming(source, request.eid, request.hash, request.qos, request.data, key)
        self._incoming[key] = self._by_requester[source, request.eid] = incoming
        self._waiting[source] += 1
        self._waiting_for[request.hash] += 1
        self.tell(Arrived(incoming))

    def _supersede(self, incoming: Incoming[A]) -> None:
        if incoming.reply is None:
            incoming.superseded = True
            self.counters.superseded += 1
            self._no_more_waiting(incoming)
        self._forget(incoming)

    def _reply(self, incoming: Incoming[A], reply: FlowReply, eid: int, now: float) -> None:
        incoming.reply = self.codec.encode(reply)
        incoming.until = now + REMEMBERED
        self._no_more_waiting(incoming)
        self._answered[incoming.key] = incoming
        self._forget_old(now)
        self.counters.replies_sent += 1
        self._deliver(_Message(incoming.peer, eid, incoming.reply, incoming), now)

    def _no_more_waiting(self, incoming: Incoming[A]) -> None:
        _one_less(self._waiting, incoming.peer)
        _one_less(self._waiting_for, incoming.hash)

    def _forget_old(self, now: float) -> None:
        while self._answered:
            oldest = next(iter(self._answered.values()))
            if oldest.until > now and len(self._answered) <= MAX_REMEMBERED:
                return
            self._forget(oldest)

    def _forget(self, incoming: Incoming[A]) -> None:
        self._answered.pop(incoming.key, None)
        if self._incoming.get(incoming.key) is incoming:
            del self._incoming[incoming.key]
        if self._by_requester.get((incoming.peer, incoming.eid)) is incoming:
            del self._by_requester[incoming.peer, incoming.eid]

    # ------------------------------------------------------------ messages of any length

    def _send(self, peer: A, message: bytes) -> None:
        self._output.append((peer, message))

    def _deliver(self, message: _Message[A], now: float) -> None:
        """Send a request or a reply in the way it needs."""
        if len(message.message) <= self.max_message:
            self._send(message.peer, message.message)
            return
        known = self._carrier.known(message.peer, now)
        try:
            if known is None:
                self._carrier.probe(message.peer, now)
                self._asking.setdefault(message.peer, []).append(message)
            elif Capability.FRAGMENTS in known:
                room = self._room(message.peer) - self._overhead
                self._sending[self._carrier.send(message.peer, message.message, room, now)] = message
            else:
                raise too_long(message.message, self.max_message, "the far end")
        except OuroError as error:
            self._not_sent(message, error)
        self._from_carrier(now)

    def _under_way(self, owner: "_Outgoing[A] | Incoming[A]") -> bool:
        """Whether a message of this one waits for what the carrier does."""
        asking = self._asking.get(owner.peer, ())
        return any(message.owner is owner for message in (*asking, *self._sending.values()))

    def _not_sent(self, message: _Message[A], error: OuroError) -> None:
        owner = message.owner
        if isinstance(owner, _Outgoing):
            if self._outgoing.get(message.eid) is owner:
                self.cancel(message.eid)
                self.tell(Refused(message.eid, error))
        elif message.eid:
            # the requester would wait in vain
            owner.reply = self.codec.encode(FlowReply(owner.eid, 0, _code(error)))
            self._send(message.peer, owner.reply)
            self.tell(Undelivered(message.eid, error))

    def _from_carrier(self, now: float) -> None:
        for peer, body in self._carrier.output():
            self.send(peer, Extension(body))
        for event in self._carrier.events():
            if isinstance(event, Delivered):
                whole = self._decode(event.message)
                if whole is not None:
                    self.handle(whole, event.message, now, event.peer)
            elif isinstance(event, Probed):
                self.tell(Capable(event.peer, event.capabilities))
                for message in self._asking.pop(event.peer, ()):
                    self._again(message, now)
            else:
                sent = self._sending.pop(event.id, None)
                if sent is not None and isinstance(event, carrier.Undelivered):
                    self._not_sent(sent, event.error)

    def _again(self, message: _Message[A], now: float) -> None:
        if isinstance(message.owner, Incoming) or self._outgoing.get(message.eid) is message.owner:
            self._deliver(message, now)

    # ------------------------------------------------------------ looking inside

    def view(self) -> Mapping[str, object]:
        """For the RIB: counters, and what is kept."""
        kept = {"pending": len(self._outgoing), "waiting": self._waiting_for.total()}
        return {**asdict(self.counters), **kept}

    def carrier_view(self) -> Mapping[str, object]:
        """For the RIB: what the extension does."""
        return self._carrier.status()

    def known(self, peer: A, now: float) -> Capability | None:
        """What a peer can do, as far as it was asked."""
        return self._carrier.known(peer, now)


def _one_less(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _code(error: OuroError) -> int:
    """What a reply says of an error. A positive number would be taken for something else."""
    return error.code if error.code < 0 else IpcpError().code

"""What carriers of OAP do beyond the prototype, sans-IO: ask a peer what it can do, and send it messages that no frame
has room for in fragments. Layout: `ouro_core.wire.extension`; rules: docs/reference/extension.md.

Theory of operation. A carrier is a component of an IPCP that sends management messages to peers: both types of
Ethernet, UDP, the flow allocator of a unicast layer. The `Carrier` sees the *extension bodies* of one such component;
its user puts each behind the component's fixed message with code `EXTENSION_CODE` and takes it off there again.

* *Probe.* Three times, 100 ms apart, a peer is asked; one that does not answer is a node of the prototype. What is
  known expires, for a node can be replaced by another. Only an answer with our token counts: nobody but who sees our
  traffic can make a peer look like one of us. That somebody takes the probes out of the traffic cannot be told from a
  peer that does not answer.
* *Fragments.* The sender sends all of them, then waits for the receiver to say COMPLETE, or what is MISSING; hearing
  nothing it sends some again. A message is delivered whole and once; what comes of it later is answered COMPLETE.
* *What strangers can do.* Memory is bounded by message, by peer and in all, counting what really came and not what was
  promised; where it is full, the message that waited longest for a fragment goes. Answers are rate-limited by peer and
  are never longer than what they answer. Bytes that make no sense are counted, and that is all.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Generic, TypeAlias, TypeVar

from attrs import asdict, define, field, frozen

from ..model.capability import Capability
from ..model.errors import FlowTimeout, OuroError, OutOfMemory, TooLong, WireError
from ..wire.extension import Answer, Fragment, Probe, State, Status, decode_extension, fragments_of
from .fragments import Outgoing, Timed
from .limits import CarrierCounters, Limits
from .reassembly import Reassembler, Reassembly

__all__ = ["Carrier", "Delivered", "Event", "Probed", "Sent", "Undelivered", "too_long"]

P = TypeVar("P", bound=Hashable)
_LIMITS = Limits()


@frozen
class Probed(Generic[P]):
    """A peer answered, or did not in time: then there is no capability, and it is a node of the prototype."""

    peer: P
    capabilities: Capability


@frozen
class Delivered(Generic[P]):
    """A message came in fragments: to be handled as if the peer had sent it in one."""

    peer: P
    message: bytes = field(repr=False)


@frozen
class Sent:
    """The receiver has the whole message of `Carrier.send`."""

    id: int


@frozen
class Undelivered:
    """The receiver does not have the message. FlowTimeout: no word of it in time; TooLong: it refused."""

    id: int
    error: OuroError


Event: TypeAlias = Probed[P] | Delivered[P] | Sent | Undelivered


@define(eq=False)
class _Question(Timed, Generic[P]):
    peer: P
    body: bytes
    token: int
    tries: int = 1


@define
class _Bucket:
    tokens: float
    at: float


class Carrier(Generic[P]):
    """The extension of one management component. P: the address of a peer, hashable.

    Fragments are for messages that have no room in one, and for no others: a message that fits is sent as the
    prototype sends it, by the component itself (`ouro_core.shim.Management` does all of it for its users):

        if len(message) <= limit: send it plainly
        elif Capability.FRAGMENTS in (carrier.known(peer, now) or Capability(0)): carrier.send(peer, message, room, now)
        elif nobody knows: carrier.probe(peer, now), and again when `Probed` comes
        else: raise too_long(message, limit, peer)

    After each call take `output()` and `events()`, and call `handle_timeout` at `next_timeout()`. `now` are seconds of
    any clock that does not go back. `rng` makes tokens: `random.SystemRandom()`, or a seeded one in simulations.
    """

    def __init__(self, rng: Random, capabilities: Capability, limits: Limits = _LIMITS) -> None:
        self.capabilities = capabilities
        self.counters = CarrierCounters()
        self._rng = rng
        self._limits = limits
        self._output: list[tuple[P, bytes]] = []
        self._events: list[Event[P]] = []
        self._timers: list[tuple[float, int, Timed]] = []
        self._order = count()
        self._known: OrderedDict[P, tuple[Capability, float]] = OrderedDict()
        self._questions: dict[P, _Question[P]] = {}
        self._buckets: OrderedDict[P, _Bucket] = OrderedDict()
        self._sending: dict[int, Outgoing[P]] = {}
        self._sending_to: Counter[P] = Counter()
        self._receiving: Reassembler[P] = Reassembler(limits, self.counters, self._arm)

    # ------------------------------------------------------------ commands

    def known(self, peer: P, now: float) -> Capability | None:
        """What a peer can do, `Capability(0)` for a node of the prototype. None: it was not asked, or too long ago."""
        found = self._known.get(peer)
        if found is None or found[1] <= now:
            return None
        return found[0]

    def probe(self, peer: P, now: float) -> None:
        """Ask a peer; `Probed` comes within 300 ms. One that is being asked is not asked twice. OutOfMemory."""
        if peer in self._questions:
            return
        if len(self._questions) >= self._limits.probes:
            raise OutOfMemory(f"{len(self._questions)} peers are being asked for their capabilities already")
        token = self._rng.getrandbits(32)
        body = Probe(token, self.capabilities).encode()
        question = self._questions[peer] = _Question(now + self._limits.probe_interval, peer, body, token)
        self._ask(question)
        self._arm(question)

    def forget(self, peer: P) -> None:
        """What is known of a peer is not to be relied on any more."""
        self._known.pop(peer, None)

    def send(self, peer: P, message: bytes, room: int, now: float) -> int:
        """Send a message, one that does not fit, to a peer that puts fragments together. `room`: bytes of the longest
        extension body that the component can send to it. Returns its id; `Sent` or `Undelivered` comes in 10 s at the
        latest.

        TooLong: longer than messages may be, or than 1024 fragments of this room. OutOfMemory: too many under way.
        """
        limits = self._limits
        if len(message) > limits.message:
            raise TooLong(f"a message of {len(message)} bytes: at most {limits.message} are sent in fragments")
        if len(self._sending) >= limits.sending or self._sending_to[peer] >= limits.sending_a_peer:
            raise OutOfMemory(f"{self._sending_to[peer]} messages are under way to {peer}, {len(self._sending)} in all")
        id = self._new_id()
        fragments = fragments_of(message, id, room)
        outgoing = self._sending[id] = Outgoing(now, peer, id, fragments, now + limits.patience)
        self._sending_to[peer] += 1
        self._transmit(outgoing, outgoing.start(now))
        return id

    def cancel(self, id: int) -> None:
        """Send no more of a message, without an event. Unknown ids are ignored."""
        self._end_sending(id)

    def receive(self, peer: P, body: bytes, now: float) -> None:
        """An extension body came: any bytes. Who `peer` is the carrier tells, and need not be true."""
        try:
            value = decode_extension(body)
        except WireError:
            self.counters.malformed += 1
            return
        if isinstance(value, Answer):
            self._answered(peer, value, now)
        elif isinstance(value, Probe):
            self.counters.probes_received += 1
            if self._may_answer(peer, now):
                self._output.append((peer, Answer(value.token, self.capabilities).encode()))
        elif isinstance(value, Fragment):
            self.counters.fragments_received += 1
            state, message = self._receiving.fragment(peer, value, len(body), now)
            if state is not None and (state is not State.REFUSED or self._may_answer(peer, now)):
                self._output.append((peer, Status(value.id, state).encode()))
            if message is not None:
                self._events.append(Delivered(peer, message))
        else:
            self._status(peer, value, now)

    def output(self) -> list[tuple[P, bytes]]:
        """(peer, extension body) to send now, each given once."""
        output, self._output = self._output, []
        return output

    def events(self) -> list[Event[P]]:
        """What happened, each given once."""
        events, self._events = self._events, []
        return events

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout` at the latest; None: not until something else happens."""
        return self._timers[0][0] if self._timers else None

    def handle_timeout(self, now: float) -> None:
        """Do what is due. Too early is no error."""
        while self._timers and self._timers[0][0] <= now:
            due, _, item = heappop(self._timers)
            if item.armed != due:
                continue  # an earlier one took its place
            item.armed = None
            if not item.done and item.due <= now:
                self._due(item, now)
            if not item.done:
                self._arm(item)

    # ------------------------------------------------------------ timers

    def _arm(self, item: Timed) -> None:
        """Look after this at its `due`. One that is later than the timer there is waits for that, and is armed anew."""
        if item.armed is None or item.due < item.armed:
            item.armed = item.due
            heappush(self._timers, (item.due, next(self._order), item))

    def _due(self, item: Timed, now: float) -> None:
        if isinstance(item, _Question):
            self._unanswered(item, now)
        elif isinstance(item, Outgoing):
            self._send_on(item, now)
        elif isinstance(item, Reassembly):
            body = self._receiving.due(item, now)
            if body is not None:
                self._output.append((item.peer, body))

    # ------------------------------------------------------------ the probe

    def _ask(self, question: _Question[P]) -> None:
        self.counters.probes_sent += 1
        self._output.append((question.peer, question.body))

    def _unanswered(self, question: _Question[P], now: float) -> None:
        if question.tries >= self._limits.probe_tries:
            self._learnt(question, Capability(0), now + self._limits.unanswered)
            return
        question.tries += 1
        question.due = now + self._limits.probe_interval
        self._ask(question)

    def _answered(self, peer: P, answer: Answer, now: float) -> None:
        question = self._questions.get(peer)
        if question is None or question.token != answer.token:
            self.counters.unexpected += 1
            return
        self.counters.answers_received += 1
        self._learnt(question, answer.capabilities, now + self._limits.known)

    def _learnt(self, question: _Question[P], capabilities: Capability, until: float) -> None:
        question.done = True
        del self._questions[question.peer]
        self._known.pop(question.peer, None)
        self._known[question.peer] = capabilities, until
        if len(self._known) > self._limits.peers:
            self._known.popitem(last=False)
        self._events.append(Probed(question.peer, capabilities))

    def _may_answer(self, peer: P, now: float) -> bool:
        limits = self._limits
        bucket = self._buckets.pop(peer, None) or _Bucket(limits.answer_burst, now)
        self._buckets[peer] = bucket
        if len(self._buckets) > limits.peers:
            self._buckets.popitem(last=False)
        bucket.tokens = min(limits.answer_burst, bucket.tokens + (now - bucket.at) * limits.answers_a_peer)
        bucket.at = now
        if bucket.tokens < 1:
            self.counters.unanswered += 1
            return False
        bucket.tokens -= 1
        return True

    # ------------------------------------------------------------ sending

    def _new_id(self) -> int:
        while (id := self._rng.getrandbits(32)) in self._sending:
            pass
        return id

    def _transmit(self, outgoing: Outgoing[P], fragments: list[Fragment]) -> None:
        self.counters.fragments_sent += len(fragments)
        self._output.extend((outgoing.peer, fragment.encode()) for fragment in fragments)
        self._arm(outgoing)

    def _send_on(self, outgoing: Outgoing[P], now: float) -> None:
        if now < outgoing.deadline:
            self._transmit(outgoing, outgoing.next(now))
            return
        came, wanted = len(outgoing.received), len(outgoing.fragments)
        self.forget(outgoing.peer)  # it may be another node by now
        self._fail(outgoing, FlowTimeout(
            f"peer {outgoing.peer} said it had {came} of the {wanted} fragments of a message of "
            f"{outgoing.fragments[0].total} bytes, and no more within {self._limits.patience:g} s"
        ))  # fmt: skip

    def _status(self, peer: P, status: Status, now: float) -> None:
        outgoing = self._sending.get(status.id)
        if outgoing is None or outgoing.peer != peer:
            self.counters.unexpected += 1
        elif status.state is State.COMPLETE:
            self.counters.messages_sent += 1
            self._end_sending(status.id)
            self._events.append(Sent(status.id))
        elif status.state is State.REFUSED:
            total = outgoing.fragments[0].total
            self._fail(outgoing, TooLong(f"peer {peer} refuses a message of {total} bytes in fragments: too long"))
        else:
            self._transmit(outgoing, outgoing.status(status, now))

    def _fail(self, outgoing: Outgoing[P], error: OuroError) -> None:
        self.counters.messages_undelivered += 1
        self._end_sending(outgoing.id)
        self._events.append(Undelivered(outgoing.id, error))

    def _end_sending(self, id: int) -> None:
        outgoing = self._sending.pop(id, None)
        if outgoing is None:
            return
        outgoing.done = True
        self.counters.fragments_sent_again += outgoing.resent
        self._sending_to[outgoing.peer] -= 1
        if not self._sending_to[outgoing.peer]:
            del self._sending_to[outgoing.peer]

    def status(self) -> dict[str, object]:
        """For the RIB: the counters, and what is kept."""
        kept = {"peers": len(self._known), "sending": len(self._sending), "receiving": len(self._receiving)}
        return {**asdict(self.counters), **kept, "memory": self._receiving.memory}


def too_long(message: bytes, limit: int, peer: object) -> TooLong:
    """The error for a message that does not fit, to a peer that does not put fragments together."""
    return TooLong(
        f"a management message of {len(message)} bytes, with its OAP header and certificate, does not fit in the "
        f"{limit} bytes that this layer carries, and {peer} does not take fragments (it did not answer as an Ouro node "
        "does): use a smaller certificate or key exchange (ECDSA, X25519), or a layer with a larger MTU"
    )

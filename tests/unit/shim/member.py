"""Members of a layer for tests: a codec as plain as can be, and a member whose application accepts everything."""

import json
from collections.abc import Iterable
from random import Random
from typing import Any

from ouro_core.model.errors import OuroError, WireError
from ouro_core.model.qos import RAW, QosSpec
from ouro_core.shim import (
    Answered,
    Arrived,
    Extension,
    FlowReply,
    FlowRequest,
    Incoming,
    Management,
    Refused,
    Undelivered,
    UnknownCode,
)

HASH = b"hash of a name.."


class PlainCodec:
    """JSON: a list of the code, the fields, and the data in hex."""

    def encode(self, message: Any) -> bytes:
        if isinstance(message, FlowRequest):
            fields: list[object] = [0, message.eid, message.hash.hex(), message.qos.delay, message.data.hex()]
        elif isinstance(message, FlowReply):
            fields = [1, message.requester, message.responder, message.response, message.data.hex()]
        else:
            assert isinstance(message, Extension)
            fields = [79, message.body.hex()]
        return json.dumps(fields).encode()

    def decode(self, data: bytes) -> Any:
        try:
            code, *rest = json.loads(data)
            if code == 0:
                return FlowRequest(rest[0], bytes.fromhex(rest[1]), QosSpec(rest[2]), bytes.fromhex(rest[3]))
            if code == 1:
                return FlowReply(rest[0], rest[1], rest[2], bytes.fromhex(rest[3]))
            if code == 79:
                return Extension(bytes.fromhex(rest[0]))
        except (ValueError, TypeError, IndexError, OuroError) as e:
            raise WireError(str(e)) from None
        raise UnknownCode(f"code {code}")


class Member:
    """A node of a virtual network. `answers`: None accepts, an error refuses; `delay` seconds later."""

    def __init__(self, seed: int, limit: int = 1000, capable: bool = True) -> None:
        self.management: Management[str] = Management(PlainCodec(), Random(seed), limit)
        self.capable = capable
        self.answers: OuroError | None = None
        self.delay = 0.0
        self.response = b"response"
        self.seen: list[Any] = []
        self.arrived: list[Incoming[str]] = []
        self.accepted: dict[int, Incoming[str]] = {}
        self._waiting: list[tuple[float, Incoming[str]]] = []
        self._eid = 64

    def ask(self, peer: str, now: float, data: bytes = b"request", hash: bytes = HASH) -> int:
        self._eid += 1
        self.management.request(self._eid, peer, hash, RAW, data, now)
        return self._eid

    def receive(self, data: bytes, now: float, source: Any) -> None:
        if not self.capable and json.loads(data)[:1] == [79]:
            return  # as the prototype
        self.management.receive(data, now, source)

    def next_timeout(self) -> float | None:
        due = [time for time, _ in self._waiting]
        own = self.management.next_timeout()
        return min([*due, *([] if own is None else [own])], default=None)

    def handle_timeout(self, now: float) -> None:
        self.management.handle_timeout(now)
        for item in [i for i in self._waiting if i[0] <= now]:
            self._waiting.remove(item)
            self._answer(item[1], now)

    def datagrams_to_send(self, now: float) -> Iterable[tuple[str, bytes]]:
        for event in self.management.events():
            if isinstance(event, Arrived):
                self.arrived.append(event.request)
                if self.delay:
                    self._waiting.append((now + self.delay, event.request))
                else:
                    self._answer(event.request, now)
            else:
                self.seen.append(event)
        return self.management.datagrams_to_send(now)

    def _answer(self, request: Incoming[str], now: float) -> None:
        if self.answers is not None:
            self.management.refuse(request, self.answers, now)
            return
        self._eid += 1
        if self.management.accept(request, self._eid, self.response, now):
            self.accepted[self._eid] = request

    @property
    def answered(self) -> list[Answered[str]]:
        return [event for event in self.seen if isinstance(event, Answered)]

    @property
    def refused(self) -> list[Refused]:
        return [event for event in self.seen if isinstance(event, Refused)]

    @property
    def undelivered(self) -> list[Undelivered]:
        return [event for event in self.seen if isinstance(event, Undelivered)]

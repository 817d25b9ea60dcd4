"""What the tests of the kit are built of: a broker with its clients, threads that must end, waits that are bounded."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final, Generic, TypeVar

import pytest

from ouro_core.contracts.packets import (
    BrokerFlow,
    ClientRef,
    Domain,
    End,
    FlowEnd,
    Geometry,
    Grant,
    Options,
    PacketClient,
    PacketSystem,
    SizeClass,
)
from ouro_core.model.errors import WouldBlock

__all__ = ["BLOCKING", "GEOMETRY", "NON_BLOCKING", "USER", "Background", "Bench", "Kit", "drain", "eventually", "fill"]

T = TypeVar("T")
USER: Final = os.getuid() or 1000
"""Whose clients are not of the shared domain; only root can make memory for somebody else."""

GEOMETRY = Geometry((SizeClass(256, 8192), SizeClass(2048, 8192), SizeClass(16384, 64)))
BLOCKING = Options(read_timeout=30.0, write_timeout=30.0)
"""As an application has it, but a lost wake-up fails the test: `Background` is less patient."""
NON_BLOCKING = Options(read_blocking=False, write_blocking=False)

_LIMIT = 10.0


def eventually(happens: Callable[[], Any], what: str = "") -> Any:
    """The first true result of `happens` within 10 s."""
    deadline = time.monotonic() + _LIMIT
    while not (result := happens()):
        assert time.monotonic() < deadline, f"did not happen: {what or happens}"
        time.sleep(0.001)
    return result


def fill(end: End, packet: bytes = b"x") -> int:
    """Write without waiting until nothing goes any more: how many went."""
    end.set_options(NON_BLOCKING)
    for count in itertools.count():
        try:
            end.write(packet)
        except WouldBlock:
            return count
    raise AssertionError("unreachable")


def drain(end: End) -> list[bytes]:
    """All that is queued now."""
    end.set_options(NON_BLOCKING)
    found: list[bytes] = []
    while True:
        try:
            found += end.read_many()
        except WouldBlock:
            return found


class Background(Generic[T]):
    """A call in a thread of its own. `result` waits for it and raises what it raised."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except BaseException as error:
            self._error = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self) -> T:
        self._thread.join(_LIMIT)
        assert not self._thread.is_alive(), "the call did not end"
        if self._error is not None:
            raise self._error
        return self._result[0]

    def settle(self) -> "Background[T]":
        """Give the call time to begin waiting. It may need longer: the test must be right then too."""
        self._thread.join(0.03)
        return self


class Bench:
    """A broker and its clients. Client ids and flow ids count up."""

    def __init__(self, system: type[PacketSystem], geometry: Geometry = GEOMETRY, uid: int = USER) -> None:
        self.system = system
        self.broker = system.broker(geometry, geometry)
        self.uid = uid
        self.clients: list[PacketClient] = []
        self.flows: list[BrokerFlow] = []
        self._ids = itertools.count(1)
        self._flow_ids = itertools.count(1)

    @staticmethod
    def sent(grant: Grant) -> tuple[bytes, tuple[int, ...]]:
        """A grant as it arrives in another process."""
        return bytes(grant.data), tuple(os.dup(fd) for fd in grant.fds)

    def ref(self, user: bool = False) -> ClientRef:
        return ClientRef(next(self._ids), Domain(self.uid if user else 0))

    def client(self, user: bool = False) -> PacketClient:
        """Of the shared domain, or of a user."""
        client = self.system.client(*self.sent(self.broker.admit(self.ref(user))))
        self.clients.append(client)
        return client

    def create(self, a: PacketClient, b: PacketClient) -> BrokerFlow:
        flow = self.broker.create_flow(next(self._flow_ids), a.ref, b.ref)
        self.flows.append(flow)
        return flow

    def flow(self, a: PacketClient, b: PacketClient, options: Options = BLOCKING) -> tuple[FlowEnd, FlowEnd]:
        """A new flow, both ends attached."""
        flow = self.create(a, b)
        return a.attach(*self.sent(flow.grant(0)), options), b.attach(*self.sent(flow.grant(1)), options)

    def joined(self, user: bool = False, options: Options = BLOCKING) -> tuple[FlowEnd, FlowEnd]:
        """A new flow between two new clients; the second may be a user's."""
        return self.flow(self.client(), self.client(user), options)

    def used(self) -> dict[str, int]:
        """Pools with blocks in use."""
        return {name: n for name, n in self.broker.counters().items() if name.endswith(".used") and n}

    def close(self) -> None:
        """End everything in the order of a good life; no block may be left."""
        for client in self.clients:
            client.close()
        for flow in self.flows:
            flow.destroy()
        for client in self.clients:
            self.broker.leave(client.ref, died=False)
        left = self.used()
        self.broker.close()
        assert not left, f"blocks are left: {left}"


class Kit:
    """Base of all parts of the kit."""

    system: ClassVar[type[PacketSystem]]
    user_uid: ClassVar[int] = USER
    """Whose pool the tests with a user use. Only root may make one for somebody else."""

    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        bench = Bench(self.system, uid=self.user_uid)
        yield bench
        bench.close()

    @pytest.fixture
    def small(self) -> Iterator[Bench]:
        """Pools of 64 blocks of one class: smaller than a ring."""
        bench = Bench(self.system, Geometry((SizeClass(512, 64),)), uid=self.user_uid)
        yield bench
        bench.close()

    @pytest.fixture
    def ends(self, bench: Bench) -> tuple[FlowEnd, FlowEnd]:
        return bench.joined()

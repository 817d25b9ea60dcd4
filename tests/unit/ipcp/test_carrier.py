"""The driver of carriers: two components in one loop, whose frames hold 1496 bytes."""

import asyncio
from random import SystemRandom

import pytest

from ouro_core.ipcp.carrier import CarrierDriver
from ouro_core.model.capability import Capability
from ouro_core.model.errors import FlowTimeout, IpcpError, TooLong
from ouro_core.oap.carrier import Carrier
from ouro_core.oap.limits import Limits

FIXED = bytes(37) + b"\x4f\0"
LIMIT = 1496


class Component:
    """One of two; `silent`: it is one of the prototype, and ignores what it does not know."""

    def __init__(self, name: str, silent: bool = False, limits: Limits = Limits()) -> None:  # noqa: B008
        self.name = name
        self.silent = silent
        self.peer: Component | None = None
        self.handled: list[tuple[str, bytes]] = []
        self.frames: list[int] = []
        carrier: Carrier[str] = Carrier(SystemRandom(), Capability.FRAGMENTS, limits)
        self.driver = CarrierDriver(carrier, self._transmit, self._handle, FIXED)

    def _transmit(self, peer: str, message: bytes) -> None:
        assert len(message) <= LIMIT
        self.frames.append(len(message))
        if self.peer is not None:
            asyncio.get_running_loop().call_soon(self.peer.frame, self.name, message)

    def frame(self, peer: str, message: bytes) -> None:
        if message[37] == 0x4F:
            if not self.silent:
                self.driver.received(peer, message[len(FIXED) :])
        else:
            self._handle(peer, message)

    def _handle(self, peer: str, message: bytes) -> None:
        self.handled.append((peer, message))


def pair(silent: bool = False, limits: Limits = Limits()) -> tuple[Component, Component]:  # noqa: B008
    a, b = Component("a", limits=limits), Component("b", silent)
    a.peer, b.peer = b, a
    return a, b


async def test_a_message_that_fits_goes_plainly_and_asks_nobody() -> None:
    a, b = pair()
    await a.driver.send("b", bytes(LIMIT), LIMIT)
    await asyncio.sleep(0)
    assert b.handled == [("a", bytes(LIMIT))]
    assert a.frames == [LIMIT]
    assert a.driver.carrier.counters.probes_sent == 0


async def test_one_that_does_not_fit_arrives_as_if_it_had() -> None:
    a, b = pair()
    messages = [bytes([i]) * (LIMIT + 1 + 5000 * i) for i in range(5)]
    await asyncio.wait_for(asyncio.gather(*(a.driver.send("b", message, LIMIT) for message in messages)), 15)
    assert sorted(b.handled) == [("a", message) for message in messages]
    assert a.driver.carrier.counters.probes_sent == 1


async def test_to_a_node_of_the_prototype_it_is_an_error_with_the_size() -> None:
    a, b = pair(silent=True)
    with pytest.raises(TooLong, match=f"{LIMIT + 1} bytes.*{LIMIT} bytes"):
        await asyncio.wait_for(a.driver.send("b", bytes(LIMIT + 1), LIMIT), 15)
    assert a.frames == [len(FIXED) + 16] * 3
    assert b.handled == []
    assert await a.driver.capabilities("b") == Capability(0)
    assert len(a.frames) == 3  # known for a while


async def test_a_peer_that_went_away_is_a_time_out() -> None:
    a, b = pair(limits=Limits(patience=0.3))
    assert await asyncio.wait_for(a.driver.capabilities("b"), 15) == Capability.FRAGMENTS
    b.silent = True
    with pytest.raises(FlowTimeout, match="0 of the 2 fragments"):
        await asyncio.wait_for(a.driver.send("b", bytes(LIMIT + 1), LIMIT), 15)


async def test_who_stops_waiting_stops_sending() -> None:
    a, b = pair()
    await a.driver.capabilities("b")
    b.silent = True
    task = asyncio.ensure_future(a.driver.send("b", bytes(LIMIT + 1), LIMIT))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert a.driver.carrier.status()["sending"] == 0
    await asyncio.sleep(0.3)
    assert len(a.frames) == 3


async def test_who_stops_waiting_for_an_answer_does_not_stop_others() -> None:
    a, _ = pair()
    first, second = (asyncio.ensure_future(a.driver.capabilities("b")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.wait_for(second, 15) == Capability.FRAGMENTS


async def test_whoever_waits_when_it_is_closed_is_told() -> None:
    a, b = pair()
    await a.driver.capabilities("b")
    b.silent = True
    waiting = [asyncio.ensure_future(a.driver.send("b", bytes(9000), LIMIT))]
    waiting.append(asyncio.ensure_future(_capabilities(a, "c")))
    await asyncio.sleep(0.01)
    a.driver.close()
    a.driver.close()
    for task in waiting:
        with pytest.raises(IpcpError):
            await asyncio.wait_for(task, 15)
    with pytest.raises(IpcpError):
        await a.driver.send("b", b"", LIMIT)
    sent = len(a.frames)
    await asyncio.sleep(0.4)
    assert len(a.frames) == sent


async def _capabilities(component: Component, peer: str) -> None:
    await component.driver.capabilities(peer)

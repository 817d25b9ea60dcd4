"""asyncio with the selector that spins: the same packets, and everything else the loop watches."""

import asyncio
import resource
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from ouro_core.api.selector import SpinSelector, spinning_loop
from ouro_core.contracts.packets import Event, EventSet, FlowEnd, Options

NON_BLOCKING = Options(read_blocking=False, write_blocking=False)


class Reader:
    """The packets of one end, as a loop gets them."""

    def __init__(self, host: Any, end: FlowEnd, client: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: EventSet = host._clients[client].event_set()
        self._events.add(end)
        end.set_options(NON_BLOCKING)
        self._packets: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._ended = False
        self._loop.add_reader(self._events, self._wake)

    def _wake(self) -> None:
        for end, what in self._events.poll():
            self._ended |= bool(what & Event.DEALLOC)  # told once, perhaps with packets before it
            if what & Event.PACKET:
                for data in end.read_many(64):
                    self._packets.put_nowait(data)
            if self._ended and not end.queued()[0]:
                self._packets.put_nowait(None)

    async def read(self) -> bytes | None:
        return await asyncio.wait_for(self._packets.get(), 30)

    def close(self) -> None:
        self._loop.remove_reader(self._events)
        self._events.close()


def run(call: Callable[[], Any]) -> Any:
    with asyncio.Runner(loop_factory=spinning_loop) as runner:
        return runner.run(call())


def test_a_stream(host: Any) -> None:
    end, process = host.remote("write", 30000, 64)

    async def receive() -> list[int]:
        reader, got = Reader(host, end), []
        while (data := await reader.read()) is not None:
            got.append(int.from_bytes(data[4:8], "little"))
        reader.close()
        return got

    assert run(receive) == list(range(30000))
    process.finish()


def test_questions_and_answers_beside_a_socket_and_a_timer(host: Any) -> None:
    end, process = host.remote("echo")

    async def talk() -> int:
        reader = Reader(host, end)
        ours, theirs = socket.socketpair()
        heard = asyncio.Event()
        asyncio.get_running_loop().add_reader(ours, heard.set)
        fired = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, fired.set_result, None)
        for number in range(2000):
            end.write(b"%d" % number)
            assert await reader.read() == b"%d" % number
            if number == 1000:
                theirs.send(b"x")
        await asyncio.wait_for(heard.wait(), 30)
        await asyncio.wait_for(fired, 30)
        asyncio.get_running_loop().remove_reader(ours)
        ours.close()
        theirs.close()
        reader.close()
        return int(end.counters()["rx"])

    assert run(talk) == 2000
    end.close()
    process.finish()


def test_two_sets_of_one_client(host: Any) -> None:
    """Who spins on one set must not keep the bell from the other."""
    a, b = host.flow(one := host.client(), host.client())
    c, d = host.flow(one, host.client())

    async def talk() -> None:
        first, second = Reader(host, a), Reader(host, c)
        for number in range(300):
            b.write(b"%d" % number)
            assert await first.read() == b"%d" % number
            d.write(b"%d" % number)
            assert await second.read() == b"%d" % number
        first.close()
        second.close()

    run(talk)


def test_what_comes_while_nobody_spins(host: Any, eventually: Callable[[Callable[[], object]], None]) -> None:
    """Without credit left it sleeps, armed: no processor time, and the next packet wakes it."""
    a, b = host.flow(host.client(), host.client())

    async def talk() -> float:
        reader = Reader(host, a)
        await asyncio.sleep(0.05)
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.monotonic()
        await asyncio.sleep(1.0)
        after = resource.getrusage(resource.RUSAGE_SELF)
        asyncio.get_running_loop().call_later(0.1, b.write, b"late")
        assert await reader.read() == b"late"
        reader.close()
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / (time.monotonic() - start)

    assert run(talk) < 0.2


def test_only_sets_that_are_watched_are_spun_on(host: Any) -> None:
    selector = SpinSelector()
    a, b = host.flow(host.client(), host.client())
    events = host._clients[0].event_set()
    events.add(a)
    events.poll()
    key = selector.register(events, 1, "set")
    assert selector.select(0) == []
    b.write(b"x")
    assert [(k.data, mask) for k, mask in selector.select(10)] == [("set", 1)]
    assert len(events.poll()) == 1
    a.read()
    assert events.poll() == []
    assert selector.unregister(key.fd) == key
    b.write(b"y")
    with pytest.raises(KeyError):
        selector.unregister(events)
    assert selector.select(0.01) == []
    selector.close()
    events.close()

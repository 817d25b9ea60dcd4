"""A `Carrier` in an asyncio loop, for IPCPs: send a management message whatever its size, ask what a peer can do."""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from ..model.capability import Capability
from ..model.errors import IpcpError
from ..oap.carrier import Carrier, Delivered, Probed, Sent, too_long

__all__ = ["CarrierDriver"]

P = TypeVar("P", bound=Hashable)
R = TypeVar("R")


class CarrierDriver(Generic[P]):
    """Runs a carrier for a management component of an IPCP. To be made and used in the loop.

    `transmit(peer, message)` sends one management message, fixed part included. `fixed` is the component's fixed
    message with code `EXTENSION_CODE` and zeros; behind it go extension bodies. `deliver(peer, message)` handles a
    message that came in fragments as one that came in a single frame. Messages with that code go to `received`.

        driver = CarrierDriver(Carrier(SystemRandom(), ctx.capabilities), self._transmit, self._handle, EXTENSION)
        await driver.send(peer, request, limit=mtu)       # whatever its size
        await driver.capabilities(peer)                   # for `Ipcp.capabilities`
    """

    def __init__(
        self,
        carrier: Carrier[P],
        transmit: Callable[[P, bytes], None],
        deliver: Callable[[P, bytes], None],
        fixed: bytes,
    ) -> None:
        self.carrier = carrier
        self._transmit = transmit
        self._deliver = deliver
        self._fixed = fixed
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._asking: dict[P, list[asyncio.Future[Capability]]] = {}
        self._sending: dict[int, asyncio.Future[None]] = {}
        self._closed = False

    def received(self, peer: P, body: bytes) -> None:
        """An extension body came, without the fixed part."""
        if not self._closed:
            self.carrier.receive(peer, body, self._loop.time())
            self._run()

    async def capabilities(self, peer: P) -> Capability:
        """What a peer can do; `Capability(0)` after 300 ms without an answer. OutOfMemory."""
        known = self.carrier.known(peer, self._loop.time())
        if known is not None:
            return known
        self._check_open()
        self.carrier.probe(peer, self._loop.time())
        future: asyncio.Future[Capability] = self._loop.create_future()
        self._asking.setdefault(peer, []).append(future)
        self._run()
        return await future

    async def send(self, peer: P, message: bytes, limit: int) -> None:
        """Send a management message. One of at most `limit` bytes, the most that a single one may have to this peer,
        goes at once and plainly, and nobody knows whether it arrives. A longer one goes in fragments, to a peer that
        takes them, and has arrived on return.

        TooLong: the peer takes no fragments, or refuses. FlowTimeout: it did not get them all. OutOfMemory.
        """
        self._check_open()
        if len(message) <= limit:
            self._transmit(peer, message)
            return
        if Capability.FRAGMENTS not in await self.capabilities(peer):
            raise too_long(message, limit, peer)
        id = self.carrier.send(peer, message, limit - len(self._fixed), self._loop.time())
        future = self._sending[id] = self._loop.create_future()
        self._run()
        try:
            await future
        finally:
            self._sending.pop(id, None)
            self.carrier.cancel(id)

    def close(self) -> None:
        """Send nothing any more; whoever waits gets IpcpError. Idempotent."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for sending in self._sending.values():
            _fail(sending)
        for futures in self._asking.values():
            for asking in futures:
                _fail(asking)
        self._sending.clear()
        self._asking.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise IpcpError("the IPCP is shutting down")

    def _run(self) -> None:
        for peer, body in self.carrier.output():
            self._transmit(peer, self._fixed + body)
        for event in self.carrier.events():
            if isinstance(event, Delivered):
                self._deliver(event.peer, event.message)
            elif isinstance(event, Probed):
                for future in self._asking.pop(event.peer, ()):
                    if not future.done():
                        future.set_result(event.capabilities)
            else:
                sending = self._sending.pop(event.id, None)
                if sending is None or sending.done():
                    continue
                if isinstance(event, Sent):
                    sending.set_result(None)
                else:
                    sending.set_exception(event.error)
        self._arm()

    def _arm(self) -> None:
        due = None if self._closed else self.carrier.next_timeout()
        if self._timer is not None:
            if due is not None and self._timer.when() <= due:
                return  # soon enough
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_at(due, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        self.carrier.handle_timeout(self._loop.time())
        self._run()


def _fail(future: "asyncio.Future[R]") -> None:
    if not future.done():
        future.set_exception(IpcpError("the IPCP is shutting down"))

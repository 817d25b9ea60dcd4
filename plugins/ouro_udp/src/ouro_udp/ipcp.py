"""IPCP types `udp4` and `udp6` (spec: shims.md 5).

What is particular to UDP, beyond its datagrams: names have no query on the wire, a `Resolver` finds them; every name
that the IRM knows can be reached, registered in the layer or not, as at a node of the prototype; endpoints are drawn
from 2^31, so who cannot see a flow cannot speak into it; and a flow stays with the socket address it began with, see
the README on NAT.
"""

import asyncio
import os
from random import SystemRandom
from typing import ClassVar, Final

from attrs import evolve

from ouro_core.contracts.ipcp import IpcpContext
from ouro_core.model.layer import LayerInfo
from ouro_core.model.names import HashAlgorithm
from ouro_core.shim import Management, Medium, ShimIpcp

from .addresses import Address, check_local
from .config import Udp4Config, Udp6Config, UdpConfig
from .io import UdpMedium
from .resolver import Resolver

__all__ = ["Udp4Ipcp", "Udp6Ipcp"]

LOOK: Final = 5.0
"""Seconds between two looks, while there are flows, at whether packets came from elsewhere than their peers."""
FAREWELL: Final = 1.0
"""Seconds for the name server to forget what is registered here when the IPCP ends."""


class _UdpIpcp(ShimIpcp[Address]):
    """What both have in common. `title`: what it runs over, for the log. From `open` on there is a `resolver`."""

    mpl = 5000
    title: ClassVar[str]
    medium: UdpMedium
    resolver: Resolver

    def __init__(self, context: IpcpContext) -> None:
        super().__init__(context)
        self._expiries: dict[bytes, asyncio.TimerHandle] = {}  # of what a look-up found, by hash
        self._look: asyncio.TimerHandle | None = None
        self._bad_sources = 0  # packets, at the last look

    # ------------------------------------------------------------ life

    async def bootstrap(self, layer: LayerInfo, config: UdpConfig) -> LayerInfo:
        layer = await super().bootstrap(evolve(layer, hash=HashAlgorithm.MD5), config)
        self.ctx.rib.publish("names", self.resolver.view)
        log = self.ctx.log
        log.debug("Bootstrapped IPCP over %s with pid %d.", self.title, os.getpid())
        log.debug("Bound to IP address %s.", config.ip)
        log.debug("Using port %d.", config.port)
        if self.resolver.server is not None:
            log.debug("DNS server address is %s.", self.resolver.server.at)
        else:
            log.debug("DNS server not in use.")
        return layer

    async def open(self, layer: LayerInfo, config: UdpConfig) -> Medium[Address]:
        interface = check_local(config.ip)
        self.resolver = Resolver(config, self._learn, self.ctx.log.warning)
        return UdpMedium(config.ip.with_port(config.port), interface, config.check_source, SystemRandom())

    def make_management(self, medium: Medium[Address]) -> Management[Address]:
        return Management(
            medium.codec, SystemRandom(), medium.max_message, self.ctx.capabilities, any_name=True, room=medium.room
        )

    async def stop(self) -> None:
        if self._running:
            self.resolver.close()
            for timer in (*self._expiries.values(), *filter(None, (self._look,))):
                timer.cancel()
            await self._leave()
        await super().stop()

    async def _leave(self) -> None:
        """Have the name server forget us, if it can be done quickly."""
        hashes = list(self.management.registered) if self.resolver.server is not None else []
        removals = [asyncio.ensure_future(self.resolver.unregister(hash)) for hash in hashes]
        if removals:
            _, late = await asyncio.wait(removals, timeout=FAREWELL)
            for task in late:
                task.cancel()
            answers = await asyncio.gather(*removals, return_exceptions=True)
            left = [
                hash.hex() for hash, answer in zip(hashes, answers, strict=True) if isinstance(answer, BaseException)
            ]
            if left:
                text = "The name server may have kept names at %s, where nobody is now; remove them there: %s"
                self.ctx.log.warning(text, self.medium.own.ip, ", ".join(left))

    # ------------------------------------------------------------ who speaks into our flows

    def established(self) -> None:
        if self._look is None:
            self._look = self._loop.call_later(LOOK, self._look_at_sources)

    def _look_at_sources(self) -> None:
        bad = self.pump.counters()["bad_source"]
        if bad != self._bad_sources:
            self.ctx.log.warning(
                "%d packets for flows did not come from where their peers are, and were dropped: somebody forges them, "
                "or a NAT gave a peer another address, whose flows then end by their time-out.",
                bad - self._bad_sources,
            )
            self._bad_sources = bad
        self._look = self._loop.call_later(LOOK, self._look_at_sources) if len(self.medium.endpoints) else None

    # ------------------------------------------------------------ names

    async def reg(self, hash: bytes) -> None:
        await self.resolver.register(hash)
        await super().reg(hash)

    async def unreg(self, hash: bytes) -> None:
        if hash in self.management.registered:
            await self.resolver.unregister(hash)
        await super().unreg(hash)

    async def find(self, hash: bytes) -> Address | None:
        return self.resolver.static(hash) or await super().find(hash)

    async def lookup(self, hash: bytes) -> bool:
        address = await self.resolver.find(hash)
        if address is not None:
            self.ctx.log.debug("Destination %s resolved at IP %s.", hash[:4].hex(), address)
        return address is not None

    def _learn(self, hash: bytes, address: Address, seconds: float) -> None:
        before = self._expiries.pop(hash, None)
        if before is not None:
            before.cancel()
        self.management.directory.learn(hash, address)
        self._expiries[hash] = self._loop.call_later(seconds, self._expired, hash, address)

    def _expired(self, hash: bytes, address: Address) -> None:
        del self._expiries[hash]
        self.management.directory.forget(hash, address)


class Udp4Ipcp(_UdpIpcp):
    """A member of a layer over UDP and IPv4."""

    name = "udp4"
    aliases = ("udp",)
    title = "UDP/IPv4"
    Config = Udp4Config


class Udp6Ipcp(_UdpIpcp):
    """A member of a layer over UDP and IPv6."""

    name = "udp6"
    title = "UDP/IPv6"
    Config = Udp6Config

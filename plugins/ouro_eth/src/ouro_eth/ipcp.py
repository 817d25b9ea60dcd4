"""The IPCP types `eth-dix` and `eth-llc`."""

import asyncio
import logging
from abc import abstractmethod
from random import SystemRandom
from typing import Any, ClassVar, Final

from ouro_core.contracts.ipcp import IpcpContext
from ouro_core.model.errors import ConfigError, FlowDown
from ouro_core.model.layer import LayerInfo
from ouro_core.shim import Medium, ShimIpcp

from .config import EthDixConfig, EthLlcConfig
from .device import Devices, Link
from .io import ETH_P_802_2, Ethernet, LinkMonitor, open_socket
from .mgmt import BELIEVED, EthManagement, Found
from .wire import Dix, Framing, Llc, show_mac

__all__ = ["EthDixIpcp", "EthLlcIpcp"]

MPL: Final = 100
"""Milliseconds."""


class EthIpcp(ShimIpcp[bytes]):
    """What both have in common. A type says its frames (`framing`) and what its socket is bound to (`protocol`)."""

    mpl = MPL
    medium: Ethernet
    management: EthManagement

    def __init__(self, context: IpcpContext) -> None:
        super().__init__(context)
        self._devices = Devices()
        self._monitor: LinkMonitor | None = None
        self._asked: dict[bytes, set[asyncio.Future[None]]] = {}

    @abstractmethod
    def framing(self, layer: LayerInfo, config: Any) -> tuple[Framing, int]:
        """The frames of the layer, and the protocol that the socket is bound to."""

    # ------------------------------------------------------------ life

    async def open(self, layer: LayerInfo, config: EthDixConfig | EthLlcConfig) -> Ethernet:
        framing, protocol = self.framing(layer, config)
        link = self._devices.read(config.dev)
        medium = Ethernet(framing, link, open_socket(link.name, protocol), self._devices, SystemRandom())
        least = framing.overhead + framing.fixed + layer.hash.size
        if medium.mtu < least:
            medium.close()
            raise ConfigError(
                f'the MTU of device "{link.name}" is {link.mtu}: too small for a flow request, which takes {least}; '
                f"see: ip link set {link.name} mtu"
            )
        return medium

    async def bootstrap(self, layer: LayerInfo, config: EthDixConfig | EthLlcConfig) -> LayerInfo:
        layer = await super().bootstrap(layer, config)
        try:
            self._monitor = LinkMonitor(self._look)
        except OSError as e:
            await super().stop()
            raise ConfigError(f"the kernel does not tell of changes to devices: {e.strerror}") from None
        medium = self.medium
        self.ctx.log.debug("Using raw socket device.")
        self.ctx.log.debug("Device MTU is %d.", medium.link.mtu)
        self.ctx.log.debug("Layer MTU is %d.", medium.mtu)
        self.ctx.log.debug("Interface %s hwaddr %s.", medium.link.name, show_mac(medium.mac))
        if not medium.link.up:
            self.ctx.log.warning("Device %s is down; switch it on with: ip link set %s up", *2 * (medium.link.name,))
        elif not medium.link.carrier:
            self.ctx.log.warning("Device %s has no carrier; is a cable plugged in?", medium.link.name)
        self.link(medium.link.ready)
        self._look()  # what changed before there was a monitor
        return layer

    def make_management(self, medium: Medium[bytes]) -> EthManagement:
        assert isinstance(medium, Ethernet)
        return EthManagement(medium.framing, SystemRandom(), medium.max_message, self.ctx.capabilities)

    async def stop(self) -> None:
        if self._monitor is not None:
            self._monitor.close()
        await super().stop()

    # ------------------------------------------------------------ names

    async def lookup(self, hash: bytes) -> bool:
        found: asyncio.Future[None] = self._loop.create_future()
        waiting = self._asked.setdefault(hash, set())  # before the query goes out: answers can be quick
        waiting.add(found)
        try:
            known = self.management.query(hash, self._loop.time())
            self.run()
            if not known:
                async with asyncio.timeout(BELIEVED):
                    await found
            return True
        except TimeoutError:
            return False
        finally:
            waiting.discard(found)
            if not waiting:
                self._asked.pop(hash, None)

    def happened(self, event: object) -> None:
        if isinstance(event, Found):
            for found in self._asked.pop(event.hash, ()):
                if not found.done():
                    found.set_result(None)

    # ------------------------------------------------------------ the device

    def _look(self) -> None:
        """The device may have changed."""
        before = self.medium.link
        try:
            link = self._devices.again(before)
        except ConfigError as e:
            self._lost(str(e))
            return
        if link.mac != before.mac:
            self._lost(f"its MAC address is {show_mac(link.mac)} now, and all peers know {show_mac(before.mac)}")
        elif link != before:
            self._follow(before, link)

    def _follow(self, before: Link, link: Link) -> None:
        self.medium.follow(link)
        self.management.max_message = self.medium.max_message
        if link.name != before.name:
            self.ctx.log.warning("Device %s is called %s now.", before.name, link.name)
        if link.mtu != before.mtu:
            less = link.mtu < self.medium.mtu
            self.ctx.log.log(
                logging.WARNING if less else logging.INFO, "The MTU of %s is %d now; the layer keeps %d%s", link.name,
                link.mtu, self.medium.mtu,
                ", and packets that the device does not take are dropped. Make the IPCP anew." if less else ".",
            )  # fmt: skip
        if before.ready and link.up and not link.carrier:
            self.ctx.log.warning("Device %s has no carrier any more.", link.name)
        self.link(link.ready)

    def _lost(self, why: str) -> None:
        """A member without its device is none: it ends, and is reported."""
        assert self._monitor is not None
        self._monitor.close()
        self.link(False)
        self.ctx.spawn(self._end(f"device {self.medium.link.name} is lost: {why}"), "device")

    async def _end(self, why: str) -> None:
        raise FlowDown(why)


class EthDixIpcp(EthIpcp):
    """A layer on Ethernet II."""

    name: ClassVar[str] = "eth-dix"
    Config = EthDixConfig

    def framing(self, layer: LayerInfo, config: EthDixConfig) -> tuple[Framing, int]:
        return Dix(layer.hash.size, config.ethertype), config.ethertype


class EthLlcIpcp(EthIpcp):
    """A layer on 802.2: for networks that take no other frames. At most 62 flows a member."""

    name: ClassVar[str] = "eth-llc"
    Config = EthLlcConfig

    def framing(self, layer: LayerInfo, config: EthLlcConfig) -> tuple[Framing, int]:
        return Llc(layer.hash.size), ETH_P_802_2

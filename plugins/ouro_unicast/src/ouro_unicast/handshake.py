"""OCEP, sans-IO: the first packet of each side of a connection (unicast.md 3.3, 3.4).

The initiator speaks first and decides: protocol, version and syntax must be its own, exactly. The acceptor answers
with what it has, or with nothing (all zero) for a component that it does not know. Nothing is sent again: what follows
on the flow belongs to the component. Either side gives up after a second of silence.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final

from ouro_core.model.errors import FlowTimeout, InvalidArgument, IpcpError, OuroError, WireError

from .addresses import address_text
from .wire.ocep import UNKNOWN, Identity

__all__ = ["TIMEOUT", "Accepting", "Handshake", "Initiating"]

TIMEOUT: Final = 1.0
"""Seconds to wait for the other side."""


class Handshake(ABC):
    """One side. When `done`, `peer` is who is at the other end, or `error` says why there is no connection; whatever
    arrives then is not for this object.
    """

    def __init__(self, now: float) -> None:
        self.peer: Identity | None = None
        self.error: OuroError | None = None
        self._deadline = now + TIMEOUT
        self._output: list[bytes] = []

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self.peer is not None or self.error is not None

    def receive(self, data: bytes, now: float) -> None:
        """The first packet that came. Empty ones are keep-alives."""
        if self.done or not data:
            return
        try:
            self._answered(Identity.decode(data))
        except OuroError as e:
            self.error = e

    @abstractmethod
    def _answered(self, peer: Identity) -> None:
        """Who is at the other end: accept it as `peer`. OuroError: it is not whom we want."""

    def next_timeout(self) -> float | None:
        """When it gives up."""
        return None if self.done else self._deadline

    def handle_timeout(self, now: float) -> None:
        """The time has come. Too early is harmless."""
        if not self.done and now >= self._deadline:
            self.error = FlowTimeout(f"the other end did not say who it is within {TIMEOUT:g} s")

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """Each given once."""
        output, self._output = self._output, []
        return output


class Initiating(Handshake):
    """The side that asked for the flow."""

    def __init__(self, ours: Identity, now: float) -> None:
        super().__init__(now)
        self._ours = ours
        self._output.append(ours.encode())

    def _answered(self, peer: Identity) -> None:
        ours = self._ours
        if peer == UNKNOWN:
            raise IpcpError(f"the other end has no component {ours.component}")
        if peer.protocol != ours.protocol:
            raise IpcpError(f"Unknown protocol (requested {ours.protocol}, got {peer.protocol}).")
        if peer.version != ours.version:
            raise IpcpError(f"Unknown protocol version {peer.version}; {ours.protocol} {ours.version} is spoken here.")
        if peer.syntax != ours.syntax:
            raise IpcpError(f"Unknown protocol syntax {peer.syntax}; {ours.protocol} has {ours.syntax} here.")
        _check_address(ours, peer)
        self.peer = peer


class Accepting(Handshake):
    """The side that accepted the flow. `ours`: the components that can be connected to, by name."""

    def __init__(self, ours: Mapping[str, Identity], now: float) -> None:
        super().__init__(now)
        self._ours = ours

    def _answered(self, peer: Identity) -> None:
        ours = self._ours.get(peer.component)
        if ours is None:
            self._output.append(UNKNOWN.encode())
            raise IpcpError(f"Connection request for unknown component {peer.component!r:.40}.")
        self._output.append(ours.encode())
        if (peer.protocol, peer.version, peer.syntax) != (ours.protocol, ours.version, ours.syntax):
            raise IpcpError(f"{peer} wants to be connected with {ours}; it will find out and go away")
        _check_address(ours, peer)
        self.peer = peer


def _check_address(ours: Identity, peer: Identity) -> None:
    """Members have different addresses, and components that have addresses say them; longer ones are ids (`tree`)."""
    if not ours.address:
        return
    if not peer.address:
        raise WireError(f"{peer} has no address")
    if peer.address >> 32 and not ours.address >> 32:
        raise WireError(f"{peer} has the address {peer.address:#x}, which has more than 32 bits")
    if peer.address == ours.address:
        raise InvalidArgument(
            f"the other end has our own address {address_text(ours.address)}: the name leads to this very IPCP, or two "
            "members drew one address; in that case destroy one of the IPCPs and enroll it again"
        )

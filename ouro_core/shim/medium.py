"""What a shim's frames travel on."""

import os
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from ..contracts.packets import ManagementFrame
from ..contracts.programs import PumpProgram, Route
from .endpoints import Endpoints
from .messages import Codec

__all__ = ["Medium"]

A = TypeVar("A", bound=Hashable)


class Medium(ABC, Generic[A]):
    """An open datagram socket, and how the type's frames are made. `A` tells hosts: a MAC, a socket address.

    Made by `ShimIpcp.open`; lives until the IPCP stops. Used from the IPCP's loop only.
    """

    fd: int
    """The socket: bound, non-blocking. The pump reads it; `send` writes it beside the pump."""
    program: PumpProgram
    """What the pump does with it. `max_payload` says how long packets of flows may be."""
    codec: Codec
    endpoints: Endpoints
    max_message: int
    """Longest management message, in bytes, that fits and that a node of the prototype takes."""

    def room(self, peer: A) -> int:
        """Longest management message to a node of ours at `peer`, in bytes: what one fragment may fill."""
        return self.max_message

    @abstractmethod
    def route(self, peer: A, remote: int, own: int) -> Route:
        """How packets of a flow reach endpoint `remote` at `peer`, and what tells that one for `own` is from there."""

    @abstractmethod
    def read(self, frame: ManagementFrame) -> tuple[A, bytes]:
        """Who sent a management frame, and the message in it. The pump has checked the program's lengths."""

    @abstractmethod
    def send(self, to: A, message: bytes) -> None:
        """Send a management message, without waiting. OSError as the socket gives it: EAGAIN and ENOBUFS mean later."""

    def trouble(self, number: int) -> str:
        """What is wrong when the socket does not send: `number` is its errno."""
        return os.strerror(number)

    @abstractmethod
    def show(self, address: A) -> str:
        """An address as people write it."""

    def view(self) -> Mapping[str, object]:
        """For the RIB, where it is `medium`: what there is to say of device, addresses and limits."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Close the socket. The pump has stopped. Idempotent."""

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
    """The socket: bound, non-blocking. The pump reads it; `send` writes it beside the pump.

    What a pump cannot send to itself (a program that is `addressed` knows IPv4 and IPv6) takes a detour: `fd` is one
    end of a `socket.socketpair(AF_UNIX, SOCK_DGRAM)`, headers say whom frames are for, and threads of the medium move
    them between the other end and wherever they go.
    """
    program: PumpProgram
    """What the pump does with it. `max_payload` says how long packets of flows may be."""
    codec: Codec
    """Of the type's management messages: `read` and `send` deal with what stands around them."""
    endpoints: Endpoints
    """Numbers of this member's endpoints: keys of the pump, so never 0 nor what `PumpProgram.management` matches."""
    max_message: int
    """Longest management message, in bytes, that fits and that a node of the prototype takes, if there may be any."""

    def room(self, peer: A) -> int:
        """Longest management message to a node of ours at `peer`, in bytes: what one fragment may fill."""
        return self.max_message

    @abstractmethod
    def route(self, peer: A, remote: int, own: int) -> Route:
        """How packets of a flow reach endpoint `remote` at `peer`, and what tells that one for `own` is from there.
        What it raises ends the flow, and is logged here; the far end gets its number.
        """

    @abstractmethod
    def read(self, frame: ManagementFrame) -> tuple[A, bytes]:
        """Who sent a management frame, and the message in it. The pump has checked the program's lengths."""

    @abstractmethod
    def send(self, to: A, message: bytes) -> None:
        """Send a management message, without waiting. OSError as the socket gives it: EAGAIN and ENOBUFS mean later,
        with any other the requests to `to` have failed.
        """

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

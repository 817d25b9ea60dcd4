"""What components of an IPCP tell each other. Each says what happened, and knows nobody who wants to hear it.

Subscribers are called at once, in the order of their subscription: connection manager, data transfer, routing
(unicast.md 1.3), so that a port exists before routing is told of the neighbour behind it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from attrs import field, frozen

from .io import LowerFlow
from .wire.ocep import Identity

__all__ = ["Connected", "Disconnected", "Events", "WentDown", "WentUp"]

E = TypeVar("E")


@frozen
class _OfConnection:
    connection: int
    """A number that no other connection of this IPCP ever has."""
    component: str
    """Ours, which it is a connection of."""
    peer: Identity
    """Who is at the other end, with the address."""
    name: str
    """What people know the other end by."""
    flow: LowerFlow
    """What it runs over. It belongs to the component until `Disconnected`."""


@frozen
class Connected(_OfConnection):
    """A connection was made, by either side."""


@frozen
class WentDown(_OfConnection):
    """The flow below does not carry anything for now."""


@frozen
class WentUp(_OfConnection):
    """It does again."""


@frozen
class Disconnected(_OfConnection):
    """The connection is gone for good. The flow is closed when everybody has let it go."""

    _holds: list[Awaitable[None]] = field(factory=list, eq=False, repr=False)

    def wait_for(self, release: Awaitable[None]) -> None:
        """The flow is still in use until this is over."""
        self._holds.append(release)

    async def released(self) -> None:
        """Returns when nobody uses the flow any more."""
        for release in self._holds:
            await release


class Events:
    """Who wants to hear what."""

    def __init__(self) -> None:
        self._subscribers: dict[type, list[Callable[[Any], None]]] = {}

    def subscribe(self, event: type[E], handler: Callable[[E], None]) -> None:
        """Call `handler` for each event of this class."""
        self._subscribers.setdefault(event, []).append(handler)

    def emit(self, event: object) -> None:
        """It happened."""
        for handler in self._subscribers.get(type(event), ()):
            handler(event)

"""Layers and IPCPs: what the IRM and an IPCP tell each other about themselves (spec: shims.md 0.1, 1.2)."""

from enum import IntEnum
from typing import Final

from attrs import frozen

from .names import HashAlgorithm

__all__ = ["NOT_ENROLLED", "TYPE_ORDER", "IpcpInfo", "IpcpState", "LayerInfo"]

NOT_ENROLLED: Final = "Not enrolled."
"""Stands for the layer of an IPCP that has none."""

TYPE_ORDER: Final = {
    word: number for number, word in enumerate(("local", "unicast", "broadcast", "eth-llc", "eth-dix", "udp4", "udp6"))
}
"""Types of the prototype. Lists are in this order, destinations are searched in it; other types come after them."""


class IpcpState(IntEnum):
    """Life of an IPCP. 3 and 4 are never entered: the prototype has names for them."""

    NULL = 0
    INIT = 1
    BOOT = 2
    BOOTSTRAPPED = 3
    ENROLLED = 4
    OPERATIONAL = 5
    SHUTDOWN = 6

    def __str__(self) -> str:
        return self.name.lower()


@frozen
class LayerInfo:
    """A layer as all its members must see it."""

    name: str
    hash: HashAlgorithm = HashAlgorithm.SHA3_256


@frozen
class IpcpInfo:
    """One IPCP in a listing. `id` is never used twice while the IRM runs; `pid` is that of its process."""

    id: int
    pid: int
    type: str
    name: str
    state: IpcpState
    layer: LayerInfo | None = None

    @property
    def layer_name(self) -> str:
        """The name of its layer, or the words for having none."""
        return self.layer.name if self.layer else NOT_ENROLLED

    @property
    def sort_key(self) -> tuple[int, str, int]:
        """Order of listings and of the search for a destination: type, then process."""
        return TYPE_ORDER.get(self.type, len(TYPE_ORDER)), self.type, self.id

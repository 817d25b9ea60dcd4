"""Quality of service of a flow: what the requester asks for, and what both ends derive from it (spec: flows.md 2).

There is no encryption option: whether a flow is private belongs to the name it is allocated to.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from .errors import InvalidArgument

if TYPE_CHECKING:
    from attrs import Attribute

__all__ = [
    "BEST_EFFORT",
    "DATA",
    "NP1",
    "QOS_BY_NAME",
    "RAW",
    "RAW_NO_ERRORS",
    "VIDEO",
    "VOICE",
    "Cube",
    "QosSpec",
    "qos_by_name",
]

_U8: Final = 2**8 - 1
_U32: Final = 2**32 - 1
_U64: Final = 2**64 - 1


class Cube(IntEnum):
    """Scheduling class inside IPCPs."""

    BEST_EFFORT = 0
    VIDEO = 1
    VOICE = 2


def _at_most(limit: int) -> "Callable[[object, Attribute[int], object], None]":
    def check(_: object, attribute: "Attribute[int]", value: object) -> None:
        if not isinstance(value, int):
            raise TypeError(f"{attribute.name} is {value!r:.80}; it needs an int")
        if not 0 <= value <= limit:
            raise InvalidArgument(f"{attribute.name} is {value}; 0 to {limit} is right")

    return check


def _unsigned(limit: int, default: int, text: str, unit: str = "") -> int:
    value: int = field(
        default=default,
        validator=_at_most(limit),
        metadata={"help": text, "unit": unit},
    )
    return value


@frozen
class QosSpec:
    """What a flow must offer. The default is `RAW`: packets as they come, with a peer time-out of two minutes.
    InvalidArgument: a value that is out of range.
    """

    delay: int = _unsigned(_U32, _U32, "longest acceptable one-way delay", "ms")
    bandwidth: int = _unsigned(_U64, 0, "needed rate", "bit/s")
    availability: int = _unsigned(_U8, 0, "number of nines")
    loss: int = _unsigned(_U32, 1, "packet loss; 0 asks for retransmission")
    ber: int = _unsigned(_U32, 1, "bit errors per 10^9 bits; 0 asks for a CRC")
    in_order: int = _unsigned(_U8, 0, "not 0: packets in order, by FRCT")
    max_gap: int = _unsigned(_U32, _U32, "longest interruption", "ms")
    timeout: int = _unsigned(_U32, 120_000, "peer time-out; 0 for none", "ms")

    @property
    def cube(self) -> Cube:
        """The scheduling class (spec: flows.md 2)."""
        if self.delay <= 50 and self.bandwidth <= 100_000 and self.availability >= 5 and self.max_gap <= 50:
            return Cube.VOICE
        if self.delay <= 100 and self.availability >= 3 and self.max_gap <= 100:
            return Cube.VIDEO
        return Cube.BEST_EFFORT

    @property
    def needs_frct(self) -> bool:
        """Whether flow and retransmission control runs on the flow: asked for by `in_order`."""
        return self.in_order != 0

    @property
    def needs_crc(self) -> bool:
        """Whether packets carry a CRC32 trailer."""
        return self.ber == 0


RAW: Final = QosSpec()
RAW_NO_ERRORS: Final = QosSpec(ber=0)
# Those with FRCT ask for no CRC, as the prototype's do on the wire: it neither checks nor repeats one on what it sends
# again (flows.md 2, 7.8), so a reliable flow to it would stall at the first loss. `attrs.evolve(DATA, ber=0)` has one.
BEST_EFFORT: Final = QosSpec(in_order=1)
VIDEO: Final = QosSpec(delay=100, bandwidth=_U64, availability=3, in_order=1, max_gap=100)
VOICE: Final = QosSpec(delay=50, bandwidth=100_000, availability=5, in_order=1, max_gap=50)
DATA: Final = QosSpec(delay=1000, loss=0, in_order=1, max_gap=2000)
NP1: Final = QosSpec(loss=_U32, ber=_U32, timeout=0)
"""The IPCP's side of a flow, and flows of a broadcast layer: no FRCT, no CRC, no keep-alive."""

QOS_BY_NAME: Final[dict[str, QosSpec]] = {
    "raw": RAW,
    "best": BEST_EFFORT,
    "video": VIDEO,
    "voice": VOICE,
    "data": DATA,
}
"""The words of the command line."""


def qos_by_name(name: str) -> QosSpec:
    """The specification for one of the command line's words. InvalidArgument lists them."""
    try:
        return QOS_BY_NAME[name]
    except KeyError:
        raise InvalidArgument(f'unknown QoS "{name}"; known: {", ".join(QOS_BY_NAME)}') from None

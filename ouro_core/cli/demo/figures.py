"""What the demo measures, and how its peers talk about it.

A client says with the allocation of a flow what the server shall do up to END: send everything back (ECHO), or count
(SINK) and answer with the count.
"""

from typing import Any, Final

from attrs import frozen

__all__ = ["ECHO", "END", "PINGS", "SERVER", "SINK", "SPAN", "STREAMS", "Result", "Stream", "round_trips"]

SERVER: Final = "demo-server"
"""The name the client allocates flows to."""
ECHO: Final = b"echo"
SINK: Final = b"sink"
END: Final = b"end"
PINGS: Final = 2000
"""Round trips; as many go before, unmeasured."""
SPAN: Final = 0.4
"""Seconds that each stream sends."""


@frozen
class Stream:
    """A measurement of one-way throughput: bytes a packet, packets a call."""

    size: int
    batch: int

    def figures(self, sent: int, arrived: int, seconds: float) -> dict[str, Any]:
        """What came of it."""
        return {
            "size": self.size, "batch": self.batch, "sent": sent, "arrived": arrived, "seconds": round(seconds, 4),
            "packets_per_second": round(arrived / seconds), "bits_per_second": round(arrived * self.size * 8 / seconds),
        }  # fmt: skip


STREAMS: Final = (Stream(64, 1), Stream(64, 32), Stream(1400, 32))


def round_trips(times: list[int], lost: int) -> dict[str, Any]:
    """Statistics of round-trip times in ns; in µs."""
    ordered = sorted(times)
    count = len(ordered)

    def at(share: float) -> float:
        return ordered[min(int(count * share), count - 1)] / 1000

    return {
        "sent": count + lost, "returned": count, "min_us": at(0), "median_us": at(0.5),
        "mean_us": round(sum(ordered) / count / 1000, 3), "p99_us": at(0.99), "max_us": at(1),
    }  # fmt: skip


@frozen
class Result:
    """`packets` is the packet system; `figures` has round_trip and one_way."""

    packets: str
    figures: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether every packet came back, or was counted where it went."""
        trips = self.figures["round_trip"]
        return bool(
            trips["sent"] == trips["returned"] and all(s["sent"] == s["arrived"] for s in self.figures["one_way"])
        )

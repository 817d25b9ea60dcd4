"""The command line of oping (spec: tools.md 1.2)."""

from collections.abc import Sequence
from typing import Final

from attrs import field, frozen

from ouro_core.model.qos import QOS_BY_NAME, RAW, QosSpec

from ..options import BadOption, duration, number, split
from .wire import MAX_SIZE, MIN_SIZE

__all__ = ["USAGE", "Settings", "parse"]

USAGE: Final = """Usage: oping [OPTION]...
Checks if an application is reachable over Ouroboros, and how long a packet takes there and back.

  -l, --listen           Run in server mode
      --poll             Server: poll the flows instead of waiting for events
      --busy             Server: accept one flow and poll that
  -n, --server-name NAME Name of the server
  -c, --count N          Number of packets (default: 2147483647)
  -d, --duration TIME    Length of the test (default: as long as the packets take)
  -i, --interval TIME    Time between two packets (default: 1000 ms)
  -s, --size BYTES       Size of a packet, 64 to 1500 (default: 64)
  -q, --qos QOS          raw, best, video, voice or data (default: raw)
  -f, --flood            Send the next packet as soon as the reply is there
  -F, --flood-busy       The same, polling for the reply
  -Q, --quiet            Only show the summary
  -D, --timeofday        Show the time of day in front of each line

A TIME is in milliseconds, or with a unit: ms, s, m, h, d."""

_FLAGS: Final = {
    "-l": "listen", "--listen": "listen", "--poll": "poll", "--busy": "busy", "-f": "flood", "--flood": "flood",
    "-F": "flood_busy", "--flood-busy": "flood_busy", "-Q": "quiet", "--quiet": "quiet", "-D": "timeofday",
    "--timeofday": "timeofday",
}  # fmt: skip
_VALUES: Final = {
    "-n": "name", "--server-name": "name", "-c": "count", "--count": "count", "-d": "duration",
    "--duration": "duration", "-i": "interval", "--interval": "interval", "-s": "size", "--size": "size",
    "-q": "qos", "--qos": "qos",
}  # fmt: skip
_MAX_INTERVAL: Final = 10_000
_MAX_COUNT: Final = 2**31 - 1


@frozen
class Settings:
    """What to do. Times in milliseconds. `remarks` are lines to print first, `hint` is one for standard error."""

    name: str = ""
    listen: bool = False
    poll: bool = False
    busy: bool = False
    count: int = _MAX_COUNT
    interval: int = 1000
    size: int = MIN_SIZE
    qos: QosSpec = RAW
    flood: bool = False
    flood_busy: bool = False
    quiet: bool = False
    timeofday: bool = False
    remarks: tuple[str, ...] = field(default=())
    hint: str = ""


def parse(words: Sequence[str]) -> Settings:
    """Settings from a command line. BadOption, UnknownUnit."""
    given = dict(split(words, _FLAGS, _VALUES))
    remarks: list[str] = []
    interval = duration(given.get("interval", "1000"))
    if interval > _MAX_INTERVAL:
        remarks.append("Ping interval truncated to 10s.")
        interval = _MAX_INTERVAL
    size = number(given.get("size", str(MIN_SIZE)), "size")
    if size > MAX_SIZE:
        remarks.append("Packet size truncated to 1500 bytes.")
    elif size < MIN_SIZE:
        remarks.append("Packet size set to 64 bytes.")
    qos = given.get("qos", "raw")
    if qos not in QOS_BY_NAME:
        remarks.append("Unknown QoS cube, defaulting to raw.")
    if "listen" not in given and "name" not in given:
        raise BadOption("No server specified.")
    return Settings(
        name=given.get("name", ""),
        count=_count(given, interval),
        interval=interval,
        size=min(max(size, MIN_SIZE), MAX_SIZE),
        qos=QOS_BY_NAME.get(qos, RAW),
        remarks=tuple(remarks),
        hint="" if qos in QOS_BY_NAME else f'qos "{qos}" is not known; known: {", ".join(QOS_BY_NAME)}.',
        **{flag: flag in given for flag in set(_FLAGS.values())},
    )


def _count(given: dict[str, str], interval: int) -> int:
    """How many packets: as many as there is time for, when a duration is given."""
    time = duration(given.get("duration", "0"))
    count = number(given.get("count", str(_MAX_COUNT)), "count")
    if time:
        count = time // interval if interval else time * 10
    return min(count, _MAX_COUNT)  # what an id can count

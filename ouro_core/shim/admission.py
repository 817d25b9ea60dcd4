"""Who may take how much of our time: management messages are handled in Python, and anybody can send them."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

__all__ = ["Admission"]

A = TypeVar("A", bound=Hashable)

MAX_HOSTS: Final = 1024
"""Hosts that are remembered; the one that was heard longest ago is forgotten, and begins anew."""


class Admission(Generic[A]):
    """A bucket for each host: `burst` messages at once, `rate` a second in the long run. More are dropped before any is
    read, so a host that floods us costs little and takes nothing from the others.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._hosts: OrderedDict[A, tuple[float, float]] = OrderedDict()  # messages left, and when that was
        self.dropped = 0

    def admit(self, host: A, now: float) -> bool:
        """Whether a message of this host is to be looked at. `now`: seconds of a clock that does not go back."""
        left, at = self._hosts.pop(host, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        if left < 1:
            self._hosts[host] = left, now
            self.dropped += 1
            return False
        self._hosts[host] = left - 1, now
        if len(self._hosts) > MAX_HOSTS:
            self._hosts.popitem(last=False)
        return True

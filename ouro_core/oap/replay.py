"""Replay protection of a server (oap.md 1.6).

Every request that is admitted is remembered by (id, timestamp) for as long as its timestamp would be admitted again. Id
and timestamp are the client's to choose and mostly unsigned, so anybody who reaches the node can fill this memory.
It is
bounded without ever forgetting inside the window: when it is full the oldest timestamp is dropped and becomes the
*floor*; from then on requests up to the floor are refused as too old. Under a flood the window shrinks from its 20 s
towards the present, and requests of well-kept clocks still pass; a replay never does.

There is one guard for all names of a node: a request does not say which name it is for, so a guard for each name would
admit at one what was captured on its way to another.
"""

from heapq import heappop, heappush, heappushpop

from ouro_core.model.errors import AuthenticationFailed

__all__ = ["ReplayGuard"]

_MS = 1_000_000


class ReplayGuard:
    """Remembers the requests of the last `window_ms` (20 s); admits timestamps up to `slack_ms` (100 ms) in the future.

    `capacity` requests at most are remembered (about 250 bytes each); with the default the window is whole up to 3200
    requests a second. Not thread-safe.
    """

    def __init__(self, window_ms: int = 20_000, slack_ms: int = 100, capacity: int = 65_536) -> None:
        self._window_ms, self._slack_ms, self._capacity = window_ms, slack_ms, capacity
        self._seen: set[tuple[int, bytes]] = set()
        self._oldest: list[tuple[int, bytes]] = []
        self._floor = -1

    def __len__(self) -> int:
        return len(self._seen)

    def admit(self, ident: bytes, stamp: int, now: int) -> None:
        """Let one request pass, once. stamp and now: ns since 1970 UTC. AuthenticationFailed: its time is out of the
        window, or it was here before.
        """
        age = now - stamp
        age_ms = age // _MS if age >= 0 else -(-age // _MS)  # towards zero, as the prototype
        if age_ms < -self._slack_ms:
            raise AuthenticationFailed(
                f"request {ident[:8].hex()} is from {-age_ms} ms in the future (at most {self._slack_ms}): "
                "synchronise the clocks of both hosts"
            )
        if age_ms > self._window_ms:
            raise AuthenticationFailed(
                f"request {ident[:8].hex()} is {age_ms} ms old (at most {self._window_ms}): "
                "synchronise the clocks of both hosts, or it is a replay"
            )
        self._expire(now)
        entry = (stamp, ident)
        if entry in self._seen:
            raise AuthenticationFailed(f"request {ident[:8].hex()} is known already: a replay")
        if stamp <= self._floor:
            raise AuthenticationFailed(
                f"request {ident[:8].hex()} is {age_ms} ms old: too many requests arrive to tell it from a replay"
            )
        self._remember(entry)

    def _expire(self, now: int) -> None:
        too_old = now - (self._window_ms + 1) * _MS
        while self._oldest and self._oldest[0][0] <= too_old:
            self._seen.remove(heappop(self._oldest))

    def _remember(self, entry: tuple[int, bytes]) -> None:
        self._seen.add(entry)
        if len(self._oldest) < self._capacity:
            heappush(self._oldest, entry)
            return
        dropped = heappushpop(self._oldest, entry)
        self._seen.remove(dropped)
        self._floor = dropped[0]

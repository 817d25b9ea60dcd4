"""How long a mover waits for an application that does not read (packets.md 4.3)."""

from __future__ import annotations

from ouro_core.contracts.packets import FlowEnd, State
from ouro_core.contracts.programs import ForwardProgram, PumpProgram
from ouro_core.model.errors import BadDescriptor, FlowDown, NotAllocated, TooLong, WouldBlock

__all__ = ["HALF", "Delivery"]

HALF = 512
"""Half a ring. Whoever waits for space goes on when it is half empty."""

_LONELY = 0.1
_SHARE = 1 / 8


class Delivery:
    """Towards one application. `until` is set while a packet waits for space; then everything is dropped until the ring
    is half empty. Waiting costs credit, which fills at an eighth of wall time, unless nobody else is kept waiting.
    """

    def __init__(self, view: FlowEnd, program: PumpProgram | ForwardProgram) -> None:
        self._view = view
        self._program = program
        self._credit = program.stall
        self._credit_at = 0.0
        self._since = 0.0
        self._alone = False
        self._dropping = False
        self.until: float | None = None
        self.last = -_LONELY  # when it got a packet

    def offer(self, payload: bytes, now: float, others: float) -> str | None:
        """One packet. Returns "" when it was delivered, None when it must wait until `until`, else the name of the
        counter of its loss. `others`: when another flow got something last.
        """
        if (self._dropping or self.until is not None) and self._view.queued()[1] > HALF:
            return self._full(now, others)
        try:
            if payload:
                self._view.write(payload)
            else:
                self._view.keepalive()
        except WouldBlock:
            return self._full(now, others)
        except (FlowDown, NotAllocated):
            self._settle(now)
            return "down"
        except TooLong:
            self._settle(now)
            return "no_block"
        self._settle(now)
        self._dropping = False
        self.last = now
        return ""

    @property
    def stalling(self) -> bool:
        return self.until is not None

    def _full(self, now: float, others: float) -> str | None:
        if self.until is None and not self._dropping:
            self._begin(now, others)
        if self.until is not None and now < self.until:
            return None
        self._settle(now)
        self._dropping = True
        return "ring_full" if self._view.queued()[1] > HALF else "no_block"

    def _begin(self, now: float, others: float) -> None:
        self._since = now
        self._alone = now - others >= _LONELY
        self._credit = min(self._program.stall, self._credit + (now - self._credit_at) * _SHARE)
        self._credit_at = now
        self.until = now + (self._program.stall_alone if self._alone else min(self._program.stall, self._credit))

    def _settle(self, now: float) -> None:
        """The wait is over, if there was one."""
        if self.until is not None and not self._alone:
            self._credit = max(0.0, self._credit - (now - self._since))
        self.until = None

    def down(self) -> bool:
        try:
            return bool(self._view.state & (State.DOWN | State.CLOSED | State.DEAD))
        except BadDescriptor:  # closed by the client itself
            return True

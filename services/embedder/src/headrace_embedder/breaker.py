"""When the provider is left alone: after failures, and for as long as it asks. Pure.

Closed, open, half-open. Open means paused: the loop keeps the records and comes back.
Time is handed in, in seconds of any monotonic clock.

A *check* is a call with a text that is known to be good. Failures of other calls alone
do not open the breaker: texts that the provider fails on may come in any number, and a
pause would only bring them back. The last failure of a row has to be a check's.
"""

from __future__ import annotations

from enum import StrEnum

OPENS_AFTER = 5
HALF_OPEN_AFTER_S = 60.0


class BreakerState(StrEnum):
    """Whether calls go out."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Breaker:
    """Opens after failures in a row; one check decides whether it closes again.

    Attributes:
        reason: why it is open, as ``SharedFailure.reason``; empty while closed.
    """

    def __init__(
        self,
        *,
        opens_after: int = OPENS_AFTER,
        half_open_after: float = HALF_OPEN_AFTER_S,
    ) -> None:
        self.reason = ""
        self._opens_after = opens_after
        self._half_open_after = half_open_after
        self._failures = 0
        self._probe_at: float | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """Where it stands."""
        if self._probe_at is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._probing else BreakerState.OPEN

    @property
    def doubtful(self) -> bool:
        """Whether only a check is still missing to open it."""
        return self._probe_at is None and self._failures >= self._opens_after

    def wait(self, *, now: float) -> float:
        """Seconds until a probe is due; 0 where one is, or while closed."""
        if self._probe_at is None:
            return 0.0
        return max(self._probe_at - now, 0.0)

    def start_probe(self, *, now: float) -> bool:
        """Whether the caller may start the one check that decides; it must report."""
        if self._probe_at is None or self._probing or now < self._probe_at:
            return False
        self._probing = True
        return True

    def abandon_probe(self) -> None:
        """The check ended without an outcome (cancelled); another may start at once."""
        self._probing = False

    def succeeded(self, *, check: bool) -> None:
        """A call was answered. Only the check that decides closes an open one."""
        if self._probe_at is None:
            self._failures = 0
        elif self._probing and check:
            self._close()

    def failed(self, *, now: float, reason: str, check: bool) -> None:
        """A call failed in a way that the provider may be the cause of.

        What began before it opened says nothing about the provider of now.
        """
        if self._probe_at is None:
            self._failures += 1
        if check and (self._probing or self.doubtful):
            self.hold(self._half_open_after, now=now, reason=reason)

    def hold(self, seconds: float, *, now: float, reason: str) -> None:
        """Open for so long: it said so itself, or people have to act first.

        What ends later counts: a short wait does not cut a longer one.
        """
        due = now + seconds
        if self._probe_at is None or self._probing or due > self._probe_at:
            self._probe_at = due
            self.reason = reason
        self._probing = False

    def _close(self) -> None:
        self._failures = 0
        self._probe_at = None
        self._probing = False
        self.reason = ""

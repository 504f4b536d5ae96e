"""How much may be asked of the provider: rates and batch sizes. Pure: no I/O.

Time is handed in, in seconds of any monotonic clock.
"""

from __future__ import annotations

from collections import deque

MINUTE_S = 60.0
BURST_SHARE = 6
"""A burst may take a sixth of a minute's limit: providers count shorter spans too."""
GROW_BELOW_S = 5.0
SHRINK_ABOVE_S = 30.0
GROW_BY = 1.5
SHRINK_BY = 0.7
AVERAGED_BATCHES = 3
FIRST_SIZE = 64
"""One full slice: small enough for a slow provider, large enough for a fast one."""


class Rate:
    """At most ``per_minute`` whole units in any 60 seconds, spread out; 0: no limit.

    A bucket that holds ``burst`` and gains so much a second that both together stay
    below one unit more than the limit. An amount above the burst goes through when the
    bucket is full, and the bucket owes the rest.
    """

    def __init__(self, per_minute: int, *, now: float) -> None:
        self._limit = per_minute
        self._at = now
        self._shape(1.0)
        self._level = self._burst

    @property
    def burst(self) -> float | None:
        """Most that should be taken at once; ``None`` without a limit."""
        return self._burst if self._limit else None

    def scale(self, share: float, *, now: float) -> None:
        """Keep to a share (0 to 1) of the limit from now on."""
        self._gain(now)
        self._shape(share)
        self._level = min(self._level, self._burst)

    def take(self, amount: float, *, now: float) -> float:
        """Take it and return 0, or take nothing and return the seconds to wait."""
        if not self._limit:
            return 0.0
        self._gain(now)
        missing = min(amount, self._burst) - self._level
        # Less than a billionth is what adding up floats leaves over.
        if missing <= 1e-9 * self._burst:
            self._level -= amount
            return 0.0
        return missing / self._per_second

    def _shape(self, share: float) -> None:
        # Whole units; a share below one still lets one through, as with calls.
        scaled = max(int(self._limit * share), 1)
        self._burst = max(scaled / BURST_SHARE, 1.0)
        self._per_second = (scaled + 1 - self._burst) / MINUTE_S

    def _gain(self, now: float) -> None:
        gained = max(now - self._at, 0.0) * self._per_second
        self._level = min(self._level + gained, self._burst)
        self._at = max(now, self._at)


class BatchSize:
    """Texts per call: grows while calls are quick, shrinks when they are slow (C4).

    1.5 times while the last three calls at the present size average under 5 s, 0.7
    times where they average over 30 s; then three new calls are awaited. Only full
    calls let it grow, else an idle hour would end in the largest one. It also shrinks
    where the provider has a limit that calls of this size cannot keep.
    """

    def __init__(self, *, minimum: int, maximum: int) -> None:
        self._minimum = minimum
        self._maximum = max(maximum, minimum)
        self._size = min(max(FIRST_SIZE, minimum), self._maximum)
        self._last: deque[float] = deque(maxlen=AVERAGED_BATCHES)
        self._limited = 0

    @property
    def texts(self) -> int:
        """Most texts of the next call."""
        return self._size

    def answered(self, seconds: float, *, texts: int) -> None:
        """Learn from a call that went well."""
        self._limited = 0
        if texts >= self._size or seconds >= SHRINK_ABOVE_S:
            self._took(seconds)

    def failed(self, seconds: float) -> None:
        """Learn from a call that did not; a quick end shows no quick provider."""
        if seconds >= SHRINK_ABOVE_S:
            self._took(seconds)

    def limited(self) -> None:
        """A call was over a rate limit.

        The second in a row, after a pause in which the provider has recovered, would be
        over it for ever: one call asks for more than the limit lets by at once.
        """
        self._limited += 1
        if self._limited > 1:
            self._resize(SHRINK_BY)

    def _took(self, seconds: float) -> None:
        self._last.append(seconds)
        if len(self._last) < AVERAGED_BATCHES:
            return
        average = sum(self._last) / AVERAGED_BATCHES
        if average < GROW_BELOW_S:
            self._resize(GROW_BY)
        elif average > SHRINK_ABOVE_S:
            self._resize(SHRINK_BY)

    def _resize(self, factor: float) -> None:
        size = int(self._size * factor)
        self._size = min(max(size, self._minimum), self._maximum)
        self._last.clear()

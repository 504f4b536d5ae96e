"""From readings of a stage's lag to what it demands. Pure: no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.backpressure import Demand

_WINDOW_S = 60.0
_HELD_AFTER_S = 30.0
"""With members and lag, and nothing committed this long: kept from work."""
_NEW_RATE_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a stage's group. Places are (topic, partition number)."""

    at_s: float
    """Monotonic."""
    committed: Mapping[tuple[str, int], int]
    end: Mapping[tuple[str, int], int]
    members: int
    oldest_age_s: float = 0.0
    stopped_by_ahead: bool = False
    """Whether the next stage's lag keeps all that has lag from being read."""
    paused: bool = False
    """Whether people have paused the stage."""

    def lag(self) -> dict[int, int]:
        """By partition number, lanes together."""
        lag: dict[int, int] = {}
        for place, end in self.end.items():
            records = max(end - self.committed.get(place, 0), 0)
            lag[place[1]] = lag.get(place[1], 0) + records
        return lag


@dataclass(slots=True)
class History:
    """The recent readings of a stage and the rate that was learnt from them."""

    rate_per_s: float | None = None
    """Of one replica that had work all the time; kept until there is a newer one. A
    replica that waits for work says nothing of what it could do."""
    _readings: deque[Reading] = field(default_factory=deque)

    def add(self, reading: Reading) -> Demand:
        """Take in a reading and say what it means."""
        if self._readings:
            self._learn(self._readings[-1], reading)
        self._readings.append(reading)
        while reading.at_s - self._readings[0].at_s > _WINDOW_S:
            self._readings.popleft()
        lag = reading.lag()
        # A fast stage has no lag whenever one looks, and is busy all the same.
        busy = {n for r in self._readings for n, records in r.lag().items() if records}
        first = self._readings[0]
        busy |= {p[1] for p, end in reading.end.items() if end > first.end.get(p, end)}
        return Demand(
            lag=[lag[number] for number in sorted(lag)],
            busy_partitions=len(busy),
            oldest_age_s=reading.oldest_age_s,
            inflow_per_s=self._inflow(),
            rate_per_s=self.rate_per_s,
            current=reading.members,
            held=reading.stopped_by_ahead or self._stuck(),
            paused=reading.paused,
        )

    def _learn(self, before: Reading, now: Reading) -> None:
        seconds = now.at_s - before.at_s
        done = _sum(now.committed) - _sum(before.committed)
        least = min(sum(before.lag().values()), sum(now.lag().values()))
        steady = before.members == now.members > 0 and not before.paused
        if seconds <= 0 or done <= 0 or least < done or not steady:
            return
        rate = done / seconds / now.members
        if self.rate_per_s is None:
            self.rate_per_s = rate
        else:
            self.rate_per_s += (rate - self.rate_per_s) * _NEW_RATE_WEIGHT

    def _inflow(self) -> float:
        first, last = self._readings[0], self._readings[-1]
        seconds = last.at_s - first.at_s
        came = _sum(last.end) - _sum(first.end)
        return came / seconds if seconds > 0 and came > 0 else 0.0

    def _stuck(self) -> bool:
        """Whether members have work and none of it was finished lately.

        Also where it is too early to know: nothing speaks for more replicas yet.
        """
        last = self._readings[-1]
        recent = [r for r in self._readings if last.at_s - r.at_s <= _HELD_AFTER_S]
        done = _sum(last.committed)
        return (
            last.members > 0
            and any(last.lag().values())
            and all(_sum(reading.committed) == done for reading in recent)
        )


def _sum(offsets: Mapping[tuple[str, int], int]) -> int:
    return sum(offsets.values())

"""Notices partitions that have work and do not move.

A partition moves when the oldest of its records in flight is finished. While a shared
failure holds it, it cannot, and the pause says why; that time does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import structlog

from headrace.assignment import OwnedPartition
from headrace.clock import Clock
from headrace.messages import Lane
from headrace.metrics import Metrics

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Standing:
    at: int | None
    """Offset of the oldest record in flight."""
    since: float


class Watchdog:
    """Looks at all partitions now and then; what is between two looks it misses.

    Attributes:
        problem: which partition has stood still for too long, or ``None``.
    """

    def __init__(self, *, patience_s: float, metrics: Metrics, clock: Clock) -> None:
        self.problem: str | None = None
        self._patience_s = patience_s
        self._metrics = metrics
        self._clock = clock
        self._standing: Mapping[OwnedPartition, _Standing] = {}

    def look(self, owners: Collection[OwnedPartition]) -> None:
        """Judge these partitions and forget all others."""
        now = self._clock.monotonic()
        standing: dict[OwnedPartition, _Standing] = {}
        longest = dict.fromkeys(Lane, 0.0)
        slowest: OwnedPartition | None = None
        for owner in owners:
            if not owner.tracker.in_flight or owner.held:
                continue
            at = owner.tracker.committable
            before = self._standing.get(owner)
            same = before is not None and before.at == at
            standing[owner] = before if before and same else _Standing(at, now)
            age_s = now - standing[owner].since
            if slowest is None or age_s > now - standing[slowest].since:
                slowest = owner
            longest[owner.lane] = max(longest[owner.lane], age_s)
        self._standing = standing
        for lane, age_s in longest.items():
            self._metrics.unmoved_seconds(lane).set(age_s)
        self._judge(slowest, max(longest.values()))

    def _judge(self, slowest: OwnedPartition | None, age_s: float) -> None:
        if slowest is None or age_s < self._patience_s:
            self.problem = None
            return
        place = f"{slowest.id.topic}/{slowest.id.number}"
        offset = slowest.tracker.committable
        if self.problem is None:
            _log.error("a partition does not move", partition=place, offset=offset)
        self.problem = (
            f"{place} has stood at offset {offset} for {age_s:.0f} s with "
            f"{slowest.tracker.in_flight} records in flight"
        )

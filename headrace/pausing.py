"""Pauses and resumes partitions, by backpressure or because people say so.

It counts why and for how long.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from headrace.assignment import OwnedPartition
from headrace.backpressure import Limits, Mark, Pressure, Verdict, decide
from headrace.clock import Clock
from headrace.messages import Lane
from headrace.metrics import Metrics
from headrace.source import Source

OPERATOR = "operator"
"""Why a partition is paused of whose stage people say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopLimits:
    """How much the loop takes on."""

    slots: int
    """Records worked on at once."""
    partition_records: int
    process_bytes: int
    ahead_high: int
    ahead_low: int
    patience_s: float = 600.0
    """For how long a partition with work may stand still."""

    def of(self, lane: Lane) -> Limits:
        """The marks of a partition; the bulk lane leaves a quarter of the memory."""
        size = self.process_bytes * (3 if lane is Lane.BULK else 4) // 4
        return Limits(
            ahead_records=Mark(self.ahead_high, self.ahead_low),
            in_flight_records=Mark(self.partition_records, self.partition_records // 2),
            in_flight_bytes=Mark(size, size * 3 // 4),
        )


Ahead = Callable[[Lane, int], int]
"""Lag ahead of a partition of ours, by lane and partition number."""


class Pauses:
    """Which partitions the source is told not to fetch.

    Attributes:
        process_bytes: of the records in flight, kept up to date by the loop.
        by_operator: whether people have paused the stage. Set with ``ConsumingLoop``'s
            ``obey``; it goes before all other reasons.
    """

    def __init__(
        self,
        source: Source,
        *,
        limits: LoopLimits,
        ahead: Ahead,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self.process_bytes = 0
        self.by_operator = False
        self._source = source
        self._limits = {lane: limits.of(lane) for lane in Lane}
        self._ahead = ahead
        self._metrics = metrics
        self._clock = clock
        self._short_of_bytes: set[OwnedPartition] = set()
        self._reasons: set[str] = set()

    @property
    def crowded(self) -> bool:
        """Whether bytes in flight concern every partition, not only one's own."""
        return self.process_bytes >= self._limits[Lane.BULK].in_flight_bytes.high

    def review(self, owner: OwnedPartition) -> None:
        """Pause or resume a partition by what is known now."""
        reason = OPERATOR if self.by_operator else owner.held
        if not reason:
            pressure = Pressure(
                ahead_records=self._ahead(owner.lane, owner.id.number),
                in_flight_records=owner.tracker.in_flight,
                in_flight_bytes=self.process_bytes,
            )
            decision = decide(
                pressure,
                self._limits[owner.lane],
                # People who resume want it to go on, not to wait for the lower marks.
                paused=owner.paused not in ("", OPERATOR),
            )
            if decision.verdict is Verdict.PAUSE:
                reason = decision.reason
        if reason == owner.paused:
            return
        self._account(owner)
        if not owner.paused:
            self._source.pause([owner.id])
        elif not reason:
            self._source.resume([owner.id])
        owner.paused = reason
        if reason == "in_flight_bytes":
            self._short_of_bytes.add(owner)
        else:
            self._short_of_bytes.discard(owner)

    def finished(self, owner: OwnedPartition) -> None:
        """A record of the partition is over: somebody may go on."""
        if owner.paused:
            self.review(owner)
        if self._short_of_bytes:
            for other in list(self._short_of_bytes):
                self.review(other)

    def reset(self) -> None:
        """All partitions are gone, and with them what was in flight."""
        self.process_bytes = 0
        self._short_of_bytes.clear()

    def tick(self, owners: Collection[OwnedPartition]) -> None:
        """Look at all partitions again: what lies ahead moves without us."""
        for owner in owners:
            self.review(owner)
            self._account(owner)
        self._reasons |= {owner.paused for owner in owners if owner.paused}
        for reason in self._reasons:
            count = sum(1 for owner in owners if owner.paused == reason)
            self._metrics.paused_partitions(reason).set(count)

    def _account(self, owner: OwnedPartition) -> None:
        now = self._clock.monotonic()
        if owner.paused:
            paused = self._metrics.backpressure_paused_seconds(owner.paused)
            paused.inc(max(now - owner.paused_since, 0))
        owner.paused_since = now

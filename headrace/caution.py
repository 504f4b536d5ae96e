"""Finds the record that kills its process: a few at a time after a death, then one.

While nobody dies this costs three requests for each assignment and nothing for a
record. See ``custody`` for what is remembered, and where.
"""

from __future__ import annotations

from uuid import uuid4

import structlog

from headrace.assignment import Assignment, Item, OwnedPartition
from headrace.clock import Clock
from headrace.custody import FATAL, Custody, Doubt
from headrace.messages import StatusError
from headrace.metrics import Metrics
from headrace.source import CommitFailed, Source

_log = structlog.get_logger(__name__)

_IDLE_S = 10.0
"""A partition from which nothing comes for so long has nothing that kills."""

CRASHED = StatusError(
    "crashed_process",
    f"{FATAL} processes died while they worked on this record and on nothing else",
    "Look at the stage's last logs and at its memory before each death; replay the "
    "letter once the cause is mended.",
    retryable=True,
)


class Caution:
    """Keeps the custody of this process's partitions.

    Args:
        window: records of a partition that may be in work beyond its first.
        few: records of the process that are begun together after a death; the next
            ones when all of them have ended.
    """

    def __init__(
        self,
        source: Source,
        *,
        window: int,
        few: int,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._source = source
        self._window = window
        self._few = few
        self._metrics = metrics
        self._clock = clock
        self._name = uuid4().hex[:12]

    async def take(self, assignment: Assignment) -> None:
        """See who had the partitions; nothing of them is in work yet."""
        now = self._clock.monotonic()
        try:
            found = await self._source.positions(assignment.partitions)
        except CommitFailed as error:
            # Whoever dies now is not counted; the next one may be.
            _log.warning("unknown who had the partitions", reason=str(error))
            return
        for place, at in found.items():
            owner = assignment.partitions[place]
            before = Custody.read(at.note)
            owner.base = at.offset
            owner.busy = now
            owner.custody = before.taken(
                self._name,
                offset=at.offset,
                until=min(at.offset + self._window, at.end),
            )
            if owner.custody.doubt:
                assignment.suspects.add(owner)
                _log.warning(
                    "the last owner of a partition did not hand it over",
                    partition=f"{place.topic}/{place.number}",
                    offset=at.offset,
                    until=owner.custody.until,
                    at_a_time="one" if owner.custody.doubt is Doubt.ONE else "a few",
                )

    def room(self, assignment: Assignment) -> bool:
        """Whether another record may be begun now."""
        if not assignment.running:
            assignment.together = 0
        doubts = [owner.custody.doubt for owner in assignment.suspects]
        return assignment.together < (1 if Doubt.ONE in doubts else self._few)

    def may_start(self, item: Item) -> bool:
        """Whether it is this record's turn: where each is alone, in their order."""
        return (
            item.owner.custody.doubt is not Doubt.ONE
            or item.record.offset == item.owner.tracker.committable
        )

    def begin(self, item: Item) -> None:
        """A record is to be worked on; the caller commits before it is."""
        owner, offset = item.owner, item.record.offset
        if item.given_up is not None or not owner.custody.doubt:
            return
        if owner.custody.fatal(offset):
            item.given_up, item.failures = CRASHED, owner.custody.killed
        else:
            owner.custody = owner.custody.starts(offset)

    def end(self, item: Item) -> None:
        """The work on it came to an end."""
        item.owner.custody = item.owner.custody.ended()

    def hand_over(self, assignment: Assignment) -> None:
        """The partitions go, in order; the caller commits."""
        for owner in assignment.partitions.values():
            owner.custody = owner.custody.handed_over()

    def look(self, assignment: Assignment) -> list[OwnedPartition]:
        """Those whose doubtful records are through, since the last look."""
        now = self._clock.monotonic()
        cleared = []
        for owner in assignment.suspects:
            if owner.tracker.in_flight or owner.paused:
                owner.busy = now
            idle = now - owner.busy >= _IDLE_S
            if idle or (owner.position or 0) >= owner.custody.until:
                owner.custody = owner.custody.cleared()
                cleared.append(owner)
        assignment.suspects.difference_update(cleared)
        self._metrics.doubtful_partitions.set(len(assignment.suspects))
        return cleared

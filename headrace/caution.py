"""Finds the record that kills its process: a few at a time after a death, then one.

While nobody dies this costs three requests for each assignment and nothing for a
record. See ``custody`` for what is remembered, and where.
"""

from __future__ import annotations

from uuid import uuid4

import structlog

from headrace.assignment import Assignment, Item, OwnedPartition
from headrace.clock import Clock
from headrace.committing import Committer
from headrace.custody import FATAL, Custody
from headrace.messages import StatusError
from headrace.metrics import Metrics
from headrace.source import CommitFailed, Source

_log = structlog.get_logger(__name__)

_IDLE_S = 10.0
"""A partition from which nothing comes for so long has nothing that kills."""
_FEW = 64
"""At most, however many are worked on otherwise: their offsets must fit a note."""

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
        slots: records of the process that are worked on together without doubt.
    """

    def __init__(
        self,
        source: Source,
        *,
        committer: Committer,
        window: int,
        slots: int,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._source = source
        self._committer = committer
        self._window = window
        self._few = min(max(1, slots // 4), _FEW)
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
            found = {}
        for place, at in found.items():
            owner = assignment.partitions[place]
            owner.base = at.offset
            owner.busy = now
            owner.custody = Custody.read(at.note).taken(
                self._name,
                offset=at.offset,
                until=min(at.offset + self._window, at.end),
            )
            if owner.custody.doubtful:
                assignment.doubtful.add(owner)
                _log.warning(
                    "the last owner of a partition did not hand it over",
                    partition=f"{place.topic}/{place.number}",
                    offset=at.offset,
                    until=owner.custody.until,
                    suspects=dict(owner.custody.suspects),
                )
        self._metrics.doubtful_partitions.set(len(assignment.doubtful))

    def hand_over(self, assignment: Assignment) -> None:
        """The partitions go, in order; the caller commits."""
        for owner in assignment.partitions.values():
            owner.custody = owner.custody.handed_over()

    # -- whose turn it is -------------------------------------------------------

    def take_next(self, assignment: Assignment) -> Item | None:
        """What is worked on next, while there is doubt.

        A suspect waits until nothing is in work, and nothing is begun meanwhile, nor
        until it has ended. It waits only once it has been handed out: before that it
        may be behind others of its key, which must not wait for it. Of what else is
        doubtful a few are in work at a time; all other partitions go on as ever.
        """
        schedule = assignment.schedule
        if assignment.alone in assignment.running:
            return None
        while True:
            if assignment.suspects:
                if assignment.running:
                    return None
                item = assignment.alone = assignment.suspects.popleft()
                schedule.resume(item)
                return item
            room = self._room(assignment)
            if room and assignment.waiting:
                item = assignment.waiting.popleft()
                schedule.resume(item)
                return item
            taken = schedule.take()
            if taken is None:
                return None
            custody = taken.owner.custody
            if taken.record.offset in custody.suspects:
                assignment.suspects.append(taken)
            elif custody.doubtful and not room:
                assignment.waiting.append(taken)
            else:
                return taken
            schedule.wait(taken)

    def _room(self, assignment: Assignment) -> bool:
        in_work = sum(len(owner.custody.working) for owner in assignment.doubtful)
        return in_work < self._few

    # -- one record -------------------------------------------------------------

    def begin(self, item: Item) -> None:
        """A record is to be worked on, once that is ``told``."""
        owner, offset = item.owner, item.record.offset
        if item.given_up is not None or not owner.custody.doubtful:
            return
        if owner.custody.fatal(offset):
            item.given_up, item.failures = CRASHED, owner.custody.suspects[offset]
        else:
            owner.custody = owner.custody.starts(offset)

    async def told(self, item: Item) -> None:
        """Kafka must know what is in work, before it may kill.

        And that there is no doubt any more, before others are worked on unannounced.
        """
        owner, assignment = item.owner, item.assignment
        if owner in assignment.doubtful:
            await self._committer.surely(assignment)
            self._trust(owner, assignment)

    async def end(self, item: Item) -> None:
        """A try came to its end. What was alone is not blamed for what comes next."""
        owner, assignment = item.owner, item.assignment
        ended = owner.custody.ended(item.record.offset, done=item.done)
        self._now(owner, ended, assignment)
        if item is assignment.alone:
            await self._committer.surely(assignment)

    # -- the end of doubt -------------------------------------------------------

    def review(self, owner: OwnedPartition, assignment: Assignment) -> None:
        """A record of the partition is finished."""
        if owner.custody.doubtful and owner.position is not None:
            self._now(owner, owner.custody.past(owner.position), assignment)

    def look(self, assignment: Assignment) -> None:
        """End the doubt of partitions from which nothing more comes."""
        now = self._clock.monotonic()
        for owner in list(assignment.doubtful):
            if owner.tracker.in_flight or owner.paused:
                owner.busy = now
            elif now - owner.busy >= _IDLE_S:
                self._now(owner, owner.custody.cleared(), assignment)
            self._trust(owner, assignment)

    def _now(
        self, owner: OwnedPartition, custody: Custody, assignment: Assignment
    ) -> None:
        over = owner.custody.doubtful and not custody.doubtful
        owner.custody = custody
        if over:
            # Judged anew: some of them, or all, need not wait any more, but for a slot.
            for item in reversed([*assignment.suspects, *assignment.waiting]):
                assignment.schedule.again(item)
            assignment.suspects.clear()
            assignment.waiting.clear()

    def _trust(self, owner: OwnedPartition, assignment: Assignment) -> None:
        """End the caution, if the last commit has told that there is no doubt."""
        told = owner.committed is not None and owner.committed[1] == owner.custody
        if told and not owner.custody.doubtful:
            assignment.doubtful.discard(owner)
            self._metrics.doubtful_partitions.set(len(assignment.doubtful))

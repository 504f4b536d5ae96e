"""Commits what is finished, and with it who has the partitions."""

from __future__ import annotations

import asyncio

import structlog

from headrace.assignment import Assignment
from headrace.clock import Clock
from headrace.metrics import Metrics
from headrace.source import CommitFailed, CommitRefused, Source

_log = structlog.get_logger(__name__)

_EVERY_S = 0.5


class Committer:
    """One commit at a time, each of all that can be committed by then."""

    def __init__(self, source: Source, *, metrics: Metrics, clock: Clock) -> None:
        self._source = source
        self._metrics = metrics
        self._clock = clock
        self._one = asyncio.Lock()
        self._begun = 0
        """How many commits were sent; each has its number."""
        self._failed = 0
        """Number of the last that failed."""

    async def pause(self) -> None:
        """Until the next commit is due."""
        await self._clock.sleep(_EVERY_S)

    async def surely(self, assignment: Assignment) -> None:
        """Commit until it succeeds, or the partitions are gone."""
        while not await self.commit(assignment):
            await self.pause()

    async def commit(self, assignment: Assignment) -> bool:
        """Commit what is finished; whether all of it is.

        Where many wait and one fails that was sent after they came, it was theirs, too:
        to try for each in turn would keep partitions from going in time.
        """
        sent_before = self._begun
        async with self._one:
            if self._failed > sent_before:
                return False
            found = {} if assignment.ended else assignment.committable()
            if not found:
                return True
            for place, (_, custody) in found.items():
                self._source.note(place, custody.note)
            self._begun += 1
            try:
                await self._source.commit(
                    {place: offset for place, (offset, _) in found.items()}
                )
            except CommitRefused as error:
                # The group takes the partitions away, or has done so.
                self._metrics.commit_failures("refused").inc()
                _log.warning("commit refused", reason=str(error))
            except CommitFailed as error:
                self._metrics.commit_failures("failed").inc()
                _log.warning("commit failed", reason=str(error))
            else:
                for place, committed in found.items():
                    assignment.partitions[place].committed = committed
                return True
            self._failed = self._begun
            return False

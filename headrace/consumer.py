"""The consuming loop: one for all stages.

It reads records, has each worked on by the handler, commits what is finished without a
gap, and pauses partitions under backpressure. At-least-once: an offset is committed
only when every record before it is finished, its effects confirmed or its dead letter
written.

Where the process may die: before a commit the records are read again (their effects
repeat into the same end state); nothing else is kept that a restart would miss.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    Collection,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from typing import Any

import structlog

from headrace.assignment import Assignment, Item, OwnedPartition, misassigned
from headrace.caution import Caution
from headrace.clock import Clock
from headrace.committing import Committer
from headrace.handler import Handler, Record
from headrace.headers import CHUNKS, TOKENS, count_of
from headrace.messages import Lane
from headrace.metrics import Metrics
from headrace.parking import Parking
from headrace.pausing import Ahead, LoopLimits, Pauses
from headrace.scheduling import Schedule
from headrace.source import Partition, Source
from headrace.watchdog import Watchdog
from headrace.work import Worker
from headrace.workflow import Workflow

_log = structlog.get_logger(__name__)

_FETCH_RECORDS = 32
"""By this much a partition may exceed its limit."""
_FETCH_WAIT_S = 0.2
_TICK_S = 1.0
_REVOKE_WAIT_S = 1.0
"""What may finish before the partitions go; more would stop the whole group."""
_LAST_COMMIT_S = 1.0
"""For the last commit where draining took all of its time."""
_LEAVE_S = 1.0
"""To leave the group: a broker that is away counts this member out by itself."""


class ConsumingLoop:
    """See the module. ``run`` once, ``stop`` once.

    Args:
        adopt: whether running work survives a revocation, to be adopted where the
            record comes back to this process; else it is cancelled.

    Attributes:
        last_tick: monotonic time when the loop was last seen to move (liveness).
    """

    def __init__(
        self,
        *,
        source: Source,
        handler: Handler,
        worker: Worker,
        topics: Mapping[Lane, str],
        limits: LoopLimits,
        metrics: Metrics,
        clock: Clock,
        ahead: Ahead = lambda _lane, _number: 0,
        adopt: bool = False,
    ) -> None:
        self.last_tick = clock.monotonic()
        self._source = source
        self._handler = handler
        self._topics = topics
        self._lanes = {topic: lane for lane, topic in topics.items()}
        self._slots = limits.slots
        self._fetch_records = min(_FETCH_RECORDS, limits.partition_records)
        self._metrics = metrics
        self._clock = clock
        self._pauses = Pauses(
            source, limits=limits, ahead=ahead, metrics=metrics, clock=clock
        )
        self._watchdog = Watchdog(
            patience_s=limits.patience_s, metrics=metrics, clock=clock
        )
        self._committer = Committer(source, metrics=metrics, clock=clock)
        self._caution = Caution(
            source,
            committer=self._committer,
            window=2 * (limits.partition_records + self._fetch_records),
            slots=limits.slots,
            metrics=metrics,
            clock=clock,
        )
        self._adopt = adopt
        self._parking = Parking()
        self._workflow = Workflow(
            worker=worker,
            caution=self._caution,
            parking=self._parking,
            pauses=self._pauses,
            metrics=metrics,
            clock=clock,
            fail=self._fail,
        )
        self._assignment = self._no_assignment()
        self._stopping = False
        self._over = asyncio.Event()
        self._fatal: Exception | None = None
        self._reading: asyncio.Task[None] | None = None
        self._problem = "not yet assigned"

    @property
    def problem(self) -> str | None:
        """Why the loop is not ready, or ``None``."""
        if self._fatal is not None:
            return "failed"
        return self._problem or self._watchdog.problem

    def in_work(self) -> Iterator[Item]:
        """Records that are worked on, or were and wait for their next try."""
        return self._assignment.in_work()

    def obey(self, *, paused: bool) -> None:
        """People pause the stage, or let it go on: at once, and until they say so.

        While it is paused nothing is read nor started, further tries neither. What is
        in work ends and is committed, and the partitions stay ours.
        """
        self._pauses.by_operator = paused
        assignment = self._assignment
        if assignment.open:
            self._pauses.tick(assignment.partitions.values())
            self._workflow.start_ready(assignment)
        self._workflow.idle.set()

    # -- life -------------------------------------------------------------------

    async def run(self) -> None:
        """Consume until ``stop`` has drained.

        Raises:
            Exception: what made it impossible to go on; nothing was committed that
                is not finished.
        """
        self._reading = asyncio.create_task(self._guard(self._read()))
        tasks = {
            self._reading,
            asyncio.create_task(self._guard(self._commit_loop())),
            asyncio.create_task(self._guard(self._tick_loop())),
        }
        try:
            await self._over.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._assignment.close()
            await self._workflow.end(
                [*self._assignment.running, *self._parking.leave()]
            )
            try:
                async with asyncio.timeout(_LEAVE_S):
                    await self._source.stop()
            except Exception as error:  # noqa: BLE001  it is over anyway
                _log.warning("could not leave the group in order", exc_info=error)
        if self._fatal is not None:
            raise self._fatal

    async def stop(self, *, drain_s: float) -> None:
        """Read no more, let what is in flight finish for a while, commit, leave."""
        self._stopping = True
        self._problem = "draining"
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        deadline = asyncio.get_running_loop().time() + drain_s
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while not self._drained():
                    self._workflow.idle.clear()
                    await self._workflow.idle.wait()
        self._assignment.close()
        self._caution.hand_over(self._assignment)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline + _LAST_COMMIT_S):
                await self._committer.commit(self._assignment)
        self._over.set()

    def _drained(self) -> bool:
        """Whether nothing runs; what waits for a further try is left to others."""
        assignment = self._assignment
        startable = assignment.schedule.has_ready and not self._pauses.by_operator
        return not assignment.running and not startable

    async def _guard(self, loop: Coroutine[Any, Any, None]) -> None:
        try:
            await loop
        except Exception as error:  # noqa: BLE001  run raises it
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._fatal is None:
            self._fatal = error
            _log.critical("the loop cannot go on", exc_info=error)
        self._over.set()

    # -- assignment -------------------------------------------------------------

    async def revoked(self, *, lost: bool) -> None:
        """See ``source.Listener``."""
        assignment = self._assignment
        if assignment.partitions and not self._stopping:
            self._problem = "rebalancing"
        try:
            assignment.close()
            if not lost:
                await self._workflow.wait(assignment.running, _REVOKE_WAIT_S)
                self._caution.hand_over(assignment)
                await self._committer.commit(assignment)
            if self._adopt and not self._stopping and not assignment.doubtful:
                assignment.running = self._parking.park(assignment.running)
            await self._workflow.end(assignment.running)
        except Exception as error:  # noqa: BLE001  the caller would swallow it
            self._fail(error)
        finally:
            assignment.ended = True
            if self._assignment is assignment:
                self._assignment = self._no_assignment()
                self._pauses.reset()
                self._watchdog.look(())
            self._workflow.idle.set()

    async def assigned(
        self, partitions: frozenset[Partition], *, counts: Mapping[str, int]
    ) -> None:
        """See ``source.Listener``."""
        try:
            await self._workflow.end(self._parking.leave(partitions))
            await self._own(partitions)
            total = sum(counts.get(topic, 0) for topic in self._topics.values())
            self._handler.assigned(len(partitions) / total if total else 0.0)
            if not self._stopping:
                self._problem = misassigned(partitions, counts, topics=self._topics)
        except Exception as error:  # noqa: BLE001  the caller would swallow it
            self._fail(error)

    async def _own(self, partitions: Collection[Partition]) -> None:
        assignment = Assignment(Schedule(self._slots))
        for partition in sorted(partitions):
            assignment.partitions[partition] = OwnedPartition(
                partition, self._lanes[partition.topic]
            )
        await self._caution.take(assignment)
        if assignment.doubtful:
            await self._workflow.end(self._parking.leave())
        # Whoever finds them later must find our name, should we die at once.
        await self._committer.commit(assignment)
        self._assignment = assignment
        if self._pauses.by_operator:
            self._pauses.tick(assignment.partitions.values())
        self._metrics.assigned_partitions.set(len(partitions))
        names = [f"{p.topic}/{p.number}" for p in sorted(partitions)]
        _log.info("partitions assigned", partitions=names)

    def _no_assignment(self) -> Assignment:
        return Assignment(Schedule(self._slots), open=False)

    # -- reading ----------------------------------------------------------------

    async def _read(self) -> None:
        await self._source.start(self)
        while not self._stopping:
            records = await self._source.fetch(
                max_records=self._fetch_records, timeout_s=_FETCH_WAIT_S
            )
            # No await between a fetch and this: a revocation would come between.
            if records:
                self._take_in(records)

    def _take_in(self, records: Sequence[Record]) -> None:
        assignment = self._assignment
        if not assignment.open:
            return
        now = self._clock.monotonic()
        touched: dict[OwnedPartition, int] = {}
        arrived_bytes = chunks = tokens = 0
        for record in records:
            owner = assignment.partitions.get(Partition(record.topic, record.partition))
            if owner is None:
                continue
            touched[owner] = touched.get(owner, 0) + 1
            size = len(record.key or b"") + len(record.value or b"")
            owner.tracker.deliver(record.offset, size=size)
            self._pauses.process_bytes += size
            arrived_bytes += size
            more_chunks, more_tokens = _announced(record)
            chunks += more_chunks
            tokens += more_tokens
            if self._parking:
                parked = self._parking.claim(record)
                if parked is not None:
                    self._workflow.adopt(parked, assignment, owner)
                    continue
            item = Item(record, assignment, owner, owner.lane, record.key, size, now)
            assignment.schedule.add(item)
        for owner, count in touched.items():
            self._metrics.received_records(owner.lane).inc(count)
        self._metrics.received_bytes.inc(arrived_bytes)
        self._metrics.received_chunks.inc(chunks)
        self._metrics.received_tokens.inc(tokens)
        self._workflow.start_ready(assignment)
        everyone = assignment.partitions.values()
        for owner in everyone if self._pauses.crowded else touched:
            self._pauses.review(owner)

    # -- keeping up -------------------------------------------------------------

    async def _tick_loop(self) -> None:
        while True:
            await self._clock.sleep(_TICK_S)
            self.last_tick = self._clock.monotonic()
            assignment = self._assignment
            if assignment.open:
                self._pauses.tick(assignment.partitions.values())
                self._watchdog.look(
                    () if self._pauses.by_operator else assignment.partitions.values()
                )
                self._caution.look(assignment)
                self._workflow.start_ready(assignment)
            if self._workflow.progress_ms:
                progress = self._metrics.last_progress_timestamp_seconds
                progress.set(self._workflow.progress_ms / 1000)
            self._metrics.in_flight_records.set(assignment.in_flight_records)
            self._metrics.in_flight_bytes.set(self._pauses.process_bytes)

    async def _commit_loop(self) -> None:
        while True:
            await self._committer.pause()
            if self._assignment.open:
                await self._committer.commit(self._assignment)


def _announced(record: Record) -> tuple[int, int]:
    """Chunks and tokens of a record, as its headers count them."""
    chunks = tokens = 0
    for name, value in record.headers:
        if name == CHUNKS:
            chunks = count_of(value)
        elif name == TOKENS:
            tokens = count_of(value)
    return chunks, tokens

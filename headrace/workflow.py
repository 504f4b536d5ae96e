"""From a record's turn to its end: what is started, tried again, held and finished."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from headrace.assignment import Assignment, Item, OwnedPartition
from headrace.caution import Caution
from headrace.clock import Clock
from headrace.metrics import Metrics
from headrace.parking import Parking
from headrace.pausing import Pauses
from headrace.work import Outcome, Result, Worker

_CANCEL_PATIENCE_S = 10.0
"""A handler that does not end by then ignores cancellation: the process must go."""


class Stuck(Exception):
    """The process cannot go on and must be replaced."""


class Workflow:
    """Works on the records of an assignment, in the order its schedule says.

    Args:
        fail: told what makes it impossible to go on.

    Attributes:
        idle: set when the last one that was in work has ended.
        progress_ms: when a record was last finished.
    """

    def __init__(
        self,
        *,
        worker: Worker,
        caution: Caution,
        parking: Parking,
        pauses: Pauses,
        metrics: Metrics,
        clock: Clock,
        fail: Callable[[Exception], None],
    ) -> None:
        self.idle = asyncio.Event()
        self.progress_ms = 0
        self._worker = worker
        self._caution = caution
        self._parking = parking
        self._pauses = pauses
        self._metrics = metrics
        self._clock = clock
        self._fail = fail

    def start_ready(self, assignment: Assignment) -> None:
        """Start all whose turn it is and for which there is a slot."""
        if not assignment.open or self._pauses.by_operator:
            return
        while (item := self._next(assignment)) is not None:
            if item.owner.held and not item.outages:
                assignment.schedule.wait(item)
                item.owner.behind.append(item)
                continue
            if not item.started:
                item.started = self._clock.monotonic()
                waited = self._clock.now_ms() - item.record.timestamp_ms
                self._metrics.waiting_seconds.observe(max(waited, 0) / 1000)
            if assignment.doubtful:
                self._caution.begin(item)
            assignment.running.add(item)
            item.task = asyncio.create_task(self._work(item))

    def _next(self, assignment: Assignment) -> Item | None:
        if assignment.doubtful:
            return self._caution.take_next(assignment)
        return assignment.schedule.take()

    def adopt(self, item: Item, assignment: Assignment, owner: OwnedPartition) -> None:
        """Take over the work on a record that ran when its partition was revoked."""
        item.assignment, item.owner = assignment, owner
        if item.done:
            self._finish(item)
            return
        assignment.schedule.adopt(item)
        assignment.running.add(item)

    async def end(self, items: Iterable[Item]) -> None:
        """Cancel work and wait for its end: nobody may find it alive.

        Raises:
            Stuck: it does not end.
        """
        items = list(items)
        for item in items:
            if item.task is not None:
                item.task.cancel()
        if await self.wait(items, _CANCEL_PATIENCE_S):
            raise Stuck("a handler did not end although it was cancelled")

    async def wait(self, items: Iterable[Item], timeout_s: float) -> bool:
        """Whether something still runs after the time-out."""
        tasks = [item.task for item in items if item.task is not None]
        if not tasks:
            return False
        _, pending = await asyncio.wait(tasks, timeout=timeout_s)
        return bool(pending)

    async def _work(self, item: Item) -> None:
        try:
            if item.assignment.doubtful:
                await self._caution.told(item)
            if self._parking:
                await self._parking.ended(item.key)
            result = await self._worker.attempt(item)
            item.done = result.outcome in (Outcome.DONE, Outcome.DEAD_LETTER)
            if item.assignment.doubtful:
                await self._caution.end(item)
            self._settle(item, result)
        except asyncio.CancelledError:
            item.assignment.running.discard(item)
            raise
        except Exception as error:  # noqa: BLE001  run raises it
            self._fail(error)

    def _settle(self, item: Item, result: Result) -> None:
        assignment = item.assignment
        assignment.running.discard(item)
        if assignment.ended:
            return
        if item.done:
            self._processed(item, result.outcome)
            assignment.schedule.finish(item)
            self._finish(item)
        else:
            assignment.schedule.wait(item)
            self._later(item, result)
        self.start_ready(assignment)
        if not assignment.running:
            self.idle.set()

    def _processed(self, item: Item, outcome: Outcome) -> None:
        seconds = self._clock.monotonic() - item.started
        self._metrics.processed_records(outcome).inc()
        self._metrics.processing_seconds.observe(seconds)
        self.progress_ms = self._clock.now_ms()

    def _finish(self, item: Item) -> None:
        owner = item.owner
        owner.tracker.finish(item.record.offset)
        self._pauses.process_bytes -= item.size
        if owner.held:
            self._release(owner, item.assignment)
        if item.outage:
            self._wake(item.outage, item.assignment)
        if item.assignment.doubtful:
            self._caution.review(owner, item.assignment)
        self._pauses.finished(owner)

    def _later(self, item: Item, result: Result) -> None:
        """Set the next try of an item; hold its partition after a shared failure."""
        owner, assignment = item.owner, item.assignment
        if result.outcome is Outcome.HOLD:
            owner.held = result.reason
        elif owner.held:
            self._release(owner, assignment)
        self._pauses.review(owner)
        if assignment.open:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(result.wait_s, self._again, item)
            assignment.timers[item] = timer

    def _again(self, item: Item) -> None:
        item.assignment.timers.pop(item, None)
        item.assignment.schedule.again(item)
        self.start_ready(item.assignment)

    def _wake(self, outage: str, assignment: Assignment) -> None:
        """An outage is over: let nobody sit out its wait.

        Else the longest wait of each stage in turn would come on top of the outage.
        """
        waiting = [item for item in assignment.timers if item.outage == outage]
        for item in waiting:
            assignment.timers[item].cancel()
            self._again(item)

    def _release(self, owner: OwnedPartition, assignment: Assignment) -> None:
        """Nothing holds the partition any more: go on with it."""
        owner.held = ""
        for item in reversed(owner.behind):
            assignment.schedule.again(item)
        owner.behind.clear()

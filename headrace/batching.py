"""Collects single items of concurrent callers into batches.

A batch leaves when it is full by count or by bytes, or when its first item has waited
``max_wait_s``; at most ``concurrency`` batches are out at once, and while all are out
the next ones fill up. No task runs while there is nothing to do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from headrace.errors import SharedFailure

T = TypeVar("T")
R = TypeVar("R")


@dataclass(eq=False, slots=True)
class _Entry(Generic[T, R]):
    item: T
    count: int
    size: int
    due: float
    result: asyncio.Future[R]
    batch: _Batch[T, R] | None = None


@dataclass(eq=False, slots=True)
class _Batch(Generic[T, R]):
    entries: list[_Entry[T, R]]
    waiting: int
    """Submitters that still want their result."""
    task: asyncio.Task[None] | None = None


def _one(_: object) -> int:
    return 1


class Batcher(Generic[T, R]):
    """``submit`` an item, get its own result of the batch it travelled in.

    ``flush`` gets the items of one batch and returns their results in the same order.
    If it raises, exactly the submitters of that batch see the error.

    Attributes:
        max_items: may be changed at any time; holds from the next batch on.
    """

    def __init__(
        self,
        flush: Callable[[list[T]], Awaitable[list[R]]],
        *,
        max_items: int,
        max_bytes: int,
        max_wait_s: float,
        concurrency: int,
        size_of: Callable[[T], int],
        count_of: Callable[[T], int] = _one,
    ) -> None:
        self.max_items = max_items
        self._flush = flush
        self._max_bytes = max_bytes
        self._max_wait_s = max_wait_s
        self._concurrency = concurrency
        self._size_of = size_of
        self._count_of = count_of
        # Withdrawn entries stay until they reach the front: their future is done.
        self._queue: deque[_Entry[T, R]] = deque()
        self._count = 0
        self._bytes = 0
        self._running: set[_Batch[T, R]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def queued(self) -> int:
        """Count weight of the items that wait for a batch."""
        return self._count

    @property
    def running(self) -> int:
        """Batches that are out."""
        return len(self._running)

    async def submit(self, item: T) -> R:
        """Hand in an item and wait for its result.

        When cancelled: an item that still waits is withdrawn; the batch of one that is
        out goes on for the others, and is cancelled and awaited once all its submitters
        are gone, so that nothing is left behind that nobody asked for.

        Raises:
            SharedFailure: ``shutting_down``, once closed.
            Exception: whatever ``flush`` raised for the batch.
        """
        if self._closed:
            raise _closed()
        loop = asyncio.get_running_loop()
        entry: _Entry[T, R] = _Entry(
            item=item,
            count=self._count_of(item),
            size=self._size_of(item),
            due=loop.time() + self._max_wait_s,
            result=loop.create_future(),
        )
        self._queue.append(entry)
        self._count += entry.count
        self._bytes += entry.size
        self._start_due()
        try:
            return await entry.result
        except asyncio.CancelledError:
            await self._abandon(entry)
            raise

    async def close(self) -> None:
        """Fail what waits, cancel what is out and wait for its end."""
        self._closed = True
        self._stop_timer()
        while self._queue:
            self._fail(self._queue.popleft(), _closed())
        self._count = self._bytes = 0
        tasks = [batch.task for batch in self._running if batch.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _abandon(self, entry: _Entry[T, R]) -> None:
        entry.result.cancel()
        batch = entry.batch
        if batch is None:
            self._count -= entry.count
            self._bytes -= entry.size
            self._drop_withdrawn()
            self._set_timer()
            return
        batch.waiting -= 1
        if batch.waiting == 0 and batch.task is not None and not batch.task.done():
            batch.task.cancel()
            await asyncio.wait({batch.task})

    def _start_due(self) -> None:
        """Start every batch that is full or old enough while there is room."""
        now = asyncio.get_running_loop().time()
        while len(self._running) < self._concurrency and self._queue:
            full = self._count >= self.max_items or self._bytes >= self._max_bytes
            if not full and self._queue[0].due > now:
                break
            self._start(self._take())
            self._drop_withdrawn()
        self._set_timer()

    def _take(self) -> list[_Entry[T, R]]:
        """The front of the queue that fits one batch; at least one entry."""
        taken: list[_Entry[T, R]] = []
        count = size = 0
        while self._queue:
            entry = self._queue[0]
            if entry.result.done():
                self._queue.popleft()
                continue
            count += entry.count
            size += entry.size
            if taken and (count > self.max_items or size > self._max_bytes):
                break
            self._queue.popleft()
            self._count -= entry.count
            self._bytes -= entry.size
            taken.append(entry)
        return taken

    def _start(self, entries: list[_Entry[T, R]]) -> None:
        batch: _Batch[T, R] = _Batch(entries, waiting=len(entries))
        for entry in entries:
            entry.batch = batch
        self._running.add(batch)
        batch.task = asyncio.get_running_loop().create_task(self._run(batch))
        batch.task.add_done_callback(lambda _: self._ended(batch))

    async def _run(self, batch: _Batch[T, R]) -> None:
        try:
            results = await self._flush([entry.item for entry in batch.entries])
        except Exception as error:  # noqa: BLE001  the submitters decide
            for entry in batch.entries:
                self._fail(entry, error)
            return
        if len(results) != len(batch.entries):
            wrong = RuntimeError(
                f"flush returned {len(results)} results for {len(batch.entries)} items"
            )
            for entry in batch.entries:
                self._fail(entry, wrong)
            return
        for entry, result in zip(batch.entries, results, strict=True):
            if not entry.result.done():
                entry.result.set_result(result)

    def _ended(self, batch: _Batch[T, R]) -> None:
        self._running.discard(batch)
        for entry in batch.entries:
            # Only where the task was cancelled: nobody may wait for ever.
            self._fail(entry, _closed())
        if not self._closed:
            self._start_due()

    def _fail(self, entry: _Entry[T, R], error: Exception) -> None:
        if not entry.result.done():
            entry.result.set_exception(error)

    def _drop_withdrawn(self) -> None:
        while self._queue and self._queue[0].result.done():
            self._queue.popleft()

    def _set_timer(self) -> None:
        self._stop_timer()
        if self._queue and len(self._running) < self._concurrency:
            self._timer = asyncio.get_running_loop().call_at(
                self._queue[0].due, self._start_due
            )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _closed() -> SharedFailure:
    return SharedFailure("shutting_down", "the process is shutting down")

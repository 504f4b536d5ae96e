"""Texts in, vectors or holes out: shared, cached, batched, and bisected on failure.

Each wanted text is there once, found by its cache key, from the moment it is first
asked for until its vector is in the cache. Records wait for theirs and never run a call
themselves: a record that is cancelled (its partition was revoked) stops waiting,
while the call, which costs money, goes on; when the record comes back, here or by the
cache on disk, it finds the vector. A text nobody waits for any more is not sent.

A failed batch is judged by ``Calls.others_succeed`` before anything is held against a
text: while the provider answers nobody, every waiting record gets a ``SharedFailure``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence

import structlog

from headrace.clock import Clock
from headrace.errors import SharedFailure
from headrace.messages import Hole
from headrace.metrics import Metrics
from headrace_embedder.batches import (
    OWN_FAULT_AFTER,
    REMEMBERED,
    Batch,
    Outcome,
    Queue,
    Text,
    Waiter,
    Wanted,
)
from headrace_embedder.cache import VectorCache
from headrace_embedder.calls import Calls
from headrace_embedder.providers import EmbeddingProvider, Rejected, Unclear


class Embedding:
    """The embedder's heart; owns its calls, its cache and its provider."""

    def __init__(
        self,
        *,
        calls: Calls,
        cache: VectorCache,
        provider: EmbeddingProvider,
        clock: Clock,
        metrics: Metrics,
        batch_wait_s: float,
        batch_deadline_s: float,
    ) -> None:
        self.calls = calls
        self._cache = cache
        self._provider = provider
        self._clock = clock
        self._metrics = metrics
        self._batch_wait_s = batch_wait_s
        self._batch_deadline_s = batch_deadline_s
        self._wanted: dict[bytes, Wanted] = {}
        self._new: list[Wanted] = []
        """Not yet looked up."""
        self._queue = Queue(drop=self._forget)
        self._given_up: dict[bytes, Hole] = {}
        """Of records that come again for others of their texts."""
        self._filled = asyncio.Event()
        self._dispatching = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._writes: set[asyncio.Task[None]] = set()
        """Never cancelled: what they hold is paid for."""
        self._closed = False
        self._log = structlog.get_logger(__name__)

    async def embed(self, texts: Sequence[Text]) -> list[Outcome]:
        """Vectors or holes, in the order of the texts.

        Raises:
            SharedFailure: some cannot be had now; what could is in the cache.
        """
        if self._closed:
            raise _closing()
        if not texts:
            # An empty document is one slice without chunks.
            return []
        joined = [self._join(text) for text in texts]
        await self._all_settled(joined)
        outcomes: list[Outcome] = []
        for wanted in joined:
            if isinstance(wanted.outcome, Exception):
                if isinstance(wanted.outcome, SharedFailure):
                    self._keep_holes(joined)
                raise wanted.outcome
            assert wanted.outcome is not None  # noqa: S101  settled
            outcomes.append(wanted.outcome)
        if self._given_up:
            for wanted in joined:
                self._given_up.pop(wanted.text.key, None)
        return outcomes

    async def _all_settled(self, joined: list[Wanted]) -> None:
        """Wait for all. Cancelled, it leaves them to the others that wait for them."""
        # The same text twice in one record is one wanted text.
        open_ones = {wanted for wanted in joined if wanted.outcome is None}
        if not open_ones:
            return
        waiter = Waiter(len(open_ones), asyncio.get_running_loop().create_future())
        for wanted in open_ones:
            wanted.waiters.append(waiter)
        try:
            await waiter.all_settled
        except asyncio.CancelledError:
            for wanted in open_ones:
                if wanted.outcome is None:
                    wanted.waiters.remove(waiter)
            raise

    async def close(self) -> None:
        """Cancel and await every call, keep what is paid for, close what it owns."""
        self._closed = True
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._writes:
            await asyncio.wait(set(self._writes))
        self._fail(list(self._wanted.values()), _closing())
        await self.calls.close()
        await self._cache.close()
        await self._provider.close()

    def _keep_holes(self, joined: list[Wanted]) -> None:
        """Spare a record that has to come again what was found out about its texts.

        Only until it is through: a replay is to ask the provider again.
        """
        for wanted in joined:
            if isinstance(wanted.outcome, Hole):
                self._given_up[wanted.text.key] = wanted.outcome
        while len(self._given_up) > REMEMBERED:
            del self._given_up[next(iter(self._given_up))]

    def _join(self, text: Text) -> Wanted:
        wanted = self._wanted.get(text.key)
        if wanted is None:
            wanted = self._wanted[text.key] = Wanted(text)
            if not self._new:
                self._spawn(self._look_up(self._new), self._new)
            self._new.append(wanted)
        return wanted

    async def _look_up(self, new: list[Wanted]) -> None:
        """Settle what is in the cache and queue the rest.

        This begins one turn of the loop after the first text came. Records come
        several at a time, and what they ask for in that turn is looked up together.
        """
        self._new = []
        found = await self._cache.get([wanted.text.key for wanted in new])
        self._metrics.embedding_cache_hits.inc(len(found))
        missing = []
        for wanted in new:
            key = wanted.text.key
            outcome = found.get(key) or self._given_up.get(key)
            if outcome is None:
                missing.append(wanted)
            else:
                wanted.settle(outcome)
                self._forget(wanted)
        self._metrics.embedding_cache_misses.inc(len(missing))
        if not missing:
            return
        try:
            await self.calls.admit()
        except SharedFailure as error:
            self._fail(missing, error)
            return
        due = asyncio.get_running_loop().time() + self._batch_wait_s
        for wanted in missing:
            wanted.due = due
            self._queue.add(wanted)
        if len(self._queue) >= self.calls.size.texts:
            self._filled.set()
        if not self._dispatching:
            self._dispatching = True
            self._spawn(self._dispatch(), [])

    async def _dispatch(self) -> None:
        """Start batches while there are texts; each takes a slot along."""
        try:
            await self._start_batches()
        finally:
            self._dispatching = False

    async def _start_batches(self) -> None:
        while self._queue:
            await self._until_full_or_due()
            await self.calls.slots.acquire()
            # Taken only now: the batch has grown while all slots were busy.
            batch = self._queue.take(
                texts=self.calls.size.texts,
                tokens=self.calls.max_tokens,
                now=self._clock.monotonic(),
            )
            if batch is None:
                self.calls.slots.release()
                continue
            self._metrics.batch_items.observe(len(batch.wanted))
            self._spawn(self._run(batch), batch.wanted)

    async def _until_full_or_due(self) -> None:
        self._filled.clear()
        if len(self._queue) >= self.calls.size.texts:
            return
        try:
            async with asyncio.timeout_at(self._queue.due):
                await self._filled.wait()
        except TimeoutError:
            pass

    async def _run(self, batch: Batch) -> None:
        await self._solve(batch, slot_taken=True)
        self._metrics.batch_seconds.observe(self._clock.monotonic() - batch.began)

    async def _solve(self, batch: Batch, *, slot_taken: bool = False) -> None:
        """Settle every text of the batch: by a vector, a hole or an error."""
        while slot_taken or self._still_wanted(batch):
            if not slot_taken:
                await self.calls.slots.acquire()
            slot_taken = False
            try:
                vectors = await self._attempt(batch)
            except SharedFailure as error:
                self._metrics.batches("paused").inc()
                self._queue.paused(batch)
                self._fail(batch.wanted, error)
                return
            if vectors is not None:
                self._done(batch, vectors)
                return
            late = batch.api_s >= self._batch_deadline_s
            if late:
                self._metrics.batches("timed_out").inc()
                batch.api_s = 0
            alone = len(batch.wanted) == 1
            if alone and batch.worn_out:
                self._hole(batch)
                return
            if not alone and (batch.worn_out or late):
                await self._split(batch)
                return

    async def _split(self, batch: Batch) -> None:
        self._metrics.batches("split").inc()
        self._log.warning(
            "batch_split",
            texts=len(batch.wanted),
            reason=batch.reason,
            error=batch.detail,
        )
        async with asyncio.TaskGroup() as group:
            for half in batch.halves():
                group.create_task(self._solve(half))

    async def _attempt(self, batch: Batch) -> list[bytes] | None:
        """One call; ``None`` where it failed and the provider is not to blame."""
        for wanted in batch.wanted:
            wanted.attempts += 1
        try:
            return await self.calls.embed(
                [wanted.text.text for wanted in batch.wanted], tokens=batch.tokens
            )
        except Unclear as error:
            batch.learn(error)
            since, failures, counts = error.call, batch.failures + 1, 1
        except Rejected as error:
            batch.learn(error)
            # The same again would be refused again: split it, or give up on the one.
            counts = OWN_FAULT_AFTER
            if len(batch.wanted) > 1:
                batch.failures += counts
                return None
            # Any call since the whole batch was refused shows a provider that works.
            since, failures = batch.first_failed_call, 0
        await self.calls.others_succeed(since=since, failures=failures)
        batch.failures += counts
        return None

    def _still_wanted(self, batch: Batch) -> bool:
        """Drop the texts that nobody waits for before they are paid for again."""
        kept = []
        for wanted in batch.wanted:
            if wanted.waiters:
                kept.append(wanted)
            else:
                self._forget(wanted)
        batch.wanted = kept
        return bool(kept)

    def _done(self, batch: Batch, vectors: list[bytes]) -> None:
        pairs = []
        for wanted, vector in zip(batch.wanted, vectors, strict=True):
            wanted.settle(vector)
            pairs.append((wanted.text.key, vector))
        self._metrics.batches("done").inc()
        self._metrics.embedding_tokens.inc(batch.tokens)
        write = asyncio.create_task(self._keep(pairs, batch.wanted))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)

    async def _keep(
        self, pairs: list[tuple[bytes, bytes]], settled: list[Wanted]
    ) -> None:
        """Put vectors in the cache; whoever asks meanwhile finds them here."""
        try:
            await self._cache.put(pairs)
        finally:
            for wanted in settled:
                self._forget(wanted)

    def _hole(self, batch: Batch) -> None:
        [wanted] = batch.wanted
        wanted.settle(Hole(batch.reason, batch.detail, wanted.attempts))
        self._forget(wanted)
        self._metrics.batches("failed").inc()

    def _fail(self, failed: list[Wanted], error: Exception) -> None:
        for wanted in failed:
            self._forget(wanted)
            wanted.settle(error)

    def _forget(self, wanted: Wanted) -> None:
        if self._wanted.get(wanted.text.key) is wanted:
            del self._wanted[wanted.text.key]

    def _spawn(self, work: Coroutine[None, None, None], wanted: list[Wanted]) -> None:
        task = asyncio.create_task(self._guarded(work, wanted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(
        self, work: Coroutine[None, None, None], wanted: list[Wanted]
    ) -> None:
        """Let nobody wait for ever for what a defect of ours has ended."""
        try:
            await work
        except Exception as error:  # noqa: BLE001  each record's retries deal with it
            self._log.exception("embedding_broke")
            self._metrics.batches("broken").inc()
            self._fail([*wanted, *self._queue.clear()], error)


def _closing() -> SharedFailure:
    return SharedFailure("shutting_down", "the embedder is shutting down")

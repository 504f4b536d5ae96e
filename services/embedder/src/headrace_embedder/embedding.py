"""Texts in, vectors or holes out: shared, cached, batched, and bisected on failure.

Each wanted text has one future, found by its cache key, from the moment it is first
asked for until its vector is in the cache. Records wait for futures and never run a
call themselves: a record that is cancelled (its partition was revoked) stops waiting,
while the call, which costs money, goes on; when the record comes back, here or by the
cache on disk, it finds the vector. A text nobody waits for any more is not sent.

A failed batch is judged by ``Calls.others_succeed`` before anything is held against a
text: while the provider answers nobody, every waiting record gets a ``SharedFailure``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass

import structlog

from headrace.clock import Clock
from headrace.errors import SharedFailure
from headrace.messages import Hole
from headrace.metrics import Metrics
from headrace_embedder.cache import VectorCache
from headrace_embedder.calls import Calls
from headrace_embedder.providers import EmbeddingProvider, Rejected, Unclear

OWN_FAULT_AFTER = 5
"""Failures of a single text, the provider answering others each time."""
SPLIT_AFTER = 2
"""Failures of a batch as a whole; the first may be a blip."""

Outcome = bytes | Hole


@dataclass(frozen=True, slots=True)
class Text:
    """What to embed: prefix included, with its cache key and estimated tokens."""

    text: str
    tokens: int
    key: bytes


@dataclass(eq=False, slots=True)
class _Wanted:
    text: Text
    future: asyncio.Future[Outcome]
    waiters: int = 0
    due: float = 0.0
    attempts: int = 0


@dataclass(eq=False, slots=True)
class _Batch:
    wanted: list[_Wanted]
    began: float
    suspect: bool = False
    """Half of one that failed while the provider worked: split at the next failure."""
    failures: int = 0
    api_s: float = 0.0
    """In calls; the waits between them do not count."""
    first_failed_call: int = 0
    reason: str = ""
    detail: str = ""

    def failed(self, error: Rejected | Unclear) -> None:
        """Learn from one more failure."""
        self.failures += 1
        self.api_s += error.api_seconds
        self.first_failed_call = self.first_failed_call or error.call
        self.reason, self.detail = error.reason, error.message

    @property
    def tokens(self) -> int:
        return sum(wanted.text.tokens for wanted in self.wanted)


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
        self._wanted: dict[bytes, _Wanted] = {}
        self._new: list[_Wanted] = []
        """Not yet looked up."""
        self._queue: deque[_Wanted] = deque()
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
        # The same text twice in one record is one wanted text.
        waited = set(joined)
        for wanted in waited:
            wanted.waiters += 1
        try:
            # wait() leaves the futures alone when this record is cancelled.
            await asyncio.wait({wanted.future for wanted in waited})
        finally:
            for wanted in waited:
                wanted.waiters -= 1
        return [wanted.future.result() for wanted in joined]

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

    def _join(self, text: Text) -> _Wanted:
        wanted = self._wanted.get(text.key)
        if wanted is None:
            wanted = _Wanted(text, asyncio.get_running_loop().create_future())
            self._wanted[text.key] = wanted
            if not self._new:
                self._spawn(self._look_up(self._new), self._new)
            self._new.append(wanted)
        return wanted

    async def _look_up(self, new: list[_Wanted]) -> None:
        """Settle what is in the cache and queue the rest.

        This begins one turn of the loop after the first text came. Records come
        several at a time, and what they ask for in that turn is looked up together.
        """
        self._new = []
        found = await self._cache.get([wanted.text.key for wanted in new])
        self._metrics.embedding_cache_hits.inc(len(found))
        missing = []
        for wanted in new:
            vector = found.get(wanted.text.key)
            if vector is None:
                missing.append(wanted)
            else:
                self._settle(wanted, vector)
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
            self._queue.append(wanted)
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
            taken = self._take()
            if not taken:
                self.calls.slots.release()
                continue
            self._metrics.batch_items.observe(len(taken))
            batch = _Batch(taken, began=self._clock.monotonic())
            self._spawn(self._run(batch), taken)

    async def _until_full_or_due(self) -> None:
        self._filled.clear()
        if len(self._queue) >= self.calls.size.texts:
            return
        try:
            async with asyncio.timeout_at(self._queue[0].due):
                await self._filled.wait()
        except TimeoutError:
            pass

    def _take(self) -> list[_Wanted]:
        taken: list[_Wanted] = []
        tokens = 0
        while self._queue and len(taken) < self.calls.size.texts:
            wanted = self._queue[0]
            if not wanted.waiters:
                self._abandon(self._queue.popleft())
                continue
            tokens += wanted.text.tokens
            if taken and tokens > self.calls.max_tokens:
                break
            taken.append(self._queue.popleft())
        return taken

    async def _run(self, batch: _Batch) -> None:
        await self._solve(batch, slot_taken=True)
        self._metrics.batch_seconds.observe(self._clock.monotonic() - batch.began)

    async def _solve(self, batch: _Batch, *, slot_taken: bool = False) -> None:
        """Settle every text of the batch: by a vector, a hole or an error."""
        while slot_taken or self._still_wanted(batch):
            if not slot_taken:
                await self.calls.slots.acquire()
            slot_taken = False
            try:
                vectors = await self._attempt(batch)
            except SharedFailure as error:
                self._metrics.batches("paused").inc()
                self._fail(batch.wanted, error)
                return
            if vectors is not None:
                self._done(batch, vectors)
                return
            if len(batch.wanted) > 1 and self._worn_out(batch):
                await self._halve(batch)
                return
            if len(batch.wanted) == 1 and batch.failures >= OWN_FAULT_AFTER:
                self._hole(batch)
                return

    async def _halve(self, batch: _Batch) -> None:
        middle = len(batch.wanted) // 2
        async with asyncio.TaskGroup() as group:
            for half in (batch.wanted[:middle], batch.wanted[middle:]):
                suspect = _Batch(
                    half,
                    began=batch.began,
                    suspect=True,
                    first_failed_call=batch.first_failed_call,
                )
                group.create_task(self._solve(suspect))

    async def _attempt(self, batch: _Batch) -> list[bytes] | None:
        """One call; ``None`` where it failed and the provider is not to blame."""
        for wanted in batch.wanted:
            wanted.attempts += 1
        try:
            return await self.calls.embed(
                [wanted.text.text for wanted in batch.wanted], tokens=batch.tokens
            )
        except Unclear as error:
            batch.failed(error)
            since, failures = error.call, batch.failures
        except Rejected as error:
            batch.failed(error)
            # The same again would be refused again: split it, or give up on the one.
            batch.failures = OWN_FAULT_AFTER
            if len(batch.wanted) > 1:
                return None
            # Any call since the whole batch was refused shows a provider that works.
            since, failures = batch.first_failed_call, 0
        await self.calls.others_succeed(since=since, failures=failures)
        return None

    def _still_wanted(self, batch: _Batch) -> bool:
        """Drop the texts that nobody waits for before they are paid for again."""
        kept = []
        for wanted in batch.wanted:
            if wanted.waiters:
                kept.append(wanted)
            else:
                self._abandon(wanted)
        batch.wanted = kept
        return bool(kept)

    def _abandon(self, wanted: _Wanted) -> None:
        self._forget(wanted)
        wanted.future.cancel()

    def _worn_out(self, batch: _Batch) -> bool:
        """Whether a batch of several texts has had its chances; counts it if so."""
        if batch.api_s >= self._batch_deadline_s:
            self._metrics.batches("timed_out").inc()
        elif batch.suspect or batch.failures >= SPLIT_AFTER:
            self._metrics.batches("split").inc()
        else:
            return False
        self._log.warning(
            "batch_split",
            texts=len(batch.wanted),
            reason=batch.reason,
            error=batch.detail,
        )
        return True

    def _done(self, batch: _Batch, vectors: list[bytes]) -> None:
        pairs = []
        for wanted, vector in zip(batch.wanted, vectors, strict=True):
            self._settle(wanted, vector)
            pairs.append((wanted.text.key, vector))
        self._metrics.batches("done").inc()
        self._metrics.embedding_tokens.inc(batch.tokens)
        write = asyncio.create_task(self._keep(pairs, batch.wanted))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)

    async def _keep(
        self, pairs: list[tuple[bytes, bytes]], settled: list[_Wanted]
    ) -> None:
        """Put vectors in the cache; whoever asks meanwhile still finds the future."""
        try:
            await self._cache.put(pairs)
        finally:
            for wanted in settled:
                self._forget(wanted)

    def _hole(self, batch: _Batch) -> None:
        [wanted] = batch.wanted
        self._settle(wanted, Hole(batch.reason, batch.detail, wanted.attempts))
        self._forget(wanted)
        self._metrics.batches("failed").inc()

    def _settle(self, wanted: _Wanted, outcome: Outcome) -> None:
        if not wanted.future.done():
            wanted.future.set_result(outcome)

    def _fail(self, failed: list[_Wanted], error: Exception) -> None:
        for wanted in failed:
            self._forget(wanted)
            if not wanted.future.done():
                wanted.future.set_exception(error)
                # Seen, even where no record waits any more.
                wanted.future.exception()

    def _forget(self, wanted: _Wanted) -> None:
        if self._wanted.get(wanted.text.key) is wanted:
            del self._wanted[wanted.text.key]

    def _spawn(self, work: Coroutine[None, None, None], wanted: list[_Wanted]) -> None:
        task = asyncio.create_task(self._guarded(work, wanted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(
        self, work: Coroutine[None, None, None], wanted: list[_Wanted]
    ) -> None:
        """Let nobody wait for ever for what a defect of ours has ended."""
        try:
            await work
        except Exception as error:  # noqa: BLE001  each record's retries deal with it
            self._log.exception("embedding_broke")
            self._metrics.batches("broken").inc()
            self._fail([*wanted, *self._queue], error)
            self._queue.clear()


def _closing() -> SharedFailure:
    return SharedFailure("shutting_down", "the embedder is shutting down")

"""The indexer's work on one record: decode, write with others, tell the end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from headrace.batching import Batcher
from headrace.clock import Clock
from headrace.errors import DocumentFailure, SharedFailure, Unreadable
from headrace.fingerprint import split
from headrace.handler import Delivery, StatusReporter
from headrace.messages import (
    EmbeddedSlice,
    Operation,
    Stage,
    State,
    StatusError,
    StatusEvent,
)
from headrace.metrics import Metrics
from headrace.store import Store
from headrace.wire import decode_embedded_slice
from headrace_indexer.batch import BatchWriter
from headrace_indexer.completeness import StoredChunks
from headrace_indexer.plan import Outcome


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How slices are put together; ``settings`` has the defaults and the reasons."""

    chunks: int
    size: int
    """In bytes of texts and vectors."""
    wait_s: float
    """Of the first slice of a batch, for others."""
    calls: int
    """Batches out at the same time."""


class IndexerHandler:
    """``headrace.handler.Handler``; ends the sweep and the store in ``close``."""

    def __init__(
        self,
        *,
        store: Store,
        writer: BatchWriter,
        stored: StoredChunks,
        sweeping: asyncio.Task[None],
        status: StatusReporter,
        metrics: Metrics,
        clock: Clock,
        limits: BatchLimits,
        dimensions: int,
        model_part: str,
    ) -> None:
        self._store = store
        self._writer = writer
        self._stored = stored
        self._status = status
        self._metrics = metrics
        self._clock = clock
        self._dimensions = dimensions
        self._model_part = model_part
        self._batcher: Batcher[EmbeddedSlice, Outcome | Exception] = Batcher(
            self._flush,
            max_items=limits.chunks,
            max_bytes=limits.size,
            max_wait_s=limits.wait_s,
            concurrency=limits.calls,
            size_of=_size_of,
            # A slice without chunks costs its calls all the same.
            count_of=lambda item: max(1, len(item.chunks)),
        )
        self._sweeping = sweeping
        self._foreign: dict[tuple[str, int], str] = {}

    async def handle(self, delivery: Delivery) -> None:
        """Write the record's slice; report, where its document has reached an end."""
        started_ms = self._clock.now_ms()
        started = self._clock.monotonic()
        item = decode_embedded_slice(delivery.record.value)
        self._check(item)
        if item.document.operation is not Operation.DELETE:
            self._check_model(delivery, item)
            self._check_sizes(item)
        outcome = await self._batcher.submit(item)
        if isinstance(outcome, Exception):
            raise outcome
        holes = sum(each.hole is not None for each in item.chunks)
        self._metrics.chunks("hole").inc(holes)
        self._metrics.chunks("vector").inc(len(item.chunks) - holes)
        if outcome.state is None:
            return
        document, counted = item.document, outcome.counted
        await self._status.report(
            StatusEvent(
                key=document.key,
                revision=document.revision,
                arrival=document.arrival,
                stage=Stage.INDEXER,
                state=outcome.state,
                error=_error(outcome),
                attempts=delivery.attempt,
                chunks=counted.chunks if counted else 0,
                failed_chunks=counted.failed if counted else 0,
                waiting_ms=max(0, started_ms - delivery.record.timestamp_ms),
                working_ms=round((self._clock.monotonic() - started) * 1000),
                at_ms=self._clock.now_ms(),
                metadata=document.metadata,
                lane=document.lane,
            )
        )

    def assigned(self, share: float) -> None:  # noqa: ARG002  the port's
        """Forget what was stored: other owners may have written since."""
        self._stored.forget_all()
        # Whose partitions they are now will find out for itself.
        self._foreign.clear()
        self._writer.forget_problem()

    def ready(self) -> str | None:
        """What people must mend: settings that do not fit what is there."""
        return next(iter(self._foreign.values()), None) or self._writer.problem

    async def close(self) -> None:
        """Stop the sweep and what is being written, then let go of the store."""
        self._sweeping.cancel()
        await asyncio.wait([self._sweeping])
        await self._batcher.close()
        await self._store.close()

    async def _flush(self, items: list[EmbeddedSlice]) -> list[Outcome | Exception]:
        """Write a batch, collection by collection; one's failure is not another's."""
        started = self._clock.monotonic()
        results: list[Outcome | Exception | None] = [None] * len(items)
        collections: dict[str, list[int]] = {}
        for position, item in enumerate(items):
            collection = item.document.key.collection
            collections.setdefault(collection, []).append(position)
        for collection, positions in collections.items():
            slices = [items[position] for position in positions]
            outcomes: list[Outcome | Exception]
            try:
                outcomes = await self._writer.write(collection, slices)
            except Exception as error:  # noqa: BLE001  raised by each record's handle
                outcomes = [error] * len(slices)
            for position, outcome in zip(positions, outcomes, strict=True):
                results[position] = outcome
        self._metrics.batch_items.observe(len(items))
        self._metrics.batch_bytes.observe(sum(map(_size_of, items)))
        self._metrics.batch_seconds.observe(self._clock.monotonic() - started)
        return [result for result in results if result is not None]

    def _check(self, item: EmbeddedSlice) -> None:
        """Refuse what must never reach the store.

        Raises:
            Unreadable: the slice contradicts itself.
        """
        if item.document.operation is Operation.DELETE:
            if item.chunks or item.manifest:
                raise _invalid("a delete has neither chunks nor a manifest")
            return
        numbers = {each.chunk.number for each in item.chunks}
        if len(numbers) < len(item.chunks):
            raise _invalid("two chunks of the slice have the same number")
        count = item.manifest.chunk_count if item.manifest else None
        if count is not None and numbers and max(numbers) >= count:
            raise _invalid(f"chunk {max(numbers)} of a document of {count} chunks")

    def _check_model(self, delivery: Delivery, item: EmbeddedSlice) -> None:
        """Never store vectors of another model: they cannot be compared with ours.

        Raises:
            SharedFailure: ``model_mismatch``; the settings are wrong, no document is.
            DocumentFailure: ``needs_reindex``; a letter replayed since the model
                was changed.
        """
        partition = (delivery.record.topic, delivery.record.partition)
        part = split(item.document.fingerprint)[2]
        if part == self._model_part:
            self._foreign.pop(partition, None)
            return
        text = (
            f"vectors on {partition[0]}/{partition[1]} were made by the model {part}, "
            f"this indexer is set to {self._model_part}"
        )
        if delivery.replays:
            raise DocumentFailure(
                "needs_reindex",
                text,
                advice="Send the document again: its vectors are of another model.",
            )
        self._foreign[partition] = f"model_mismatch: {text}"
        raise SharedFailure(
            "model_mismatch",
            f"{text}; run an indexer with the former settings until they are through, "
            "or set embedder and indexer to the same HEADRACE_EMBEDDING_*",
        )

    def _check_sizes(self, item: EmbeddedSlice) -> None:
        """Refuse vectors of another size than the model's own.

        Raises:
            DocumentFailure: ``wrong_dimensions``.
        """
        size = 4 * self._dimensions
        for each in item.chunks:
            if each.vector is not None and len(each.vector) != size:
                raise DocumentFailure(
                    "wrong_dimensions",
                    f"chunk {each.chunk.number} has {len(each.vector) // 4} "
                    f"dimensions where {self._dimensions} are configured",
                    advice="Set HEADRACE_EMBEDDING_DIMENSIONS to the model's.",
                )


def _size_of(item: EmbeddedSlice) -> int:
    # Characters stand for bytes: the bounds are about megabytes.
    return sum(
        len(each.chunk.text) + (len(each.vector) if each.vector else 0)
        for each in item.chunks
    )


def _invalid(what: str) -> Unreadable:
    return Unreadable(
        "invalid_slice",
        f"the slice contradicts itself: {what}",
        advice="Find the program that wrote it; only the embedder writes slices.",
    )


def _error(outcome: Outcome) -> StatusError | None:
    if outcome.state is not State.INDEXED_WITH_ERRORS or outcome.counted is None:
        return None
    counted = outcome.counted
    holes = f"{counted.failed} of {counted.chunks} chunks could not be embedded."
    shown = (
        "The others can be found."
        if outcome.visible
        else "The earlier revision stays visible."
    )
    return StatusError(
        code="holes_visible" if outcome.visible else "holes_not_visible",
        message=f"{holes} {shown}",
        advice="Replay the embedder's dead letters of this document.",
        retryable=True,
    )

"""Builds indexers as ``app.build`` does, on fakes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from headrace_indexer.batch import BatchWriter
from headrace_indexer.completeness import StoredChunks
from headrace_indexer.handler import BatchLimits, IndexerHandler
from headrace_indexer.sweep import Sweep

from headrace.handler import Delivery, Record
from headrace.messages import EmbeddedSlice, Lane, Stage, StatusEvent
from headrace.metrics import Metrics
from headrace.store import Store
from headrace.wire import encode_embedded_slice
from tests.support.documents import BASE_MS, DIMENSIONS, MODEL_PART, SPEC
from tests.support.fake_clock import FakeClock
from tests.support.fake_producer import FakeStatusReporter

ALONE = BatchLimits(chunks=256, size=1_000_000, wait_s=0, calls=2)
"""A slice that finds the store free waits for no other."""
TOGETHER = BatchLimits(chunks=256, size=1_000_000, wait_s=0.001, calls=2)


@dataclass
class Indexer:
    """A handler with all that it is made of."""

    store: Store
    limits: BatchLimits = ALONE
    spec: object = SPEC
    status: FakeStatusReporter = field(default_factory=FakeStatusReporter)
    stored: StoredChunks = field(default_factory=StoredChunks)

    def __post_init__(self) -> None:
        clock = FakeClock(now_ms=BASE_MS + 5_000)
        self.sweep = Sweep(self.store, clock=clock, interval_s=600)
        self.metrics = Metrics(Stage.INDEXER)
        never = asyncio.get_running_loop().create_task(asyncio.Event().wait())
        self.handler = IndexerHandler(
            store=self.store,
            writer=BatchWriter(
                self.store, spec=self.spec, stored=self.stored, sweep=self.sweep
            ),
            stored=self.stored,
            sweeping=never,
            status=self.status,
            metrics=self.metrics,
            clock=clock,
            limits=self.limits,
            dimensions=DIMENSIONS,
            model_part=MODEL_PART,
        )

    async def handle(self, *slices: EmbeddedSlice) -> None:
        """One after the other."""
        for each in slices:
            await self.handler.handle(delivery(each))

    async def handle_together(self, *slices: EmbeddedSlice) -> list[object]:
        """All at once, as the loop does for different keys."""
        return await asyncio.gather(
            *[self.handler.handle(delivery(each)) for each in slices],
            return_exceptions=True,
        )

    @property
    def states(self) -> list[tuple[str, str, int, int]]:
        """Reported: document, state, chunks, failed chunks."""
        return [_brief(event) for event in self.status.events]


def _brief(event: StatusEvent) -> tuple[str, str, int, int]:
    return (event.key.document_id, event.state, event.chunks, event.failed_chunks)


def delivery(item: EmbeddedSlice, *, value: bytes | None = None) -> Delivery:
    record = Record(
        topic="headrace.vectors.v1",
        partition=0,
        offset=0,
        timestamp_ms=BASE_MS + 4_000,
        key=item.document.key.record_key,
        value=encode_embedded_slice(item) if value is None else value,
    )
    return Delivery(record, Lane.INTERACTIVE)


@asynccontextmanager
async def indexer(store: Store, **options: object) -> AsyncIterator[Indexer]:
    made = Indexer(store, **options)
    try:
        yield made
    finally:
        await made.handler.close()


def since(calls: Counter[str], before: Counter[str]) -> dict[str, int]:
    """Calls to the store since then, but for those that cost nothing."""
    return {
        name: count
        for name, count in (calls - before).items()
        if name not in {"ensure_collection", "close"}
    }

"""Puts the indexer together."""

from __future__ import annotations

import asyncio

from headrace.fingerprint import model_part
from headrace.handler import Handler
from headrace.lifecycle import StageContext
from headrace.qdrant import QdrantStore
from headrace.store import CollectionSpec
from headrace_indexer.batch import BatchWriter
from headrace_indexer.completeness import StoredChunks
from headrace_indexer.handler import BatchLimits, IndexerHandler
from headrace_indexer.settings import IndexerSettings
from headrace_indexer.sweep import Sweep


async def build(context: StageContext[IndexerSettings]) -> Handler:
    """The handler, with its connection to the store and its sweep."""
    settings = context.settings
    store = QdrantStore.from_settings(settings)
    stored = StoredChunks()
    sweep = Sweep(
        store, clock=context.clock, interval_s=settings.index_sweep_interval_s
    )
    return IndexerHandler(
        store=store,
        writer=BatchWriter(
            store, spec=CollectionSpec.of(settings.model), stored=stored, sweep=sweep
        ),
        stored=stored,
        sweeping=asyncio.create_task(sweep.run()),
        status=context.status,
        metrics=context.metrics,
        clock=context.clock,
        limits=BatchLimits(
            chunks=settings.index_batch_chunks,
            size=settings.index_batch_bytes,
            wait_s=settings.index_batch_wait_s,
            calls=settings.index_store_calls,
        ),
        dimensions=settings.embedding_dimensions,
        model_part=model_part(settings.model),
    )

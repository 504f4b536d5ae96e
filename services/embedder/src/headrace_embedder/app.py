"""Puts the embedder together; the only place that constructs its parts."""

from __future__ import annotations

import random
from importlib.metadata import version

from headrace import fingerprint
from headrace.lifecycle import StageContext
from headrace.retries import Backoff
from headrace_embedder.breaker import Breaker
from headrace_embedder.cache import (
    MEMORY_BYTES,
    CacheKeys,
    FileCache,
    MemoryCache,
    VectorCache,
)
from headrace_embedder.calls import CallLimits, Calls
from headrace_embedder.embedding import Embedding
from headrace_embedder.factory import build_provider
from headrace_embedder.handler import EmbedderHandler
from headrace_embedder.settings import EmbedderSettings


async def build(context: StageContext[EmbedderSettings]) -> EmbedderHandler:
    """The handler and all it holds; ``close`` of it closes them."""
    settings = context.settings
    provider = await build_provider(settings)
    calls = Calls(
        provider,
        limits=CallLimits(
            calls=settings.embed_calls,
            requests_per_minute=settings.embed_requests_per_minute,
            tokens_per_minute=settings.embed_tokens_per_minute,
            deadline_s=settings.embed_call_deadline_s,
            batch_tokens=settings.embed_batch_tokens,
            batch_min=settings.embed_batch_min,
            batch_max=settings.embed_batch_max,
        ),
        breaker=Breaker(),
        clock=context.clock,
        metrics=context.metrics,
        backoff=Backoff(settings.backoff_s),
        random=random.random,
    )
    calls.check()
    embedding = Embedding(
        calls=calls,
        cache=_cache(settings),
        provider=provider,
        clock=context.clock,
        metrics=context.metrics,
        batch_wait_s=settings.embed_batch_wait_s,
        batch_deadline_s=settings.embed_batch_deadline_s,
    )
    return EmbedderHandler(
        embedding=embedding,
        keys=CacheKeys(settings.model, shared=settings.embed_cache_shared),
        model_part=fingerprint.model_part(settings.model),
        document_prefix=settings.document_prefix,
        topology=context.topology,
        producer=context.producer,
        status=context.status,
        dead_letters=context.dead_letters,
        metrics=context.metrics,
        clock=context.clock,
        worker_version=version("headrace"),
    )


def _cache(settings: EmbedderSettings) -> VectorCache:
    if not settings.embed_cache_file:
        return MemoryCache(max_bytes=min(settings.embed_cache_bytes, MEMORY_BYTES))
    return FileCache(
        settings.embed_cache_file,
        max_bytes=settings.embed_cache_bytes,
        vector_bytes=4 * settings.embedding_dimensions,
    )

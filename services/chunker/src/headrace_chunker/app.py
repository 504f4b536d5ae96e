"""Puts the chunker together; the only place that constructs its parts."""

from __future__ import annotations

from headrace.fingerprint import chunker_part
from headrace.lifecycle import StageContext
from headrace.objects import Objects
from headrace_chunker.handler import ChunkerHandler
from headrace_chunker.settings import ChunkerSettings
from headrace_chunker.tokenizers import load_tokenizer
from headrace_chunker.work import Splitter


async def build(context: StageContext[ChunkerSettings]) -> ChunkerHandler:
    """The handler and all it holds; ``close`` of it closes them."""
    settings = context.settings
    return ChunkerHandler(
        splitter=Splitter(
            settings=settings.chunking,
            tokenizer=load_tokenizer(settings.chunking.tokenizer),
        ),
        chunker_part=chunker_part(settings.chunking),
        threads=settings.concurrent_chunking,
        objects=Objects.from_settings(settings),
        topology=context.topology,
        producer=context.producer,
        status=context.status,
        metrics=context.metrics,
        clock=context.clock,
    )

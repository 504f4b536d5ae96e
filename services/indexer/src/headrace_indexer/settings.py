"""The indexer's settings, beside those of every stage."""

from __future__ import annotations

from pydantic import Field

from headrace.settings import StageSettings


class IndexerSettings(StageSettings):
    """Read from the environment; ``HEADRACE_INDEX_BATCH_CHUNKS`` and so on."""

    index_batch_chunks: int = Field(
        256, ge=1, le=4096, description="Chunks written to the store in one call."
    )
    index_batch_bytes: int = Field(
        4 * 1024 * 1024,
        ge=1,
        le=16 * 1024 * 1024,
        description="Bytes in one call; stores refuse much more than 32 MB.",
    )
    index_batch_wait_s: float = Field(
        0.05, ge=0, le=1, description="How long a slice waits for others to join it."
    )
    index_store_calls: int = Field(
        2, ge=1, le=16, description="Batches on their way to the store at once."
    )
    index_sweep_interval_s: float = Field(
        600.0,
        gt=0,
        description="How long after an update its old points are removed once more.",
    )

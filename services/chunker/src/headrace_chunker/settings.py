"""What is set for the chunker alone; chunk sizes are in ``headrace.settings``."""

from __future__ import annotations

from pydantic import Field

from headrace.settings import StageSettings


class ChunkerSettings(StageSettings):
    """Settings of the chunker."""

    concurrent_chunking: int = Field(
        3,
        ge=1,
        le=64,
        description="Threads that split; more only helps while texts are fetched.",
    )

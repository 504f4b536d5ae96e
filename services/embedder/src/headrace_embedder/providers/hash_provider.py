"""Vectors from a text's hash: same text, same vector, no meaning. For tests only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import structlog


def hash_vector(text: str, dimensions: int) -> bytes:
    """A unit vector that depends on the text's bytes alone, on every machine."""
    drawn = hashlib.shake_256(text.encode()).digest(dimensions * 4)
    numbers = np.frombuffer(drawn, dtype="<u4").astype(np.float64) - 2**31
    return (numbers / np.linalg.norm(numbers)).astype("<f4").tobytes()


class HashProvider:
    """See ``EmbeddingProvider``; never fails, never waits."""

    def __init__(self, *, dimensions: int) -> None:
        self.max_texts = 1000
        self.max_tokens = 1_000_000
        self._dimensions = dimensions
        structlog.get_logger(__name__).warning(
            "hash_provider_in_use",
            advice="its vectors mean nothing; set HEADRACE_EMBEDDING_PROVIDER to "
            "local or openai outside tests",
        )

    async def embed(self, texts: Sequence[str], *, deadline: float) -> list[bytes]:
        """See ``EmbeddingProvider.embed``; the deadline cannot be missed."""
        del deadline
        return [hash_vector(text, self._dimensions) for text in texts]

    async def close(self) -> None:
        """See ``EmbeddingProvider.close``."""

"""A provider and a cache in memory that remember, and fail on command."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace_embedder.providers import Rejected, Unclear
from headrace_embedder.providers.hash_provider import hash_vector


@dataclass
class FakeProvider:
    """``EmbeddingProvider``; takes ``seconds`` of the loop's time for each call.

    Attributes:
        slow_above: calls of more texts than this never end.
        refused: texts that contain one of these are rejected.
        broken: calls with a text that contains one of these fail unclearly.
        down: every call fails, with this.
        script: the next calls fail with these, one each.
        calls: the texts of every call.
        cancelled: calls that did not end by themselves.
    """

    dimensions: int = 8
    seconds: float = 0.1
    slow_above: int = 10**6
    max_texts: int = 1000
    max_tokens: int = 10**6
    refused: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    down: Exception | None = None
    script: deque[Exception] = field(default_factory=deque)
    calls: list[list[str]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    cancelled: int = 0
    closed: bool = False

    async def embed(self, texts: Sequence[str], *, deadline: float) -> list[bytes]:
        self.calls.append(list(texts))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            async with asyncio.timeout(deadline):
                slow = len(texts) > self.slow_above
                await asyncio.sleep(10**6 if slow else self.seconds)
        except TimeoutError as error:
            raise Unclear("provider_timeout", f"no answer in {deadline} s") from error
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if self.script:
            raise self.script.popleft()
        if self.down is not None:
            raise self.down
        if any(part in text for part in self.refused for text in texts):
            raise Rejected("rejected_by_provider", "status 400: too long")
        if any(part in text for part in self.broken for text in texts):
            raise Unclear("provider_failed", "status 500")
        return [hash_vector(text, self.dimensions) for text in texts]

    async def close(self) -> None:
        self.closed = True

    def times(self, text: str) -> int:
        """How often a text was sent."""
        return sum(call.count(text) for call in self.calls)


@dataclass
class FakeCache:
    """``VectorCache`` without a thread, so that virtual time can pass."""

    kept: dict[bytes, bytes] = field(default_factory=dict)
    closed: bool = False

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        await asyncio.sleep(0)
        return {key: self.kept[key] for key in keys if key in self.kept}

    async def put(self, vectors: Sequence[tuple[bytes, bytes]]) -> None:
        await asyncio.sleep(0.01)
        self.kept.update(vectors)

    async def close(self) -> None:
        self.closed = True

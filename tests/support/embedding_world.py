"""The embedder's heart on a fake provider, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from headrace_embedder.batches import Outcome, Text
from headrace_embedder.breaker import Breaker
from headrace_embedder.calls import KNOWN_GOOD_TEXT, CallLimits, Calls
from headrace_embedder.embedding import Embedding
from headrace_embedder.providers.hash_provider import hash_vector

from headrace.messages import Stage
from headrace.metrics import Metrics
from headrace.retries import Backoff
from tests.support.fake_embedding import FakeCache, FakeProvider
from tests.support.virtual_time import VirtualClock, run_virtual


@dataclass
class World:
    """Change its parts, then ``run`` a story; what it did is in them afterwards."""

    provider: FakeProvider = field(default_factory=FakeProvider)
    cache: FakeCache = field(default_factory=FakeCache)
    clock: VirtualClock = field(default_factory=VirtualClock)
    metrics: Metrics = field(default_factory=lambda: Metrics(Stage.EMBEDDER))
    limits: dict[str, Any] = field(default_factory=dict)

    def embedding(self) -> Embedding:
        limits = {
            "calls": 2,
            "requests_per_minute": 0,
            "tokens_per_minute": 0,
            "deadline_s": 60.0,
            "batch_tokens": 10**6,
            "batch_min": 10,
            "batch_max": 200,
        }
        calls = Calls(
            self.provider,
            limits=CallLimits(**(limits | self.limits)),
            breaker=Breaker(),
            clock=self.clock,
            metrics=self.metrics,
            backoff=Backoff(2.0),
            random=lambda: 0.5,
        )
        return Embedding(
            calls=calls,
            cache=self.cache,
            provider=self.provider,
            clock=self.clock,
            metrics=self.metrics,
            batch_wait_s=0.02,
            batch_deadline_s=120,
        )

    def run(self, story: Callable[[Embedding], Coroutine[Any, Any, Any]]) -> Any:
        async def whole() -> Any:
            embedding = self.embedding()
            try:
                return await story(embedding)
            finally:
                await embedding.close()
                assert self.provider.running == 0
                assert (self.provider.closed, self.cache.closed) == (True, True)

        return run_virtual(whole())


def text(name: str) -> Text:
    return Text(name, tokens=10, key=name.encode())


def right(name: str) -> bytes:
    return hash_vector(name, 8)


def names(count: int, *, of: str = "") -> list[str]:
    return [f"{of}<{number}>" for number in range(count)]


async def embed(embedding: Embedding, *wanted: str) -> list[Outcome]:
    return await embedding.embed([text(name) for name in wanted])


CHECK = f"{KNOWN_GOOD_TEXT} {5 * 10**8}"
"""The text that is known to be good, with the number that ``random`` gives."""


def real_calls(provider: FakeProvider) -> list[list[str]]:
    return [call for call in provider.calls if call != [CHECK]]

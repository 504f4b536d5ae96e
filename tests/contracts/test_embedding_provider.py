"""What every provider promises to whoever embeds through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np
import pytest
from headrace_embedder.factory import build_provider
from headrace_embedder.providers import EmbeddingProvider
from headrace_embedder.settings import ProviderSettings

from tests.support.fake_embedding import FakeProvider
from tests.support.fake_openai import FakeOpenAI

TEXTS = ["Water turns the wheel.", "Wasser dreht das Rad. 水車", "x", "def f(): ..."]


@dataclass
class Subject:
    provider: EmbeddingProvider
    dimensions: int


@pytest.fixture(
    params=["openai", "openai-floats", "local", "local-int8", "hash", "fake"]
)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async with AsyncExitStack() as stack:
        settings = ProviderSettings(
            embedding_provider="local",
            embedding_model="all-MiniLM-L6-v2",
            embedding_dimensions=384,
        )
        name: str = request.param
        if name.startswith("openai"):
            server = FakeOpenAI(dimensions=384)
            server.base64 = "right" if name == "openai" else "ignored"
            await stack.enter_async_context(server)
            settings = settings.model_copy(
                update={
                    "embedding_provider": "openai",
                    "openai_base_url": server.base_url,
                }
            )
        elif name == "local-int8":
            settings = settings.model_copy(
                update={"embedding_model": "all-MiniLM-L6-v2-int8"}
            )
        elif name == "hash":
            settings = settings.model_copy(update={"embedding_provider": "hash"})
        provider: EmbeddingProvider = (
            FakeProvider(dimensions=384, seconds=0)
            if name == "fake"
            else await build_provider(settings)
        )
        yield Subject(provider, 384)
        await provider.close()


async def test_vectors_are_unit_float32_bytes_of_the_configured_size(
    subject: Subject,
) -> None:
    vectors = await subject.provider.embed(TEXTS, deadline=60)

    assert len(vectors) == len(TEXTS)
    for vector in vectors:
        assert type(vector) is bytes
        numbers = np.frombuffer(vector, dtype="<f4")
        assert len(numbers) == subject.dimensions
        assert np.linalg.norm(numbers) == pytest.approx(1, abs=1e-3)


async def test_each_text_has_its_own_vector_whatever_stands_beside_it(
    subject: Subject,
) -> None:
    together = await subject.provider.embed(TEXTS, deadline=60)
    turned = await subject.provider.embed(TEXTS[::-1], deadline=60)
    alone = [(await subject.provider.embed([text], deadline=60))[0] for text in TEXTS]

    assert together == turned[::-1] == alone
    assert len(set(together)) == len(TEXTS)


async def test_calls_may_overlap(subject: Subject) -> None:
    calls = [subject.provider.embed([text], deadline=60) for text in TEXTS]

    assert [one for [one] in await asyncio.gather(*calls)] == (
        await subject.provider.embed(TEXTS, deadline=60)
    )


async def test_a_cancelled_call_does_not_spoil_the_next(subject: Subject) -> None:
    call = asyncio.create_task(subject.provider.embed(TEXTS, deadline=60))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait({call})

    assert len(await subject.provider.embed(TEXTS, deadline=60)) == len(TEXTS)


async def test_it_states_what_one_call_may_hold(subject: Subject) -> None:
    assert subject.provider.max_texts >= 1
    assert subject.provider.max_tokens >= 256

"""The suite's embeddings API: what it says about calls can be relied on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from headrace_embedder.providers import Rejected, Unclear
from headrace_embedder.providers.hash_provider import hash_vector
from headrace_embedder.providers.openai_compatible import OpenAICompatibleProvider

from headrace.errors import SharedFailure
from tests.faults.provider import FaultProvider, rate_limited, refused, too_long
from tests.support import fake_openai
from tests.support.fake_openai import Asked

DIMENSIONS = 8


@pytest.fixture
async def server() -> AsyncIterator[FaultProvider]:
    async with FaultProvider(dimensions=DIMENSIONS) as server:
        yield server


@pytest.fixture
async def client(server: FaultProvider) -> AsyncIterator[OpenAICompatibleProvider]:
    client = OpenAICompatibleProvider(
        base_url=server.base_url, api_key="x", model="m", dimensions=DIMENSIONS
    )
    await client.embed(["first"], deadline=60)
    server.forget()
    yield client
    await client.close()


@pytest.mark.parametrize("form", ["seconds", "date", "milliseconds"])
async def test_a_wait_is_told_in_each_form(
    server: FaultProvider, client: OpenAICompatibleProvider, form: Any
) -> None:
    server.script(rate_limited(100, form=form))

    with pytest.raises(SharedFailure) as failure:
        await client.embed(["a"], deadline=60)
    assert failure.value.retry_after == pytest.approx(100, abs=1.1)


async def test_what_is_scripted_comes_before_what_a_text_brings_and_before_always(
    server: FaultProvider, client: OpenAICompatibleProvider
) -> None:
    server.always(fake_openai.status(500))
    server.poison = {"bad": too_long()}
    server.script(refused(401))
    found: list[type[Exception]] = []
    for text in ("bad", "bad", "good"):
        with pytest.raises((SharedFailure, Rejected, Unclear)) as failure:
            await client.embed([text], deadline=60)
        found.append(failure.type)
    server.heal()

    assert found == [SharedFailure, Rejected, Unclear]
    assert await client.embed(["bad"], deadline=60) == [hash_vector("bad", DIMENSIONS)]


async def test_only_what_was_embedded_is_paid_for(
    server: FaultProvider, client: OpenAICompatibleProvider
) -> None:
    server.script(fake_openai.status(503))
    with pytest.raises(Unclear):
        await client.embed(["a", "b"], deadline=60)
    await client.embed(["a", "b"], deadline=60)
    await client.embed(["b"], deadline=60)

    assert server.sent == {"a": 2, "b": 3}
    assert server.paid == {"a": 1, "b": 2}
    assert [asked.status for asked in server.asked] == [503, 200, 200]


def test_the_densest_span_is_found() -> None:
    server = FaultProvider()
    server.asked = [Asked([], "float", None, "", at=at) for at in (0, 5, 9, 10, 30)]

    assert [server.most_calls_within(span) for span in (1, 5, 10, 11, 100)] == [
        1,
        2,
        3,
        4,
        5,
    ]

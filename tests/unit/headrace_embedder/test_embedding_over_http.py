"""The whole embedder path against a server that counts what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from headrace_embedder.app import build
from headrace_embedder.batches import Text
from headrace_embedder.handler import EmbedderHandler
from headrace_embedder.providers.hash_provider import hash_vector
from headrace_embedder.settings import EmbedderSettings

from headrace.clock import SystemClock
from headrace.control import Control
from headrace.errors import SharedFailure
from headrace.lifecycle import StageContext
from headrace.messages import Hole, Stage
from headrace.metrics import Metrics
from tests.support import fake_openai
from tests.support.eventually import eventually
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_producer import (
    FakeDeadLetters,
    FakeProducer,
    FakeStatusReporter,
)


@pytest.fixture
async def server() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


async def built(server: FakeOpenAI, file: Path) -> EmbedderHandler:
    server.asked.clear()
    settings = EmbedderSettings().model_copy(
        update={
            "embedding_provider": "openai",
            "embedding_dimensions": 8,
            "openai_base_url": server.base_url,
            "embed_cache_file": str(file),
            "embed_call_deadline_s": 5.0,
            "backoff_s": 0.01,
        }
    )
    handler = await build(
        StageContext(
            stage=Stage.EMBEDDER,
            settings=settings,
            topology=settings.topology,
            producer=FakeProducer(),
            status=FakeStatusReporter(),
            dead_letters=FakeDeadLetters(),
            metrics=Metrics(Stage.EMBEDDER),
            clock=SystemClock(),
            control=Control,
            worker="test",
        )
    )
    # The check at start is a request too.
    await eventually(lambda: len(server.asked) == 3 and not server.running)
    server.asked.clear()
    return handler


def wanted(count: int) -> list[Text]:
    return [
        Text(f"chunk {number}!", 3, f"{number:032}".encode()) for number in range(count)
    ]


async def test_one_over_long_text_costs_its_siblings_nothing(
    server: FakeOpenAI, tmp_path: Path
) -> None:
    handler = await built(server, tmp_path / "cache.db")
    server.poison = {"chunk 5!": fake_openai.status(400, message="too long")}
    found = await handler._embedding.embed(wanted(64))

    holes = [number for number, one in enumerate(found) if isinstance(one, Hole)]
    assert holes == [5]
    assert found[6] == hash_vector("chunk 6!", 8)
    answered = [
        text for asked in server.asked if asked.answered for text in asked.texts
    ]
    assert answered.count("chunk 6!") <= 7
    await handler.close()


async def test_closing_in_mid_call_leaves_no_call_running(
    server: FakeOpenAI, tmp_path: Path
) -> None:
    handler = await built(server, tmp_path / "cache.db")
    server.always(fake_openai.hang())
    record = asyncio.create_task(handler._embedding.embed(wanted(3)))
    await eventually(lambda: server.running == 1)
    await handler.close()

    with pytest.raises(SharedFailure):
        await record
    await eventually(lambda: server.running == 0)
    assert server.asked[-1].gone


async def test_after_a_restart_nothing_is_paid_for_twice(
    server: FakeOpenAI, tmp_path: Path
) -> None:
    first = await built(server, tmp_path / "cache.db")
    vectors = await first._embedding.embed(wanted(100))
    await first.close()
    second = await built(server, tmp_path / "cache.db")

    assert await second._embedding.embed(wanted(100)) == vectors
    assert server.asked == []
    await second.close()


async def test_a_wrong_key_is_known_before_the_first_document(
    server: FakeOpenAI, tmp_path: Path
) -> None:
    handler = await built(server, tmp_path / "cache.db")
    server.always(fake_openai.status(401, error="invalid_api_key"))
    handler._embedding.calls.check()

    await eventually(
        lambda: str(handler.ready()).startswith("provider_auth: "), patience_s=5
    )
    await handler.close()

"""From when on a listener misses nothing, and how it learns that it did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from headrace_gateway import status_feed
from headrace_gateway.status_feed import Mark, StatusFeed

from headrace.settings import Settings
from tests.support.eventually import eventually


class FakeConsumer:
    """A topic of one partition, whose end is told when the test says so."""

    def __init__(self, *_: object, **__: object) -> None:
        self.asked = asyncio.Event()
        self.end_known = asyncio.Event()
        self.broken = asyncio.Event()
        self.stopped = False

    async def start(self) -> None:
        """Connect."""

    def assignment(self) -> set[str]:
        return {"partition"}

    async def position(self, _: str) -> int:
        self.asked.set()
        await self.end_known.wait()
        return 0

    async def getmany(self, **_: object) -> dict[str, Any]:
        try:
            async with asyncio.timeout(0.01):
                await self.broken.wait()
        except TimeoutError:
            return {}
        raise KafkaError

    async def stop(self) -> None:
        self.stopped = True


@asynccontextmanager
async def reading(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[StatusFeed, list[FakeConsumer]]]:
    consumers: list[FakeConsumer] = []

    def made(*_: object, **__: object) -> FakeConsumer:
        consumers.append(FakeConsumer())
        return consumers[-1]

    monkeypatch.setattr(status_feed, "AIOKafkaConsumer", made)
    monkeypatch.setattr(status_feed, "_AGAIN_S", 0.01)
    feed = StatusFeed(Settings())
    running = asyncio.create_task(feed.run())
    try:
        yield feed, consumers
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_who_listens_is_told_so_once_the_topics_end_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with reading(monkeypatch) as (feed, consumers):
        with feed.subscribed("ann") as first:
            await eventually(lambda: consumers and consumers[0].asked.is_set())
            assert first.waiting.empty()
            consumers[0].end_known.set()
            async with asyncio.timeout(60):
                assert await first.waiting.get() is Mark.LISTENING
            with feed.subscribed("ann") as second:
                assert second.waiting.get_nowait() is Mark.LISTENING
        await eventually(lambda: consumers[0].stopped)
        # Nobody has listened in between: it begins at another end.
        with feed.subscribed("ann") as third:
            await eventually(lambda: len(consumers) > 1)
            assert third.waiting.empty()


async def test_who_listens_while_kafka_goes_has_missed_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with reading(monkeypatch) as (feed, consumers):
        with feed.subscribed("ann") as told, feed.subscribed("ann") as late:
            await eventually(lambda: bool(consumers))
            consumers[0].end_known.set()
            await eventually(lambda: told.listening)
            late.listening = False
            consumers[0].broken.set()
            await eventually(lambda: told.overrun)
            assert not late.overrun
            await eventually(lambda: len(consumers) > 1)
            consumers[1].end_known.set()
            await eventually(lambda: late.listening)
            assert told.waiting.qsize() == 1

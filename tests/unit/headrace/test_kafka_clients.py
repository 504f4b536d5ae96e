"""Stopping a consumer whose broker is away."""

from __future__ import annotations

import asyncio

from headrace.kafka_clients import stop_consumer


class Consumer:
    """Ends as aiokafka does: by awaiting a request that it has cancelled."""

    def __init__(self) -> None:
        self._client = self
        self.closed = False

    async def stop(self) -> None:
        request = asyncio.create_task(asyncio.sleep(60))
        request.cancel()
        await request

    async def close(self) -> None:
        self.closed = True


async def test_whoever_stops_a_consumer_is_not_cancelled_by_it() -> None:
    consumer = Consumer()
    await stop_consumer(consumer)
    assert consumer.closed

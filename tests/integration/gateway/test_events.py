"""Who is told what happens, and for how long."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from headrace.database.key_store import KeyStore
from headrace.database.keys import Scope
from headrace.identity import Arrival, DocumentKey
from headrace.messages import Stage, State, StatusEvent
from tests.support.eventually import eventually
from tests.support.fake_clock import FakeClock
from tests.support.gateway_world import gateway_world


def status_of(tenant: str, id_: str) -> StatusEvent:
    return StatusEvent(
        key=DocumentKey(tenant, "books", id_),
        revision=1,
        arrival=Arrival(1, "t", 0, 0),
        stage=Stage.INDEXER,
        state=State.INDEXED,
    )


async def test_a_stream_shows_its_tenant_alone_and_ends_with_its_key(
    tmp_path: Path,
) -> None:
    clock = FakeClock(now_ms=time.time_ns() // 10**6)
    async with gateway_world(tmp_path, auth="keys", clock=clock) as world:
        headers = await world.key("ann", Scope.READ)
        feed = world.parts.feed
        listening = asyncio.create_task(world.client.get("/v1/events", headers=headers))
        await eventually(lambda: feed.listeners)
        feed.publish(status_of("bob", "not-hers"))
        feed.publish(status_of("ann", "hers"))
        (key,) = await KeyStore(world.database).all()
        await KeyStore(world.database).revoke(key.id, now_ms=clock.now_ms())
        clock.advance(60)
        feed.publish(status_of("ann", "after-its-end"))

        async with asyncio.timeout(60):
            told = (await listening).text

        assert "hers" in told
        assert "not-hers" not in told
        assert "after-its-end" not in told
        assert not feed.listeners

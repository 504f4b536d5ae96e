"""Who is told what happens, and for how long."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

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


async def test_a_tenant_holds_only_so_many_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one of them could take every connection that the gateway has."""
    monkeypatch.setattr("headrace_gateway.events._MOST_STREAMS", 1)
    async with gateway_world(tmp_path, auth="keys") as world:
        ann, bob = await world.key("ann"), await world.key("bob")
        feed = world.parts.feed
        first = asyncio.create_task(world.client.get("/v1/events", headers=ann))
        await eventually(lambda: feed.listeners_of("ann") == 1)

        refused = await world.client.get("/v1/events", headers=ann)
        other = asyncio.create_task(world.client.get("/v1/events", headers=bob))
        await eventually(lambda: feed.listeners_of("bob") == 1)
        world.parts.stopping.set()

        assert (refused.status_code, refused.json()["code"]) == (429, "busy_listening")
        assert refused.headers["retry-after"]
        async with asyncio.timeout(60):
            assert [each.status_code for each in (await first, await other)] == [
                200,
                200,
            ]

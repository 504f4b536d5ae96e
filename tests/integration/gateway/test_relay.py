"""From the outbox to Kafka, however gateways and sends end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from headrace_gateway import relay as relay_module
from headrace_gateway.relay import Relay

from headrace.database.documents import OUTBOX
from headrace.errors import DocumentFailure, SharedFailure
from headrace.messages import OutputPosition
from tests.support.eventually import eventually
from tests.support.fake_clock import FakeClock
from tests.support.fake_producer import FakeProducer
from tests.support.gateway_world import GatewayWorld, gateway_world

AWAY = SharedFailure("broker_unavailable", "away")


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[GatewayWorld]:
    clock = FakeClock(now_ms=time.time_ns() // 10**6)
    async with gateway_world(tmp_path, url=database_url, clock=clock) as made:
        yield made


class HeldProducer(FakeProducer):
    """Sends some events, and waits with the others until it is told what becomes."""

    def __init__(self, free: int = 0) -> None:
        super().__init__()
        self.held = 0
        self.failing = asyncio.Event()
        self._free = free

    async def send(self, topic: str, **event: Any) -> OutputPosition:
        self._free -= 1
        if self._free < 0:
            self.held += 1
            await self.failing.wait()
            raise AWAY
        return await super().send(topic, **event)


def another(world: GatewayWorld, producer: FakeProducer) -> Relay:
    made = Relay(
        world.database,
        producer=producer,
        topology=world.parts.settings.topology,
        clock=world.clock,
    )
    made.connected()
    return made


async def test_the_fault_of_a_version_is_not_that_of_the_next(
    world: GatewayWorld,
) -> None:
    id_ = (await world.upload()).json()["id"]
    url = f"/v1/documents/{id_}"
    await world.client.put(url, json={"text": "better"})
    world.producer.fail_next(DocumentFailure("record_too_large", "it is too large"))

    while await world.parts.relay.send_some():
        pass

    shown = (await world.client.get(url)).json()
    assert (shown["version"], shown["state"]) == (2, "queued")
    assert len(world.producer.sent) == 1


async def test_who_was_asleep_does_not_give_back_what_another_has(
    world: GatewayWorld,
) -> None:
    await world.upload()
    asleep, awake = HeldProducer(), HeldProducer()
    first, second = another(world, asleep), another(world, awake)
    sending = asyncio.create_task(first.send_some())
    await eventually(lambda: asleep.held)
    world.clock.advance(60)
    resending = asyncio.create_task(second.send_some())
    await eventually(lambda: awake.held)

    asleep.failing.set()
    with pytest.raises(SharedFailure):
        await sending

    (row,) = await world.rows(OUTBOX)
    assert row["claimed_until_ms"] > world.clock.now_ms()
    awake.failing.set()
    with pytest.raises(SharedFailure):
        await resending
    (row,) = await world.rows(OUTBOX)
    assert row["claimed_until_ms"] == 0


async def test_who_waits_for_kafka_keeps_its_claims(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_RENEW_S", 0.01)
    await world.upload()
    waiting = HeldProducer()
    sending = asyncio.create_task(another(world, waiting).send_some())
    await eventually(lambda: waiting.held)

    for _ in range(4):
        world.clock.advance(10)

        async def renewed() -> bool:
            (row,) = await world.rows(OUTBOX)
            return bool(
                row["claimed_until_ms"] == world.clock.now_ms() + relay_module._CLAIM_MS
            )

        await eventually(renewed)
        assert await world.parts.relay.send_some() == 0

    waiting.failing.set()
    with pytest.raises(SharedFailure):
        await sending
    assert await world.parts.relay.send_some() == 1


async def test_what_was_sent_before_a_stop_is_not_sent_again(
    world: GatewayWorld,
) -> None:
    for number in range(5):
        await world.upload(f"{number}")
    stopped = HeldProducer(free=3)
    sending = asyncio.create_task(another(world, stopped).send_some())
    await eventually(lambda: stopped.held == 2 and len(stopped.sent) == 3)

    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    assert len(await world.rows(OUTBOX)) == 2
    assert await world.parts.relay.send_some() == 2


async def test_a_stop_while_all_is_away_is_a_stop(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.upload()
    waiting = HeldProducer()
    relay = another(world, waiting)
    running = asyncio.create_task(relay.run())
    await eventually(lambda: waiting.held)

    async def gone(*_: object) -> None:
        raise SharedFailure("database_unavailable", "away")

    monkeypatch.setattr(relay, "_settle", gone)
    running.cancel()
    done, _ = await asyncio.wait({running}, timeout=20)
    running.cancel()
    assert done
    assert running.cancelled()

"""The control topic on a real broker: followed, obeyed soon, read from its start."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from headrace_local.broker import Broker

from headrace import topics
from headrace.control import EVERYTHING, Control, Target
from headrace.control_topic import ControlFollower, pause, resume
from headrace.draining import drained
from headrace.kafka_clients import Sender, sender
from headrace.messages import Lane, Pause, Stage
from headrace.settings import Settings
from headrace.topology import Noun
from tests.support.eventually import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

WHY = Pause("somebody", "to look at it", 1_700_000_000_000)
CHUNKER = Target(stage=Stage.CHUNKER)
DOCS = Target(tenant="a/b", collection="docs")
SOON_S = 2.0


@pytest.fixture
def settings(broker: Broker, topic_prefix: str) -> Settings:
    return Settings(
        kafka_bootstrap_servers=broker.bootstrap_servers,
        topic_prefix=topic_prefix,
        partitions=1,
        document_partitions=1,
    )


@pytest.fixture
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    yield admin
    await admin.close()


@pytest.fixture
async def out(settings: Settings, admin: AIOKafkaAdminClient) -> AsyncIterator[Sender]:
    await topics.apply(admin, settings.topology, replication_factor=1)
    async with sender(settings) as out:
        yield out


async def test_what_is_paused_is_obeyed_soon_and_read_by_whoever_starts_later(
    settings: Settings, out: Sender
) -> None:
    topology = settings.topology
    changes: list[Control] = []
    follower = ControlFollower(settings, on_change=lambda: changes.append(first.state))
    first = follower
    assert not follower.known
    assert follower.problem
    follower.start()
    try:
        await follower.wait_until_known()
        assert follower.problem is None
        assert changes == [Control()]

        await pause(out, topology, CHUNKER, why=WHY)
        async with asyncio.timeout(SOON_S):
            await eventually(lambda: follower.state.paused(Stage.CHUNKER) == WHY)
        await pause(out, topology, DOCS, why=WHY)
        await pause(out, topology, EVERYTHING, why=WHY)
        await out.send(topology.control, key=b"nothing", value=b"", partition=0)
        await resume(out, topology, EVERYTHING)
        expected = Control({CHUNKER: WHY, DOCS: WHY})
        await eventually(lambda: follower.state == expected)

        later = ControlFollower(settings)
        later.start()
        await later.wait_until_known()
        assert later.state == expected
        await later.stop()

        await resume(out, topology, CHUNKER)
        async with asyncio.timeout(SOON_S):
            await eventually(lambda: follower.state == Control({DOCS: WHY}))
        count = len(changes)
        await resume(out, topology, CHUNKER)
        await pause(out, topology, EVERYTHING, why=WHY)
        await eventually(lambda: follower.state.paused(Stage.LOADER) == WHY)
        assert len(changes) == count + 1
    finally:
        await follower.stop()


async def test_a_missing_topic_is_told_of_and_one_made_again_is_read_anew(
    settings: Settings, admin: AIOKafkaAdminClient, out: Sender
) -> None:
    topology = settings.topology
    await pause(out, topology, EVERYTHING, why=WHY)
    follower = ControlFollower(settings)
    follower.start()
    try:
        await follower.wait_until_known()
        await admin.delete_topics([topology.control])
        await eventually(lambda: "topics apply" in (follower.problem or ""))
        assert follower.state.paused(Stage.LOADER) == WHY

        await topics.apply(admin, topology, replication_factor=1)
        await eventually(lambda: follower.problem is None)
        assert follower.state == Control()
    finally:
        await follower.stop()


async def test_draining_tells_what_is_left(settings: Settings, out: Sender) -> None:
    texts = settings.topology.topic(Noun.TEXTS, Lane.BULK)
    for _ in range(3):
        await out.send(texts, key=b"k", value=b"v")
    stages = (Stage.INDEXER, Stage.CHUNKER)
    assert await drained(settings, stages, timeout_s=1) == {Stage.CHUNKER: 3}
    assert await drained(settings, [Stage.LOADER], timeout_s=60) == {}


async def test_a_pause_is_followed_on_after_kafka_was_killed(tmp_path: Path) -> None:
    broker = Broker(data_dir=tmp_path)
    await broker.start()
    try:
        settings = Settings(kafka_bootstrap_servers=broker.bootstrap_servers)
        topology = settings.topology
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
        await admin.start()
        await topics.apply(admin, topology, replication_factor=1)
        await admin.close()
        async with sender(settings) as out:
            await pause(out, topology, CHUNKER, why=WHY)
        follower = ControlFollower(settings)
        follower.start()
        await follower.wait_until_known()

        os.kill(broker.process.pid, signal.SIGKILL)
        await eventually(lambda: follower.problem)
        assert follower.state.paused(Stage.CHUNKER) == WHY
        await broker.start()
        async with sender(settings) as out:
            await resume(out, topology, CHUNKER)
        await eventually(lambda: follower.state == Control())
        assert follower.problem is None
        await follower.stop()
    finally:
        await broker.stop()

"""The registry as a process on a real broker: nothing is lost, whatever kills it."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from headrace_local.broker import Broker
from headrace_registry.records import read_status
from pydantic import SecretStr
from sqlalchemy import insert, select

from headrace import topics
from headrace.database.documents import DOCUMENTS
from headrace.database.engine import Database, upgrade
from headrace.database.merging import Row, merge_statuses
from headrace.database.processing import (
    DOCUMENT_STATES,
    HEARTBEATS,
    JOB_DOCUMENTS,
    STAGE_STATES,
)
from headrace.database.settings import DatabaseSettings
from headrace.headers import ARRIVAL
from headrace.identity import Arrival, DocumentKey
from headrace.kafka_clients import reader
from headrace.kafka_topic_ids import topic_ids
from headrace.messages import (
    Heartbeat,
    Lane,
    Metadata,
    OutputPosition,
    Stage,
    State,
    StatusEvent,
)
from headrace.settings import Settings
from headrace.status import status_key
from headrace.topology import Noun
from headrace.wire import encode_heartbeat, encode_status
from tests.support.database_worlds import expected, stored
from tests.support.eventually import eventually
from tests.support.postgres import running_postgres
from tests.support.registry_process import (
    RegistryProcess,
    ready_registry,
    registry_process,
)

pytestmark = pytest.mark.slow

EVENTS = 2000
KILLS = 3


@dataclass
class World:
    """A topic of statuses, and a database."""

    settings: Settings
    producer: AIOKafkaProducer
    database: Database
    url: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "HEADRACE_TOPIC_PREFIX": self.settings.topic_prefix,
            "DATABASE_URL": self.url,
            "HEADRACE_MERGE_RECORDS": "20",
        }

    async def say(self, event: StatusEvent, *, removed: bool = False) -> None:
        await self.producer.send(
            self.settings.topology.status,
            None if removed else encode_status(event),
            key=status_key(event),
            partition=len(event.key.document_id) % 2,
        )

    async def rubbish(self) -> None:
        """What nobody of us would say."""
        topology = self.settings.topology
        for value in (b"rubbish", b"", None):
            for topic in (topology.status, topology.heartbeats):
                await self.producer.send(topic, value, key=b"x")

    async def beat(self) -> None:
        """Say that somebody works on a document."""
        heartbeat = Heartbeat(
            DocumentKey("t", "c", "d"),
            1,
            Arrival(1, "t", 0, 0),
            Stage.LOADER,
            "me",
            1,
            2,
        )
        await self.producer.send_and_wait(
            self.settings.topology.heartbeats, encode_heartbeat(heartbeat)
        )

    async def heard(self) -> bool:
        """Whether that is known, and nothing else."""
        async with self.database.reading() as connection:
            found = await connection.execute(select(HEARTBEATS.c.worker))
            return list(found.scalars()) == ["me"]

    async def topic(self) -> list[Row]:
        """What the status topic holds, as rows."""
        async with reader(self.settings, self.settings.topology.status) as status:
            read = [read_status(record) async for record in status.all_so_far()]
        return [each.row for each in read if each.row is not None]

    async def same(self) -> bool:
        """Whether SQL equals the topic."""
        async with self.database.reading() as connection:
            return await stored(connection) == expected(await self.topic())


@pytest.fixture
async def world(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[World]:
    settings = Settings(
        kafka_bootstrap_servers=broker.bootstrap_servers,
        topic_prefix=topic_prefix,
        partitions=2,
    )
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    await topics.apply(admin, settings.topology, replication_factor=1)
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers)
    await producer.start()
    url = f"sqlite:///{tmp_path}/headrace.db"
    database = opened(url)
    yield World(settings, producer, database, url, tmp_path / "registry")
    await producer.stop()
    await database.close()


def event(number: int, chance: random.Random) -> StatusEvent:
    stage = chance.choice(list(Stage))
    return StatusEvent(
        DocumentKey("t", "c", "d" * chance.randint(1, 2) + str(number % 300)),
        revision=chance.choice([0, 7, 8]),
        arrival=Arrival(chance.randint(1, 3), "topic", 0, number % 7),
        stage=stage,
        state=chance.choice(list(State)),
        chunks=chance.randint(0, 9),
        at_ms=number,
        metadata=Metadata(import_job=chance.choice(["", "one", "two"])),
    )


@pytest.mark.timeout(300)
async def test_killed_in_the_midst_it_loses_nothing(world: World) -> None:
    seed = int(os.environ.get("HEADRACE_KILL_SEED") or random.randrange(10**6))
    sys.stdout.write(f"HEADRACE_KILL_SEED={seed}\n")
    chance = random.Random(seed)
    said = 0

    async def say_all() -> None:
        nonlocal said
        for number in range(EVENTS):
            removed = chance.random() < 0.02
            await world.say(event(number, chance), removed=removed)
            said += 1
            if number % 100 == 0:
                await world.rubbish()
            if number % 20 == 0:
                await world.producer.flush()
                await asyncio.sleep(0.05)
        await world.producer.flush()

    saying = asyncio.create_task(say_all())
    for turn in range(KILLS):
        async with ready_registry(world.folder, world.environment) as registry:
            until = EVENTS * (turn + 0.5 + chance.random() / 2) / (KILLS + 1)
            await eventually(lambda until=until: said > until)
            await registry.kill()
    await saying
    async with ready_registry(world.folder, world.environment) as registry:
        await eventually(world.same)
        await world.beat()
        await eventually(world.heard)
        assert await registry.ready()
        assert await registry.terminate() == 0


@pytest.mark.timeout(300)
async def test_rebuilt_while_it_runs_it_is_what_the_topic_says(world: World) -> None:
    chance = random.Random(7)
    async with ready_registry(world.folder, world.environment) as registry:
        for number in range(300):
            await world.say(event(number, chance), removed=chance.random() < 0.05)
        await eventually(world.same)
        await damage(world)
        assert not await world.same()
        enough = asyncio.Event()

        async def go_on() -> None:
            number = 300
            while not enough.is_set():
                await world.say(event(number, chance))
                await asyncio.sleep(0.01)
                number += 1

        going_on = asyncio.create_task(go_on())
        await rebuilt(world)
        enough.set()
        await going_on
        await world.producer.flush()
        await eventually(world.same)
        assert await registry.ready()
    # A topic that was made again holds less, and its offsets begin anew.
    async with world.database.writing() as connection:
        everything = STAGE_STATES.update()
        await connection.execute(
            everything.values(status_offset=STAGE_STATES.c.status_offset + 10**6)
        )
    await rebuilt(world)
    assert await world.same()


async def rebuilt(world: World) -> None:
    """Run the command."""
    folder = world.folder.parent / "rebuild"
    async with registry_process(folder, world.environment, "rebuild") as rebuilding:
        async with asyncio.timeout(120):
            await rebuilding.process.wait()
        assert rebuilding.process.returncode == 0, rebuilding.log
        assert "documents made again" in rebuilding.log


async def damage(world: World) -> None:
    """Lose some of SQL, change some, and invent some."""
    async with world.database.writing() as connection:
        found = await connection.execute(select(STAGE_STATES))
        rows = [dict(row) for row in found.mappings()]
        documents = sorted({row["document"] for row in rows})
        lost, changed = documents[:20], documents[20:40]
        for table in (STAGE_STATES, DOCUMENT_STATES, JOB_DOCUMENTS):
            await connection.execute(table.delete().where(table.c.document.in_(lost)))
        await connection.execute(
            STAGE_STATES.update()
            .where(STAGE_STATES.c.document.in_(changed))
            .values(state="invented", import_job="three")
        )
        invented = {**rows[-1], "document": "f" * 36, "status_offset": 1}
        await merge_statuses(connection, [invented])


@pytest.mark.timeout(300)
async def test_two_replicas_outlive_their_database_and_each_other(
    world: World,
) -> None:
    chance = random.Random(3)
    with running_postgres() as server:
        url = server.new_database()
        world = replace(world, url=url, database=opened(url))
        async with (
            ready_registry(world.folder, world.environment) as one,
            registry_process(world.folder / "two", world.environment) as two,
        ):
            for number in range(200):
                await world.say(event(number, chance))
            await eventually(two.ready)
            await asyncio.to_thread(server.stop)
            for number in range(200, 400):
                await world.say(event(number, chance))
            for each in (one, two):
                await eventually(lambda each=each: waits(each, "database"))
            server.start()
            await eventually(one.ready)
            for number in range(400, 600):
                await world.say(event(number, chance))
            await one.kill()
            await world.producer.flush()
            await eventually(world.same)
            await eventually(two.ready)
            assert await two.terminate() == 0
        await world.database.close()


def opened(url: str) -> Database:
    return Database.from_settings(DatabaseSettings(database_url=SecretStr(url)))


@pytest.mark.timeout(180)
async def test_it_waits_for_its_database_and_not_for_a_wrong_one(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "HEADRACE_TOPIC_PREFIX": topic_prefix,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    }
    async with registry_process(tmp_path / "one", environment) as registry:
        await eventually(lambda: waits(registry, "database_unavailable"))
        assert (await registry.get("/livez"))[0] == 200
        assert await registry.terminate() == 0
    environment["DATABASE_URL"] = "mysql://host/name"
    async with registry_process(tmp_path / "two", environment) as registry:
        await registry.process.wait()
        assert registry.process.returncode == 78
        assert "DATABASE_URL" in registry.log


async def waits(registry: RegistryProcess, reason: str) -> bool:
    """Whether it is not ready, for that reason."""
    status, body = await registry.get("/readyz")
    return status == 503 and reason in body


@pytest.mark.timeout(300)
async def test_what_a_stage_lost_is_queued_again_and_then_failed(world: World) -> None:
    """Two documents were passed on; the chunker committed past one and said nothing."""
    topology = world.settings.topology
    documents = topology.topic(Noun.DOCUMENTS, Lane.INTERACTIVE)
    texts = topology.topic(Noun.TEXTS, Lane.INTERACTIVE)
    events: dict[str, StatusEvent] = {}
    ids = await ids_of(world.settings, documents)
    for name, offset in (("lost", 0), ("waits", 1)):
        key = DocumentKey("t", "c", name)
        sent = await world.producer.send_and_wait(
            documents, b"value of " + name.encode(), key=key.record_key
        )
        await world.producer.send_and_wait(texts, b"", key=b"k", partition=0)
        events[name] = StatusEvent(
            key,
            revision=7,
            arrival=Arrival(
                sent.timestamp, ids[documents], sent.partition, sent.offset
            ),
            stage=Stage.LOADER,
            state=State.PASSED_ON,
            output=OutputPosition(texts, 0, offset),
            at_ms=1,
        )
        await world.say(events[name])
    gone = replace(
        events["lost"],
        key=DocumentKey("t", "c", "gone"),
        arrival=Arrival(1, "another topic", 0, 0),
    )
    await world.say(gone)
    chunkers = AIOKafkaConsumer(
        bootstrap_servers=world.settings.kafka_bootstrap_servers,
        group_id=topology.group(Stage.CHUNKER),
        enable_auto_commit=False,
    )
    async with chunkers:
        chunkers.assign([TopicPartition(texts, 0)])
        await chunkers.commit({TopicPartition(texts, 0): 1})
    await upgrade(world.url)
    unheard = await world.producer.send_and_wait(
        documents,
        b"value of unheard",
        key=DocumentKey("t", "c", "unheard").record_key,
    )
    loaders = AIOKafkaConsumer(
        bootstrap_servers=world.settings.kafka_bootstrap_servers,
        group_id=topology.group(Stage.LOADER),
        enable_auto_commit=False,
    )
    at = TopicPartition(documents, unheard.partition)
    async with loaders:
        loaders.assign([at])
        await loaders.commit({at: 51})
    async with world.database.writing() as connection:
        for name, offset in (
            ("unheard", unheard.offset),
            ("vanished", 50),
            ("not yet", 51),
        ):
            row = asked_for(name, partition=unheard.partition, offset=offset)
            await connection.execute(insert(DOCUMENTS), row)
    environment = {
        **world.environment,
        "HEADRACE_RECONCILE_EVERY_S": "1",
        "HEADRACE_STALE_AFTER_S": "1",
        "HEADRACE_REQUEUES": "2",
        "HEADRACE_RATE_WINDOW_S": "1",
    }
    async with ready_registry(world.folder, environment) as registry:
        await eventually(lambda: ended(world, {"lost", "gone", "unheard", "vanished"}))
        _, metrics = await registry.get("/metrics")
        assert 'action="requeued",stage="registry"} 4.0' in metrics

        async def counted() -> bool:
            _, metrics = await registry.get("/metrics")
            waits = 'unfinished_documents{collection="c",stage="registry",tenant="t"} 1'
            age = 'oldest_unfinished_document_seconds{stage="registry"} 0.0'
            return waits in metrics and age not in metrics

        await eventually(counted)
        assert await registry.terminate() == 0
    async with reader(world.settings, documents) as topic:
        records = [record async for record in topic.all_so_far()]
    again = [record for record in records if record.header(ARRIVAL) is not None]
    lost = events["lost"]
    assert [each.value for each in again if each.key == lost.key.record_key] == [
        b"value of lost"
    ] * 2
    assert {
        each.header(ARRIVAL) for each in again if each.key == lost.key.record_key
    } == {str(lost.arrival).encode()}
    assert len(again) == 4
    assert sum(each.value == b"value of unheard" for each in again) == 2


def asked_for(name: str, *, partition: int, offset: int) -> dict[str, object]:
    """A row as the gateway makes it."""
    values: dict[str, object] = {
        column.name: None if column.nullable else "" for column in DOCUMENTS.c
    }
    numbers = ("content_version", "size", "created_ms", "updated_ms")
    return (
        values
        | dict.fromkeys(numbers, 1)
        | {
            "id": name,
            "key": DocumentKey("t", "c", name).uuid,
            "tenant": "t",
            "collection": "c",
            "name": name,
            "version": 1,
            "sent_version": 1,
            "lane": "interactive",
            "attributes": {},
            "sent_partition": partition,
            "sent_offset": offset,
        }
    )


async def ended(world: World, names: set[str]) -> bool:
    """Whether just these documents failed, and for that reason."""
    async with world.database.reading() as connection:
        found = await connection.execute(
            select(DOCUMENT_STATES).where(DOCUMENT_STATES.c.final)
        )
        rows = found.mappings().all()
    reasons = {(row["state"], row["error_code"], row["stage"]) for row in rows}
    assert reasons <= {("failed", "lost_in_stage", stage) for stage in (1, 2)}
    return {row["document_id"] for row in rows} == names


async def ids_of(settings: Settings, topic: str) -> dict[str, str]:
    client = AIOKafkaClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await client.bootstrap()
    try:
        return await topic_ids(client, [topic])
    finally:
        await client.close()

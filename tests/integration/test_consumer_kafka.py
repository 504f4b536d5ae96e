"""The consuming loop in processes of its own, against the real broker."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from urllib.request import urlopen

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from headrace_local.broker import Broker

from headrace import topics
from headrace.clock import SystemClock
from headrace.identity import DocumentKey
from headrace.lag import GroupOffsets
from headrace.messages import Lane, Stage
from headrace.metrics import Metrics
from headrace.producer import KafkaProducer, partition_of
from headrace.settings import Settings
from headrace.topology import Noun
from headrace.wire import decode_dead_letter, decode_heartbeat
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def settings(broker: Broker, topic_prefix: str) -> Settings:
    settings = Settings(
        kafka_bootstrap_servers=broker.bootstrap_servers,
        topic_prefix=topic_prefix,
        partitions=4,
        document_partitions=2,
    )
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        await topics.apply(admin, settings.topology, replication_factor=1)
        assert await topics.check(admin, settings.topology) == []
    finally:
        await admin.close()
    return settings


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[KafkaProducer]:
    producer = KafkaProducer(settings, metrics=Metrics("test"), clock=SystemClock())
    await producer.start()
    yield producer
    await producer.stop(timeout_s=10)


class Workers:
    """Processes of the copying stage."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self.ledger = directory / "ledger"
        self.ledger.touch()
        self.directory = directory
        self.processes: list[Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "HEADRACE_TOPIC_PREFIX": settings.topic_prefix,
            "HEADRACE_LEDGER": str(self.ledger),
            "HEADRACE_SESSION_TIMEOUT_S": "6",
            "HEADRACE_DRAIN_S": "5",
            "HEADRACE_OBJECT_STORE_URL": (directory / "objects").as_uri(),
        }

    def start(self, **environment: str) -> Popen[bytes]:
        number = len(self.processes)
        with (self.directory / f"log{number}").open("wb") as log:
            process = Popen(
                [sys.executable, "-m", "tests.support.copying_stage"],
                stdout=log,
                stderr=log,
                env={
                    **self.environment,
                    "HEADRACE_PROBE_FILE": str(self.directory / f"probe{number}"),
                    **environment,
                },
            )
        self.processes.append(process)
        return process

    def probe(self, number: int, path: str) -> tuple[int, str]:
        address = self.directory / f"probe{number}"
        if not address.exists():
            return 0, ""
        try:
            with urlopen(f"http://{address.read_text()}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except OSError as error:
            return getattr(error, "code", 0), ""

    @property
    def done(self) -> list[str]:
        return self.ledger.read_text().splitlines()

    @property
    def living(self) -> list[int]:
        return [n for n, p in enumerate(self.processes) if p.poll() is None]

    @property
    def logs(self) -> str:
        return "\n".join(p.read_text() for p in sorted(self.directory.glob("log*")))


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[Workers]:
    with ended(Workers(settings, tmp_path)) as workers:
        yield workers


@contextmanager
def ended(workers: Workers) -> Iterator[Workers]:
    try:
        yield workers
    finally:
        for process in workers.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def text_topics(settings: Settings) -> dict[Lane, str]:
    return settings.topology.inputs(Stage.CHUNKER)


async def produce(
    producer: KafkaProducer, settings: Settings, numbers: range
) -> list[str]:
    """One record each, over keys, partitions and lanes; how the ledger names them."""
    lanes = list(text_topics(settings).values())

    async def one(number: int) -> str:
        key = DocumentKey("default", "c", f"d{number % 50}").record_key
        sent = await producer.send(
            lanes[number % 2], key=key, value=b"%d" % number, headers=[("n", b"1")]
        )
        return f"{sent.topic} {sent.partition} {sent.last_offset}"

    return list(await asyncio.gather(*(one(number) for number in numbers)))


async def lag(settings: Settings) -> int:
    offsets = GroupOffsets(settings)
    try:
        read = await offsets.read(
            settings.topology.group(Stage.CHUNKER), list(text_topics(settings).values())
        )
    finally:
        await offsets.stop()
    return sum(end - committed for committed, end in read.values())


async def notes(settings: Settings) -> set[str]:
    """What goes with the committed offsets, over all partitions."""
    offsets = GroupOffsets(settings)
    try:
        await offsets.start()
        admin, _ = offsets.clients
        found = await admin.list_consumer_group_offsets(
            settings.topology.group(Stage.CHUNKER)
        )
    finally:
        await offsets.stop()
    assert len(found) == 8, "every partition has a commit, also the empty ones"
    return {each.metadata for each in found.values()}


async def values_in(settings: Settings, topic_names: list[str]) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await consumer.start()
    try:
        partitions = [
            TopicPartition(topic, number)
            for topic in topic_names
            for number in range(4)
        ]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        values: list[bytes] = []
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                values += [record.value for record in records]
        return values
    finally:
        await consumer.stop()


async def test_nothing_is_lost_over_kills_and_rebalances(
    settings: Settings, producer: KafkaProducer, workers: Workers
) -> None:
    chance = random.Random(1)
    expected = await produce(producer, settings, range(300))
    workers.environment["HEADRACE_WORK_S"] = "0.2"
    workers.start()
    for round_number in range(4):
        await progress(workers, all_of=len(expected))
        workers.start()
        first = 300 + round_number * 150
        expected += await produce(producer, settings, range(first, first + 150))
        await progress(workers, all_of=len(expected))
        number = chance.choice(workers.living)
        victim = workers.processes[number]
        if round_number == 2:
            await eventually(lambda at=number: workers.probe(at, "/readyz")[0] == 200)  # type: ignore[misc]
            victim.terminate()
            assert victim.wait() == 0, workers.logs
        else:
            victim.kill()
            victim.wait()
    await eventually(lambda: _drained(settings), patience_s=120)

    done = [line.rsplit(" ", 1)[0] for line in workers.done]
    assert set(done) == set(expected)
    outputs = list(settings.topology.outputs(Stage.CHUNKER).values())
    assert set(await values_in(settings, outputs)) == {b"%d" % n for n in range(900)}
    # What three kills may repeat: what was in flight or not yet committed.
    assert len(done) - len(expected) < 3 * 4 * 2 * 96


async def progress(workers: Workers, *, all_of: int) -> None:
    """Until 20 more are done, or all."""
    enough = min(len(set(workers.done)) + 20, all_of)
    await eventually(lambda: len(set(workers.done)) >= enough)


async def _drained(settings: Settings) -> bool:
    return await lag(settings) == 0


async def test_a_worker_is_ready_measured_and_ends_on_sigterm(
    settings: Settings, producer: KafkaProducer, workers: Workers
) -> None:
    process = workers.start()
    await eventually(lambda: workers.probe(0, "/readyz")[0] == 200)
    assert workers.probe(0, "/livez")[0] == 200
    await produce(producer, settings, range(40))
    await eventually(lambda: len(workers.done) == 40)
    _, page = workers.probe(0, "/metrics")
    assert 'headrace_processed_records_total{outcome="done",stage="chunker"} 40' in page
    assert "headrace_event_loop_held_seconds_max" in page
    (note,) = await notes(settings)
    assert note, "the group knows who has the partitions"

    process.terminate()
    assert process.wait() == 0, workers.logs
    assert await notes(settings) == {""}, "handed over"
    assert await lag(settings) == 0
    topic_ids = {line.rsplit(" ", 1)[1] for line in workers.done}
    assert all(len(topic_id) == 36 for topic_id in topic_ids)


async def test_a_document_in_work_for_long_has_heartbeats(
    settings: Settings, producer: KafkaProducer, workers: Workers
) -> None:
    # Up to two minutes each: one of them at least is in work for long enough.
    workers.environment["HEADRACE_WORK_S"] = "60"
    workers.start()
    await produce(producer, settings, range(20))
    topic = settings.topology.heartbeats

    values: list[bytes] = []

    async def heard() -> bool:
        values[:] = await values_in(settings, [topic])
        return bool(values)

    await eventually(heard)
    beat = decode_heartbeat(values[0])
    assert (beat.key.tenant, beat.key.collection) == ("default", "c")
    assert beat.stage is Stage.CHUNKER
    assert beat.worker.endswith(f"-{workers.processes[0].pid}")
    assert beat.at_ms - beat.started_at_ms >= 5000


async def test_poison_becomes_a_letter_with_its_bytes(
    settings: Settings, producer: KafkaProducer, workers: Workers
) -> None:
    topic = text_topics(settings)[Lane.INTERACTIVE]
    key = DocumentKey("default", "c", "bad").record_key
    sent = await producer.send(topic, key=key, value=b"poison", headers=[("a", b"b")])
    workers.start()
    await eventually(lambda: _drained(settings))

    (letter,) = map(
        decode_dead_letter,
        await values_in(settings, [settings.topology.dlq(Stage.CHUNKER)]),
    )
    assert letter.original_value == b"poison"
    assert letter.original_headers == (("a", b"b"),)
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset) == (
        sent.topic,
        sent.partition,
        sent.last_offset,
    )
    assert letter.error.code == "poison"
    assert sent.partition == partition_of(key, 4), "as Java's partitioner does"


async def test_missing_topics_are_waited_for_and_not_made(
    broker: Broker, tmp_path: Path
) -> None:
    settings = Settings(
        kafka_bootstrap_servers=broker.bootstrap_servers,
        topic_prefix="nobody-made-them",
    )
    with ended(Workers(settings, tmp_path)) as workers:
        process = workers.start()
        await eventually(lambda: "topics are missing" in workers.logs)
        assert workers.probe(0, "/readyz")[0] == 503
        assert workers.probe(0, "/livez")[0] == 200
        process.terminate()
        assert process.wait() == 0, workers.logs
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        names = await admin.list_topics()
    finally:
        await admin.close()
    assert not [name for name in names if name.startswith("nobody-made-them")]


async def test_a_bad_setting_ends_with_78_and_its_name(
    settings: Settings, workers: Workers
) -> None:
    process = workers.start(HEADRACE_SESSION_TIMEOUT_S="1")
    assert process.wait() == 78
    assert "HEADRACE_SESSION_TIMEOUT_S" in workers.logs


async def test_records_beyond_the_limit_are_the_documents_fault(
    settings: Settings, producer: KafkaProducer
) -> None:
    topic = settings.topology.topic(Noun.VECTORS, Lane.BULK)
    limit = settings.topology.max_message_bytes
    with pytest.raises(Exception, match="too large") as refused:
        await producer.send(topic, key=b"k", value=os.urandom(limit))
    assert getattr(refused.value, "code", "") == "record_too_large"
    sent = await producer.send(topic, key=b"k", value=os.urandom(limit - 4096))
    assert sent.last_offset == 0

"""Lag, age and growth, against the real broker."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import KafkaError
from headrace_local.broker import Broker

from headrace import topics
from headrace.clock import SystemClock
from headrace.control import Control, Target
from headrace.lag import LagReader
from headrace.lag_exporter import LagExporter, LagExporterSettings
from headrace.messages import Lane, Pause, Stage
from headrace.metrics import LagMetrics, Metrics
from headrace.producer import KafkaProducer
from headrace.topology import Noun, Topology
from tests.support.eventually import eventually


async def test_lag_of_every_stage(  # noqa: PLR0915  one exporter, all its life
    broker: Broker, topic_prefix: str
) -> None:
    settings = LagExporterSettings(
        kafka_bootstrap_servers=broker.bootstrap_servers,
        topic_prefix=topic_prefix,
        partitions=2,
        document_partitions=1,
    )
    topology = settings.topology
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    producer = KafkaProducer(settings, metrics=Metrics("t"), clock=SystemClock())
    metrics = LagMetrics()
    control = Control()
    exporter = LagExporter(
        settings, metrics=metrics, clock=SystemClock(), control=lambda: control
    )
    ahead = LagReader(settings, stage=Stage.CHUNKER)

    def value(name: str, **labels: object) -> float | None:
        named = {key: str(label) for key, label in labels.items()}
        return metrics.registry.get_sample_value(f"headrace_{name}", named)

    try:
        await topics.apply(admin, topology, replication_factor=1)
        await producer.start()
        chunks = topology.topic(Noun.CHUNKS, Lane.INTERACTIVE)
        for number in range(10):
            await producer.send(
                chunks,
                key=b"%d" % number,
                value=b"x",
                partition=1,
                headers=[("headrace-chunks", b"8")],
            )
        # A fresh broker has yet to make its topic of committed offsets.
        await eventually(lambda: reading(exporter))
        place = {"stage": "embedder", "topic": chunks, "partition": 1}
        assert value("consumer_lag_records", **place) == 10
        assert 0 <= (value("consumer_lag_seconds", **place) or 0) < 60
        assert value("consumer_lag_chunks", **place) == 80
        assert value("topic_partitions", stage="embedder", topic=chunks) == 2
        assert value("stage_wanted_replicas", stage="embedder") == 1
        assert value("stage_wanted_replicas", stage="indexer") == 0

        control = Control({Target(stage=Stage.EMBEDDER): Pause("me", "", 1)})
        assert value("stage_wanted_replicas", stage="loader") == 0
        await producer.send(topology.parked, key=b"k", value=b"x")
        await exporter.read()
        assert value("stage_wanted_replicas", stage="embedder") == 0
        assert value("stage_wanted_replicas", stage="loader") == 1

        await commit(broker, topology.group(Stage.EMBEDDER), chunks, 4)
        await exporter.read()
        assert value("consumer_lag_records", **place) == 6

        ahead.start()
        await eventually(lambda: ahead.ahead(Lane.INTERACTIVE, 1) == 6)
        assert ahead.ahead(Lane.INTERACTIVE, 0) == ahead.ahead(Lane.BULK, 1) == 0
        assert ahead.problem is None

        with pytest.raises(topics.TopicsRefused, match="already"):
            await topics.grow(admin, topology, partitions=1)
        assert len(await topics.grow(admin, topology, partitions=3)) == 6
        drifts = await topics.check(admin, topology)
        assert len([drift for drift in drifts if "3 partitions" in drift.what]) == 6

        assert not await topics.align(admin, topology)
        texts = topology.topic(Noun.TEXTS, Lane.INTERACTIVE)
        await admin.create_partitions({texts: NewPartitions(total_count=4)})
        await eventually(lambda: has(admin, topology, texts, partitions=4))
        assert len(await topics.align(admin, topology)) == 4
        found = await topics.read(admin, topology)
        aligned = (Noun.CHUNKS, Noun.VECTORS)
        names = [topology.topic(noun, lane) for noun in aligned for lane in Lane]
        assert {found[name].partitions for name in names} == {4}
    finally:
        await ahead.stop()
        await exporter.stop()
        await producer.stop(timeout_s=5)
        await admin.close()


async def has(
    admin: AIOKafkaAdminClient, topology: Topology, topic: str, *, partitions: int
) -> bool:
    """Whether the brokers have told each other."""
    return (await topics.read(admin, topology))[topic].partitions == partitions


async def reading(exporter: LagExporter) -> bool:
    try:
        await exporter.read()
    except KafkaError:
        return False
    return True


async def commit(broker: Broker, group: str, topic: str, offset: int) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers,
        group_id=group,
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 1)])
        await consumer.commit({TopicPartition(topic, 1): offset})
    finally:
        await consumer.stop()

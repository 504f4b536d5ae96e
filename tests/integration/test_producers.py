"""The example producers send what the loader understands, under the right key."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import DefaultPartitioner
from headrace_local.broker import Broker

from headrace.handler import Record
from headrace.identity import DocumentKey
from headrace.messages import DocumentEvent, Metadata
from headrace.wire import decode_event, needs_rekey
from tests.support.java import compile_java, kafka_client, run_java

PRODUCERS = Path(__file__).parents[2] / "examples" / "producers"
PARTITIONS = 6
# What the URL encoders of the languages disagree about.
KEY = DocumentKey("default", "docs", "guides/a b+c*~!'(é)\"\\%2F-._.md")
CONTENT = b"# Title\n\xff\0 any bytes\n"


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "a title.md"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
async def topic(broker: Broker, topic_prefix: str) -> str:
    name = f"{topic_prefix}.documents.v1"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
    finally:
        await admin.close()
    return name


async def only_record(broker: Broker, topic: str) -> Record:
    """The one record that the topic holds."""
    # Seeking to the beginning instead would race with the client's own first reset.
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        assert sum(ends.values()) == 1
        read: ConsumerRecord[bytes, bytes] = await consumer.getone()
    finally:
        await consumer.stop()
    return Record(
        read.topic,
        read.partition,
        read.offset,
        read.timestamp,
        read.key,
        read.value,
        tuple(read.headers),
    )


def assert_understood(record: Record) -> None:
    event = decode_event(record)
    partitions = list(range(PARTITIONS))

    assert event == DocumentEvent(
        KEY, inline=CONTENT, metadata=Metadata(name="a title.md")
    )
    assert not needs_rekey(record, event)
    assert record.partition == DefaultPartitioner()(
        KEY.record_key, partitions, partitions
    )


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PRODUCERS / "python" / "producer.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_python(broker: Broker, topic: str, document: Path) -> None:
    done = await asyncio.to_thread(
        run_python,
        *(broker.bootstrap_servers, KEY.collection, KEY.document_id),
        *(str(document), topic),
    )

    assert done.returncode == 0, done.stderr
    record = await only_record(broker, topic)
    assert f"{topic}-{record.partition}@{record.offset}" == done.stdout.strip()
    assert_understood(record)


async def test_java(broker: Broker, topic: str, document: Path, tmp_path: Path) -> None:
    libraries = await asyncio.to_thread(kafka_client)
    classes = tmp_path / "classes"
    await asyncio.to_thread(
        compile_java,
        PRODUCERS / "java" / "Producer.java",
        libraries=libraries,
        target=classes,
    )
    done = await asyncio.to_thread(
        run_java,
        *("Producer", broker.bootstrap_servers, KEY.collection, KEY.document_id),
        *(str(document), topic),
        libraries=libraries,
        classes=classes,
    )

    assert done.returncode == 0, done.stderr
    record = await only_record(broker, topic)
    assert f"{topic}-{record.partition}@{record.offset}" == done.stdout.strip()
    assert_understood(record)

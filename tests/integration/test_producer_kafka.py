"""What the producer makes of a broker's refusals, on a real one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from headrace.clock import SystemClock
from headrace.errors import DocumentFailure
from headrace.messages import OutputPosition
from headrace.metrics import Metrics
from headrace.producer import KafkaProducer
from headrace.settings import Settings
from tests.support.broker import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

LIMIT = 8 * 1024


@pytest.fixture
async def topic(broker: Broker, topic_prefix: str) -> str:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        narrow = {"max.message.bytes": str(LIMIT)}
        await admin.create_topics(
            [NewTopic(topic_prefix, 1, 1, topic_configs=narrow)], timeout_ms=30_000
        )
    finally:
        await admin.close()
    return topic_prefix


@pytest.fixture
async def producer(broker: Broker) -> AsyncIterator[KafkaProducer]:
    producer = KafkaProducer(
        Settings(kafka_bootstrap_servers=broker.bootstrap_servers),
        metrics=Metrics("test"),
        clock=SystemClock(),
    )
    await producer.start()
    yield producer
    await producer.stop(timeout_s=10)


async def test_a_record_too_large_takes_none_that_went_with_it(
    topic: str, producer: KafkaProducer
) -> None:
    # Bytes that nothing compresses; together the small ones are over the limit too.
    values = [os.urandom(2 * LIMIT if number == 3 else 900) for number in range(20)]

    answers = await asyncio.gather(
        *(producer.send(topic, key=b"k", value=value) for value in values),
        return_exceptions=True,
    )

    refused = answers.pop(3)
    assert isinstance(refused, DocumentFailure)
    assert refused.code == "record_too_large"
    sent = [each for each in answers if isinstance(each, OutputPosition)]
    assert sorted(each.last_offset for each in sent) == list(range(19))

    after = await producer.send(topic, key=b"k", value=b"the next")
    assert after.last_offset == 19

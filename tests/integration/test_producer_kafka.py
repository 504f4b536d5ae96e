"""What the producer makes of a broker's refusals, on a real one."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from headrace.clock import SystemClock
from headrace.errors import DocumentFailure, SharedFailure
from headrace.messages import OutputPosition
from headrace.metrics import Metrics
from headrace.producer import KafkaProducer
from headrace.settings import Settings
from tests.support.broker import Broker
from tests.support.eventually import eventually

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

LIMIT = 8 * 1024
ROUNDS = 5
DOCUMENTS = 30
OTHERS = 3
"""Further topics, each of which a new session has to ask for."""


@pytest.fixture
async def topic(broker: Broker, topic_prefix: str) -> str:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        narrow = {"max.message.bytes": str(LIMIT)}
        others = [NewTopic(f"{topic_prefix}-{n}", 2, 1) for n in range(OTHERS)]
        await admin.create_topics(
            [NewTopic(topic_prefix, 4, 1, topic_configs=narrow), *others],
            timeout_ms=30_000,
        )
    finally:
        await admin.close()
    return topic_prefix


def kafka_producer(broker: Broker) -> KafkaProducer:
    return KafkaProducer(
        Settings(kafka_bootstrap_servers=broker.bootstrap_servers),
        metrics=Metrics("test"),
        clock=SystemClock(),
    )


@pytest.fixture
async def producer(broker: Broker) -> AsyncIterator[KafkaProducer]:
    producer = kafka_producer(broker)
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


async def document(producer: KafkaProducer, topic: str, number: int) -> bool:
    """As a stage does: a record to one topic, then one to another; whether refused."""
    key, large = b"%d" % number, number % 10 == 0
    refused = False
    try:
        value = os.urandom(2 * LIMIT if large else 900)
        await producer.send(topic, key=key, value=value)
    except DocumentFailure:
        refused = True
    await producer.send(f"{topic}-{number % OTHERS}", key=key, value=b"done")
    return refused


async def test_no_send_is_left_waiting_on_a_session_that_has_ended(
    broker: Broker, topic: str
) -> None:
    order = random.Random(1)

    async def after_a_while(producer: KafkaProducer, number: int) -> bool:
        await asyncio.sleep(order.random() / 20)
        return await document(producer, topic, number)

    for _ in range(ROUNDS):
        producer = kafka_producer(broker)
        await producer.start()
        sends = (after_a_while(producer, n) for n in range(DOCUMENTS))
        async with asyncio.timeout(60):
            refused = await asyncio.gather(*sends)
        await producer.stop(timeout_s=10)
        assert sum(refused) == DOCUMENTS // 10


async def being_replaced(producer: KafkaProducer, topic: str) -> asyncio.Task[object]:
    """A send whose refusal ends the session, at that moment."""
    value = os.urandom(2 * LIMIT)
    sending = asyncio.create_task(producer.send(topic, key=b"k", value=value))
    async with asyncio.timeout(60):
        while producer._zstd._session is not None:  # noqa: ASYNC110  over in milliseconds
            await asyncio.sleep(0)
    return sending


async def alone() -> bool:
    """Whether nothing runs but the test."""
    return asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_cancelled_send_leaves_no_producer_behind(
    broker: Broker, topic: str
) -> None:
    producer = kafka_producer(broker)
    await producer.start()
    sending = await being_replaced(producer, topic)
    sending.cancel()
    await asyncio.wait({sending})

    assert isinstance(
        await producer.send(topic, key=b"k", value=b"the next"), OutputPosition
    )

    await producer.stop(timeout_s=10)
    await eventually(alone)


async def test_a_stop_while_a_session_is_replaced_ends_all_of_them(
    broker: Broker, topic: str
) -> None:
    producer = kafka_producer(broker)
    await producer.start()
    sending = await being_replaced(producer, topic)

    await producer.stop(timeout_s=10)

    with pytest.raises(SharedFailure, match="closed"):
        await sending
    await eventually(alone)

"""Kafka clients for as long as a piece of work lasts: read topics, send events."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from headrace.errors import SharedFailure
from headrace.handler import Headers, Record
from headrace.headers import event_headers
from headrace.kafka import client_options
from headrace.messages import DocumentEvent, Lane, OutputPosition
from headrace.refusals import Refused
from headrace.settings import Settings
from headrace.topology import Noun
from headrace.wire import encode_event

_SENDING = 500
"""Events on the way at once; the producer batches them."""
_POLL_MS = 200


@asynccontextmanager
async def admin_client(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client for as long as the block lasts."""
    client = AIOKafkaAdminClient(**client_options(settings))
    try:
        await client.start()
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def reader(settings: Settings, *topics: str) -> AsyncIterator[TopicReader]:
    """A reader of all partitions of topics, outside any group.

    Raises:
        Refused: one of the topics is missing.
    """
    async with consumer_of(settings, *topics) as (consumer, partitions):
        yield TopicReader(consumer, partitions)


@asynccontextmanager
async def consumer_of(
    settings: Settings, *topics: str
) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
    """A consumer outside any group that knows where the partitions of topics are.

    Raises:
        Refused: one of the topics is missing.
    """
    partitions = await _partitions_of(settings, topics)
    consumer = AIOKafkaConsumer(
        **client_options(settings), enable_auto_commit=False, fetch_max_wait_ms=100
    )
    try:
        await consumer.start()
        for topic in topics:
            # Else its first question about each waits until it asks again.
            await consumer._client._wait_on_metadata(topic)  # noqa: SLF001  nothing public waits for it
        yield consumer, partitions
    finally:
        await stop_consumer(consumer)


async def _partitions_of(
    settings: Settings, topics: Sequence[str]
) -> list[TopicPartition]:
    """The partitions of topics, in order."""
    async with admin_client(settings) as admin:
        # Asking for one that does not exist could make it, on some brokers.
        missing = set(topics).difference(await admin.list_topics())
        if missing:
            raise Refused(
                "topic_missing",
                f"Kafka at {settings.kafka_bootstrap_servers} has no topic "
                f"{', '.join(sorted(missing))}",
                advice="`headrace topics apply` makes it; HEADRACE_TOPIC_PREFIX names "
                "it",
            )
        found = await admin.describe_topics(list(topics))
    numbers = {
        each["topic"]: sorted(part["partition"] for part in each["partitions"])
        for each in found
    }
    return [TopicPartition(topic, each) for topic in topics for each in numbers[topic]]


class TopicReader:
    """Reads topics; made by ``reader``."""

    def __init__(
        self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]
    ) -> None:
        self._consumer = consumer
        self._partitions = partitions

    async def all_so_far(self) -> AsyncGenerator[Record, None]:
        """Every record from the beginning to what is the end now."""
        self._read_from(await self._consumer.beginning_offsets(self._partitions))
        async for record in self.up_to_now():
            yield record

    async def up_to_now(self) -> AsyncGenerator[Record, None]:
        """Every record from where this reader stands to what is the end now.

        What was written before this call is among them.
        """
        ends = await self._consumer.end_offsets(self._partitions)
        open_ = set(self._partitions)
        while True:
            # Compaction leaves gaps, so the position tells, not the last record.
            for partition in list(open_):
                if await self._consumer.position(partition) >= ends[partition]:
                    open_.discard(partition)
            if not open_:
                return
            batches = await self._consumer.getmany(*open_, timeout_ms=_POLL_MS)
            for records in batches.values():
                for record in records:
                    yield as_record(record)

    async def seek_to_end(self) -> None:
        """From here on ``from_now_on`` gives what comes later than this call."""
        self._read_from(await self._consumer.end_offsets(self._partitions))

    def _read_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        # Assigned and placed in one step: left to itself in between, the client would
        # begin to place itself at the end, and may finish that after any seek.
        self._consumer.assign(self._partitions)
        for partition in self._partitions:
            self._consumer.seek(partition, offsets[partition])

    async def from_now_on(self) -> AsyncGenerator[list[Record], None]:
        """Batches of new records for ever; empty ones while nothing comes."""
        while True:
            batches = await self._consumer.getmany(timeout_ms=_POLL_MS)
            yield [as_record(record) for some in batches.values() for record in some]


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop it; returns normally unless the caller itself is cancelled.

    While the broker is away aiokafka's own ``stop`` ends with the cancellation of a
    request of its own, before it has closed its connections: whoever awaited it would
    be taken for cancelled.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait({stopping})
    if stopping.cancelled() or stopping.exception() is not None:
        await consumer._client.close()  # noqa: SLF001  nobody else does any more


def as_record(record: ConsumerRecord) -> Record:
    """A client's record as ours."""
    return Record(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
    )


@asynccontextmanager
async def sender(settings: Settings) -> AsyncIterator[Sender]:
    """A producer for as long as the block lasts.

    Raises:
        SharedFailure: Kafka cannot be reached.
    """
    producer = AIOKafkaProducer(
        **client_options(settings),
        acks="all",
        enable_idempotence=True,
        max_request_size=settings.topology.max_message_bytes,
        compression_type="zstd",
        linger_ms=5,
    )
    try:
        try:
            await producer.start()
        except OSError as error:
            raise SharedFailure(
                "not_reachable",
                f"Kafka at {settings.kafka_bootstrap_servers} cannot be reached: "
                f"{error}",
            ) from error
        yield Sender(producer)
    finally:
        await producer.stop()


class Sender:
    """Sends records; made by ``sender``."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers = (),
    ) -> OutputPosition:
        """Send one record; returns when Kafka has it."""
        sending = await self.start(
            topic, key=key, value=value, partition=partition, headers=headers
        )
        sent = await sending
        return OutputPosition(sent.topic, sent.partition, sent.offset)

    async def start(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers = (),
    ) -> asyncio.Future[Any]:
        """Begin to send one record; the future ends when Kafka has it."""
        sending: asyncio.Future[Any] = await self._producer.send(
            topic, key=key, value=value, partition=partition, headers=list(headers)
        )
        return sending


async def send_events(settings: Settings, events: Iterable[DocumentEvent]) -> None:
    """Produce events; returns when Kafka has all of them."""
    async with sender(settings) as out:
        sending: list[asyncio.Future[Any]] = []
        for event in events:
            lane = event.lane or Lane.INTERACTIVE
            sending.append(
                await out.start(
                    settings.topology.topic(Noun.DOCUMENTS, lane),
                    key=event.key.record_key,
                    value=encode_event(event),
                    headers=event_headers(event),
                )
            )
            if len(sending) >= _SENDING:
                await asyncio.gather(*sending)
                sending.clear()
        await asyncio.gather(*sending)

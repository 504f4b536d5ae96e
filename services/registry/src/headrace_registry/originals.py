"""Finds an event where it first arrived, as long as Kafka keeps it."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from headrace.handler import Record
from headrace.identity import Arrival
from headrace.kafka import client_options
from headrace.kafka_clients import stop_consumer
from headrace.kafka_topic_ids import topic_ids
from headrace.messages import Stage
from headrace.settings import Settings

_TRIES = 20
_POLL_MS = 250


class Originals:
    """Reads single records of the documents topics."""

    def __init__(self, settings: Settings) -> None:
        self._topics = set(settings.topology.inputs(Stage.LOADER).values())
        self._consumer = AIOKafkaConsumer(
            **client_options(settings), enable_auto_commit=False
        )
        self._started = False

    async def get(self, arrival: Arrival) -> Record | None:
        """The record; ``None`` where Kafka has it no more.

        Raises:
            KafkaError: no broker answers, or not in time.
        """
        names = await self._ids()
        for topic, id_ in names.items():
            if id_ == arrival.topic_id:
                return await self._read(topic, id_, arrival.partition, arrival.offset)
        return None

    async def at(
        self, topic: str, partition: int, offset: int, *, key: bytes
    ) -> Record | None:
        """The record of that key there; as ``get``."""
        names = await self._ids()
        if topic not in names:
            return None
        record = await self._read(topic, names[topic], partition, offset)
        # In a topic that was made again another may have its place.
        return record if record is not None and record.key == key else None

    async def _ids(self) -> dict[str, str]:
        if not self._started:
            await self._consumer.start()
            self._started = True
        return await topic_ids(self._consumer._client, self._topics)  # noqa: SLF001  its only client

    async def _read(
        self, topic: str, topic_id: str, number: int, offset: int
    ) -> Record | None:
        partition = TopicPartition(topic, number)
        begins = await self._consumer.beginning_offsets([partition])
        ends = await self._consumer.end_offsets([partition])
        if not begins[partition] <= offset < ends[partition]:
            return None
        self._consumer.assign([partition])
        self._consumer.seek(partition, offset)
        for _ in range(_TRIES):
            fetched: dict[Any, list[Any]] = await self._consumer.getmany(
                partition, timeout_ms=_POLL_MS, max_records=1
            )
            for record in fetched.get(partition, []):
                found = record.offset == offset
                return _record(record, topic_id) if found else None
        # Not the same as gone: whoever takes it for that gives the document up.
        raise KafkaTimeoutError(f"{topic}/{number}/{offset} was not read in time")

    async def stop(self) -> None:
        """Disconnect."""
        if self._started:
            await stop_consumer(self._consumer)


def _record(record: Any, topic_id: str) -> Record:
    return Record(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        topic_id=topic_id,
    )

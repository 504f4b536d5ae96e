"""Finds an event where it first arrived, as long as Kafka keeps it."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from headrace.handler import Record
from headrace.identity import Arrival
from headrace.kafka import client_options
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
            KafkaError: no broker answers.
        """
        if not self._started:
            await self._consumer.start()
            self._started = True
        names = await topic_ids(self._consumer._client, self._topics)  # noqa: SLF001  its only client
        topic = next(
            (name for name, id_ in names.items() if id_ == arrival.topic_id), None
        )
        if topic is None:
            return None
        partition = TopicPartition(topic, arrival.partition)
        begins = await self._consumer.beginning_offsets([partition])
        ends = await self._consumer.end_offsets([partition])
        if not begins[partition] <= arrival.offset < ends[partition]:
            return None
        self._consumer.assign([partition])
        self._consumer.seek(partition, arrival.offset)
        for _ in range(_TRIES):
            fetched: dict[Any, list[Any]] = await self._consumer.getmany(
                partition, timeout_ms=_POLL_MS, max_records=1
            )
            for record in fetched.get(partition, []):
                found = record.offset == arrival.offset
                return _record(record, arrival.topic_id) if found else None
        return None

    async def stop(self) -> None:
        """Disconnect."""
        if self._started:
            await self._consumer.stop()


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
